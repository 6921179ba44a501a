package rawlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func start(t *testing.T, opts ...kgo.Opt) (*kfake.Cluster, *kgo.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(2, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return cluster, client
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	for i := range n {
		rec := &kgo.Record{Topic: "orders", Partition: 1, Value: []byte(fmt.Sprint(i))}
		if err := client.ProduceSync(deadline(t), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads partition 1 from an offset to its end.
func readAll(t *testing.T, client *kgo.Client, from int64) (values string, next int64) {
	t.Helper()
	for {
		part, err := Fetch(deadline(t), client, "orders", [16]byte{}, 1, from)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range part.Records {
			if r.Attrs.IsControl() {
				values += "*"
			} else {
				values += string(r.Value)
			}
		}
		if part.Next == from {
			return values, from
		}
		from = part.Next
	}
}

func TestFetch(t *testing.T) {
	cluster, client := start(t)
	produce(t, client, 5)
	if got, next := readAll(t, client, 0); got != "01234" || next != 5 {
		t.Errorf("%q up to %d", got, next)
	}
	if got, next := readAll(t, client, 3); got != "34" || next != 5 {
		t.Errorf("%q up to %d", got, next)
	}
	// The leader has moved, and what is remembered of it is wrong.
	for i := range int32(2) {
		if err := cluster.MoveTopicPartition("orders", 1, i); err != nil {
			t.Fatal(err)
		}
		if got, _ := readAll(t, client, 0); got != "01234" {
			t.Errorf("%q", got)
		}
	}
	// Records below the log's start are gone.
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "orders", Partition: 1, At: 2})
	if _, err := kadm.NewClient(client).DeleteRecords(deadline(t), offsets); err != nil {
		t.Fatal(err)
	}
	part, err := Fetch(deadline(t), client, "orders", [16]byte{}, 1, 2)
	if err != nil || part.LogStart != 2 || part.HighWatermark != 5 {
		t.Errorf("%+v, %v", part, err)
	}
}

func TestMarkersOfTransactions(t *testing.T) {
	_, client := start(t, kgo.TransactionalID("tx"))
	for _, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, 2)
		if err := client.EndTransaction(deadline(t), try); err != nil {
			t.Fatal(err)
		}
	}
	if got, next := readAll(t, client, 0); got != "01*01*" || next != 6 {
		t.Errorf("%q up to %d", got, next)
	}
}

// A reader that is not to see what was never committed sees neither what was
// aborted nor what may still be.
func TestFetchCommitted(t *testing.T) {
	_, client := start(t, kgo.TransactionalID("tx"))
	begin := func() {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, 2)
	}
	end := func(try kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(deadline(t), try); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	end(kgo.TryAbort) // offsets 0 and 1, and its marker
	begin()
	end(kgo.TryCommit) // 3 and 4
	begin()            // 6 and 7
	for _, open := range []bool{true, false} {
		if !open {
			end(kgo.TryAbort)
		}
		var got string
		var part Part
		for next, to := int64(0), int64(1); next < to; next = part.Next {
			var err error
			if part, err = FetchCommitted(deadline(t), client, "orders", [16]byte{}, 1, next); err != nil {
				t.Fatal(err)
			}
			to = part.LastStable
			for _, r := range part.Records {
				if !r.Attrs.IsControl() {
					got += fmt.Sprint(r.Offset, " ")
				}
			}
		}
		stable, high := int64(6), int64(8)
		if !open {
			stable, high = 9, 9
		}
		if got != "3 4 " || part.Next != stable || part.LastStable != stable || part.HighWatermark != high {
			t.Errorf("open %t: offsets %s, up to %d, stable up to %d of %d", open, got, part.Next, part.LastStable, part.HighWatermark)
		}
	}
}

func TestErrors(t *testing.T) {
	_, client := start(t)
	produce(t, client, 5)
	for _, test := range []struct {
		name      string
		topic     string
		id        [16]byte
		partition int32
		offset    int64
		want      error
	}{
		{"above the end", "orders", [16]byte{}, 1, 6, kerr.OffsetOutOfRange},
		{"another topic of the same name", "orders", [16]byte{1}, 1, 0, ErrTopicID},
		{"no such topic", "invoices", [16]byte{}, 1, 0, kerr.UnknownTopicOrPartition},
		{"no such partition", "orders", [16]byte{}, 2, 0, errPartition},
	} {
		_, err := Fetch(deadline(t), client, test.topic, test.id, test.partition, test.offset)
		if want := fmt.Sprintf("%s/%d at offset %d", test.topic, test.partition, test.offset); !errors.Is(err, test.want) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Fetch(ctx, client, "orders", [16]byte{}, 1, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}
