package message

import (
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

var partitionCounts = []int32{1, 2, 3, 7, 64, 150, 300, 1000}

func TestMurmur2(t *testing.T) {
	// From Kafka's own UtilsTest.testMurmur2.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// Every key goes where we say, according to the partitioner of the Kafka client.
func TestKafkaAgreesOnEveryKey(t *testing.T) {
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	for _, partitions := range partitionCounts {
		check := func(scheme string, p int32, key []byte) {
			if got := partitioner.Partition(&kgo.Record{Key: key}, int(partitions)); int32(got) != p {
				t.Errorf("%s: key %q of %d partitions: Kafka says %d, we say %d", scheme, key, partitions, got, p)
			}
		}
		for _, scheme := range []string{KeysBalanced, KeysSeed} {
			keys, err := NewKeys(scheme, partitions, 16)
			if err != nil {
				t.Fatal(err)
			}
			if keys.Partitions() != partitions {
				t.Errorf("%s: %d partitions, want %d", scheme, keys.Partitions(), partitions)
			}
			for n := range uint64(17 * partitions) {
				p, key := keys.Pick(n)
				check(scheme, p, key)
			}
			for p := range partitions {
				for n := range uint64(20) {
					if key := keys.Key(p, n); key != nil {
						check(scheme, p, key)
					} else if scheme == KeysBalanced {
						t.Errorf("no key %d for partition %d of %d", n, p, partitions)
					}
				}
			}
			for _, p := range []int32{-1, partitions} {
				if key := keys.Key(p, 0); key != nil {
					t.Errorf("%s: key %q for partition %d of %d", scheme, key, p, partitions)
				}
			}
		}
	}
}

func TestPartitionFor(t *testing.T) {
	hasher := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	key := make([]byte, 0, 40)
	for n := range 40 { // all lengths of a key, so all tails of the hash
		for _, partitions := range []int{1, 3, 150, 1 << 30} {
			if got, want := PartitionFor(key, partitions), hasher.Partition(&kgo.Record{Key: key}, partitions); got != int32(want) {
				t.Errorf("key %v of %d partitions: %d, want %d", key, partitions, got, want)
			}
		}
		key = append(key, byte(200+7*n))
	}
	if PartitionFor(key, 0) != -1 || PartitionFor(key, -1) != -1 {
		t.Error("no partitions: want -1")
	}
}

func TestBalancedKeysSpreadEvenly(t *testing.T) {
	for _, partitions := range partitionCounts {
		keys, err := NewBalancedKeys(partitions, 5)
		if err != nil {
			t.Fatal(err)
		}
		byPartition := make([]int, partitions)
		byKey := map[string]int{}
		for n := range uint64(partitions) * 5 * 3 {
			p, key := keys.Pick(n)
			byPartition[p]++
			byKey[string(key)]++
		}
		for p, n := range byPartition {
			if n != 15 {
				t.Errorf("partition %d of %d: %d records, want 15", p, partitions, n)
			}
		}
		if len(byKey) != 5*int(partitions) {
			t.Errorf("%d different keys on %d partitions, want 5 each", len(byKey), partitions)
		}
		for key, n := range byKey {
			if n != 3 {
				t.Errorf("key %q was used %d times, want 3", key, n)
			}
		}
	}
}

// The formula of the original: the key of message seq is the decimal number seq % (17 * partitions).
func TestSeedKeys(t *testing.T) {
	for _, partitions := range partitionCounts {
		keys, err := NewSeedKeys(partitions)
		if err != nil {
			t.Fatal(err)
		}
		of := make([]map[string]bool, partitions)
		for n := range uint64(partitions) * 40 {
			p, key := keys.Pick(n)
			if want := strconv.FormatUint(n%(uint64(partitions)*17), 10); string(key) != want {
				t.Fatalf("record %d of %d partitions has the key %q, want %q", n, partitions, key, want)
			}
			if of[p] == nil {
				of[p] = map[string]bool{}
			}
			of[p][string(key)] = true
		}
		for p, want := range of {
			got := map[string]bool{}
			for n := range uint64(len(want)) {
				got[string(keys.Key(int32(p), n))] = true
			}
			if len(got) != len(want) {
				t.Errorf("partition %d of %d: Key gives %d keys, Pick %d", p, partitions, len(got), len(want))
			}
		}
	}
}

func TestKeysErrors(t *testing.T) {
	for _, test := range []struct {
		scheme       string
		partitions   int32
		perPartition int
	}{{KeysBalanced, 0, 1}, {KeysBalanced, -1, 1}, {KeysBalanced, 1, 0}, {KeysBalanced, 1, -1}, {KeysSeed, 0, 1}, {KeysSeed, -1, 1}, {"random", 1, 1}, {"", 1, 1}} {
		if keys, err := NewKeys(test.scheme, test.partitions, test.perPartition); err == nil || keys != nil {
			t.Errorf("%+v: %v, %v", test, keys, err)
		}
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	for _, scheme := range []string{KeysBalanced, KeysSeed} {
		keys, err := NewKeys(scheme, 150, 16)
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		if allocs := testing.AllocsPerRun(100, func() { keys.Pick(n); keys.Key(int32(n%150), n); n++ }); allocs != 0 {
			t.Errorf("%s: %v allocations", scheme, allocs)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	keys, err := NewKeys(KeysBalanced, 150, 16)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var n uint64
	for b.Loop() {
		keys.Pick(n)
		n++
	}
}

func BenchmarkNewBalancedKeys(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewBalancedKeys(1000, 16); err != nil {
			b.Fatal(err)
		}
	}
}
