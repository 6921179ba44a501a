package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

const (
	// maxInline is the largest payload that is stored in one record. Larger ones
	// are cut into chunks of this size. A broker's default bound is 1,048,588
	// bytes for a batch.
	maxInline = 900_000
	// minMessageBytes is what the topic must allow for a batch.
	minMessageBytes = maxInline + 50_000
	// maxMessageBytes is what a topic that we create allows.
	maxMessageBytes = 1_048_588
)

// StoreConfig says where a ledger is kept.
type StoreConfig struct {
	Opts  []kgo.Opt // how to reach the cluster
	Topic string    // SourceTopic or DestinationTopic
	// Replicas of the topic, should it have to be created; 0: as many as there
	// are brokers, up to 3. From 3 on, two must be in sync for a write.
	Replicas int
	// Clock is where the times of probes come from. Nil: the machine's.
	Clock *wallclock.Clock
}

// Store writes entries to a ledger topic. It is safe for concurrent use.
type Store struct {
	client *kgo.Client
	topic  string
	clock  *wallclock.Clock
	nonce  string // tells this store's chunks from those of any other

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	keys map[Key]*slot
}

// slot is what the store remembers of a key while it is being written, and
// for good if it was ever written in chunks.
type slot struct {
	busy  chan struct{} // holds one token while the key is written
	users int
	last  int // of the two sets of chunks, the one that the newest manifest names; -1: none
}

