package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	// pinnedDatabase is the version of golang.org/x/vulndb that is looked into.
	pinnedDatabase = "v0.0.0-20261105234957-e22db6528018"
)

type vulnerabilities struct {
	database, binary string
	stdout, stderr   io.Writer
}

func (v *vulnerabilities) run(ctx context.Context, root string) error {
	if _, err := os.Stat(filepath.Join(root, v.binary)); err != nil {
		return fmt.Errorf("--binary: %w: run make build", err)
	}
	dir, err := os.MkdirTemp("", "vulnerabilities")
	if err != nil {
		return fmt.Errorf("vulnerabilities: %w", err)
	}
	defer os.RemoveAll(dir)
	source, err := v.download(ctx, dir)
	if err != nil {
		return fmt.Errorf("the database of vulnerabilities, golang.org/x/vulndb@%s, could not be had; nothing is known: %w: %w", v.database, err, errUnanswered)
	}
	newest, n, err := writeDatabase(filepath.Join(source, "data", "osv"), filepath.Join(dir, "db"))
	if err != nil {
		return fmt.Errorf("database of vulnerabilities: %w", err)
	}
	fmt.Fprintf(v.stdout, "%d reports, the newest was published on %s\n", n, newest.Format(time.DateOnly))
	database := "file://" + filepath.Join(dir, "db")
	fmt.Fprintf(v.stdout, "== what %s has\n", v.binary)
	switch err := v.check(ctx, "-db", database, "-mode", "binary", filepath.Join(root, v.binary)); {
	case err == nil:
		return nil
	case exitCode(err) == foundSome:
		return fmt.Errorf("%s has known vulnerabilities: take the versions that are named above, or newer", v.binary)
	default:
		return fmt.Errorf("govulncheck of %s: %w", v.binary, err)
	}
}

// foundSome is how govulncheck exits when it has found something.
const foundSome = 3

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// download returns where the database's module is.
func (v *vulnerabilities) download(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "golang.org/x/vulndb@"+v.database)
	cmd.Dir = dir // not in our module, of which it is no part
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if decoded := json.Unmarshal(out, &module); decoded != nil || module.Error != "" || module.Dir == "" {
		return "", fmt.Errorf("go mod download: %s", strings.TrimSpace(module.Error+" "+fmt.Sprint(err)))
	}
	return module.Dir, nil
}

// check runs govulncheck. It is built to be run, since `go run` hides how a program exits.
func (v *vulnerabilities) check(ctx context.Context, args ...string) error {
	bin, err := os.MkdirTemp("", "govulncheck")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	install := exec.CommandContext(ctx, "go", "install", govulncheck)
	install.Dir = bin
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w: %s: %w", govulncheck, err, bytes.TrimSpace(out), errUnanswered)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "govulncheck"), args...)
	cmd.Stdout, cmd.Stderr = v.stdout, v.stderr
	return cmd.Run()
}

// report is what an index needs of a report in the OSV format.
type report struct {
	ID        string    `json:"id"`
	Modified  time.Time `json:"modified"` // the repository has none: the index of vuln.go.dev is filled later
	Published time.Time `json:"published"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	Aliases   []string  `json:"aliases"`
	Affected  []struct {
		Package struct{ Name string } `json:"package"`
		Ranges  []struct {
			Events []struct{ Fixed string } `json:"events"`
		} `json:"ranges"`
	} `json:"affected"`
}

// writeDatabase makes of a directory of reports what govulncheck reads: https://go.dev/doc/security/vuln/database#api.
func writeDatabase(reports, to string) (newest time.Time, n int, err error) {
	type inModule struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Fixed    string    `json:"fixed,omitempty"`
	}
	type module struct {
		Path  string     `json:"path"`
		Vulns []inModule `json:"vulns"`
	}
	type vuln struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Aliases  []string  `json:"aliases,omitempty"`
	}
	files, err := filepath.Glob(filepath.Join(reports, "GO-*.json"))
	if err != nil {
		return newest, 0, err
	}
	if len(files) == 0 {
		return newest, 0, fmt.Errorf("%s has no reports", reports)
	}
	for _, dir := range []string{"index", "ID"} {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return newest, 0, err
		}
	}
	byPath := map[string]*module{}
	var modules []*module
	vulns := []vuln{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return newest, 0, err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return newest, 0, fmt.Errorf("%s: %w", file, err)
		}
		if !r.Withdrawn.IsZero() {
			continue
		}
		if r.Modified.IsZero() {
			r.Modified = r.Published
		}
		if r.Published.After(newest) {
			newest = r.Published
		}
		vulns = append(vulns, vuln{r.ID, r.Modified, r.Aliases})
		for _, a := range r.Affected {
			m := byPath[a.Package.Name]
			if m == nil {
				m = &module{Path: a.Package.Name}
				byPath[a.Package.Name] = m
				modules = append(modules, m)
			}
			fixed := ""
			for _, ranges := range a.Ranges {
				for _, e := range ranges.Events {
					if e.Fixed != "" {
						fixed = e.Fixed
					}
				}
			}
			if n := len(m.Vulns); n == 0 || m.Vulns[n-1].ID != r.ID {
				m.Vulns = append(m.Vulns, inModule{r.ID, r.Modified, fixed})
			}
		}
		if err := os.WriteFile(filepath.Join(to, "ID", r.ID+".json"), text, 0o644); err != nil {
			return newest, 0, err
		}
	}
	slices.SortFunc(modules, func(a, b *module) int { return strings.Compare(a.Path, b.Path) })
	for name, v := range map[string]any{"db": map[string]time.Time{"modified": newest}, "modules": modules, "vulns": vulns} {
		text, err := json.Marshal(v)
		if err != nil {
			return newest, 0, err
		}
		if err := os.WriteFile(filepath.Join(to, "index", name+".json"), text, 0o644); err != nil {
			return newest, 0, err
		}
	}
	return newest, len(vulns), nil
}
