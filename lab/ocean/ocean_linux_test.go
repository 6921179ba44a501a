package ocean

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// patience bounds every wait for something that is bound to come.
const patience = 30 * time.Second

// newOcean makes an ocean for a test. It needs root, and the test fails without.
func newOcean(t *testing.T, change func(*Config)) *Ocean {
	t.Helper()
	var cfg Config
	cfg.SetDefaults()
	cfg.Seed = 42
	if change != nil {
		change(&cfg)
	}
	o, err := New(cfg)
	if err != nil {
		t.Fatalf("%v\nThis test needs root and /dev/net/tun.", err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func addHost(t *testing.T, o *Ocean, side, name string) *tunHost {
	t.Helper()
	h, err := o.AddHost(side, name)
	if err != nil {
		t.Fatal(err)
	}
	return h.(*tunHost)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fastest is the shortest of some round trips: what is on top of it is the machine's, not the network's.
func fastest(t *testing.T, from *tunHost, to netip.Addr) time.Duration {
	t.Helper()
	trips, err := from.ping(to, 10, patience)
	must(t, err)
	return slices.Min(trips)
}

func wantTrip(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	// No packet is early. Late ones are the fault of a machine with other things to do.
	if got < want || got > want+want/2+20*ms {
		t.Errorf("%s: a round trip takes %s, want %s", what, got, want)
	}
}

func TestARoundTripTakesTwoDelaysAcrossTheOceanAndNoneOnASide(t *testing.T) {
	o := newOcean(t, nil)
	a, b := addHost(t, o, Source, "a"), addHost(t, o, Source, "b")
	far := addHost(t, o, Destination, "far")
	wantTrip(t, "across", fastest(t, a, far.Addr()), 80*ms)
	wantTrip(t, "and the other way", fastest(t, far, a.Addr()), 80*ms)
	wantTrip(t, "on a side", fastest(t, a, b.Addr()), 0)
	wantTrip(t, "outside", fastest(t, a, o.outside.addr), 0)

	must(t, o.Set(Link{Delay: 10 * ms}))
	wantTrip(t, "across a shorter ocean", fastest(t, a, far.Addr()), 20*ms)
	must(t, o.SetHost(b, Link{Delay: 30 * ms}))
	wantTrip(t, "to a slow host of the side", fastest(t, a, b.Addr()), 30*ms)
	wantTrip(t, "from a slow host, across", fastest(t, b, far.Addr()), 50*ms)
	wantTrip(t, "between others", fastest(t, a, far.Addr()), 20*ms)
	must(t, o.SetHost(b, Link{}))
	wantTrip(t, "to the host when it is well again", fastest(t, a, b.Addr()), 0)
}

// datagrams sends n numbered datagrams from one host to another and returns the numbers of those that arrived
// within a datagram that is sure to come last, in their order.
func datagrams(t *testing.T, o *Ocean, from, to *tunHost, n int) []int {
	t.Helper()
	in := packetConn(t, to)
	defer in.Close()
	out := packetConn(t, from)
	defer out.Close()
	const window = 100 // far below what a socket buffers
	var got []int
	buf := make([]byte, 64)
	before := o.counters.counts()
	for sent := 0; sent < n; {
		batch := min(window, n-sent)
		for range batch {
			binary.BigEndian.PutUint32(buf, uint32(sent))
			if _, err := out.WriteTo(buf, in.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		// The emulator says what has become of them.
		deadline := time.Now().Add(patience)
		for {
			c := o.counters.counts()
			done := int(c.Delivered - before.Delivered)
			if done+int(c.Lost-before.Lost+c.Cut-before.Cut+c.Tail-before.Tail) == sent {
				must(t, in.SetReadDeadline(time.Now().Add(patience)))
				for len(got) < done {
					if _, _, err := in.ReadFrom(buf); err != nil {
						t.Fatalf("%d datagrams were delivered, %d arrived: %v", done, len(got), err)
					}
					got = append(got, int(binary.BigEndian.Uint32(buf)))
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("sent %d datagrams; the emulator has seen %+v", sent, c)
			}
			time.Sleep(ms)
		}
	}
	return got
}

func packetConn(t *testing.T, h *tunHost) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	must(t, h.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", netip.AddrPortFrom(h.addr, 0).String())
		return err
	}))
	return conn
}

func wantLoss(t *testing.T, what string, arrived, n int, percent float64) {
	t.Helper()
	p := percent / 100
	want, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if got := float64(n - arrived); math.Abs(got-want) > 4*sigma {
		t.Errorf("%s: %v of %d packets were lost, want %v within %.0f", what, got, n, want, 4*sigma)
	}
}

func TestLossHitsTheShareAskedForAndOnlyWhatTheHostSends(t *testing.T) {
	o := newOcean(t, func(c *Config) { c.Link = Link{} })
	a, b := addHost(t, o, Source, "a"), addHost(t, o, Source, "b")
	far := addHost(t, o, Destination, "far")
	const n = 10_000
	must(t, o.Set(Link{Loss: 10}))
	wantLoss(t, "across", len(datagrams(t, o, a, far, n)), n, 10)
	wantLoss(t, "back", len(datagrams(t, o, far, a, n)), n, 10)
	wantLoss(t, "on a side", len(datagrams(t, o, a, b, n)), n, 0)
	must(t, o.Set(Link{}))
	must(t, o.SetHost(a, Link{Loss: 5}))
	wantLoss(t, "from the victim", len(datagrams(t, o, a, b, n)), n, 5)
	wantLoss(t, "from the victim, across", len(datagrams(t, o, a, far, n)), n, 5)
	wantLoss(t, "to the victim", len(datagrams(t, o, b, a, n)), n, 0)
	wantLoss(t, "between others", len(datagrams(t, o, b, far, n)), n, 0)
	must(t, o.SetHost(a, Link{}))
	wantLoss(t, "from the victim when it is well again", len(datagrams(t, o, a, b, n)), n, 0)
}

func TestPacketsKeepTheirOrderWithJitterAndWhenItEnds(t *testing.T) {
	o := newOcean(t, func(c *Config) { c.Link = Link{Delay: 5 * ms, Jitter: 5 * ms} })
	a, far := addHost(t, o, Source, "a"), addHost(t, o, Destination, "far")
	if got := datagrams(t, o, a, far, 2000); !slices.IsSorted(got) {
		t.Error("jitter alone has changed the order of packets")
	}
	must(t, o.Set(Link{Delay: 5 * ms, Jitter: 5 * ms, Reorder: true}))
	if got := datagrams(t, o, a, far, 2000); slices.IsSorted(got) {
		t.Error("packets are in order where reordering was asked for")
	}
	// A delay that is lifted while packets are on their way.
	must(t, o.Set(Link{Delay: 100 * ms}))
	go func() {
		time.Sleep(5 * ms)
		_ = o.Set(Link{})
	}()
	if got := datagrams(t, o, a, far, 200); !slices.IsSorted(got) {
		t.Error("packets after the delay have overtaken those before")
	}
}

func TestAPartitionSwallowsWhatIsOnItsWay(t *testing.T) {
	o := newOcean(t, func(c *Config) { c.Link = Link{Delay: 500 * ms} })
	a, far := addHost(t, o, Source, "a"), addHost(t, o, Destination, "far")
	in, out := packetConn(t, far), packetConn(t, a)
	defer in.Close()
	defer out.Close()
	_, err := out.WriteTo(make([]byte, 64), in.LocalAddr())
	must(t, err)
	way := o.ocean[[2]int{0, 1}]
	for start := time.Now(); ; time.Sleep(ms) { // until it is out at sea
		way.mu.Lock()
		_, there := way.line.next()
		way.mu.Unlock()
		if there {
			break
		}
		if time.Since(start) > patience {
			t.Fatal("the packet has not set out")
		}
	}
	must(t, o.Set(Link{Partition: true}))
	for start := time.Now(); o.Counts().Cut == 0; time.Sleep(ms) {
		if c := o.Counts(); c.Delivered > 0 || time.Since(start) > patience {
			t.Fatalf("the packet was not cut off: %+v", c)
		}
	}
}

// flow is a TCP connection between two hosts; what one end writes the other reads.
func flow(t *testing.T, from, to *tunHost) (client, server net.Conn) {
	t.Helper()
	l, err := to.listen(0)
	must(t, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err = from.dial(ctx, "tcp4", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { client.Close() })
	server = <-accepted
	t.Cleanup(func() { server.Close() })
	return client, server
}

// transfer sends n bytes and returns how long it took until all were read, each as it was.
func transfer(t *testing.T, from, to *tunHost, n int) time.Duration {
	t.Helper()
	client, server := flow(t, from, to)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	start := time.Now()
	must(t, client.SetDeadline(start.Add(2*patience)))
	must(t, server.SetDeadline(start.Add(2*patience)))
	sent := make(chan error, 1)
	go func() {
		var err error
		for left := n; left > 0 && err == nil; left -= len(data) {
			_, err = client.Write(data[:min(left, len(data))])
		}
		sent <- err
	}()
	got := make([]byte, len(data))
	for left := n; left > 0; left -= len(data) {
		part := min(left, len(data))
		_, err := io.ReadFull(server, got[:part])
		must(t, err)
		if !slices.Equal(got[:part], data[:part]) {
			t.Fatal("TCP's bytes arrived changed")
		}
	}
	must(t, <-sent)
	return time.Since(start)
}

func TestBandwidthIsAnUpperBoundForAllFlowsTogether(t *testing.T) {
	o := newOcean(t, func(c *Config) { c.Link = Link{Bandwidth: 2e6, Delay: 5 * ms} })
	a, b := addHost(t, o, Source, "a"), addHost(t, o, Source, "b")
	far := addHost(t, o, Destination, "far")
	const n = 1 << 20
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		transfer(t, b, far, n)
	}()
	transfer(t, a, far, n)
	<-done
	if took := time.Since(start).Seconds(); 2*n/took > 2e6 {
		t.Errorf("two flows carried %.0f B/s over 2,000,000", 2*n/took)
	}
	if took := transfer(t, a, b, 16<<20).Seconds(); took > 16<<20/2e6 {
		t.Errorf("a transfer on one side took %.1f s: the ocean's bandwidth hits it, too", took)
	}
}

func TestTCPIsAsFastAsItsWindowAllowsAndNoFaster(t *testing.T) {
	const buffer, n = 256 << 10, 4 << 20
	o := newOcean(t, func(c *Config) { c.Link, c.SocketBuffer = Link{Delay: 25 * ms}, buffer })
	a, far := addHost(t, o, Source, "a"), addHost(t, o, Destination, "far")
	// At most one window a round trip, and no window is larger than the buffer.
	rate := n / transfer(t, a, far, n).Seconds()
	if most := float64(buffer) / 0.05; rate > most {
		t.Errorf("%.0f B/s, more than %.0f: a buffer of %d every 50 ms", rate, most, buffer)
	}
	if c := o.Counts(); c.Overrun+c.Lost+c.Cut+c.Tail != 0 {
		t.Errorf("packets were lost on an ocean without loss: %+v", c)
	}
}

func TestTCPSurvivesLoss(t *testing.T) {
	const n, mtu = 2 << 20, 1500
	o := newOcean(t, func(c *Config) { c.MTU, c.Link = mtu, Link{Delay: ms, Loss: 2} })
	a, far := addHost(t, o, Source, "a"), addHost(t, o, Destination, "far")
	transfer(t, a, far, n)
	if c := o.Counts(); c.Lost == 0 || c.Delivered < n/mtu {
		t.Errorf("%d bytes in one TCP flow came in %d packets, not each alone: %+v", n, c.Delivered, c)
	}
	// Where nothing treats packets one by one, the kernel hands them over in larger pieces, which is fast.
	must(t, o.Set(Link{Delay: ms}))
	before := o.Counts()
	transfer(t, a, far, n)
	if pieces := o.Counts().Delivered - before.Delivered; pieces > n/mtu {
		t.Errorf("%d bytes in one TCP flow without loss came in %d pieces", n, pieces)
	}
}

// echoes says whether a byte comes back within a time.
func echoes(conn net.Conn, within time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func echo(t *testing.T, from, to *tunHost) net.Conn {
	t.Helper()
	client, server := flow(t, from, to)
	go func() { _, _ = io.Copy(server, server) }()
	must(t, echoes(client, patience))
	return client
}

func TestAPartitionBlocksSilentlyAndHeals(t *testing.T) {
	o := newOcean(t, func(c *Config) { c.Link = Link{Delay: ms} })
	a, b := addHost(t, o, Source, "a"), addHost(t, o, Source, "b")
	far := addHost(t, o, Destination, "far")
	across, local := echo(t, a, far), echo(t, a, b)

	must(t, o.Set(Link{Delay: ms, Partition: true}))
	if err := echoes(across, 300*ms); !os.IsTimeout(err) {
		t.Errorf("across a parted ocean: %v, want a time-out", err)
	}
	must(t, echoes(local, patience))
	must(t, o.Set(Link{Delay: ms}))
	must(t, across.SetDeadline(time.Now().Add(patience)))
	_, err := io.ReadFull(across, make([]byte, 1)) // what was sent in between arrives
	must(t, err)

	must(t, o.SetHost(b, Link{Partition: true}))
	if err := echoes(local, 300*ms); !os.IsTimeout(err) {
		t.Errorf("to a host that is cut off: %v, want a time-out", err)
	}
	if _, err := b.ping(a.addr, 1, 300*ms); err == nil {
		t.Error("a host that is cut off reaches another of its side")
	}
	if got := datagrams(t, o, a, b, 10); len(got) > 0 {
		t.Errorf("%d of 10 packets have reached a host that is cut off", len(got))
	}
	must(t, echoes(across, patience))
	must(t, o.SetHost(b, Link{}))
	must(t, local.SetDeadline(time.Now().Add(patience)))
	_, err = io.ReadFull(local, make([]byte, 1))
	must(t, err)
}

func TestTheLabReachesEveryHostAndTwoOceansAreApart(t *testing.T) {
	one, two := newOcean(t, nil), newOcean(t, nil)
	a, b := addHost(t, one, Source, "a"), addHost(t, two, Source, "a")
	if one.network.Overlaps(two.network) || a.Addr() == b.Addr() {
		t.Fatalf("two oceans share addresses: %s and %s", one.network, two.network)
	}
	for _, h := range []*tunHost{a, b} {
		l, err := h.listen(0)
		must(t, err)
		defer l.Close()
		where, err := h.Reach(Outside, l.Addr().(*net.TCPAddr).Port)
		must(t, err)
		conn, err := net.DialTimeout("tcp4", where, patience) // of this process's own network
		must(t, err)
		conn.Close()
	}
	if _, err := a.ping(b.Addr(), 1, 300*ms); err == nil {
		t.Error("a host reaches one of another ocean")
	}
}

func TestHostsAreChecked(t *testing.T) {
	o := newOcean(t, nil)
	a := addHost(t, o, Source, "a")
	if _, err := o.AddHost("middle", "a"); err == nil || !strings.Contains(err.Error(), `no side "middle"`) {
		t.Errorf("unknown side: %v", err)
	}
	if _, err := o.AddHost(Source, "a"); err == nil || !strings.Contains(err.Error(), a.Addr().String()) {
		t.Errorf("name taken: %v", err)
	}
	addHost(t, o, Destination, "a")
	must(t, a.Close())
	must(t, a.Close())
	if err := a.Do(func() error { return nil }); err == nil {
		t.Error("a removed host still does things")
	}
	if err := o.SetHost(a, Link{}); err == nil || !strings.Contains(err.Error(), "has been removed") {
		t.Errorf("a fault of a removed host: %v", err)
	}
	again := addHost(t, o, Source, "a")
	if again.Addr() == a.Addr() {
		t.Errorf("a replaced host has its old address %s", a.Addr())
	}
	if err := o.SetHost(again, Link{Loss: 200}); err == nil {
		t.Error("a loss of 200 % is taken")
	}
}

// helperEnv makes this test's executable another program: a lab that waits to be killed, or one without rights.
const helperEnv = "OCEAN_TEST_HELPER"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(helperEnv) {
	case "own":
		err = own()
	case "nobody":
		err = nobody()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// nobody says why there is no ocean, and that there are proxies.
func nobody() error {
	var cfg Config
	cfg.SetDefaults()
	_, err := New(cfg)
	if !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("an ocean without rights: %w", err)
	}
	fmt.Println(err)
	p, err := NewProxies(cfg)
	if err != nil {
		return err
	}
	fmt.Println("there are proxies")
	return p.Close()
}

func TestWithoutRightsThereAreProxiesAndItIsSaidWhatIsMissing(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$") // its own path is for its user alone
	cmd.Env = append(os.Environ(), helperEnv+"=nobody")
	cmd.Dir = "/"
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"run as root", "there are proxies"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in: %s", want, out)
		}
	}
}

// own makes an ocean with a host and a process in it, says so and waits.
func own() error {
	var cfg Config
	cfg.SetDefaults()
	o, err := New(cfg)
	if err != nil {
		return err
	}
	h, err := o.AddHost(Source, "a")
	if err != nil {
		return err
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.Do(cmd.Start); err != nil {
		return err
	}
	fmt.Println(o.network, o.outside.device.name, cmd.Process.Pid)
	select {}
}

func TestNothingIsLeftOfAnOwnerThatIsKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), helperEnv+"=own")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	text, err := bufio.NewReader(out).ReadString('\n')
	var network, name string
	var pid int
	if _, scanErr := fmt.Sscan(text, &network, &name, &pid); scanErr != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("the owner said %q (%v)", text, err)
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	must(t, err)
	if own, err := os.Readlink("/proc/self/ns/net"); err != nil || own == namespace {
		t.Errorf("the host's process is in this process's own network namespace (%v)", err)
	}
	if !deviceExists(name) {
		t.Errorf("there is no device %s", name)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()

	deadline := time.Now().Add(patience)
	for {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil && !deviceExists(name) && !inUse(namespace) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after kill -9 of the owner: process %d: %v; device %s there: %v; namespace in use: %v", pid, err, name, deviceExists(name), inUse(namespace))
		}
		time.Sleep(10 * ms)
	}
	newOcean(t, nil)
}

func deviceExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// inUse says whether any process is in a network namespace.
func inUse(namespace string) bool {
	processes, _ := os.ReadDir("/proc")
	for _, p := range processes {
		if link, err := os.Readlink("/proc/" + p.Name() + "/ns/net"); err == nil && link == namespace {
			return true
		}
	}
	return false
}

func TestCloseLeavesNothing(t *testing.T) {
	before := openFiles(t)
	o := newOcean(t, nil)
	name := o.outside.device.name
	for range 3 {
		h, err := o.AddHost(Source, fmt.Sprint(time.Now().UnixNano()))
		must(t, err)
		must(t, o.SetHost(h, Link{Delay: time.Second}))
	}
	must(t, o.Close())
	must(t, o.Close())
	if deviceExists(name) {
		t.Errorf("device %s is still there", name)
	}
	if _, err := o.AddHost(Source, "late"); err == nil {
		t.Error("a closed ocean takes hosts")
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(files)
}

// A device of an ocean's name that is somebody else's, and networks that are routed elsewhere, are passed over and
// left as they are; where nothing is free the error says what is in the way. In a namespace of its own, so that no lab on
// this machine is disturbed.
func TestWhatIsTakenIsLeftAlone(t *testing.T) {
	n, err := newNamespace()
	must(t, err)
	defer n.close()
	var cfg Config
	cfg.SetDefaults()
	must(t, n.do(func() error { // which must not end the thread, as t.Fatal would
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		route := func(number int) error {
			to := addressIn(testNetworks, number*oceanSize).AsSlice()
			return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: to, Mask: net.CIDRMask(oceanBits, 32)}})
		}
		other := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: outsideName + "0"}, Mode: netlink.TUNTAP_MODE_TUN}
		if err := errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(other), route(1)); err != nil {
			return err
		}
		before, err := netlink.LinkList()
		if err != nil {
			return err
		}
		o, err := New(cfg)
		if err != nil {
			return err
		}
		if name := o.outside.device.name; name != outsideName+"2" {
			t.Errorf("the first free one is %s", name)
		}
		errs := []error{o.Close()}
		for i := 2; i < oceanCount; i++ {
			errs = append(errs, route(i))
		}
		const want = "taken: 1 by the devices kmt-ocean-0 (of labs that run; one of no lab goes by: ip link delete kmt-ocean-0), 31 by other routes"
		if _, err := New(cfg); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is free: %v", err)
		}
		after, err := netlink.LinkList()
		same := func(a, b netlink.Link) bool {
			return a.Attrs().Index == b.Attrs().Index && a.Attrs().Name == b.Attrs().Name
		}
		if !slices.EqualFunc(before, after, same) {
			t.Errorf("there were the devices %v, and there are %v", before, after)
		}
		return errors.Join(append(errs, err)...)
	}))
}
