package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// print shows a part's tables.
func (b *bench) print(r *result) error {
	_, err := fmt.Fprintf(b.stdout, "\n%s\n", tables(r))
	return err
}

func reportCommand(stdout io.Writer) *cobra.Command {
	var from, into string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write the tables and plots of a run into a document, and keep the raw results beside it",
		Long: `Write the tables of a run between the document's marks (<!-- bench:produce --> and
<!-- bench:end -->, for each part), its plots and raw results into the directory beside it that has
the document's name. Parts that were not measured stay as they are.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return report(from, into, stdout) },
	}
	cmd.Flags().StringVar(&from, "from", "bench-report", "directory of the raw results")
	cmd.Flags().StringVar(&into, "into", filepath.Join("docs", "performance.md"), "the document")
	return cmd
}

func report(from, into string, stdout io.Writer) error {
	results, err := readResults(from)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(into)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	beside := strings.TrimSuffix(into, filepath.Ext(into))
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return err
	}
	document := string(text)
	for _, r := range results {
		if document, err = replaceBetween(document, r.Part, head(r)+"\n"+tables(r)); err != nil {
			return fmt.Errorf("%s: %w", into, err)
		}
		raw, err := os.ReadFile(filepath.Join(from, r.Part+".json"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(beside, r.Part+".json"), raw, 0o644); err != nil {
			return err
		}
		if r.Part == partGrowth {
			if err := plots(r, beside); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(into, []byte(document), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s and %s are up to date\n", into, beside)
	return err
}

const endMark = "<!-- bench:end -->"

// replaceBetween puts text between a part's marks.
func replaceBetween(document, part, text string) (string, error) {
	mark := "<!-- bench:" + part + " -->"
	before, rest, ok := strings.Cut(document, mark)
	_, after, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return "", errors.New("it has no place for " + part + ": add a line " + mark + " and a line " + endMark)
	}
	return before + mark + "\n" + text + endMark + after, nil
}

// head says where, when and with what.
func head(r *result) string {
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	m := r.Machine
	text := fmt.Sprintf("%s, %s, %d cores, %.1f GB, Linux %s, load average before %s; %s", r.Began.UTC().Format("2006-01-02 15:04"), m.CPU, m.Cores, m.MemoryGB, m.Kernel, m.Load, m.Go)
	if len(versions) > 0 {
		text += ", " + strings.Join(versions, ", ")
	}
	if r.Repetitions > 1 {
		text += fmt.Sprintf("; medians of %d repetitions (least-most)", r.Repetitions)
	}
	text += "."
	if r.Settings != "" {
		text += " Settings: " + r.Settings + "."
	}
	return text + "\n"
}

// tables writes a part's results as Markdown.
func tables(r *result) string {
	switch r.Part {
	case partProduce:
		return sideBySide(r, producers())
	case partConsume:
		return sideBySide(r, consumers())
	case partOneCore:
		return oneCoreTable(r)
	case partAlone:
		return aloneTable(r)
	case partStacks:
		return stacksTable(r)
	case partGrowth:
		return growthTable(r)
	case partEndToEnd:
		return endToEndTable(r)
	}
	return ""
}

func table(columns []string, rows [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

func sideBySide(r *result, contenders []contender) string {
	var sizes []int
	for _, m := range r.Runs {
		if !slices.Contains(sizes, m.Size) {
			sizes = append(sizes, m.Size)
		}
	}
	var rows [][]string
	for _, size := range sizes {
		limit := of(r.Runs, func(m measured) bool { return m.Contender == bare && m.Size == size })
		for _, c := range contenders {
			runs := of(r.Runs, func(m measured) bool { return m.Contender == c.name && m.Size == size })
			if len(runs) == 0 {
				continue
			}
			name := c.name
			if c.name == bare {
				name += " (the limit)"
			}
			rows = append(rows, []string{fmt.Sprintf("%d B", size), name,
				figures(runs, measured.mbPerSecond).String(), ratios(runs, limit, measured.mbPerSecond).String(),
				figures(runs, measured.cpuPerGB).String(), ratios(runs, limit, measured.cpuPerGB).String(),
				figures(runs, measured.brokerCPUPerGB).String(), figures(runs, measured.peakMB).String()})
		}
	}
	return table([]string{"size", "", "MB/s", "to the limit", "CPU s/GB", "to the limit", "broker's CPU s/GB", "peak MB"}, rows)
}

func growthTable(r *result) string {
	var b strings.Builder
	for _, series := range []string{seriesProducers, seriesPartitions, seriesTopics, seriesSize} {
		var rows [][]string
		for _, m := range r.Runs {
			if m.Series != series {
				continue
			}
			rows = append(rows, []string{growthX(m), m.Contender, number(m.mbPerSecond()), number(m.cpuPerGB()), number(m.CPU * 1e9 / float64(m.Records)), number(m.brokerCPUPerGB()), number(m.peakMB())})
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "%s\n![cost by %s](performance/growth-%s.svg)\n\n", table([]string{series, "", "MB/s", "CPU s/GB", "CPU ns a record", "broker's CPU s/GB", "peak MB"}, rows), series, series)
		}
	}
	return b.String()
}

// growthX is what grows.
func growthX(m measured) string { return fmt.Sprint(growthValue(m)) }

func growthValue(m measured) int {
	switch m.Series {
	case seriesProducers:
		return m.Processes
	case seriesPartitions:
		return m.Partitions
	case seriesTopics:
		return m.Topics
	}
	return m.Size
}

// byName groups benchmarks of the same name, in their first order.
func byName(all []benchmark) (names []string, groups map[string][]benchmark) {
	groups = map[string][]benchmark{}
	for _, m := range all {
		if groups[m.Name] == nil {
			names = append(names, m.Name)
		}
		groups[m.Name] = append(groups[m.Name], m)
	}
	return names, groups
}

func values(all []benchmark, unit string) spread {
	var v []float64
	for _, m := range all {
		if x, ok := m.Values[unit]; ok {
			v = append(v, x)
		}
	}
	return spreadOf(v)
}

func aloneTable(r *result) string {
	names, groups := byName(r.Benchmarks)
	var paths, verify, ledgers [][]string
	for _, name := range names {
		g := groups[name]
		ns := values(g, "ns/op")
		label := strings.NewReplacer("_", " ", "/", ", ").Replace(name)
		switch {
		case strings.HasPrefix(name, "Verify/"):
			verify = append(verify, []string{strings.TrimPrefix(label, "Verify, "), values(g, "M/s").String(), ns.String(), number(values(g, "heap-B").median / 1000)})
		case strings.HasPrefix(name, "Ledger/"):
			row := []string{strings.TrimPrefix(label, "Ledger, "), spread{ns.median / 1e6, ns.least / 1e6, ns.most / 1e6}.String(), "", ""}
			if s := values(g, "stored-B").median; s > 0 {
				row[2], row[3] = number(s/1000), number(values(g, "heap-B").median/1000)
			}
			ledgers = append(ledgers, row)
		default:
			paths = append(paths, []string{g[0].Package, label, ns.String(), values(g, "allocs/op").String()})
		}
	}
	return table([]string{"package", "benchmark", "ns a record", "allocations"}, paths) + "\n" +
		table([]string{"observing, checksum apart", "M/s on one core", "ns", "heap kB"}, verify) + "\n" +
		table([]string{"ledger of 10^9 messages", "ms", "stored kB", "heap kB"}, ledgers)
}

func stacksTable(r *result) string {
	var rows [][]string
	for _, m := range r.Benchmarks {
		_, size, _ := strings.Cut(m.Name, "=")
		rows = append(rows, []string{size, number(m.Values["resources"]), number(m.Values["ns/op"] / 1e9), number(m.Values["B/op"] / 1e6), number(float64(m.PeakRSS) / 1e6)})
	}
	return table([]string{"brokers a side, and workers", "resources, both stacks", "seconds", "allocated MB", "peak MB of the process"}, rows)
}
