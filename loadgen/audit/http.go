package audit

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Handler serves the verdict so far at GET /verdict, takes events at POST
// /events, and starts the drain at POST /drain.
func (a *Auditor) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /verdict", func(w http.ResponseWriter, _ *http.Request) {
		doc := a.Snapshot()
		w.Header().Set("Content-Type", "application/json")
		if err := doc.Write(w); err != nil {
			a.log.Warn("could not answer GET /verdict", "error", err)
		}
	})
	mux.HandleFunc("POST /events", func(w http.ResponseWriter, r *http.Request) {
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		dec.DisallowUnknownFields()
		var e verdict.Event
		if err := dec.Decode(&e); err != nil {
			http.Error(w, fmt.Sprintf("event: %v: want {\"time_unix_us\", \"kind\", \"side\", \"detail\"}", err), http.StatusBadRequest)
			return
		}
		if e.Kind == "" {
			http.Error(w, "event: kind is empty: want a word such as broker-kill", http.StatusBadRequest)
			return
		}
		a.AddEvent(e)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		a.Drain()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}
