package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/serve"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// httpFlags adds the flags for HTTP; the port is the default on 127.0.0.1.
func httpFlags(cmd *cobra.Command, c *serve.Config, port int) {
	c.SetDefaults()
	c.Address = fmt.Sprintf("127.0.0.1:%d", port)
	cmd.Flags().StringVar(&c.Address, "metrics-address", c.Address, "where to serve /metrics, /healthz and /readyz (empty: nowhere)")
	cmd.Flags().BoolVar(&c.Pprof, "pprof", c.Pprof, "serve /debug/pprof/ too")
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

// ofTest labels what is registered with the test's id.
func ofTest(registry *prometheus.Registry, test string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{metrics.LabelTest: test}, registry)
}

// serve starts to serve HTTP as c says; more, if it is not nil, serves whatever
// the server itself does not. The function it returns stops it.
func (a *app) serve(c serve.Config, registry *prometheus.Registry, ready func() error, more http.Handler) (stop func(), err error) {
	deps := serve.Deps{Logger: a.log, Gatherer: registry, Ready: ready}
	if more != nil {
		deps.Handlers = map[string]http.Handler{"/": more}
	}
	server, err := serve.Listen(c, deps)
	if err != nil {
		return nil, err
	}
	if server.Addr() != "" {
		a.log.Info("serving HTTP", "address", server.Addr())
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			a.log.Debug("HTTP server", "error", err)
		}
	}, nil
}
