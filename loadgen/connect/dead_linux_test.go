package connect_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// An address that swallows packets is given up long before franz-go's own 2 x 10 s: what waits behind it, as a request
// for metadata, has to go on.
func TestDeadAddressIsGivenUpSoon(t *testing.T) {
	t.Parallel()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil { // has room for one connection that nobody accepts
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	full, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	c := connect.Config{BootstrapServers: []string{address}}
	opts, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	_, err = client.SeedBrokers()[0].Request(ctx, kmsg.NewPtrMetadataRequest())
	var dial *net.OpError
	if !errors.As(err, &dial) || !dial.Timeout() || ctx.Err() != nil {
		t.Errorf("not given up by itself: %v", err)
	}
}
