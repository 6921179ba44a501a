package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	checkCommitted = "committed"
	checkAborted   = "aborted"
	checkOpen      = "open"
)

// perTransaction is how many records a transaction writes to each partition.
const perTransaction = 10

// transactions writes transactions that end in every way.
func transactions() kind {
	return kind{
		name:  Transactions,
		about: "transactions: committed, aborted, and left open by a producer that died",
		checks: []check{
			{name: checkSource, about: "a read_committed reader at the source sees what was committed"},
			{name: checkCommitted, about: "committed records, and those of no transaction, arrive"},
			{name: checkAborted, about: "a read_committed reader at the destination sees no record of an aborted transaction"},
			{name: checkOpen, about: "nor one of a transaction that is open, or that ended because its producer died"},
			{name: checkOrder, about: "in the order that they had"},
			{name: checkOnce, about: "and once", measured: true},
		},
		settings: map[string]string{"message.timestamp.type": "CreateTime"},
		run:      (*run).runTransactions,
	}
}

// The fates of a record.
const (
	plain     = "plain"
	committed = "committed"
	aborted   = "aborted"
	open      = "open"
)

// book holds what was written, by its value.
type book struct {
	r     *run
	fate  map[string]string
	count map[string]int
}

// records are the next of a fate.
func (b *book) records(fate, about string) []*kgo.Record {
	var out []*kgo.Record
	for p := range b.r.partitions {
		for range perTransaction {
			b.count[fate]++
			text := fmt.Sprintf("probe %s, %s, %s record %d, partition %d", b.r.id, about, fate, b.count[fate], p)
			b.fate[text] = fate
			out = append(out, &kgo.Record{Topic: b.r.cfg.Topic, Partition: p, Key: fmt.Appendf(nil, "%s %d", fate, b.count[fate]), Value: []byte(text), Timestamp: time.UnixMilli(time.Now().UnixMilli())})
		}
	}
	return out
}

// transactional makes a client for transactions. Its transactions outlive the
// time in which the replicator is watched while one is open.
func (r *run) transactional(name string) (*kgo.Client, error) {
	// Kafka allows 15 minutes by default.
	timeout := min(3*r.cfg.Idle+2*time.Minute, 15*time.Minute)
	return r.writer(kgo.TransactionalID(r.cfg.Topic+"-"+name), kgo.TransactionTimeout(timeout))
}

