package message

import (
	"fmt"
	"strconv"
)

// Keys gives records their keys. Implementations are immutable and safe for concurrent use; nothing is allocated per
// record, and the returned keys must not be modified. When a topic's partitions grow, make new Keys.
type Keys interface {
	// Pick returns the partition and the key of the n-th record (from 0) that a producer sends to the topic. The Kafka
	// clients' default partitioner would choose the same partition.
	Pick(n uint64) (partition int32, key []byte)
	// Key returns the n-th key (from 0, going around) of those that land on the partition; nil if none does.
	Key(partition int32, n uint64) []byte
	// Partitions returns the number of partitions that the keys are made for.
	Partitions() int32
}

// Names of the schemes that NewKeys knows.
const (
	KeysBalanced = "balanced"
	KeysSeed     = "seed"
)

// DefaultKeysPerPartition is a number of keys for each partition of the balanced scheme.
const DefaultKeysPerPartition = 16

// NewKeys returns the keys of a scheme, KeysBalanced or KeysSeed, for a topic with this many partitions. perPartition is
// the number of keys for each partition of the balanced scheme, from 1.
func NewKeys(scheme string, partitions int32, perPartition int) (Keys, error) {
	var keys Keys
	var err error
	switch scheme {
	case KeysBalanced:
		keys, err = NewBalancedKeys(partitions, perPartition)
	case KeysSeed:
		keys, err = NewSeedKeys(partitions)
	default:
		err = fmt.Errorf("keys %q are unknown: use %s or %s", scheme, KeysBalanced, KeysSeed)
	}
	if err != nil {
		return nil, err // keys may hold a nil pointer
	}
	return keys, nil
}

// BalancedKeys spread records evenly: partitions are picked in turn, and each has its own set of keys whose murmur2 hash
// lands on it, so a replicator that partitions by key again sends them to the same partition.
type BalancedKeys struct {
	keys [][][]byte // by partition
	per  uint64
}

// NewBalancedKeys searches perPartition keys, from 1, for each of the partitions, from 1. The search is deterministic:
// all producers use the same keys.
func NewBalancedKeys(partitions int32, perPartition int) (*BalancedKeys, error) {
	if partitions < 1 {
		return nil, fmt.Errorf("number of partitions %d is out of range: use 1 or more", partitions)
	}
	if perPartition < 1 {
		return nil, fmt.Errorf("keys per partition %d is out of range: use 1 or more", perPartition)
	}
	k := &BalancedKeys{keys: make([][][]byte, partitions), per: uint64(perPartition)}
	missing := int(partitions) * perPartition
	var scratch []byte
	for i := uint64(0); missing > 0; i++ {
		scratch = strconv.AppendUint(scratch[:0], i, 10)
		p := PartitionFor(scratch, int(partitions))
		if len(k.keys[p]) < perPartition {
			k.keys[p] = append(k.keys[p], append([]byte(nil), scratch...))
			missing--
		}
	}
	return k, nil
}

// Pick takes partitions in turn, and the keys of each in turn.
func (k *BalancedKeys) Pick(n uint64) (int32, []byte) {
	partitions := uint64(len(k.keys))
	p := int32(n % partitions)
	return p, k.Key(p, n/partitions)
}

// Key returns the n-th key of the partition; nil if there is no such partition.
func (k *BalancedKeys) Key(partition int32, n uint64) []byte {
	if partition < 0 || int(partition) >= len(k.keys) {
		return nil
	}
	return k.keys[partition][n%k.per]
}

// Partitions returns the number of partitions that the keys are made for.
func (k *BalancedKeys) Partitions() int32 { return int32(len(k.keys)) }

// seedFactor is the talk's number of keys for each partition.
const seedFactor = 17

// SeedKeys are the keys of the original kafka-mirror-tester: the n-th record has the decimal number n modulo 17 times the
// number of partitions as its key, and goes where murmur2 sends it. The factor is to make an even spread likely; it is
// not even, and with few partitions some may get nothing. (The original counted sequences per key. Ours count per
// partition whatever the keys.)
type SeedKeys struct {
	keys        [][]byte
	partition   []int32 // of each key
	byPartition [][][]byte
}

// NewSeedKeys makes the 17 x partitions keys; partitions is 1 or more.
func NewSeedKeys(partitions int32) (*SeedKeys, error) {
	if partitions < 1 {
		return nil, fmt.Errorf("number of partitions %d is out of range: use 1 or more", partitions)
	}
	n := seedFactor * int(partitions)
	k := &SeedKeys{keys: make([][]byte, n), partition: make([]int32, n), byPartition: make([][][]byte, partitions)}
	for i := range n {
		key := strconv.AppendInt(nil, int64(i), 10)
		p := PartitionFor(key, int(partitions))
		k.keys[i], k.partition[i] = key, p
		k.byPartition[p] = append(k.byPartition[p], key)
	}
	return k, nil
}

// Pick goes around all keys.
func (k *SeedKeys) Pick(n uint64) (int32, []byte) {
	i := n % uint64(len(k.keys))
	return k.partition[i], k.keys[i]
}

// Key returns the n-th of the keys that land on the partition; nil if none does.
func (k *SeedKeys) Key(partition int32, n uint64) []byte {
	if partition < 0 || int(partition) >= len(k.byPartition) || len(k.byPartition[partition]) == 0 {
		return nil
	}
	keys := k.byPartition[partition]
	return keys[n%uint64(len(keys))]
}

// Partitions returns the number of partitions that the keys are made for.
func (k *SeedKeys) Partitions() int32 { return int32(len(k.byPartition)) }

// PartitionFor returns where Kafka's default partitioner sends a record with this key on a topic of n partitions; -1 if n
// is below 1. (A record without a key, nil, goes anywhere; here nil hashes as the empty key.)
func PartitionFor(key []byte, n int) int32 {
	if n < 1 {
		return -1
	}
	return int32(int(murmur2(key)&0x7fffffff) % n)
}

// murmur2 is the hash of Kafka's Java client (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	if len(b) > 0 {
		for i, c := range b {
			h ^= uint32(c) << (8 * i)
		}
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
