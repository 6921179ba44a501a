package replicators

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// UReplicatorClient asks a uReplicator controller. Any controller will do: all of them work on the same
// state in ZooKeeper.
// https://github.com/uber/uReplicator, uReplicator-Controller/.../rest/resources
type UReplicatorClient struct{ rest *rest }

// NewUReplicatorClient returns a client for the controllers at url, such as http://ureplicator:9000.
func NewUReplicatorClient(url string) (*UReplicatorClient, error) {
	r, err := newREST(url)
	if err != nil {
		return nil, err
	}
	return &UReplicatorClient{rest: r}, nil
}

// Healthy returns nil if the controller says that it is well.
func (c *UReplicatorClient) Healthy(ctx context.Context) error {
	_, err := c.rest.do(ctx, http.MethodGet, nil, "health")
	return err
}

// Instances returns the names of the workers that are alive, in order. A topic that is added while
// there are none is never assigned.
func (c *UReplicatorClient) Instances(ctx context.Context) ([]string, error) {
	var answer struct {
		All     []string            `json:"allInstances"`
		Serving map[string][]string `json:"instances"`
	}
	if err := c.rest.get(ctx, &answer, "instances"); err != nil {
		return nil, err
	}
	if answer.All == nil { // versions before 2019 do not list them apart
		answer.All = slices.Collect(maps.Keys(answer.Serving))
	}
	slices.Sort(answer.All)
	return answer.All, nil
}

// TopicView is what a controller knows of a topic.
type TopicView struct {
	// Assigned is the number of partitions that have been given to a worker. A topic that was added
	// while no worker was alive has none, and never will.
	Assigned int
	// Online is the number of partitions that a worker says it copies.
	Online int
}

// Topic returns what the controller knows of a topic, and whether it knows it at all.
func (c *UReplicatorClient) Topic(ctx context.Context, topic string) (TopicView, bool, error) {
	// Partition number to worker to state, in both.
	var answer struct {
		Ideal    map[string]map[string]string `json:"idealState"`
		External map[string]map[string]string `json:"externalView"`
	}
	if err := c.rest.get(ctx, &answer, "topics", topic); err != nil {
		if missing(err) {
			return TopicView{}, false, nil
		}
		return TopicView{}, false, err
	}
	view := TopicView{Assigned: len(answer.Ideal)}
	for _, states := range answer.External {
		if slices.ContainsFunc(slices.Collect(maps.Values(states)), func(s string) bool { return strings.EqualFold(s, "ONLINE") }) {
			view.Online++
		}
	}
	return view, true, nil
}

// topicPartitions is the body of POST and PUT.
type topicPartitions struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"numPartitions"`
}

// Add tells the controller to copy a topic with so many partitions. A topic that it copies already is an
// error.
func (c *UReplicatorClient) Add(ctx context.Context, topic string, partitions int) error {
	return c.change(ctx, http.MethodPost, topic, partitions)
}

// Expand tells the controller that a topic which it copies has more partitions now.
func (c *UReplicatorClient) Expand(ctx context.Context, topic string, partitions int) error {
	return c.change(ctx, http.MethodPut, topic, partitions)
}

func (c *UReplicatorClient) change(ctx context.Context, method, topic string, partitions int) error {
	answer, err := c.rest.do(ctx, method, topicPartitions{Topic: topic, Partitions: partitions}, "topics")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(answer), "Successfully") {
		return fmt.Errorf("%s topic %q: the controller said %q", method, topic, said(answer))
	}
	return nil
}

// Delete tells the controller to copy a topic no longer. One that it does not copy is no error.
func (c *UReplicatorClient) Delete(ctx context.Context, topic string) error {
	_, err := c.rest.do(ctx, http.MethodDelete, nil, "topics", topic)
	if missing(err) {
		return nil
	}
	return err
}
