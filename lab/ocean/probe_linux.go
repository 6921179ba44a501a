package ocean

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// dial connects to an address from inside the host.
func (h *tunHost) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.namespace.apart(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// listen listens for TCP connections on the host's address.
func (h *tunHost) listen(port int) (l net.Listener, err error) {
	err = h.namespace.do(func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(h.addr, uint16(port)).String())
		return err
	})
	return l, err
}

// ping sends so many echo requests, one after the other, and returns the round-trip time of each. One that is not
// answered in time is an error.
func (h *tunHost) ping(to netip.Addr, times int, limit time.Duration) ([]time.Duration, error) {
	var conn *icmp.PacketConn
	err := h.namespace.do(func() (err error) {
		conn, err = icmp.ListenPacket("ip4:icmp", h.addr.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	id := os.Getpid() & 0xffff
	var trips []time.Duration
	answer := make([]byte, 1500)
	for seq := range times {
		request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, 56)}}).Marshal(nil)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		if err := conn.SetDeadline(start.Add(limit)); err != nil {
			return nil, err
		}
		if _, err := conn.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return nil, err
		}
		for {
			n, _, err := conn.ReadFrom(answer)
			if err != nil {
				return trips, fmt.Errorf("ping %s from %s: no answer to request %d: %w", to, h.addr, seq, err)
			}
			m, err := icmp.ParseMessage(1, answer[:n]) // 1 is ICMP over IPv4
			if err != nil {
				return trips, err
			}
			if echo, ok := m.Body.(*icmp.Echo); ok && m.Type == ipv4.ICMPTypeEchoReply && echo.ID == id && echo.Seq == seq {
				trips = append(trips, time.Since(start))
				break
			}
		}
	}
	return trips, nil
}
