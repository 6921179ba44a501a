// Package progress shows a test while it runs: as a block that renews itself
// on a terminal, as plain lines elsewhere.
package progress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Sample is the state of a test at one moment.
type Sample struct {
	At    time.Time
	Phase string // what goes on, in a word or two: "loading", "draining"; may be empty

	RecordsIn, RecordsOut float64 // per second: acknowledged by the source, arrived at the destination
	BytesIn, BytesOut     float64 // likewise
	// P50 and P99 are of the last seconds, in milliseconds; 0: nothing arrived.
	P50, P99   float64
	Pending    uint64  // records not yet at the destination
	RPOSeconds float64 // age of the oldest of them

	// The rest counts from the test's begin.
	Sent, Received uint64
	Missing        uint64 // lost, undelivered or gone from the destination again
	Skipped        uint64
	Duplicates     uint64
	Reordered      uint64
	Corrupt        uint64 // malformed ones included
}

// NewSample takes a sample from a verdict so far and the last second of its
// time line.
func NewSample(v *verdict.Verdict, p *verdict.Point) Sample {
	c := &v.Total
	return Sample{
		At:        time.UnixMicro(v.At),
		RecordsIn: float64(p.Sent), RecordsOut: float64(p.Received),
		BytesIn: float64(p.SentBytes), BytesOut: float64(p.ReceivedBytes),
		P50: p.P50, P99: p.P99, Pending: p.Pending, RPOSeconds: p.RPOSeconds,
		Sent: c.Expected, Received: c.Received, Missing: c.Lost + c.Undelivered + c.DestinationLost, Skipped: c.Skipped,
		Duplicates: c.Duplicates, Reordered: c.Reordered, Corrupt: c.Corrupt + c.Malformed,
	}
}

// Watch shows the state every second, and events as they become known, until
// ctx ends. snapshot returns what is known so far, phase what is going on.
func (p *Printer) Watch(ctx context.Context, snapshot func() verdict.Document, phase func() string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	events := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		doc := snapshot()
		for ; events < len(doc.Events); events++ {
			p.Event(doc.Events[events])
		}
		if s, ok := FromDocument(&doc, phase()); ok {
			p.Show(s)
		}
	}
}

// Rates are those of the last seconds but the very last, of which ledgers have
// not told yet.
const (
	untold   = 2 // seconds
	averaged = 5
)

// lately returns the mean rates, the worst latencies and the present state.
func lately(doc *verdict.Document) verdict.Point {
	var sum verdict.Point
	end := doc.Verdict.At/1_000_000 - untold
	for _, x := range doc.Timeline {
		if x.Second > end || x.Second <= end-averaged {
			continue
		}
		sum.Sent += x.Sent
		sum.SentBytes += x.SentBytes
		sum.Received += x.Received
		sum.ReceivedBytes += x.ReceivedBytes
		sum.P50, sum.P99 = max(sum.P50, x.P50), max(sum.P99, x.P99)
		sum.Pending, sum.RPOSeconds = x.Pending, x.RPOSeconds
	}
	sum.Sent /= averaged
	sum.SentBytes /= averaged
	sum.Received /= averaged
	sum.ReceivedBytes /= averaged
	return sum
}

// Config says how to print.
type Config struct {
	// Started is when the test began; elapsed time counts from it. Zero: from the
	// first sample.
	Started time.Time
	// Every is how often a plain line is written where there is no terminal, by
	// the time of the samples.
	Every time.Duration
}

// SetDefaults sets what is not set.
func (c *Config) SetDefaults() {
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
}

// Validate reports settings that cannot be used.
func (c *Config) Validate() error {
	if c.Every < 0 {
		return fmt.Errorf("progress: plain lines every %s: it must be above zero, such as 5s", c.Every)
	}
	return nil
}

// history is how many rates the sparkline shows.
const history = 30

// Printer prints samples. It is safe for concurrent use. Errors of writing are
// ignored: a test does not end because nobody watches it.
type Printer struct {
	mu     sync.Mutex
	w      io.Writer
	cfg    Config
	colour bool

	last    Sample
	some    bool // there was a sample
	rates   []float64
	event   *verdict.Event
	printed time.Time // of the last plain line
	drawn   []int     // columns of each line of the block that stands on the terminal
	closed  bool
}

