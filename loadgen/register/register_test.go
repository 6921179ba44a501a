package register

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// controller behaves as real uReplicator controllers were seen to: a topic that is posted before any
// worker has joined is never assigned; a posted topic never follows its source's growth; PUT and DELETE
// + POST cure. Time is counted in requests.
type controller struct {
	mu      sync.Mutex
	down    int            // requests that fail before it is up
	joins   []int          // requests after which a further worker joins
	stuck   bool           // workers never get online
	topics  map[string]int // assigned partitions; 0 if posted too early
	online  map[string]int // requests until a topic's partitions are online
	asked   int
	changes []string // POST, PUT, DELETE
}

func newController(joins ...int) *controller {
	return &controller{joins: joins, topics: map[string]int{}, online: map[string]int{}}
}

func (c *controller) workers() []string {
	names := []string{}
	for i, join := range c.joins {
		if c.asked > join {
			names = append(names, fmt.Sprint("worker-", i))
		}
	}
	return names
}

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.down > 0 {
		c.down--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body struct {
		Topic         string
		NumPartitions int
	}
	if r.Body != nil {
		_ = json.NewDecoder(r.Body).Decode(&body) // empty for GET and DELETE
	}
	name := strings.TrimPrefix(r.URL.Path, "/topics/")
	assign := func() {
		c.topics[body.Topic], c.online[body.Topic] = body.NumPartitions, 2
		if len(c.workers()) == 0 {
			c.topics[body.Topic] = 0
		}
	}
	refuse := func(what string) { http.Error(w, what, http.StatusNotFound) }
	switch {
	case r.URL.Path == "/instances":
		_ = json.NewEncoder(w).Encode(map[string]any{"allInstances": c.workers(), "instances": map[string]any{}, "blacklisted": []string{}})
	case r.Method == http.MethodGet:
		if _, known := c.topics[name]; !known {
			refuse("Failed to get ExternalView for topic: " + name + ", it is not existed!")
			return
		}
		ideal, external := map[string]any{}, map[string]any{}
		for p := range c.topics[name] {
			ideal[strconv.Itoa(p)] = map[string]string{"worker-0": "ONLINE"}
			if c.online[name] <= 0 && !c.stuck {
				external[strconv.Itoa(p)] = map[string]string{"worker-0": "ONLINE"}
			}
		}
		c.online[name]--
		_ = json.NewEncoder(w).Encode(map[string]any{"topic": name, "idealState": ideal, "externalView": external})
	case r.Method == http.MethodPost:
		c.changes = append(c.changes, fmt.Sprint("POST ", body.Topic, " ", body.NumPartitions))
		if _, known := c.topics[body.Topic]; known {
			refuse("Failed to add new topic: " + body.Topic + ", it is already existed!")
			return
		}
		assign()
		fmt.Fprint(w, "Successfully add new topic: ", body.Topic)
	case r.Method == http.MethodPut:
		c.changes = append(c.changes, fmt.Sprint("PUT ", body.Topic, " ", body.NumPartitions))
		if _, known := c.topics[body.Topic]; !known {
			refuse("Failed to expand topic, topic: " + body.Topic + " is not existed!")
			return
		}
		assign()
		fmt.Fprint(w, "Successfully expand topic: ", body.Topic)
	case r.Method == http.MethodDelete:
		c.changes = append(c.changes, "DELETE "+name)
		delete(c.topics, name)
		fmt.Fprint(w, "Successfully finished delete topic: ", name)
	}
}

func (c *controller) takeChanges() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.changes = nil }()
	return c.changes
}

// serve returns a configuration for the handler.
func serve(t *testing.T, replicator string, h http.Handler) Config {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	var c Config
	c.SetDefaults()
	c.Replicator, c.URL, c.Topics, c.Partitions = replicator, s.URL, []string{"load", "kmt-selftest:1"}, 4
	c.Settle, c.Timeout, c.poll = 5*time.Millisecond, 20*time.Second, time.Millisecond
	c.Source = []string{"b:9092", "a:9092"}
	return c
}

