package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

const testID = "test-1"

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func startCluster(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openStore(t testing.TB, opts []kgo.Opt) *Store {
	t.Helper()
	s, err := Open(deadline(t), StoreConfig{Opts: opts, Topic: DestinationTopic}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func openReader(t testing.TB, opts []kgo.Opt, test string, kinds ...string) *Reader {
	t.Helper()
	r, err := NewReader(ReaderConfig{Opts: opts, Topic: DestinationTopic, Test: test, Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func put(t testing.TB, s *Store, key Key, payload []byte) Probe {
	t.Helper()
	p, err := s.Put(deadline(t), key, payload)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readAll returns the newest payload of each key, and the error of the read.
func readAll(t testing.TB, r *Reader) (map[string][]byte, error) {
	t.Helper()
	out := map[string][]byte{}
	err := r.ReadToEnd(deadline(t), func(e Entry) error {
		out[e.Key.String()] = e.Payload
		return nil
	})
	return out, err
}

func expectEntries(t testing.TB, r *Reader, want map[string][]byte) {
	t.Helper()
	got, err := readAll(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	for k, v := range want {
		if !bytes.Equal(got[k], v) {
			t.Errorf("%s: %d bytes, want %d", k, len(got[k]), len(v))
		}
	}
}

// noise does not compress, so that sizes on the wire are known.
func noise(n int, seed uint64) []byte {
	out := make([]byte, n+8)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], r.Uint64())
	}
	return out[:n]
}

func key(name string) Key { return Key{testID, KindReceived, name} }

func TestKeys(t *testing.T) {
	for _, k := range []Key{{"t", "sent", "p/00ff"}, {"t", "audit", ""}, {"a b", "rate", "10.0.0.1:9092/x#y/1"}} {
		got, err := ParseKey(k.String())
		if err != nil || got != k {
			t.Errorf("%q: %v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "t", "t/sent", "/sent/x", "t//x"} {
		if _, err := ParseKey(s); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("%q: %v", s, err)
		}
	}
	_, opts := startCluster(t)
	store := openStore(t, opts)
	for _, k := range []Key{{"", "sent", "x"}, {"t/u", "sent", "x"}, {"t", "se/nt", "x"}} {
		if _, err := store.Put(deadline(t), k, nil); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", k, err)
		}
	}
	// What looks nearly like a chunk's key is none.
	for _, s := range []string{"t/rate/a#1/00000000000000ff/17", "t/sent/a#1/0000000000000012", "t/rate/a#b", "t/rate/#x/1"} {
		if set, i, ok := splitChunkKey(s); ok {
			t.Errorf("%q is taken for chunk %d of %q", s, i, set)
		}
	}
	if set, i, ok := splitChunkKey(chunkKey("t/rate/a#1/5", "89abcdef.1", 12)); !ok || i != 12 || set != "t/rate/a#1/5#89abcdef.1" {
		t.Errorf("%q %d %v", set, i, ok)
	}
}

// stampAppends makes kfake do what topics with message.timestamp.type =
// LogAppendTime do elsewhere: it does so only if the batch says it. It leaves
// the batch with a wrong checksum, which readers must be told to overlook.
func stampAppends(c *kfake.Cluster) kgo.Opt {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				p.Records[22] |= 8
				binary.BigEndian.PutUint32(p.Records[17:], crc32.Checksum(p.Records[21:], crc32.MakeTable(crc32.Castagnoli)))
			}
		}
		return nil, nil, false
	})
	return kgo.DisableFetchCRCValidation()
}

func TestRoundTrip(t *testing.T) {
	c, opts := startCluster(t)
	opts = append(opts, stampAppends(c))
	s := openStore(t, opts)
	before := time.Now().UnixMicro()
	put(t, s, key("a"), []byte("old"))
	probe := put(t, s, key("a"), []byte("new"))
	put(t, s, key("empty"), nil)
	put(t, s, Key{testID, KindWindow, "a"}, []byte("window"))
	if probe.Sent < before || probe.Acked < probe.Sent || probe.Acked > time.Now().UnixMicro() {
		t.Errorf("probe %+v, before %d", probe, before)
	}

	r := openReader(t, opts, testID)
	seen := 0
	err := r.ReadToEnd(deadline(t), func(e Entry) error {
		if string(e.Payload) == "new" {
			seen++
			if e.Offset != probe.Offset {
				t.Errorf("offset %d, the probe says %d", e.Offset, probe.Offset)
			}
			// The broker's stamp has milliseconds only.
			if !e.AppendedIsBroker || e.Appended < probe.Sent-1000 || e.Appended > probe.Acked {
				t.Errorf("appended at %d, sent at %d, acknowledged at %d", e.Appended, probe.Sent, probe.Acked)
			}
		}
		return nil
	})
	if err != nil || seen != 1 {
		t.Fatalf("seen %d times: %v", seen, err)
	}
	expectEntries(t, r, nil) // nothing new
	put(t, s, key("b"), []byte("news"))
	expectEntries(t, r, map[string][]byte{"test-1/received/b": []byte("news")})
	expectEntries(t, openReader(t, opts, testID, KindWindow), map[string][]byte{"test-1/window/a": []byte("window")})
	expectEntries(t, openReader(t, opts, testID), map[string][]byte{
		"test-1/received/a": []byte("new"), "test-1/received/b": []byte("news"), "test-1/received/empty": nil, "test-1/window/a": []byte("window"),
	})
}

// States of several megabytes survive, also among others that are written at
// the same time, and also after compaction.
func TestLargeStates(t *testing.T) {
	c, opts := startCluster(t)
	s := openStore(t, opts)
	want := map[string][]byte{}
	for round := range uint64(3) {
		done := make(chan error)
		for i, size := range []int{maxInline, maxInline + 1, 2 * maxInline, 5_000_000} {
			k, payload := key(fmt.Sprint(i)), noise(size, round*10+uint64(i))
			want[k.String()] = payload
			ctx := deadline(t)
			go func() {
				_, err := s.Put(ctx, k, payload)
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	small := key("3") // what was large may become small
	want[small.String()] = []byte("small")
	put(t, s, small, want[small.String()])
	expectEntries(t, openReader(t, opts, testID), want)
	c.Compact()
	r := openReader(t, opts, testID)
	expectEntries(t, r, want)
	for set, chunks := range r.chunks {
		if strings.HasPrefix(set, "test-1/received/3#") {
			t.Errorf("%d chunks of %s are kept in memory although the entry is complete", len(chunks), set)
		}
	}
}

// A write that is cut short, at whichever place, leaves the older entry as it
// was, and a later store can replace it.
func TestCrashWithinAnEntry(t *testing.T) {
	for _, chunks := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(chunks, " of 3 chunks"), func(t *testing.T) {
			c, opts := startCluster(t)
			first := openStore(t, opts)
			old, older, new := noise(2_500_000, 1), noise(2_600_000, 2), noise(2_700_000, 3)
			put(t, first, key("a"), older)
			put(t, first, key("a"), old)

			var written atomic.Int32
			var blocked, healed atomic.Bool
			c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if healed.Load() {
					return nil, nil, false
				}
				size := len(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
				if size < 10_000 || written.Load() >= int32(chunks) {
					blocked.Store(true)
					return nil, errors.New("the broker is gone"), true
				}
				written.Add(1)
				return nil, nil, false
			})
			// The store's chunks go out one by one, so that we know how many did.
			second, err := Open(deadline(t), StoreConfig{Opts: append(opts, kgo.MaxProduceRequestsInflightPerBroker(1)), Topic: DestinationTopic}, quiet())
			if err != nil {
				t.Fatal(err)
			}
			second.nonce = first.nonce // the worst case: it writes over the chunks of the first
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for !blocked.Load() && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if _, err := second.Put(ctx, key("a"), new); !errors.Is(err, context.Canceled) {
				t.Fatalf("stored, or another error: %v", err)
			}
			second.Close()
			healed.Store(true)
			// Compaction takes what the half-written entry has replaced.
			c.Compact()
			if got := written.Load(); got != int32(chunks) {
				t.Fatalf("%d chunks were written", got)
			}
			expectEntries(t, openReader(t, opts, testID), map[string][]byte{"test-1/received/a": old})

			put(t, openStore(t, opts), key("a"), new)
			expectEntries(t, openReader(t, opts, testID), map[string][]byte{"test-1/received/a": new})
		})
	}
}

// While the cluster does not answer, Put gives up when its caller does, and
// what it was to write never replaces what was stored later.
func TestPutWithoutAnswer(t *testing.T) {
	c, opts := startCluster(t)
	s := openStore(t, opts)
	put(t, s, key("a"), []byte("1"))
	var gone atomic.Bool
	gone.Store(true)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if gone.Load() {
			return nil, errors.New("the broker is gone"), true
		}
		return nil, nil, false
	})
	for i := range 2 { // the second waits for the first
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.Put(ctx, key("a"), []byte("2")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "test-1/received/a") {
			t.Fatalf("put %d: %v", i, err)
		}
		cancel()
	}
	gone.Store(false)
	put(t, s, key("a"), []byte("3"))
	expectEntries(t, openReader(t, opts, testID), map[string][]byte{"test-1/received/a": []byte("3")})
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.keys); n != 0 {
		t.Errorf("the store remembers %d keys", n)
	}
}

