package serve

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func deps() Deps {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "kmt_things_total", Help: "Things."})
	registry.MustRegister(counter)
	counter.Add(7)
	return Deps{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Gatherer: registry}
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServe(t *testing.T) {
	d := deps()
	notReady := errors.New("waiting for topic orders")
	d.Ready = func() error { return notReady }
	d.Handlers = map[string]http.Handler{"POST /drain": http.NotFoundHandler(), "GET /verdict": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "holds")
	})}
	s, err := Listen(Config{Address: "127.0.0.1:0"}, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		code int
		body string
	}{
		{"/metrics", 200, "kmt_things_total 7\n"},
		{"/healthz", 200, "ok"},
		{"/readyz", 503, "waiting for topic orders"},
		{"/verdict", 200, "holds"},
		{"/debug/pprof/", 404, ""},
		{"/", 404, ""},
	} {
		if code, body := get(t, s, test.path); code != test.code || !strings.Contains(body, test.body) {
			t.Errorf("%s: %d %q", test.path, code, body)
		}
	}
	notReady = nil
	if code, _ := get(t, s, "/readyz"); code != 200 {
		t.Errorf("ready: %d", code)
	}

	// A second one cannot have the same address, and says so.
	if _, err := Listen(Config{Address: s.Addr()}, d); err == nil || !strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), "--metrics-address") {
		t.Errorf("the address is taken: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + s.Addr() + "/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestPprof(t *testing.T) {
	s, err := Listen(Config{Address: "127.0.0.1:0", Pprof: true}, deps())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	if code, body := get(t, s, "/debug/pprof/"); code != 200 || !strings.Contains(body, "heap") {
		t.Errorf("%d %q", code, body)
	}
}

func TestAddress(t *testing.T) {
	s, err := Listen(Config{}, deps())
	if err != nil || s.Addr() != "" || s.Shutdown(t.Context()) != nil {
		t.Errorf("no address: %v", err)
	}
	for _, address := range []string{"8000", "localhost", "127.0.0.1"} {
		if _, err := Listen(Config{Address: address}, deps()); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
