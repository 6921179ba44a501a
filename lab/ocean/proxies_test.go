package ocean

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newProxies(t *testing.T, link Link) *Proxies {
	t.Helper()
	var cfg Config
	cfg.SetDefaults()
	cfg.Seed, cfg.Link = 42, link
	p, err := NewProxies(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// server is a process of a host that returns what it is sent.
func server(t *testing.T, p *Proxies, side, name string) (h Host, port int) {
	t.Helper()
	h, err := p.AddHost(side, name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", h.Addr().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return h, l.Addr().(*net.TCPAddr).Port
}

func reach(t *testing.T, h Host, from string, port int) *net.TCPConn {
	t.Helper()
	where, err := h.Reach(from, port)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp4", where, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// roundTrip sends a byte and waits for its return.
func roundTrip(conn net.Conn, limit time.Duration) (time.Duration, error) {
	start := time.Now()
	if err := conn.SetDeadline(start.Add(limit)); err != nil {
		return 0, err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return time.Since(start), err
}

func wantRoundTrip(t *testing.T, what string, conn net.Conn, want time.Duration) {
	t.Helper()
	least := time.Hour
	for range 5 {
		trip, err := roundTrip(conn, time.Minute)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		least = min(least, trip)
	}
	if least < want || least > want+want/2+20*ms {
		t.Errorf("%s: a round trip takes %s, want %s", what, least, want)
	}
}

func TestProxiesDelayWhatCrossesAndWhatAHostSends(t *testing.T) {
	p := newProxies(t, Link{Delay: 40 * ms})
	h, port := server(t, p, Source, "a")
	across, local, outside := reach(t, h, Destination, port), reach(t, h, Source, port), reach(t, h, Outside, port)
	wantRoundTrip(t, "across", across, 80*ms)
	wantRoundTrip(t, "on a side", local, 0)
	wantRoundTrip(t, "outside", outside, 0)
	if err := p.SetHost(h, Link{Delay: 30 * ms}); err != nil {
		t.Fatal(err)
	}
	wantRoundTrip(t, "across, from a slow host", across, 110*ms)
	wantRoundTrip(t, "on a side, from a slow host", local, 30*ms)
	if err := errors.Join(p.SetHost(h, Link{}), p.Set(Link{Delay: 10 * ms})); err != nil {
		t.Fatal(err)
	}
	wantRoundTrip(t, "across, when all is changed", across, 20*ms)
}

func TestProxiesChangeNoByteAndCloseAsTheEndsDo(t *testing.T) {
	p := newProxies(t, Link{Delay: 5 * ms, Jitter: 5 * ms, Bandwidth: 20e6})
	h, port := server(t, p, Source, "a")
	var all sync.WaitGroup
	for range 4 {
		conn := reach(t, h, Destination, port)
		all.Go(func() {
			data := make([]byte, 3<<20)
			for i := range data {
				data[i] = byte(i * i >> 5)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			go func() {
				_, _ = conn.Write(data)
				_ = conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn) // ends when the server has closed, after all of it
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes came back as they were sent: %v; %v", len(got), len(data), bytes.Equal(got, data), err)
			}
		})
	}
	all.Wait()
}

func TestProxiesCloseWithoutLosingWhatIsUnread(t *testing.T) {
	p := newProxies(t, Link{})
	h, port := server(t, p, Source, "a")
	conn := reach(t, h, Destination, port)
	// What the client has no room for waits in the kernel, as the proxy's.
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 100_000)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	served := h.(*proxyHost)
	for start, seen := time.Now(), false; ; time.Sleep(ms) {
		p.mu.Lock()
		open := len(served.conns)
		p.mu.Unlock()
		seen = seen || open > 0
		if seen && open == 0 || time.Since(start) > time.Second {
			break // the latter where it was over before it was seen
		}
	}
	if got, err := io.ReadAll(conn); err != nil || len(got) != len(data) {
		t.Errorf("%d of %d bytes are left of a connection that has ended: %v", len(got), len(data), err)
	}
}

func TestProxiesBoundTheBandwidthOfAllConnectionsTogether(t *testing.T) {
	const bandwidth, each = 4e6, 1 << 20
	p := newProxies(t, Link{Bandwidth: bandwidth})
	h, port := server(t, p, Source, "a")
	start := time.Now()
	var all sync.WaitGroup
	for range 2 {
		conn := reach(t, h, Destination, port)
		_ = conn.SetDeadline(start.Add(time.Minute))
		all.Go(func() {
			go conn.Write(make([]byte, each))
			if _, err := io.ReadFull(conn, make([]byte, each)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if rate := 2 * each / time.Since(start).Seconds(); rate > bandwidth {
		t.Errorf("%.0f B/s passed over %.0f", rate, bandwidth)
	}
}

func TestProxiesPartBlockAndHeal(t *testing.T) {
	p := newProxies(t, Link{})
	h, port := server(t, p, Source, "a")
	across, local := reach(t, h, Destination, port), reach(t, h, Source, port)
	for _, conn := range []net.Conn{across, local} {
		if _, err := roundTrip(conn, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	healed := func(conn net.Conn) {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("what was sent in a partition has not arrived after it: %v", err)
		}
	}
	if err := p.Set(Link{Partition: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := roundTrip(across, 200*ms); !os.IsTimeout(err) {
		t.Errorf("across a parted ocean: %v, want a time-out", err)
	}
	late := reach(t, h, Destination, port)
	if _, err := roundTrip(late, 200*ms); !os.IsTimeout(err) {
		t.Errorf("a new connection across a parted ocean: %v, want a time-out", err)
	}
	if _, err := roundTrip(local, time.Minute); err != nil {
		t.Errorf("on a side while the ocean is parted: %v", err)
	}
	if err := errors.Join(p.Set(Link{}), p.SetHost(h, Link{Partition: true})); err != nil {
		t.Fatal(err)
	}
	if _, err := roundTrip(local, 200*ms); !os.IsTimeout(err) {
		t.Errorf("to a host that is cut off: %v, want a time-out", err)
	}
	if err := p.SetHost(h, Link{}); err != nil {
		t.Fatal(err)
	}
	healed(across)
	healed(late)
	healed(local)
}

func TestProxiesRefuseWhatTheyCannot(t *testing.T) {
	p := newProxies(t, Link{})
	h, _ := server(t, p, Source, "a")
	for _, link := range []Link{{Loss: 1}, {Delay: ms, Jitter: ms, Reorder: true}} {
		for what, err := range map[string]error{"ocean": p.Set(link), "host": p.SetHost(h, link)} {
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s with %+v: %v, want ErrUnavailable", what, link, err)
			}
		}
	}
	var cfg Config
	cfg.SetDefaults()
	cfg.Link.Loss = 1
	if _, err := NewProxies(cfg); !errors.Is(err, ErrUnavailable) {
		t.Errorf("proxies with loss: %v", err)
	}
	if _, err := p.AddHost("middle", "a"); err == nil || !strings.Contains(err.Error(), `no side "middle"`) {
		t.Errorf("unknown side: %v", err)
	}
	if _, err := p.AddHost(Source, "a"); err == nil {
		t.Error("a name is given twice")
	}
	if _, err := h.Reach("middle", 1); err == nil {
		t.Error("a host is reached from an unknown side")
	}
	if err := p.Set(Link{Delay: -1}); err == nil {
		t.Error("a negative delay is taken")
	}
}

func TestAProxyShowsThatAProcessIsDownAndBackAtTheSameAddress(t *testing.T) {
	p := newProxies(t, Link{Delay: ms})
	h, err := p.AddHost(Source, "a")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	conn := reach(t, h, Destination, port)
	broker, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_ = broker.(*net.TCPConn).SetLinger(0) // as of a process that is killed with data unread
	broker.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection to a killed process: %v, want a reset", err)
	}
	where, err := h.Reach(Destination, port)
	if err != nil {
		t.Fatal(err)
	}
	down, err := net.DialTimeout("tcp4", where, time.Minute)
	if err == nil { // the reset may come that early
		_ = down.SetDeadline(time.Now().Add(time.Minute))
		_, err = down.Read(make([]byte, 1))
		down.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to a process that is down: %v, want a reset", err)
	}
	l, err = net.Listen("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reach(t, h, Destination, port)
	back, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	back.Close()
}

func TestProxiesLeaveNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newProxies(t, Link{Delay: time.Minute})
	h, port := server(t, p, Source, "a")
	conns := []net.Conn{reach(t, h, Destination, port), reach(t, h, Source, port)}
	go conns[0].Write(make([]byte, 32<<20)) // much of it is under way, some not taken yet
	if _, err := roundTrip(conns[1], time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Error("a connection is open after the end of the network")
		}
		conn.Close()
	}
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before+1 { // the test's own server
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
		time.Sleep(ms)
	}
	if _, err := p.AddHost(Source, "late"); err == nil {
		t.Error("a closed network takes hosts")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
