package produce

import (
	"context"
	"math"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
)

// maxUntold is how many seconds' rates wait for a slow ledger.
const maxUntold = 300

// tellRates stores what was done in each second, until end is closed. ctx
// gives up what hangs.
func (p *Producer) tellRates(ctx context.Context, store putter, end <-chan struct{}) {
	untold := make(chan *ledger.Rate, maxUntold)
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		for r := range untold {
			payload, err := ledger.Encode(r)
			if err == nil {
				_, err = store.Put(ctx, r.Key(p.cfg.TestID), payload)
			}
			if err != nil {
				p.log.Warn("a second's rate could not be stored", "second", r.Second, "error", err)
			}
		}
	}()
	before := map[*topic]ledger.TopicRate{}
	tell := func(second int64) {
		select {
		case untold <- p.rate(second, before):
		default:
			p.log.Warn("the ledger is slow: a second's rate is left out", "second", second)
		}
	}
	second := p.clock.At(time.Now()).Unix()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ended := false; !ended; {
		timer.Reset(time.Unix(second+1, 0).Sub(p.clock.At(time.Now())))
		select {
		case <-end:
			ended = true
		case <-timer.C:
		}
		if now := p.clock.At(time.Now()).Unix(); ended || now > second {
			tell(second)
			second = now
		}
	}
	close(untold)
	<-stored
}

// rate returns what was done since before, and makes that now.
func (p *Producer) rate(second int64, before map[*topic]ledger.TopicRate) *ledger.Rate {
	r := &ledger.Rate{Producer: p.cfg.ID, Run: p.run, Second: second}
	for _, t := range p.all() {
		t.mu.Lock()
		t.note()
		p99 := t.acks.Quantile(0.99)
		t.acks.Reset()
		t.mu.Unlock()
		now := ledger.TopicRate{
			Topic:     t.name,
			Scheduled: t.counts.scheduled.Load(),
			Acked:     t.counts.acked.Load(),
			Bytes:     t.counts.bytes.Load(),
			Shed:      t.counts.shed(),
			Failed:    t.counts.failed.Load(),
		}
		was := before[t]
		before[t] = now
		x := ledger.TopicRate{
			Topic:     t.name,
			Scheduled: now.Scheduled - was.Scheduled,
			Acked:     now.Acked - was.Acked,
			Bytes:     now.Bytes - was.Bytes,
			Shed:      now.Shed - was.Shed,
			Failed:    now.Failed - was.Failed,
		}
		if !math.IsNaN(p99) {
			x.AckP99 = int64(p99)
		}
		r.Scheduled += x.Scheduled
		r.Acked += x.Acked
		r.Bytes += x.Bytes
		r.Shed += x.Shed
		if x != (ledger.TopicRate{Topic: t.name}) {
			r.Topics = append(r.Topics, x)
		}
	}
	return r
}
