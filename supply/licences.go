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

	"github.com/google/licensecheck"
)

// allowed are the licences under which a module may be part of what we give away.
var allowed = []string{
	"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-2-Clause-FreeBSD", "BSD-2-Clause-Views", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0",
	"MPL-2.0-no-copyleft-exception", "OFL-1.1", "Unicode-DFS-2016", "Unlicense", "Zlib",
	"CC-BY-4.0", "CC-BY-SA-4.0", // of documentation
}

// exceptions are modules whose licence no file of theirs says in words that are recognised, with what it is and how
// that is known.
var exceptions = map[string]string{
	"github.com/golang/freetype":       "FTL, of the two that its LICENSE offers; make bench draws with it, and nothing that we give away has it",
	"github.com/mattn/go-localereader": "MIT, as its README says; Pulumi's CLI library has it",
}

// licence is a module and what its files are under.
type licence struct {
	Module, Version string
	IDs             []string // SPDX, sorted
	Files           []string
}

// String is one line.
func (l licence) String() string {
	if reason := exceptions[l.Module]; reason != "" {
		return fmt.Sprintf("%s %s: %s", l.Module, l.Version, reason)
	}
	return fmt.Sprintf("%s %s: %s", l.Module, l.Version, strings.Join(l.IDs, ", "))
}

// readLicences returns the licences of all modules that have a package in anything here, and an error that
// names each module that may not be used, or whose licence is not known.
func readLicences(ctx context.Context, root string) ([]licence, error) {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-test", "-json=Module", "./...")
	list.Dir = root
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("licences: go list: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	type module struct {
		Path, Version, Dir string
		Main               bool
		Replace            *module
	}
	modules := map[string]module{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *module }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("licences: go list: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			m := *p.Module
			if m.Replace != nil {
				m.Dir = m.Replace.Dir
			}
			modules[m.Path] = m
		}
	}
	var all []licence
	var errs []error
	for _, m := range modules {
		l := licence{Module: m.Path, Version: m.Version}
		if err := l.read(m.Dir); err != nil {
			return nil, fmt.Errorf("licence of %s: %w", m.Path, err)
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b licence) int { return strings.Compare(a.Module, b.Module) })
	for _, l := range all {
		errs = append(errs, l.check())
	}
	return all, errors.Join(errs...)
}

// read looks at the files at a module's root that speak of its licence.
func (l *licence) read(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.ToUpper(f.Name())
		if f.IsDir() || !slices.ContainsFunc([]string{"LICEN", "COPYING", "UNLICENSE", "COPYRIGHT", "MIT-LICENSE"}, func(p string) bool { return strings.HasPrefix(name, p) }) ||
			strings.HasSuffix(name, ".GO") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		l.Files = append(l.Files, f.Name())
		for _, match := range licensecheck.Scan(text).Match {
			if !match.IsURL && !slices.Contains(l.IDs, match.ID) {
				l.IDs = append(l.IDs, match.ID)
			}
		}
	}
	slices.Sort(l.IDs)
	return nil
}

func (l *licence) check() error {
	if exceptions[l.Module] != "" {
		return nil
	}
	if len(l.IDs) == 0 {
		return fmt.Errorf("%s %s: its licence is not known (looked at: %s): read it, and say in supply/licences.go what it is, or do without it", l.Module, l.Version, strings.Join(l.Files, ", "))
	}
	for _, id := range l.IDs {
		if !slices.Contains(allowed, id) {
			return fmt.Errorf("%s %s is under %s, which is not among the licences that are allowed (supply/licences.go): do without it, or have the licence looked at", l.Module, l.Version, id)
		}
	}
	return nil
}