func rawProduce(t testing.TB, opts []kgo.Opt, key string, value []byte) int64 {
	t.Helper()
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	rec, err := cl.ProduceSync(deadline(t), &kgo.Record{Topic: DestinationTopic, Key: []byte(key), Value: value}).First()
	if err != nil {
		t.Fatal(err)
	}
	return rec.Offset
}

func rawManifest(t testing.TB, m manifest) []byte {
	t.Helper()
	body, err := cbor.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(header(typeManifest), body...)
}

// A damaged entry is reported with its key and its place, nothing else is
// hidden by it, and it is forgotten once a good one has replaced it.
func TestDamagedEntries(t *testing.T) {
	payload := []byte("a state")
	good := manifest{Length: uint64(len(payload)), Checksum: xxhash.Sum64(payload), Inline: payload}
	with := func(change func(*manifest)) manifest {
		m := good
		change(&m)
		return m
	}
	chunked := with(func(m *manifest) { m.Inline, m.Chunks, m.Slot = nil, 2, "01234567.0" })
	for _, test := range []struct {
		name  string
		value []byte
		want  error
	}{
		{"nothing", []byte{}, ErrCorrupt},
		{"something else", []byte("something else"), ErrCorrupt},
		{"another version", append([]byte(entryMagic), 9, typeManifest), ErrVersion},
		{"unknown type", append([]byte(entryMagic), entryVersion, 9), ErrCorrupt},
		{"a chunk under an entry's key", append(header(typeChunk), 'x'), ErrCorrupt},
		{"cut", rawManifest(t, good)[:14], ErrCorrupt},
		{"wrong checksum", rawManifest(t, with(func(m *manifest) { m.Checksum++ })), ErrCorrupt},
		{"wrong length", rawManifest(t, with(func(m *manifest) { m.Length++ })), ErrTruncated},
		{"payload cut", rawManifest(t, with(func(m *manifest) { m.Inline = m.Inline[:3] })), ErrTruncated},
		{"chunks missing", rawManifest(t, chunked), ErrTruncated},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, opts := startCluster(t)
			s := openStore(t, opts)
			put(t, s, key("a"), []byte("older"))
			// One of two chunks is there.
			rawProduce(t, opts, chunkKey(key("a").String(), "01234567.0", 0), append(header(typeChunk), payload[:3]...))
			offset := rawProduce(t, opts, key("a").String(), test.value)
			put(t, s, key("b"), []byte("b"))

			r := openReader(t, opts, testID)
			for range 2 { // also when it is asked again
				got, err := readAll(t, r)
				var damaged *EntryError
				if !errors.Is(err, test.want) || !errors.As(err, &damaged) || damaged.Key != "test-1/received/a" || damaged.Offset != offset ||
					!strings.Contains(err.Error(), fmt.Sprintf("test-1/received/a at offset %d", offset)) {
					t.Fatalf("offset %d: %v", offset, err)
				}
				if len(got) > 0 && (string(got["test-1/received/a"]) != "older" || string(got["test-1/received/b"]) != "b") {
					t.Errorf("%q", got)
				}
			}
			expectEntries(t, openReader(t, opts, "test-2"), nil) // another test does not care
			put(t, s, key("a"), []byte("newer"))
			expectEntries(t, r, map[string][]byte{"test-1/received/a": []byte("newer")})
		})
	}
}

