package ocean

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// effort is how long measurements take.
type effort struct {
	pings        int
	warmUp, span time.Duration // of a flow; the first is for TCP's slow start
}

// trial is one measurement of a TCP flow.
type trial struct {
	what   string
	config Config
	host   Link // of the host that sends
	to     string
}

// sameSide and sameHost are the ways on which no ocean lies.
const (
	sameSide = "source, another host"
	sameHost = "source, the same host"
)

func trials(controls []string) []trial {
	var base Config
	base.SetDefaults()
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	large := func(c *Config) { c.SocketBuffer = 64 << 20 }
	list := []trial{
		{what: "the machine's socket buffers", config: base, to: Destination},
		{what: "socket buffers to 64 MiB", config: with(large), to: Destination},
	}
	for _, control := range controls {
		for _, loss := range []float64{0, 0.1, 1, 5, 10} {
			list = append(list, trial{what: fmt.Sprintf("64 MiB, %s, loss %v %% each way", control, loss), to: Destination, config: with(func(c *Config) {
				large(c)
				c.CongestionControl, c.Link.Loss = control, loss
			})})
		}
	}
	return append(list,
		trial{what: "64 MiB, MTU 1500", config: with(func(c *Config) { large(c); c.MTU = 1500 }), to: Destination},
		trial{what: "64 MiB, bandwidth 20 MB/s", config: with(func(c *Config) { large(c); c.Link.Bandwidth = 20e6 }), to: Destination},
		trial{what: "64 MiB, jitter 10 ms", config: with(func(c *Config) { large(c); c.Link.Jitter = 10 * time.Millisecond }), to: Destination},
		trial{what: "host to host of one side", config: base, to: sameSide},
		trial{what: "the same, sender loses 10 %", config: base, host: Link{Loss: 10}, to: sameSide},
		trial{what: "the same, sender 100 ms late", config: base, host: Link{Delay: 100 * time.Millisecond}, to: sameSide},
		trial{what: "loopback in one host, for comparison", config: base, to: sameHost},
	)
}

// Measure writes what an Ocean does on this machine: round trips, and what one TCP flow gets, in a table of Markdown.
// It takes some two and a half minutes. On a machine with other things to do the figures are worse.
func Measure(ctx context.Context, w io.Writer) error {
	controls, err := congestionControls()
	if err != nil {
		return err
	}
	return measure(ctx, w, effort{pings: 100, warmUp: 3 * time.Second, span: 4 * time.Second}, trials(controls))
}

func measure(ctx context.Context, w io.Writer, e effort, trials []trial) error {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s, Linux %s, %d processors, %s; load average before: %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"),
		unix.ByteSliceToString(uname.Release[:]), runtime.NumCPU(), runtime.Version(), strings.Join(strings.Fields(string(load))[:3], " "))
	if err != nil {
		return err
	}
	if err := e.trips(ctx, w); err != nil {
		return err
	}
	t := newTable(w, "TCP, one flow of "+e.span.String(), "MB/s", "processors used", "packets lost", "not kept up with")
	for _, trial := range trials {
		row, err := trial.run(ctx, e)
		if err != nil {
			return fmt.Errorf("measure %q: %w", trial.what, err)
		}
		if err := t.row(row...); err != nil {
			return err
		}
	}
	return t.end()
}

// trips pings.
func (e effort) trips(ctx context.Context, w io.Writer) (err error) {
	var cfg Config
	cfg.SetDefaults()
	o, a, b, far, err := measureOcean(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	t := newTable(w, fmt.Sprintf("ping, %d times", e.pings), "shortest", "median", "99 of 100 are below", "longest")
	for _, way := range []struct {
		what string
		to   netip.Addr
	}{
		{"across, 40 ms each way", far.addr},
		{"host to host of one side", b.addr},
		{"loopback in one host, for comparison", a.addr},
	} {
		var trips []time.Duration
		for range e.pings {
			trip, err := a.ping(way.to, 1, 10*time.Second)
			if err != nil {
				return err
			}
			trips = append(trips, trip...)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		slices.Sort(trips)
		row := []string{way.what}
		for _, i := range []int{0, e.pings / 2, e.pings * 99 / 100, e.pings - 1} {
			row = append(row, fmt.Sprintf("%.2f ms", float64(trips[i].Microseconds())/1000))
		}
		if err := t.row(row...); err != nil {
			return err
		}
	}
	return t.end()
}

func measureOcean(cfg Config) (o *Ocean, a, b, far *tunHost, err error) {
	if o, err = New(cfg); err != nil {
		return nil, nil, nil, nil, err
	}
	var hosts []*tunHost
	for _, h := range [][2]string{{Source, "a"}, {Source, "b"}, {Destination, "far"}} {
		host, err := o.AddHost(h[0], h[1])
		if err != nil {
			return nil, nil, nil, nil, errors.Join(err, o.Close())
		}
		hosts = append(hosts, host.(*tunHost))
	}
	return o, hosts[0], hosts[1], hosts[2], nil
}

// run lets one flow run and returns a row of the table.
func (t trial) run(ctx context.Context, e effort) (row []string, err error) {
	o, a, b, far, err := measureOcean(t.config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if err := o.SetHost(a, t.host); err != nil {
		return nil, err
	}
	to := map[string]*tunHost{Destination: far, sameSide: b, sameHost: a}[t.to]
	l, err := to.listen(0)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var read atomic.Int64
	received := make(chan struct{})
	go func() {
		defer close(received)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 1<<20)
		for {
			n, err := conn.Read(buf)
			read.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	out, err := a.dial(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return nil, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		data := make([]byte, 1<<20)
		for {
			if _, err := out.Write(data); err != nil {
				return
			}
		}
	}()
	defer func() {
		// Without this the close would wait for what is still to be sent.
		_ = out.(*net.TCPConn).SetLinger(0)
		out.Close()
		<-sent // both end with the connection
		l.Close()
		<-received
	}()
	if err := pause(ctx, e.warmUp); err != nil {
		return nil, err
	}
	start, bytes, cpu, counts := time.Now(), read.Load(), processorTime(), o.Counts()
	if err := pause(ctx, e.span); err != nil {
		return nil, err
	}
	took := time.Since(start).Seconds()
	bytes, cpu = read.Load()-bytes, processorTime()-cpu
	after := o.Counts()
	return []string{t.what, fmt.Sprintf("%.2f", float64(bytes)/1e6/took), fmt.Sprintf("%.2f", cpu.Seconds()/took),
		fmt.Sprint(after.Lost + after.Tail - counts.Lost - counts.Tail), fmt.Sprint(after.Overrun - counts.Overrun)}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// processorTime is what this process has used, sender and receiver among it.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// table writes a table of Markdown that is also one for the eye.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)}
	_ = t.row(head...) // an error stays until Flush
	rule := slices.Repeat([]string{"---"}, len(head))
	_ = t.row(rule...)
	return t
}

func (t table) row(cells ...string) error {
	_, err := fmt.Fprintf(t.w, "| %s\t |\n", strings.Join(cells, "\t | "))
	return err
}

func (t table) end() error {
	if _, err := fmt.Fprintln(t.w); err != nil {
		return err
	}
	return t.w.Flush()
}
