package replicators

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// answers is a server that gives one answer per "METHOD /path" and writes down what it was sent.
type answers struct {
	by   map[string]answer
	sent []string // METHOD /path BODY
	last http.Header
}

type answer struct {
	status int
	body   string
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.sent = append(a.sent, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
	a.last = r.Header
	found, ok := a.by[r.Method+" "+r.URL.Path]
	if !ok {
		found = answer{http.StatusNotFound, "no such thing"}
	}
	w.WriteHeader(found.status)
	fmt.Fprint(w, found.body)
}

func serve(t *testing.T, by map[string]answer) (*answers, string) {
	t.Helper()
	a := &answers{by: by}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return a, s.URL
}

func recorded(t *testing.T, name string) answer {
	t.Helper()
	body, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return answer{http.StatusOK, string(body)}
}

func TestUReplicatorClient(t *testing.T) {
	ctx := context.Background()
	a, url := serve(t, map[string]answer{
		"GET /health":         {200, "OK\n"},
		"GET /instances":      recorded(t, "ureplicator-instances.json"),
		"GET /topics/load":    recorded(t, "ureplicator-topic.json"),
		"GET /topics/early":   recorded(t, "ureplicator-topic-unassigned.json"),
		"POST /topics":        {200, "Successfully add new topic: {topic: load, partition: 3, pipeline: null}"},
		"PUT /topics":         {200, "Successfully expand topic: {topic: load, partition: 6, pipeline: null}"},
		"DELETE /topics/load": {200, "Successfully finished delete topic: load"},
	})
	c, err := NewUReplicatorClient(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Healthy(ctx); err != nil {
		t.Error(err)
	}
	if got, err := c.Instances(ctx); err != nil || !slices.Equal(got, []string{"ureplicator-worker-0", "ureplicator-worker-1"}) {
		t.Errorf("instances %v, %v", got, err)
	}
	if got, found, err := c.Topic(ctx, "load"); err != nil || !found || got != (TopicView{Assigned: 3, Online: 2}) {
		t.Errorf("load: %+v, %v, %v", got, found, err)
	}
	if got, found, err := c.Topic(ctx, "early"); err != nil || !found || got != (TopicView{}) {
		t.Errorf("early: %+v, %v, %v", got, found, err)
	}
	if _, found, err := c.Topic(ctx, "other"); err != nil || found {
		t.Errorf("other: %v, %v", found, err)
	}
	a.sent = nil
	if err := errors.Join(c.Add(ctx, "load", 3), c.Expand(ctx, "load", 6), c.Delete(ctx, "load"), c.Delete(ctx, "other")); err != nil {
		t.Error(err)
	}
	if want := []string{
		`POST /topics {"topic":"load","numPartitions":3}`, `PUT /topics {"topic":"load","numPartitions":6}`,
		"DELETE /topics/load", "DELETE /topics/other",
	}; !slices.Equal(a.sent, want) {
		t.Errorf("sent %q", a.sent)
	}
}

func TestBrooklinClient(t *testing.T) {
	ctx := context.Background()
	conflict := recorded(t, "brooklin-conflict.json")
	conflict.status = http.StatusConflict
	a, url := serve(t, map[string]answer{
		"GET /datastream/kmt":    recorded(t, "brooklin-datastream.json"),
		"POST /datastream":       conflict,
		"DELETE /datastream/kmt": {200, ""},
	})
	c, err := NewBrooklinClient(url)
	if err != nil {
		t.Fatal(err)
	}
	want, err := NewDatastream("kmt", []string{"b:9092", "a:9092"}, Patterns("load", "kmt-selftest"))
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := c.Datastream(ctx, "kmt")
	if err != nil || !found || !got.Same(want) || got.Status != "READY" {
		t.Errorf("%+v, %v, %v; want the same as %+v", got, found, err, want)
	}
	if other, _ := NewDatastream("kmt", []string{"a:9092", "b:9092"}, Patterns("load")); got.Same(other) {
		t.Error("another pattern counts as the same")
	}
	if _, found, err := c.Datastream(ctx, "other"); err != nil || found {
		t.Errorf("other: %v, %v", found, err)
	}
	err = c.Create(ctx, want)
	var refused *APIError
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict || !strings.Contains(err.Error(), "with the same name already exists") || Passing(err) {
		t.Errorf("create: %v", err)
	}
	if got := a.last.Get("X-RestLi-Protocol-Version"); got != "2.0.0" {
		t.Errorf("protocol version %q", got)
	}
	if got := a.sent[len(a.sent)-1]; !strings.Contains(got, `"connectorName":"kafkaMirroringC"`) || strings.Contains(got, "Status") {
		t.Errorf("sent %s", got)
	}
	if err := errors.Join(c.Delete(ctx, "kmt"), c.Delete(ctx, "other")); err != nil {
		t.Error(err)
	}
}

func TestWhichErrorsPass(t *testing.T) {
	_, url := serve(t, map[string]answer{
		"GET /health":    {http.StatusServiceUnavailable, "Unhealthy\n"},
		"GET /instances": {http.StatusOK, "<html>"},
		"POST /topics":   {http.StatusOK, "Failed to add new topic"},
	})
	c, err := NewUReplicatorClient(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Healthy(ctx); !Passing(err) || !strings.Contains(err.Error(), "HTTP 503: Unhealthy") {
		t.Errorf("unhealthy: %v", err)
	}
	if _, err := c.Instances(ctx); err == nil || Passing(err) || !strings.Contains(err.Error(), "<html>") {
		t.Errorf("another server: %v", err)
	}
	if err := c.Add(ctx, "load", 1); err == nil || Passing(err) || !strings.Contains(err.Error(), "Failed to add") {
		t.Errorf("refused with status 200: %v", err)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	c, err = NewUReplicatorClient(closed.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Healthy(ctx); !Passing(err) || !strings.Contains(err.Error(), closed.URL) {
		t.Errorf("nobody there: %v", err)
	}
	for _, bad := range []string{"", "ureplicator:9000", "ftp://a:1", "http://", "http://a:1/topics", "http://a:1?x=y"} {
		if _, err := NewUReplicatorClient(bad); err == nil || !strings.Contains(err.Error(), "http://HOST:PORT") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
