package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// records returns how many records a topic has.
func records(t *testing.T, address, topic string) int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// process is a load tool that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	http string // its address
	said *strings.Builder
}

// tool starts a load tool and waits until it answers on path.
func tool(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{http: closedPort(t), said: &strings.Builder{}}
	p.cmd = exec.CommandContext(t.Context(), binary, append(args, "--metrics-address", p.http)...)
	p.cmd.Env = environment()
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.said)
		}
	})
	p.wait(t, func() bool {
		resp, err := http.Get("http://" + p.http + path)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, exited)
	p.exited = exited
	return p
}

func (p *process) wait(t *testing.T, done func() bool, exited <-chan struct{}) {}

func TestProduce(t *testing.T) {
	address := cluster(t, kfake.NumBrokers(3))
	args := []string{"produce", "--test-id", "t1", "--id", "p1", "--topics", "a,b", "--bootstrap-servers", address, "--num-partitions", "4", "--metrics-address", ""}
	loadgen(t, nil, append(args, "--records", "1000", "--throughput", "max")...).want(t, exitHolds)
	_ = fmt.Sprint
	_ = syscall.SIGTERM
	_ = time.Second
}
