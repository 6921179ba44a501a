package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// httpConfig says where a load tool serves HTTP.
type httpConfig struct {
	Address string // host:port; empty means nowhere
	Pprof   bool
}

// Validate reports every mistake.
func (c *httpConfig) Validate() error {
	if c.Address == "" {
		if c.Pprof {
			return errors.New("--pprof needs --metrics-address")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("--metrics-address %q is not host:port (%w): for example 127.0.0.1:8001", c.Address, err)
	}
	return nil
}

// httpFlags adds the flags for HTTP; the port is the default on 127.0.0.1.
func httpFlags(cmd *cobra.Command, c *httpConfig, port int) {
	c.Address = fmt.Sprintf("127.0.0.1:%d", port)
	cmd.Flags().StringVar(&c.Address, "metrics-address", c.Address, "where to serve /metrics, /healthz and /readyz (empty: nowhere)")
	cmd.Flags().BoolVar(&c.Pprof, "pprof", false, "serve /debug/pprof/ too")
}

// newRegistry has the metrics that every program exports.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metrics.BuildInfo, Help: "Always 1; the label has the version.",
		ConstLabels: prometheus.Labels{metrics.LabelVersion: readBuild().Version},
	})
	info.Set(1)
	registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// serve starts to serve HTTP as c says: the metrics of the registry, /healthz,
// /readyz, which tells what ready says is missing, and whatever else more
// serves, if it is not nil. The function it returns stops it.
func (a *app) serve(c httpConfig, registry *prometheus.Registry, ready func() error, more http.Handler) (stop func(), err error) {
	if c.Address == "" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	if more != nil {
		mux.Handle("/", more)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if c.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("serve HTTP: %w: choose another --metrics-address (port 0 is any free one), or none with an empty one", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("HTTP server ended", "error", err)
		}
	}()
	a.log.Info("serving HTTP", "address", listener.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-done
	}, nil
}
