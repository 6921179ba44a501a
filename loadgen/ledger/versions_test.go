package ledger

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

var update = flag.Bool("update", false, "write testdata of the version that is written now")

// Ledgers that the release before this one (commit 736e087) wrote are read as what they were, and those of another
// version are refused in words that name both.
func TestLedgersOfOtherVersions(t *testing.T) {
	sent := &Sent{Test: "t", Producer: "p", Run: 7, Started: 1, Updated: 2, Ordered: true, Scheduled: 10, Bytes: 1000, Previous: &Probe{Sent: 1, Acked: 2, Offset: 3},
		Streams: []*SentStream{{Stream: Stream{Run: 7, Topic: "load", Epoch: 1, Partition: 2}, Base: 5, Reserved: 9, Next: 8, Control: new(uint64)}}}
	sent.Streams[0].Ack(1, 6, 3)
	sent.Streams[0].Fail(2, "timeout")
	received := NewReceived("t", "load", [16]byte{1}, 3, "consumer-0", 5, 1)
	for i, kind := range []message.Kind{message.OK, message.OK, message.Corrupt} {
		received.Observe(&Observation{Offset: int64(10 + i), At: int64(i) * 2_000_000, Bytes: 100, Kind: kind,
			ID: message.Identity{Producer: []byte("p"), Run: 7, Sequence: 3, Partition: 3, Intended: 1}})
	}
	received.Gone = []*GoneStream{{Stream: Stream{Run: 7, Topic: "load"}, Seen: intervals.Of(intervals.Range{From: 1, To: 4})}}
	received.Window.Latency = latency.Sparse{{Micros: 5, Count: 1}}
	for _, x := range []struct {
		name string
		want any
		into any
	}{
		{"sent", sent, &Sent{}}, {"received", received, &Received{}},
		{"window", &WindowEntry{Topic: "load", Partition: 1, Window: Window{Second: 7, Records: 1}}, &WindowEntry{}},
		{"rate", &Rate{Producer: "p", Second: 7, Topics: []TopicRate{{Topic: "load", Acked: 3}}}, &Rate{}},
	} {
		file := filepath.Join("testdata", "v1", x.name)
		if *update {
			data, err := Encode(x.want)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(data, x.into); err != nil {
			t.Errorf("%s: %v", x.name, err)
		} else if got, want := canonical(t, x.into), canonical(t, x.want); !bytes.Equal(got, want) {
			t.Errorf("%s is read as\n%x, want\n%x", x.name, got, want)
		}
		for version, want := range map[byte]string{0: "version 0, this program reads 1", 2: "version 2, this program reads 1"} {
			if err := Decode(append([]byte{version}, data[1:]...), x.into); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of version %d: %v", x.name, version, err)
			}
		}
	}
}