func run(t *testing.T, c Config) Done {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	done, err := Register(context.Background(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%v (%+v)", err, done)
	}
	return done
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestTopicsAreRegisteredOnceWorkersAreThere(t *testing.T) {
	h := newController(20, 25) // both after the first looks
	h.down = 5
	c := serve(t, UReplicator, h)
	c.Instances = 2
	done := run(t, c)
	check(t, "requests", h.takeChanges(), "POST load 4", "POST kmt-selftest 1")
	check(t, "changed", done.Changed, "registered load with 4 partitions", "registered kmt-selftest with 1 partitions")
	if h.topics["load"] != 4 {
		t.Error("load was registered before any worker joined, and is not assigned")
	}

	done = run(t, c)
	check(t, "again: requests", h.takeChanges())
	check(t, "again: changed", done.Changed)
	check(t, "again: unchanged", done.Unchanged, "load with 4 partitions", "kmt-selftest with 1 partitions")
}

func TestTopicPostedTooEarlyIsCured(t *testing.T) {
	h := newController(0)
	h.topics["load"] = 0
	run(t, serve(t, UReplicator, h))
	check(t, "requests", h.takeChanges(), "DELETE load", "POST load 4", "POST kmt-selftest 1")
	if h.topics["load"] != 4 {
		t.Errorf("load has %d partitions", h.topics["load"])
	}
}

func TestGrowth(t *testing.T) {
	for growth, want := range map[string][]string{
		GrowthNone: nil, GrowthCure: {"PUT load 8"}, GrowthDestinationFirst: nil,
	} {
		t.Run(growth, func(t *testing.T) {
			h := newController(0)
			c := serve(t, UReplicator, h)
			c.Growth = growth
			run(t, c)
			h.takeChanges()
			c.Partitions = 8
			done := run(t, c)
			check(t, "requests", h.takeChanges(), want...)
			if growth != GrowthCure {
				check(t, "left", done.Left, "load: uReplicator knows of 4 partitions of 8, and is not told (partition growth "+growth+")")
				return
			}
			check(t, "changed", done.Changed, "expanded load from 4 to 8 partitions")
			run(t, c)
			check(t, "again: requests", h.takeChanges())
		})
	}
}

func TestFewerPartitionsAreRefused(t *testing.T) {
	h := newController(0)
	c := serve(t, UReplicator, h)
	run(t, c)
	h.takeChanges()
	c.Partitions = 2
	_, err := Register(context.Background(), c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "copies 4 partitions, more than 2") {
		t.Errorf("got %v", err)
	}
	check(t, "requests", h.takeChanges())
}

func TestWhatIsMissingAtTheEndIsSaid(t *testing.T) {
	nobody := newController()
	stuck := newController(0)
	stuck.stuck = true
	dead := newController(0)
	dead.down = 1 << 30
	for want, h := range map[string]*controller{
		"workers: 0 of 1 are alive":                    nobody,
		`topic "load": workers copy 0 of 4 partitions`: stuck,
		"HTTP 503": dead,
	} {
		c := serve(t, UReplicator, h)
		c.Timeout = 200 * time.Millisecond
		_, err := Register(context.Background(), c, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "after 200ms") {
			t.Errorf("want %q: got %v", want, err)
		}
	}
	if changes := nobody.takeChanges(); len(changes) > 0 {
		t.Errorf("registered without workers: %v", changes)
	}
}

func TestASignalEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Register(ctx, serve(t, UReplicator, newController()), slog.New(slog.DiscardHandler))
	if err == nil || ctx.Err() == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v", err)
	}
}

// brooklin behaves as Brooklin's public source says: a created datastream is INITIALIZING until the
// leader has seen it, a deleted one is DELETING until the leader removed it, and creating one that
// exists is a conflict. Time is counted in requests.
type brooklin struct {
	mu      sync.Mutex
	streams map[string]replicators.Datastream
	left    map[string]int // requests until the leader looks
	changes []string
}

