package dashboards_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// registry notes the names of what is registered.
type registry struct{ names map[string]bool }

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (r registry) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		if m := fqName.FindStringSubmatch(d.String()); m != nil {
			r.names[m[1]] = true
		}
	}
	return nil
}

func (r registry) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

func (registry) Unregister(prometheus.Collector) bool { return false }

// registered are the metrics that the load tools register when they start.
func registered(t *testing.T) map[string]bool {
	t.Helper()
	r := registry{map[string]bool{metrics.BuildInfo: true}} // by the command line
	log := slog.New(slog.DiscardHandler)

	var p produce.Config
	p.SetDefaults()
	p.TestID, p.ID, p.Topics = "t1", "producer-1", []string{"load"}
	if _, err := produce.New(p, produce.Deps{Logger: log, Registerer: r}); err != nil {
		t.Fatal(err)
	}
	var c consume.Config
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = "t1", "consumer-1", []string{"load"}
	if _, err := consume.New(c, consume.Deps{Logger: log, Registerer: r}); err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	at := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	var a audit.Config
	a.SetDefaults()
	a.TestID, a.Topics = "t1", []string{"load"}
	auditor, err := audit.New(t.Context(), a, audit.Deps{Source: at, Destination: at, Logger: log, Registerer: r})
	if err != nil {
		t.Fatal(err)
	}
	auditor.Close()
	return r.names
}

// declared reads the names of the load tools' metrics from their declarations, with the comment that says
// of which type each is.
func declared(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../metrics/metrics.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if value, ok := v.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING {
			if name, err := strconv.Unquote(value.Value); err == nil && strings.HasPrefix(name, "kmt_") {
				kind, _, _ := strings.Cut(strings.TrimSpace(v.Comment.Text()), ":")
				kind, _, _ = strings.Cut(kind, ",")
				names[name] = kind
			}
		}
		return true
	})
	return names
}

// known are all metrics that there are, with their types: the load tools' own as they register them, those
// of the JMX rules, those of exporters as recorded, and those that our rules record.
func known(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	kinds := declared(t)
	for name := range registered(t) {
		kind := kinds[name]
		if name == metrics.BuildInfo {
			kind = "gauge"
		}
		if kind != "counter" && kind != "gauge" && kind != "histogram" {
			t.Errorf("%s is registered, and metrics.go says of it %q: want counter, gauge or histogram", name, kind)
		}
		names[name] = kind
	}
	for name := range kinds {
		if names[name] == "" {
			t.Errorf("%s is declared, and nobody registers it", name)
		}
	}
	for _, process := range replicators.Processes() {
		of, err := replicators.JMXMetrics(process)
		if err != nil {
			t.Fatal(err)
		}
		for name, kind := range of {
			names[name] = kind
		}
	}
	kindsRecorded, _ := recorded(t)
	maps.Copy(names, kindsRecorded)
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, r := range g.Rules {
			if r.Record != "" {
				names[r.Record] = "gauge" // whatever it records has been rated already
			}
		}
	}
	return names
}

// recorded are the metrics of exporters as recorded: their types, and the labels of those that have any.
func recorded(t *testing.T) (kinds map[string]string, labels map[string][]string) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) < 3 {
		t.Fatalf("recorded names: %v, %v", paths, err)
	}
	kinds, labels = map[string]string{}, map[string][]string{}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] != "#" {
				kinds[fields[0]], labels[fields[0]] = fields[1], fields[2:]
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return kinds, labels
}