// Open makes ready for writing to the ledger topic. It creates the topic if it
// is absent, and refuses one that would lose entries or that this user may not
// read and write; the errors say what to change.
func Open(ctx context.Context, cfg StoreConfig, log *slog.Logger) (*Store, error) {
	client, err := kgo.NewClient(append(slices.Clone(cfg.Opts),
		kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(250*time.Millisecond), // writes go on soon after a leader has moved
	)...)
	if err != nil {
		return nil, fmt.Errorf("ledger %s: client options: %w", cfg.Topic, err)
	}
	if err := prepare(ctx, client, cfg, log); err != nil {
		client.Close()
		return nil, fmt.Errorf("ledger topic %s: %w", cfg.Topic, err)
	}
	var nonce [4]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		client.Close()
		return nil, fmt.Errorf("ledger topic %s: %w", cfg.Topic, err)
	}
	s := &Store{client: client, topic: cfg.Topic, clock: cfg.Clock, nonce: hex.EncodeToString(nonce[:]), keys: map[Key]*slot{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close gives up the writes that are still under way; those that Put has
// returned are stored.
func (s *Store) Close() {
	s.cancel()
	s.client.Close() // also ends writes that the cluster does not answer
	s.wg.Wait()
}

// Put stores an entry and returns when it is durable: acknowledged by every
// replica in sync. The payload must not be changed afterwards, not even when
// Put has failed.
//
// When ctx ends first, the write goes on in the background, and the next Put
// of the same key waits for it, so that an older state never replaces a newer
// one.
func (s *Store) Put(ctx context.Context, key Key, payload []byte) (Probe, error) {
	if err := key.validate(); err != nil {
		return Probe{}, err
	}
	sl := s.acquire(key)
	select {
	case sl.busy <- struct{}{}:
	case <-ctx.Done():
		s.release(key, sl)
		return Probe{}, fmt.Errorf("store %s: an earlier write of it is still under way: %w", key, ctx.Err())
	}
	type result struct {
		probe Probe
		err   error
	}
	done := make(chan result, 1)
	s.wg.Go(func() {
		probe, err := s.write(key, sl, payload)
		<-sl.busy
		s.release(key, sl)
		done <- result{probe, err}
	})
	select {
	case r := <-done:
		if r.err != nil {
			return Probe{}, fmt.Errorf("store %s: %w", key, r.err)
		}
		return r.probe, nil
	case <-ctx.Done():
		return Probe{}, fmt.Errorf("store %s: not acknowledged yet: %w", key, ctx.Err())
	}
}

func (s *Store) acquire(key Key) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.keys[key]
	if sl == nil {
		sl = &slot{busy: make(chan struct{}, 1), last: -1}
		s.keys[key] = sl
	}
	sl.users++
	return sl
}

func (s *Store) release(key Key, sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.users--; sl.users == 0 && sl.last < 0 {
		delete(s.keys, key)
	}
}

// write stores one entry. There are two sets of chunks by turns, so that a
// write that is cut short leaves the chunks of the last complete one alone.
func (s *Store) write(key Key, sl *slot, payload []byte) (Probe, error) {
	m := manifest{Length: uint64(len(payload)), Checksum: xxhash.Sum64(payload)}
	next := sl.last
	if len(payload) > maxInline {
		next = (sl.last + 1) % 2
	}
	if next >= 0 {
		m.Slot = s.nonce + "." + strconv.Itoa(next)
	}
	if len(payload) <= maxInline {
		m.Inline = payload
	} else {
		var records []*kgo.Record
		for chunk := range slices.Chunk(payload, maxInline) {
			records = append(records, s.record(chunkKey(key.String(), m.Slot, len(records)), append(header(typeChunk), chunk...)))
		}
		m.Chunks = uint32(len(records))
		if err := s.client.ProduceSync(s.ctx, records...).FirstErr(); err != nil {
			return Probe{}, err
		}
	}
	body, err := cbor.Marshal(m)
	if err != nil {
		return Probe{}, err
	}
	var probe Probe
	rec := s.record(key.String(), append(header(typeManifest), body...))
	probe.Sent = s.clock.Micros(time.Now())
	acked := make(chan error, 1)
	s.client.Produce(s.ctx, rec, func(_ *kgo.Record, err error) {
		probe.Acked = s.clock.Micros(time.Now())
		acked <- err
	})
	if err := <-acked; err != nil {
		return Probe{}, err
	}
	probe.Offset = rec.Offset
	s.mu.Lock()
	sl.last = next
	s.mu.Unlock()
	return probe, nil
}

func (s *Store) record(key string, value []byte) *kgo.Record {
	return &kgo.Record{Topic: s.topic, Key: []byte(key), Value: value}
}

// The written form of a record's value: the magic, a version, a type, and then
// a chunk's bytes or a manifest.
const (
	entryMagic   = "kmtL"
	entryVersion = 1
	headerSize   = len(entryMagic) + 2

	typeManifest = 1
	typeChunk    = 2
)

func header(kind byte) []byte {
	return append([]byte(entryMagic), entryVersion, kind)
}

// manifest closes an entry.
type manifest struct {
	_        struct{} `cbor:",toarray"`
	Length   uint64
	Checksum uint64 // xxhash of the payload
	Inline   []byte // the payload, if there are no chunks
	Chunks   uint32
	Slot     string // of the chunks; without chunks, of those that are superseded
}

func chunkKey(key, slot string, i int) string { return key + "#" + slot + "/" + strconv.Itoa(i) }

// splitChunkKey is the inverse of chunkKey: it returns the key with the slot,
// and the number of the chunk.
func splitChunkKey(s string) (set string, i int, ok bool) {
	hash, slash := strings.LastIndexByte(s, '#'), strings.LastIndexByte(s, '/')
	// An entry's own key may hold a '#': only what looks like a slot is one.
	if hash < 0 || slash != hash+len("#01234567.0") || s[slash-2] != '.' {
		return "", 0, false
	}
	i, err := strconv.Atoi(s[slash+1:])
	return s[:slash], i, err == nil && i >= 0
}

// prepare creates the topic or checks the one that is there.
func prepare(ctx context.Context, client *kgo.Client, cfg StoreConfig, log *slog.Logger) error {
	if cfg.Replicas < 0 || cfg.Replicas > math.MaxInt16 {
		return fmt.Errorf("%d replicas: give 0 (as many as there are brokers, up to 3) or more", cfg.Replicas)
	}
	t, brokers, err := describe(ctx, client, cfg.Topic)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		if err = create(ctx, client, cfg, brokers); err != nil {
			return err
		}
		log.Info("created the ledger topic", "topic", cfg.Topic)
		t, err = await(ctx, client, cfg.Topic)
	case kerr.IsRetriable(err): // its leader is away at the moment
		t, err = await(ctx, client, cfg.Topic)
	}
	if err != nil {
		return explain(err, "DESCRIBE")
	}
	if n := len(t.Partitions); n != 1 {
		return fmt.Errorf("it has %d partitions and must have 1: delete it, it will be made anew", n)
	}
	if err := checkConfig(ctx, client, cfg.Topic, log); err != nil {
		return err
	}
	// Brokers that do not tell answer with the smallest number.
	if ops := t.AuthorizedOperations; ops != math.MinInt32 {
		for _, op := range []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite} {
			if ops&(1<<op) == 0 {
				return explain(kerr.TopicAuthorizationFailed, op.String())
			}
		}
	}
	return nil
}

