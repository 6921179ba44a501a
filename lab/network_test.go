package lab

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// With proxies a broker has a listener for each side, and each side is told the address at which it
// reaches that one.
func TestEachSideIsToldHowItReachesABroker(t *testing.T) {
	cfg := defaults()
	cfg.Ocean, cfg.Delay = OceanProxy, time.Millisecond
	n, err := openNetwork(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	seat, err := n.place(Source, "broker-0", kafkaPort)
	if err != nil {
		t.Fatal(err)
	}
	all, err := seat.listeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		server, err := net.Listen("tcp4", l.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go func() {
			for {
				conn, err := server.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(l.name + "\n")) // what is lost is missed below
				_ = conn.Close()
			}
		}()
	}
	seen := map[string]bool{}
	for _, from := range []string{Source, Destination, outside} {
		address := seat.reach(from)
		if seen[address] {
			t.Errorf("%s reaches it where another does, at %s", from, address)
		}
		seen[address] = true
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Errorf("%s: %v", from, err)
			continue
		}
		answer := make([]byte, 100)
		size, _ := conn.Read(answer)
		if got := strings.TrimSpace(string(answer[:size])); got != strings.ToUpper(from) {
			t.Errorf("%s reaches the listener %q", from, got)
		}
		_ = conn.Close()
	}
}

func TestWithoutAnOceanEverybodyReachesABrokerAlike(t *testing.T) {
	n, err := openNetwork(defaults())
	if err != nil {
		t.Fatal(err)
	}
	seat, err := n.place(Source, "broker-0", kafkaPort)
	if err != nil {
		t.Fatal(err)
	}
	all, err := seat.listeners()
	if err != nil || len(all) != 1 || all[0].advertised != seat.reach(Destination) || seat.reach(outside) != seat.listen() {
		t.Errorf("listeners %v, %v", all, err)
	}
	if err := n.disturb(Source, ocean.Link{Partition: true}); !errors.Is(err, scenario.ErrCannotPlay) {
		t.Errorf("disturbed what is not there: %v", err)
	}
}

// lastLink notes what the ocean was set to.
type lastLink struct {
	ocean.Network
	link ocean.Link
}

func (l *lastLink) Set(link ocean.Link) error {
	l.link = link
	return nil
}

// Faults of the ocean come on top of what it is like, those of both sides at once, and end apart.
func TestFaultsOfTheOceanAddUp(t *testing.T) {
	var set lastLink
	s := newSea(&set, ocean.Link{Delay: 40 * time.Millisecond, Loss: 50, Bandwidth: 1e6}, false)
	for _, step := range []struct {
		side string
		add  ocean.Link
		want ocean.Link
	}{
		{Source, ocean.Link{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond}, ocean.Link{Delay: 50 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 50, Bandwidth: 1e6}},
		{Destination, ocean.Link{Loss: 50}, ocean.Link{Delay: 50 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 75, Bandwidth: 1e6}},
		{Source, ocean.Link{Partition: true}, ocean.Link{Delay: 40 * time.Millisecond, Loss: 75, Bandwidth: 1e6, Partition: true}},
		{Source, ocean.Link{}, ocean.Link{Delay: 40 * time.Millisecond, Loss: 75, Bandwidth: 1e6}},
		{Destination, ocean.Link{}, ocean.Link{Delay: 40 * time.Millisecond, Loss: 50, Bandwidth: 1e6}},
	} {
		if err := s.disturb(step.side, step.add); err != nil {
			t.Fatal(err)
		}
		if set.link != step.want {
			t.Errorf("%s adds %+v: the ocean is %+v, want %+v", step.side, step.add, set.link, step.want)
		}
	}
}