func TestOtherTestsAreIgnored(t *testing.T) {
	_, opts := startCluster(t)
	s := openStore(t, opts)
	put(t, s, key("a"), []byte("ours"))
	put(t, s, Key{"test-11", KindReceived, "a"}, noise(2_000_000, 1))
	put(t, s, Key{"test", KindReceived, "a"}, []byte("theirs"))
	rawProduce(t, opts, "test-2/received/a", []byte("damaged"))
	rawProduce(t, opts, "what is this", nil)
	r := openReader(t, opts, testID)
	expectEntries(t, r, map[string][]byte{"test-1/received/a": []byte("ours")})
	if len(r.chunks) != 0 {
		t.Error("chunks of another test are kept")
	}
}

// What the callback did not take is offered again.
func TestCallbackFails(t *testing.T) {
	_, opts := startCluster(t)
	s := openStore(t, opts)
	want := noise(2_000_000, 1)
	put(t, s, key("a"), []byte("a"))
	put(t, s, key("b"), want)
	put(t, s, key("c"), []byte("c"))
	r := openReader(t, opts, testID)
	failure := errors.New("not now")
	if err := r.ReadToEnd(deadline(t), func(e Entry) error {
		if e.Key.Name == "b" {
			return failure
		}
		return nil
	}); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	expectEntries(t, r, map[string][]byte{"test-1/received/b": want, "test-1/received/c": []byte("c")})
}

