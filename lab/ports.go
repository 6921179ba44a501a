package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// freePorts finds n free loopback ports below the range from which the kernel takes the local ports
// of outgoing connections (32768 and up on Linux, 49152 on macOS). From inside it, a client could be
// given a killed broker's port, which keeps the broker from returning; a client that keeps trying
// a dead broker may even connect to itself.
func freePorts(n int) ([]int, error) {
	low, high := 15000, 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first int
		if _, err := fmt.Sscan(string(text), &first); err == nil && first > low+1000 {
			high = min(high, first)
		}
	}
	var ports []int
	var held []net.Listener // until all are found, so that none is found twice
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	// A random start keeps two labs at once apart.
	for i, start := 0, rand.IntN(high-low); i < high-low && len(ports) < n; i++ {
		port := low + (start+i)%(high-low)
		l, err := net.Listen("tcp4", address(port))
		if err != nil {
			continue
		}
		held = append(held, l)
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, errors.New("not enough free ports on 127.0.0.1")
	}
	return ports, nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
