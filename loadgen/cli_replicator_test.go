package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestReplicatorRegister(t *testing.T) {
	var posted, stuck atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /instances", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"allInstances":["worker-0"],"instances":{},"blacklisted":[]}`)
	})
	mux.HandleFunc("GET /topics/load", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case !posted.Load():
			http.Error(w, "it is not existed!", http.StatusNotFound)
		case stuck.Load():
			fmt.Fprint(w, `{"topic":"load","idealState":{"0":{"worker-0":"ONLINE"}},"externalView":{}}`)
		default:
			fmt.Fprint(w, `{"topic":"load","idealState":{"0":{"worker-0":"ONLINE"}},"externalView":{"0":{"worker-0":"ONLINE"}}}`)
		}
	})
	mux.HandleFunc("POST /topics", func(w http.ResponseWriter, _ *http.Request) {
		posted.Store(true)
		fmt.Fprint(w, "Successfully add new topic: load")
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	// As a Job has it.
	env := []string{"LOADGEN_URL=" + s.URL, "LOADGEN_SETTLE=0s"}
	args := []string{"replicator", "register", "--replicator", "ureplicator", "--topics", "load", "--timeout", "30s"}
	loadgen(t, env, args...).want(t, exitHolds, "registered load with 1 partitions\n")
	loadgen(t, env, args...).want(t, exitHolds, "unchanged: load with 1 partitions\n")

	posted.Store(false)
	stuck.Store(true)
	r := loadgen(t, env, append(args, "--timeout", "1500ms")...)
	r.want(t, exitTrouble, "after 1.5s still waiting for topic \"load\": workers copy 0 of 1 partitions", "registered load with 1 partitions")
	if strings.Contains(r.stderr, "--help") {
		t.Errorf("usage was right, yet it points at the help:\n%s", r.stderr)
	}

	loadgen(t, nil, "replicator", "register", "--replicator", "mirrormaker2", "--topics", "load").want(t, exitHolds, "nothing to register")
	loadgen(t, nil, "replicator", "register", "--replicator", "mm1").want(t, exitTrouble, `replicator "mm1"`, "no topics", "See 'loadgen replicator register --help'.")
}