// explain adds to a denial what to do about it.
func explain(err error, operation string) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("this user has no permission for it: grant it %s on the topic: %w", operation, err)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("this user has no permission for it: grant it %s on the cluster: %w", operation, err)
	}
	return err
}

// describe asks for the topic and for the number of brokers.
func describe(ctx context.Context, client *kgo.Client, topic string) (*kmsg.MetadataResponseTopic, int, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	req.IncludeTopicAuthorizedOperations = true
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, 0, fmt.Errorf("ask for it: %w", err)
	}
	if len(resp.Topics) != 1 {
		return nil, 0, fmt.Errorf("asked for one topic, the broker answered with %d", len(resp.Topics))
	}
	return &resp.Topics[0], len(resp.Brokers), kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func create(ctx context.Context, client *kgo.Client, cfg StoreConfig, brokers int) error {
	replicas := cfg.Replicas
	if replicas == 0 {
		replicas = max(1, min(3, brokers))
	}
	if replicas > brokers {
		return fmt.Errorf("%d replicas were asked for, but there are %d brokers: give fewer, or 0 for as many as there are, up to 3", replicas, brokers)
	}
	configs := map[string]*string{}
	for name, value := range map[string]string{
		"cleanup.policy":                 "compact",
		"message.timestamp.type":         "LogAppendTime", // so that every write is a probe of the broker's clock
		"max.message.bytes":              strconv.Itoa(maxMessageBytes),
		"unclean.leader.election.enable": "false",
		// Compaction leaves the open segment alone: small ones, so that it keeps
		// up with a snapshot every second.
		"segment.bytes":             strconv.Itoa(32 << 20),
		"segment.ms":                "300000",
		"min.cleanable.dirty.ratio": "0.2",
	} {
		configs[name] = &value
	}
	if replicas >= 3 {
		configs["min.insync.replicas"] = kmsg.StringPtr("2")
	}
	_, err := kadm.NewClient(client).CreateTopic(ctx, 1, int16(replicas), configs, cfg.Topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) { // others create it too
		return fmt.Errorf("create it: %w", explain(err, "CREATE"))
	}
	return nil
}

// await waits until the topic that was just created can be used.
func await(ctx context.Context, client *kgo.Client, topic string) (*kmsg.MetadataResponseTopic, error) {
	for {
		t, _, err := describe(ctx, client, topic)
		if err == nil && len(t.Partitions) > 0 && t.Partitions[0].Leader >= 0 {
			return t, nil
		}
		if err != nil && !kerr.IsRetriable(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it has no leader: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkConfig refuses settings under which entries would get lost.
func checkConfig(ctx context.Context, client *kgo.Client, topic string, log *slog.Logger) error {
	rc, err := topicConfig(ctx, client, topic)
	if err != nil {
		return fmt.Errorf("read its configuration: %w", explain(err, "DESCRIBE_CONFIGS"))
	}
	for _, c := range rc.Configs {
		value := c.MaybeValue()
		switch c.Key {
		case "cleanup.policy":
			if value != "compact" {
				return fmt.Errorf("cleanup.policy is %q, which would lose entries: it must be \"compact\": change it (kafka-configs --alter --add-config cleanup.policy=compact), or delete the topic, it will be made anew", value)
			}
		case "max.message.bytes":
			if n, err := strconv.Atoi(value); err == nil && n < minMessageBytes {
				return fmt.Errorf("max.message.bytes is %d and must be at least %d: change it, or delete the topic, it will be made anew", n, minMessageBytes)
			}
		case "message.timestamp.type":
			if value != "LogAppendTime" {
				log.Warn("the ledger topic does not have message.timestamp.type=LogAppendTime, so the broker's clock cannot be compared with ours: set it, or delete the topic, it will be made anew", "topic", topic, "message.timestamp.type", value)
			}
		}
	}
	return nil
}

// hearsay is how long brokers may take to hear of a topic that was just made.
const hearsay = 30 * time.Second

// topicConfig asks any broker, which may not have heard yet of a topic that was just made: it is asked
// again until it has.
func topicConfig(ctx context.Context, client *kgo.Client, topic string) (kadm.ResourceConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, hearsay)
	defer cancel()
	for {
		configs, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, topic)
		var rc kadm.ResourceConfig
		if err == nil {
			if rc, err = configs.On(topic, nil); err == nil {
				err = rc.Err
			}
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return rc, err
		}
		select {
		case <-ctx.Done():
			return rc, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
