// Package serve is the small HTTP server that each load tool runs beside its
// work, for monitoring.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says where to listen.
type Config struct {
	// Address is host:port, of which the port may be 0 for any free one. Empty
	// means no server.
	Address string
	// Pprof adds the profiles of net/http/pprof under /debug/pprof/.
	Pprof bool
}

// SetDefaults sets no address: each tool has its own port (see package
// metrics).
func (c *Config) SetDefaults() { *c = Config{} }

// Validate reports an address that is none.
func (c *Config) Validate() error {
	if c.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("metrics address %q: use host:port, such as 127.0.0.1:8000: %w", c.Address, err)
	}
	return nil
}

// Deps are what the server shows.
type Deps struct {
	Logger *slog.Logger
	// Gatherer is what /metrics shows.
	Gatherer prometheus.Gatherer
	// Ready says why the tool is not ready for /readyz, nil if it is. Nil means
	// always ready.
	Ready func() error
	// Handlers are further ones, by pattern as of http.ServeMux.
	Handlers map[string]http.Handler
}

// Server serves until Shutdown.
type Server struct {
	http *http.Server // nil if there is no address
	addr string
	done chan struct{}
}

// Listen starts the server. The address is taken when it returns; that it
// cannot be is an error that names it.
func Listen(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Address == "" {
		return &Server{}, nil
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("metrics address %s: choose another one (--metrics-address), or none (--metrics-address=): %w", cfg.Address, err)
	}
	s := &Server{
		http: &http.Server{Handler: handler(cfg, deps), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(deps.Logger.Handler(), slog.LevelDebug)},
		addr: listener.Addr().String(),
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			deps.Logger.Error("the server for metrics has stopped", "address", s.addr, "error", err)
		}
	}()
	return s, nil
}

// Addr is where the server listens; empty if it does not.
func (s *Server) Addr() string { return s.addr }

// Shutdown stops the server and waits for requests under way until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.http == nil {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("stop the server for metrics: %w", errors.Join(err, s.http.Close()))
	}
	<-s.done
	return err
}

func handler(cfg Config, deps Deps) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if deps.Ready != nil {
			if err := deps.Ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
	if cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	for pattern, h := range deps.Handlers {
		mux.Handle(pattern, h)
	}
	return mux
}