// New returns a Printer on w, usually standard error.
func New(w io.Writer, cfg Config) *Printer {
	cfg.SetDefaults()
	return &Printer{w: w, cfg: cfg, colour: human.Colour(w)}
}

// Show renews the block, or writes a line if it is time for one.
func (p *Printer) Show(s Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.cfg.Started.IsZero() {
		p.cfg.Started = s.At
	}
	p.last, p.some = s, true
	p.rates = append(p.rates, s.RecordsOut)
	p.rates = p.rates[max(0, len(p.rates)-history):]
	if columns, ok := human.Terminal(p.w); ok {
		p.draw(columns, nil)
		return
	}
	if p.printed.IsZero() || s.At.Sub(p.printed) >= p.cfg.Every {
		p.printed = s.At
		p.write([]byte(p.line()))
	}
}

// Event writes a line that stays, and remembers the event for the block.
func (p *Printer) Event(e verdict.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.event = &e
	p.above(fmt.Sprintf("%s  %s\n", time.UnixMicro(e.Time).UTC().Format("15:04:05"), describe(&e)))
}

// Writer returns a writer for logs: what is written to it appears above the
// block and does not damage it.
func (p *Printer) Writer() io.Writer { return logWriter{p} }

type logWriter struct{ p *Printer }

func (l logWriter) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	text := string(b)
	if len(l.p.drawn) > 0 && !strings.HasSuffix(text, "\n") {
		text += "\n" // the block starts on a line of its own
	}
	l.p.above(text)
	return len(b), nil
}

// Close leaves the last state on the terminal, or writes it as a last line.
// What is written to Writer afterwards goes below.
func (p *Printer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if _, ok := human.Terminal(p.w); !ok && p.some && !p.last.At.Equal(p.printed) {
		p.write([]byte(p.line()))
	}
	p.closed = true
	p.drawn = nil
}

// above writes text where the block stands, and the block anew below it.
func (p *Printer) above(text string) {
	columns, ok := human.Terminal(p.w)
	if !ok || len(p.drawn) == 0 {
		p.write([]byte(text))
		return
	}
	p.draw(columns, []byte(text))
}

func (p *Printer) write(b []byte) { _, _ = p.w.Write(b) }

func describe(e *verdict.Event) string {
	s := human.Printable(e.Kind)
	if e.Side != "" {
		s += " (" + human.Printable(e.Side) + ")"
	}
	if e.Detail != "" {
		s += ": " + human.Printable(e.Detail)
	}
	return s
}

func millis(ms float64) string {
	switch {
	case ms == 0 || ms != ms:
		return "–"
	case ms == latency.OverRange:
		return "never"
	default:
		return human.Millis(ms)
	}
}

func flow(bytes, records float64) string {
	return human.Bytes(bytes) + "/s, " + human.Rounded(records) + "/s"
}

func (p *Printer) elapsed() string {
	return human.Elapsed(p.last.At.Sub(p.cfg.Started).Seconds())
}

// anomalies are what should be zero, in order of gravity.
func (s *Sample) anomalies() []count {
	return []count{{"lost", s.Missing, red}, {"skipped", s.Skipped, yellow}, {"duplicates", s.Duplicates, yellow}, {"reordered", s.Reordered, red}, {"corrupt", s.Corrupt, red}}
}

type count struct {
	name  string
	n     uint64
	style string
}

// line is the state as one plain line.
func (p *Printer) line() string {
	s := &p.last
	var b strings.Builder
	fmt.Fprintf(&b, "%s  +%s", s.At.UTC().Format("15:04:05"), p.elapsed())
	if s.Phase != "" {
		fmt.Fprintf(&b, "  %s", human.Printable(s.Phase))
	}
	fmt.Fprintf(&b, "  in %s  out %s  p50 %s  p99 %s  pending %s (%s)", flow(s.BytesIn, s.RecordsIn), flow(s.BytesOut, s.RecordsOut), millis(s.P50), millis(s.P99),
		human.Count(s.Pending), human.Seconds(s.RPOSeconds))
	for _, c := range s.anomalies() {
		fmt.Fprintf(&b, "  %s %s", c.name, human.Count(c.n))
	}
	b.WriteByte('\n')
	return b.String()
}

// Styles of terminals.
const (
	plain  = ""
	dim    = "2"
	bold   = "1"
	red    = "1;31"
	yellow = "33"
	green  = "32"
)