func TestReplacedTopic(t *testing.T) {
	_, opts := startCluster(t)
	s := openStore(t, opts)
	put(t, s, key("a"), []byte("a"))
	put(t, s, key("b"), []byte("b"))
	r, ahead, level := openReader(t, opts, testID), openReader(t, opts, testID), openReader(t, opts, testID)
	for _, r := range []*Reader{r, ahead, level} {
		if _, err := readAll(t, r); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).DeleteTopic(deadline(t), DestinationTopic); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, opts)
	put(t, s, key("c"), []byte("c"))
	if _, err := readAll(t, r); !errors.Is(err, ErrReplaced) { // shorter than before
		t.Fatal(err)
	}
	expectEntries(t, r, map[string][]byte{"test-1/received/c": []byte("c")})
	put(t, s, key("d"), []byte("d"))
	if _, err := readAll(t, level); !errors.Is(err, ErrReplaced) { // as long as before
		t.Fatal(err)
	}
	put(t, s, key("e"), []byte("e"))
	if _, err := readAll(t, ahead); !errors.Is(err, ErrReplaced) { // longer than before
		t.Fatal(err)
	}
}

func createTopic(t testing.TB, opts []kgo.Opt, partitions int32, configs map[string]string) {
	t.Helper()
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c := map[string]*string{}
	for k, v := range configs {
		c[k] = &v
	}
	if _, err := kadm.NewClient(cl).CreateTopic(deadline(t), partitions, 1, c, DestinationTopic); err != nil {
		t.Fatal(err)
	}
}