func (b *brooklin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	refuse := func(status int, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"exceptionClass": "com.linkedin.restli.server.RestLiServiceException", "message": message, "status": status})
	}
	if r.Header.Get("X-RestLi-Protocol-Version") != "2.0.0" {
		refuse(http.StatusBadRequest, "no protocol version")
		return
	}
	for name, d := range maps.Clone(b.streams) {
		if b.left[name]--; b.left[name] > 0 {
			continue
		}
		switch d.Status {
		case "INITIALIZING":
			d.Status = "READY"
			b.streams[name] = d
		case "DELETING":
			delete(b.streams, name)
		}
	}
	name := strings.TrimPrefix(r.URL.Path, "/datastream/")
	switch r.Method {
	case http.MethodGet:
		d, ok := b.streams[name]
		if !ok {
			refuse(http.StatusNotFound, "")
			return
		}
		_ = json.NewEncoder(w).Encode(d)
	case http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		var d replicators.Datastream
		if err := json.Unmarshal(body, &d); err != nil || d.Metadata["owner"] == "" || d.Status != "" {
			refuse(http.StatusBadRequest, "Invalid input params for create request")
			return
		}
		b.changes = append(b.changes, "POST "+d.Source.ConnectionString)
		if _, exists := b.streams[d.Name]; exists {
			refuse(http.StatusConflict, "Datastream with the same name already exists")
			return
		}
		d.Status, d.Metadata["system.creation.ms"] = "INITIALIZING", "1"
		b.streams[d.Name], b.left[d.Name] = d, 3
		w.WriteHeader(http.StatusCreated)
	case http.MethodDelete:
		b.changes = append(b.changes, "DELETE "+name)
		d := b.streams[name]
		d.Status = "DELETING"
		b.streams[name], b.left[name] = d, 3
	}
}

func TestBrooklinGetsOneDatastream(t *testing.T) {
	h := &brooklin{streams: map[string]replicators.Datastream{}, left: map[string]int{}}
	c := serve(t, Brooklin, h)
	done := run(t, c)
	const first = "kafka://a:9092,b:9092/^(load|kmt-selftest)$"
	check(t, "requests", h.changes, "POST "+first)
	check(t, "changed", done.Changed, "created datastream kmt: "+first)

	done = run(t, c)
	check(t, "again: requests", h.changes, "POST "+first)
	check(t, "again: unchanged", done.Unchanged, "datastream kmt: "+first)

	c.Growth, c.Partitions = GrowthCure, 8
	run(t, c)
	check(t, "growth: requests", h.changes, "POST "+first) // the destination's growth is the cure

	h.changes = nil
	c.Pattern, c.Topics = "^(load.*|kmt-selftest)$", nil
	done = run(t, c)
	const second = "kafka://a:9092,b:9092/^(load.*|kmt-selftest)$"
	check(t, "another pattern: requests", h.changes, "DELETE kmt", "POST "+second)
	if len(done.Changed) != 2 || !strings.Contains(done.Changed[0], first) {
		t.Errorf("another pattern: %q", done.Changed)
	}
}

func TestHaltedDatastreamIsReported(t *testing.T) {
	h := &brooklin{streams: map[string]replicators.Datastream{}, left: map[string]int{}}
	c := serve(t, Brooklin, h)
	run(t, c)
	d := h.streams["kmt"]
	d.Status = "PAUSED"
	h.streams["kmt"] = d
	_, err := Register(context.Background(), c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "is PAUSED") || !strings.Contains(err.Error(), "action=resume") {
		t.Errorf("got %v", err)
	}
}

func TestNothingToRegister(t *testing.T) {
	for _, replicator := range []string{MirrorMaker2, None} {
		var c Config
		c.SetDefaults()
		c.Replicator, c.Topics = replicator, []string{"load"}
		if done := run(t, c); len(done.Changed) > 0 || len(done.Unchanged) != 1 {
			t.Errorf("%s: %+v", replicator, done)
		}
	}
}

func TestValidateReportsEveryMistake(t *testing.T) {
	c := Config{Replicator: UReplicator, URL: "ureplicator:9000", Growth: "some", Topics: []string{"a:0", "b/c"}, Settle: -1}
	err := c.Validate()
	for _, want := range []string{`"ureplicator:9000"`, `"some"`, `"a:0"`, `"b/c"`, "0 instances", "settle time", "timeout 0s", "0 partitions"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	c = Config{Replicator: Brooklin, Pattern: "a/b"}
	err = c.Validate()
	for _, want := range []string{`address ""`, "without a slash", "no bootstrap servers", `name ""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestBrooklinNeedsTopicsOrAPattern(t *testing.T) {
	h := &brooklin{streams: map[string]replicators.Datastream{}, left: map[string]int{}}
	c := serve(t, Brooklin, h)
	c.Topics = nil
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "no topics") {
		t.Errorf("got %v", err)
	}
}

func TestProgressIsToldOnceEach(t *testing.T) {
	var log bytes.Buffer
	c := serve(t, UReplicator, newController(30))
	if _, err := Register(context.Background(), c, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "workers: 0 of 1 are alive"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