// span is text in one style.
type span struct{ text, style string }

// draw writes text and then the block over the block that stands there, in one
// write: the terminal never shows half of it.
func (p *Printer) draw(columns int, text []byte) {
	var b bytes.Buffer
	// A terminal made narrower has wrapped the lines that stand there.
	up := 0
	for _, n := range p.drawn {
		up += max(1, (n+columns-1)/columns)
	}
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", up)
	}
	if len(text) > 0 {
		b.WriteString("\x1b[J")
		b.Write(text)
	}
	p.drawn = p.drawn[:0]
	for _, line := range p.block() {
		n := 0
		for _, s := range line {
			s.text = cut(s.text, columns-1-n) // the last column would make some terminals wrap
			n += utf8.RuneCountInString(s.text)
			if s.style == plain || !p.colour || s.text == "" {
				b.WriteString(s.text)
				continue
			}
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", s.style, s.text)
		}
		b.WriteString("\x1b[K\n")
		p.drawn = append(p.drawn, n)
	}
	b.WriteString("\x1b[J")
	p.write(b.Bytes())
}

// cut returns at most n characters of s.
func cut(s string, n int) string {
	if n <= 0 {
		return ""
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// block is the state as lines.
func (p *Printer) block() [][]span {
	s := &p.last
	head := []span{{fmt.Sprintf("%8s  ", p.elapsed()), bold}}
	if s.Phase != "" {
		head = append(head, span{human.Printable(s.Phase) + "  ", plain})
	}
	head = append(head, span{"sent ", dim}, span{human.Count(s.Sent), plain}, span{"  received ", dim}, span{human.Count(s.Received), plain})
	rates := []span{{"      in  ", dim}, {fmt.Sprintf("%-22s", flow(s.BytesIn, s.RecordsIn)), bold}, {"  out  ", dim}, {fmt.Sprintf("%-22s", flow(s.BytesOut, s.RecordsOut)), bold},
		{"  ", plain}, {sparkline(p.rates), green}}
	late := []span{{"     p50  ", dim}, {fmt.Sprintf("%-9s", millis(s.P50)), plain}, {"p99  ", dim}, {fmt.Sprintf("%-10s", millis(s.P99)), plain},
		{"pending  ", dim}, {fmt.Sprintf("%s, %s", human.Count(s.Pending), human.Seconds(s.RPOSeconds)), plain}}
	var bad []span
	for i, c := range s.anomalies() {
		name, style := "  "+c.name+" ", plain
		if i == 0 {
			name = fmt.Sprintf("%8s  ", c.name)
		}
		if c.n > 0 {
			style = c.style
		}
		bad = append(bad, span{name, dim}, span{human.Count(c.n), style})
	}
	out := [][]span{head, rates, late, bad}
	if p.event != nil {
		ago := s.At.Sub(time.UnixMicro(p.event.Time)).Seconds()
		out = append(out, []span{{"   event  ", dim}, {describe(p.event), plain}, {fmt.Sprintf("  %s ago", human.Elapsed(max(0, ago))), dim}})
	}
	return out
}

// sparkline draws rates as blocks of eight heights.
func sparkline(rates []float64) string {
	top := 0.0
	for _, r := range rates {
		top = max(top, r)
	}
	var b strings.Builder
	for _, r := range rates {
		level := 0
		if top > 0 && r > 0 {
			level = min(7, int(r/top*8))
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[level])
	}
	return b.String()
}

// old is how long nothing new may be known before it is said: an auditor that is cut off from a cluster has only
// what it knew before, which is not what goes on.
const old = 10 * time.Second

// FromDocument takes a sample from a verdict so far; ok is false while there is nothing to show.
func FromDocument(doc *verdict.Document, phase string) (s Sample, ok bool) {
	if doc == nil || doc.Verdict.At == 0 {
		return Sample{}, false
	}
	point := lately(doc)
	s = NewSample(&doc.Verdict, &point)
	known := s.At
	s.At, s.Phase = time.Now(), phase
	if age := s.At.Sub(known); age >= old {
		s.Phase = strings.TrimPrefix(fmt.Sprintf("%s, as of %s ago", phase, human.Elapsed(age.Seconds())), ", ")
	}
	return s, true
}