func (r *run) runTransactions(ctx context.Context) error {
	b := &book{r: r, fate: map[string]string{}, count: map[string]int{}}
	var clients []*kgo.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	var simple, first, second, dying *kgo.Client
	for _, c := range []struct {
		client **kgo.Client
		name   string
	}{{&simple, ""}, {&first, "first"}, {&second, "second"}, {&dying, "dying"}} {
		var err error
		if c.name == "" {
			*c.client, err = r.writer()
		} else {
			*c.client, err = r.transactional(c.name)
		}
		if err != nil {
			return err
		}
		clients = append(clients, *c.client)
	}
	begin := func(client *kgo.Client) error {
		if err := client.BeginTransaction(); err != nil {
			return fmt.Errorf("begin a transaction at the source: %w", err)
		}
		return nil
	}
	end := func(client *kgo.Client, try kgo.TransactionEndTry) error {
		if err := client.EndTransaction(ctx, try); err != nil {
			return fmt.Errorf("end a transaction at the source: %w", err)
		}
		return nil
	}
	send := func(client *kgo.Client, fate, about string) error {
		return r.write(ctx, client, b.records(fate, about)...)
	}
	whole := func(client *kgo.Client, fate, about string, try kgo.TransactionEndTry) error {
		if err := begin(client); err != nil {
			return err
		}
		if err := send(client, fate, about); err != nil {
			return err
		}
		return end(client, try)
	}
	for _, do := range []func() error{
		func() error { return send(simple, plain, "before") },
		func() error { return whole(first, committed, "alone", kgo.TryCommit) },
		func() error { return whole(first, aborted, "alone", kgo.TryAbort) },
		func() error { return send(simple, plain, "between") },
		// Two at once, of which one is committed.
		func() error { return begin(first) },
		func() error { return begin(second) },
		func() error { return send(first, aborted, "interleaved") },
		func() error { return send(second, committed, "interleaved") },
		func() error { return send(simple, plain, "interleaved") },
		func() error { return send(first, aborted, "interleaved again") },
		func() error { return end(first, kgo.TryAbort) },
		func() error { return send(second, committed, "interleaved again") },
		func() error { return end(second, kgo.TryCommit) },
		func() error { return whole(first, committed, "after an abort", kgo.TryCommit) },
		func() error { return r.write(ctx, simple, r.sentinels(1)...) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	destination := r.tail(r.destination, true)
	expected := len(b.fate) + int(r.partitions)
	if _, err := r.arrive(ctx, destination, 1, expected); err != nil {
		return err
	}

	// One that stays open, and records behind it.
	if err := begin(dying); err != nil {
		return err
	}
	if err := send(dying, open, "left open"); err != nil {
		return err
	}
	if err := send(simple, plain, "behind the open one"); err != nil {
		return err
	}
	if err := r.write(ctx, simple, r.sentinels(2)...); err != nil {
		return err
	}
	started := time.Now()
	expected = len(b.fate) + 2*int(r.partitions)
	behind, err := r.arrive(ctx, destination, 2, expected)
	if err != nil {
		return err
	}
	watched := time.Since(started)
	whileOpen := map[string]bool{}
	for p := range r.partitions {
		for _, rec := range destination.parts[p].records {
			if b.fate[string(rec.Value)] == open {
				whileOpen[string(rec.Value)] = true
			}
		}
	}
	// Its producer comes back, which aborts what it had left open.
	dying.Close()
	back, err := r.transactional("dying")
	if err != nil {
		return err
	}
	clients[len(clients)-1] = back
	if _, _, err := back.ProducerID(ctx); err != nil {
		return fmt.Errorf("have the source abort the transaction that was left open: %w", err)
	}
	if err := r.write(ctx, simple, r.sentinels(3)...); err != nil {
		return err
	}
	expected = len(b.fate) + 3*int(r.partitions)
	complete, err := r.arrive(ctx, destination, 3, expected)
	if err != nil {
		return err
	}
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	sourceCommitted, err := r.readAll(ctx, "source", r.source, true)
	if err != nil {
		return err
	}
	all, err := r.readAll(ctx, "destination", r.destination, false)
	if err != nil {
		return err
	}
	r.report(source, destination, complete)
	var waited, stalled int
	for p := range complete {
		switch {
		case !complete[p]:
			stalled++
		case !behind[p]:
			waited++
		}
	}
	switch {
	case stalled > 0:
		r.note("the replicator did not come to the end of %d of %d partitions, so whether it waits for open transactions is not known", stalled, r.partitions)
	case waited > 0:
		r.note("records behind the open transaction had not arrived on %d of %d partitions after %s: the replicator waits for the transaction to end, as a read_committed reader does", waited, r.partitions, watched.Round(time.Second))
	default:
		r.note("records behind the open transaction arrived while it was open: the replicator does not wait for it to end")
	}
	if hidden := all.count() - destination.count(); hidden > 0 {
		r.measure("hidden at the destination", float64(hidden), "records", "of transactions that were not committed, which a read_committed reader does not see")
	}
	r.compareTransactions(b, source, sourceCommitted, destination, complete, whileOpen)
	return nil
}

// compareTransactions compares what read_committed readers see on both sides with
// what was committed.
func (r *run) compareTransactions(b *book, source, sourceCommitted, destination *tail, complete []bool, whileOpen map[string]bool) {
	at := map[string]*kgo.Record{}
	seen := map[string]bool{}
	for p := range r.partitions {
		for _, rec := range source.parts[p].records {
			at[string(rec.Value)] = rec
		}
		for _, rec := range sourceCommitted.parts[p].records {
			seen[string(rec.Value)] = true
		}
	}
	for text, fate := range b.fate {
		r.compared(checkSource, 1)
		visible := fate == plain || fate == committed
		switch {
		case at[text] == nil:
			r.found(Finding{Check: checkSource, Word: "lost", Record: text, Detail: "it was written, and is not in the source's log"})
		case seen[text] != visible:
			r.found(Finding{Check: checkSource, Word: "corrupt", Partition: at[text].Partition, SourceOffset: offset(at[text]), Record: text, Detail: fmt.Sprintf("a read_committed reader sees it: %t, and it is %s", seen[text], fate)})
		}
	}

	arrived := map[string]*kgo.Record{}
	counts := map[string]int{}
	for p := range r.partitions {
		var newest *kgo.Record // of the source, among those that arrived
		for _, rec := range destination.parts[p].records {
			if r.isMark(rec) {
				continue
			}
			text := string(rec.Value)
			fate, known := b.fate[text]
			f := Finding{Partition: p, DestinationOffset: offset(rec), SourceOffset: offset(at[text]), Record: text}
			if !known {
				f.Check, f.Word, f.Record = checkOnce, "phantom", "key "+shorten(rec.Key)+", value "+shorten(rec.Value)
				f.Detail = "nothing like it was written"
				r.found(f)
				continue
			}
			counts[fate]++
			r.compared(checkOnce, 1)
			if first := arrived[text]; first != nil {
				f.Check, f.Word, f.Detail = checkOnce, "duplicate", fmt.Sprintf("it was at offset %d before", first.Offset)
				r.found(f)
				continue
			}
			arrived[text] = rec
			switch fate {
			case aborted:
				f.Check, f.Word, f.Detail = checkAborted, "aborted", "the record of an aborted transaction is plain to read"
				r.found(f)
			case open:
				f.Check, f.Word, f.Detail = checkOpen, "open", "it was never committed, and is plain to read"
				if whileOpen[text] {
					f.Detail = "it was plain to read while its transaction was open, which was aborted later"
				}
				r.found(f)
			}
			s := at[text]
			if s == nil {
				continue
			}
			r.compared(checkOrder, 1)
			if newest != nil && s.Offset < newest.Offset {
				f = Finding{Check: checkOrder, Word: "reordered", Partition: p, DestinationOffset: offset(rec), SourceOffset: offset(s), Record: text, Detail: fmt.Sprintf("after the record of source offset %d", newest.Offset)}
				r.found(f)
			} else {
				newest = s
			}
		}
	}
	for p := range r.partitions {
		for _, rec := range source.parts[p].records {
			text := string(rec.Value)
			switch fate := b.fate[text]; fate {
			case plain, committed:
				r.compared(checkCommitted, 1)
				if arrived[text] != nil {
					continue
				}
				f := Finding{Check: checkCommitted, Word: "lost", Partition: p, SourceOffset: offset(rec), Record: text, Detail: "later records of its partition have arrived"}
				if !complete[p] {
					f.Word, f.Detail = "undelivered", fmt.Sprintf("nor the last of its partition, for %s", r.cfg.Idle)
				}
				r.found(f)
			case aborted:
				r.compared(checkAborted, 1)
				if !complete[p] {
					r.unknown(checkAborted, "the replicator did not come to the end of partition %d", p)
				}
			case open:
				r.compared(checkOpen, 1)
				if !complete[p] {
					r.unknown(checkOpen, "the replicator did not come to the end of partition %d", p)
				}
			}
		}
	}
	for _, fate := range []string{plain, committed, aborted, open} {
		r.measure(fate+" records", float64(counts[fate]), "records", fmt.Sprintf("plain to read at the destination, with duplicates; %d were written", b.count[fate]))
	}
}
