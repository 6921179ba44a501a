package scenario

import (
	"fmt"
	"slices"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Discovery is how long it took until the first records of new topics or partitions had arrived. It is
// known to about two seconds, since ledgers are stored once a second.
type Discovery struct {
	// Step is the step that added them to the source, from 1.
	Step int `json:"step"`
	// What is topics or partitions.
	What string `json:"what"`
	// From is when the change was asked for.
	From int64 `json:"from_unix_us"`
	// Complete is whether a record of each has arrived; Missing are those of which none has.
	Complete bool     `json:"complete"`
	Missing  []string `json:"missing,omitempty"`
	// Seconds is how long it took, or has been waited for.
	Seconds float64 `json:"seconds"`

	topics     []string // whose records are waited for
	partitions []int32  // of each of them; none: any partition
}

// discoveries returns what a step that goes from one configuration to another adds to the source.
func discoveries(number int, from, to Config, asked time.Time) []Discovery {
	d := Discovery{Step: number, From: asked.UnixMicro()}
	var out []Discovery
	added := slices.DeleteFunc(slices.Clone(to.Source.Topics), func(t string) bool { return slices.Contains(from.Source.Topics, t) })
	if len(added) > 0 {
		t := d
		t.What, t.topics = "topics", added
		out = append(out, t)
	}
	if to.Source.Partitions > from.Source.Partitions {
		p := d
		p.What = "partitions"
		p.topics = slices.DeleteFunc(slices.Clone(to.Source.Topics), func(t string) bool { return slices.Contains(added, t) })
		for i := from.Source.Partitions; i < to.Source.Partitions; i++ {
			p.partitions = append(p.partitions, int32(i))
		}
		out = append(out, p)
	}
	return out
}

// look sees what has arrived since the last look, of which the document tells.
func (d *Discovery) look(doc *verdict.Document) {
	if d.Complete || doc.Verdict.At < d.From {
		return
	}
	received := map[string]bool{}
	for _, t := range doc.Verdict.Topics {
		for _, p := range t.Partitions {
			if p.Counts.Received > 0 {
				received[t.Name] = true
				received[partitionName(t.Name, p.Partition)] = true
			}
		}
	}
	d.Missing = nil
	for _, t := range d.topics {
		names := []string{t}
		if len(d.partitions) > 0 {
			names = nil
			for _, p := range d.partitions {
				names = append(names, partitionName(t, p))
			}
		}
		for _, n := range names {
			if !received[n] {
				d.Missing = append(d.Missing, n)
			}
		}
	}
	d.Complete = len(d.Missing) == 0
	d.Seconds = float64(doc.Verdict.At-d.From) / 1e6
}

func partitionName(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}