func TestUnsuitableTopic(t *testing.T) {
	for _, test := range []struct {
		name       string
		partitions int32
		configs    map[string]string
		want       string
	}{
		{"deletes", 1, map[string]string{"cleanup.policy": "delete"}, `cleanup.policy is "delete"`},
		{"deletes too", 1, map[string]string{"cleanup.policy": "compact,delete"}, `cleanup.policy is "compact,delete"`},
		{"default", 1, nil, `cleanup.policy is "delete"`},
		{"partitions", 3, map[string]string{"cleanup.policy": "compact"}, "3 partitions"},
		{"small", 1, map[string]string{"cleanup.policy": "compact", "max.message.bytes": "1000"}, "max.message.bytes is 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, opts := startCluster(t)
			createTopic(t, opts, test.partitions, test.configs)
			_, err := Open(deadline(t), StoreConfig{Opts: opts, Topic: DestinationTopic}, quiet())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), DestinationTopic) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Without LogAppendTime entries are read, but their times are not the broker's.
func TestWithoutLogAppendTime(t *testing.T) {
	_, opts := startCluster(t)
	createTopic(t, opts, 1, map[string]string{"cleanup.policy": "compact"})
	var log bytes.Buffer
	s, err := Open(deadline(t), StoreConfig{Opts: opts, Topic: DestinationTopic}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "message.timestamp.type") {
		t.Errorf("log: %s", log.String())
	}
	put(t, s, key("a"), []byte("a"))
	n := 0
	if err := openReader(t, opts, testID).ReadToEnd(deadline(t), func(e Entry) error {
		n++
		if e.AppendedIsBroker || e.Appended != 0 {
			t.Errorf("%+v", e)
		}
		return nil
	}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}

func TestReplicas(t *testing.T) {
	for _, test := range []struct{ brokers, replicas, want, insync int }{{1, 0, 1, 1}, {2, 0, 2, 1}, {5, 0, 3, 2}, {3, 1, 1, 1}, {5, 5, 5, 2}, {3, 4, -1, 0}, {3, -1, -1, 0}} {
		t.Run(fmt.Sprint(test.replicas, " of ", test.brokers), func(t *testing.T) {
			_, opts := startCluster(t, kfake.NumBrokers(test.brokers))
			s, err := Open(deadline(t), StoreConfig{Opts: opts, Topic: DestinationTopic, Replicas: test.replicas}, quiet())
			if test.want < 0 {
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d replicas", test.replicas)) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			admin := kadm.NewClient(s.client)
			meta, err := admin.Metadata(deadline(t), DestinationTopic)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(meta.Topics[DestinationTopic].Partitions[0].Replicas); got != test.want {
				t.Errorf("%d replicas, want %d", got, test.want)
			}
			configs, err := admin.DescribeTopicConfigs(deadline(t), DestinationTopic)
			if err != nil {
				t.Fatal(err)
			}
			rc, _ := configs.On(DestinationTopic, nil)
			for _, c := range rc.Configs {
				if c.Key == "min.insync.replicas" && c.MaybeValue() != fmt.Sprint(test.insync) {
					t.Errorf("min.insync.replicas is %s, want %d", c.MaybeValue(), test.insync)
				}
			}
		})
	}
}

func TestNoPermission(t *testing.T) {
	allow := func(ops ...kmsg.ACLOperation) []kfake.ACL {
		var out []kfake.ACL
		for _, op := range ops {
			out = append(out, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: DestinationTopic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return out
	}
	const (
		describe, configs     = kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs
		read, write, creation = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate
	)
	for _, test := range []struct {
		name   string
		acls   []kfake.ACL
		exists bool
		want   string
	}{
		{"to see it", nil, true, "DESCRIBE"},
		{"to create it", allow(describe, read, write), false, "CREATE"},
		{"to see its configuration", allow(describe, read, write), true, "DESCRIBE_CONFIGS"},
		{"to write", allow(describe, configs, read), true, "WRITE"},
		{"to read", allow(describe, configs, write), true, "READ"},
		{"", allow(describe, configs, read, write), true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, opts := startCluster(t, kfake.EnableSASL(), kfake.EnableACLs(),
				kfake.Superuser("PLAIN", "root", "pw"), kfake.User("PLAIN", "user", "pw", test.acls...))
			if test.exists {
				createTopic(t, append(opts, kgo.SASL(plain.Auth{User: "root", Pass: "pw"}.AsMechanism())), 1, map[string]string{"cleanup.policy": "compact"})
			}
			s, err := Open(deadline(t), StoreConfig{Opts: append(opts, kgo.SASL(plain.Auth{User: "user", Pass: "pw"}.AsMechanism())), Topic: DestinationTopic}, quiet())
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, key("a"), []byte("a"))
				s.Close()
				return
			}
			if !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(err.Error(), "grant it "+test.want+" ") || !strings.Contains(err.Error(), DestinationTopic) {
				t.Errorf("%v", err)
			}
		})
	}
}
