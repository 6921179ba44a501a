package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
)

// Every module that is built into anything here is under a licence that is allowed.
func TestLicencesOfAllModulesAreAllowed(t *testing.T) {
	all, err := readLicences(context.Background(), "..")
	if err != nil {
		t.Error(err)
	}
	if len(all) < 100 {
		t.Errorf("%d modules: not all are seen", len(all))
	}
	for module := range exceptions {
		if !slices.ContainsFunc(all, func(l licence) bool { return l.Module == module }) {
			t.Errorf("%s is an exception and is not built in: remove it", module)
		}
	}
}

func TestLicencesThatMayNotBeAreNamed(t *testing.T) {
	const agpl = `This program is free software: you can redistribute it and/or modify it under the terms of the GNU Affero General
Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.`
	const isc = `Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF
MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY
DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.`
	for name, test := range map[string]struct{ file, text, want string }{
		"none":        {"README.md", "MIT", "m v1: its licence is not known (looked at: )"},
		"own words":   {"LICENSE", "You may do what I like.", "its licence is not known (looked at: LICENSE)"},
		"not allowed": {"COPYING", agpl, "m v1 is under AGPL-3.0"},
		"allowed":     {"LICENSE.txt", isc, ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		l := licence{Module: "m", Version: "v1"}
		if err := l.read(dir); err != nil {
			t.Fatal(err)
		}
		if err := l.check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// All that is pinned is found in the repository, and the charts come from where infra takes them.
func TestPinsAreFoundWhereTheyStand(t *testing.T) {
	all, err := pins("..")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, p := range all {
		kinds[p.kind]++
		if p.version == "" || p.name == "" {
			t.Errorf("%+v", p)
		}
	}
	for _, kind := range []string{kindGo, kindTools, kindMaven, kindCharts, kindImages} {
		if kinds[kind] < 3 {
			t.Errorf("%d of %s", kinds[kind], kind)
		}
	}
	var infra strings.Builder
	files, err := filepath.Glob("../infra/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		infra.Write(text)
	}
	if a, b := slices.Sorted(maps.Keys(charts)), slices.Sorted(maps.Keys(catalogue.Charts())); !slices.Equal(a, b) {
		t.Errorf("charts %q, and the catalogue has %q", a, b)
	}
	for key, c := range charts {
		if !strings.Contains(infra.String(), `"`+c.repository+`"`) {
			t.Errorf("%s: infra does not take it from %s", key, c.repository)
		}
	}
}

func TestNewerVersionsAreFound(t *testing.T) {
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer images.Close()
	repository := strings.TrimPrefix(images.URL, "http://") + "/prometheus"
	for _, tag := range []string{"v3.14.0-distroless", "v3.15.1-distroless", "v3.16.0", "v3.15.0-rc.1-distroless", "latest"} {
		ref, err := name.ParseReference(repository + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, empty.Image); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	answer := func(path, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	answer("/github.com/!apps!flyer/x/@latest", `{"Version":"v1.10.0"}`)
	answer("/listed.example/x/@v/list", "v1.2.0\nv1.10.1\nv2.0.0-rc.1\n")
	answer("/strange.example/x/@latest", `{"Version":"none"}`)
	mux.HandleFunc("/refused.example/x/@latest", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not here", http.StatusForbidden) })
	answer("/org/apache/kafka/kafka_2.13/maven-metadata.xml", `<metadata><versioning><versions><version>3.9.2</version><version>4.10.0</version><version>4.9.0</version><version>5.0.0-rc1</version></versions></versioning></metadata>`)
	answer("/index.yaml", "entries:\n  chaos-mesh:\n  - version: 2.9.0\n  - version: 2.10.0\n  - version: 3.0.0-alpha\n  other: [{version: 9.9.9}]\n")
	server := httptest.NewServer(mux)
	defer server.Close()
	u := updates{http: &http.Client{Timeout: 10 * time.Second}, proxies: goProxies(server.URL + ",direct"), central: server.URL}
	ctx := context.Background()
	for what, test := range map[string]struct {
		ask        func() (string, error)
		want, fail string
	}{
		"module":           {func() (string, error) { return u.newestModule(ctx, "github.com/AppsFlyer/x") }, "v1.10.0", ""},
		"module listed":    {func() (string, error) { return u.newestModule(ctx, "listed.example/x") }, "v1.10.1", ""},
		"module refused":   {func() (string, error) { return u.newestModule(ctx, "refused.example/x") }, "", "HTTP 403: not here"},
		"module strange":   {func() (string, error) { return u.newestModule(ctx, "strange.example/x") }, "", `"none"`},
		"artifact":         {func() (string, error) { return u.newestArtifact(ctx, "org.apache.kafka:kafka_2.13") }, "4.10.0", ""},
		"artifact missing": {func() (string, error) { return u.newestArtifact(ctx, "org.apache.kafka:none") }, "", "HTTP 404"},
		"chart":            {func() (string, error) { return u.newestChart(ctx, server.URL, "chaos-mesh") }, "2.10.0", ""},
		"chart missing":    {func() (string, error) { return u.newestChart(ctx, server.URL, "none") }, "", "no version"},
		"image":            {func() (string, error) { return u.newestTag(ctx, repository, "v3.14.0-distroless") }, "v3.15.1-distroless", ""},
		"image missing":    {func() (string, error) { return u.newestTag(ctx, repository+"-none", "v1") }, "", "NAME_UNKNOWN"},
		"nobody is there":  {func() (string, error) { return u.newestChart(ctx, "http://127.0.0.1:1", "x") }, "", "127.0.0.1:1"},
	} {
		got, err := test.ask()
		if got != test.want || (err == nil) != (test.fail == "") || err != nil && !strings.Contains(err.Error(), test.fail) {
			t.Errorf("%s: %q, %v; want %q, %q", what, got, err, test.want, test.fail)
		}
	}
}

// Who could not be asked is listed, and the command does not pass for a whole answer.
func TestWhoCouldNotBeAskedIsListed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "golang.org") {
			io.WriteString(w, `{"Version":"v9.9.9"}`)
			return
		}
		http.Error(w, "gone fishing", http.StatusBadGateway)
	}))
	defer server.Close()
	u := updates{http: &http.Client{Timeout: 10 * time.Second}, proxies: []string{server.URL}, central: server.URL, only: []string{kindTools, kindMaven}}
	var out bytes.Buffer
	err := u.run(context.Background(), "..", &out)
	if !errors.Is(err, errUnanswered) {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"golang.org/x/vuln ", "v9.9.9", "org.apache.kafka:kafka_2.13", "could not be asked: " + server.URL, "HTTP 502: gone fishing", "7 looked up, 2 have a newer version, 5 could not be asked"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\ndoes not say %q", out.String(), want)
		}
	}
	u.match = "nobody has this"
	if err := u.run(context.Background(), "..", &out); err == nil || !strings.Contains(err.Error(), "--match") {
		t.Errorf("%v", err)
	}
	u.only = []string{"jars"}
	if err := u.run(context.Background(), "..", &out); err == nil || !strings.Contains(err.Error(), `--only: "jars"`) {
		t.Errorf("%v", err)
	}
}

// The database is written as govulncheck's format says: https://go.dev/doc/security/vuln/database#api.
func TestDatabaseOfVulnerabilities(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if _, _, err := writeDatabase(from, to); err == nil || !strings.Contains(err.Error(), "no reports") {
		t.Errorf("%v", err)
	}
	for id, text := range map[string]string{
		"GO-2026-0001": `{"id":"GO-2026-0001","modified":"0001-01-01T00:00:00Z","published":"2026-01-02T00:00:00Z","aliases":["CVE-1"],"affected":[
			{"package":{"name":"b.example/m"},"ranges":[{"events":[{"introduced":"0"},{"fixed":"1.2.3"}]}]},
			{"package":{"name":"b.example/m"},"ranges":[{"events":[{"introduced":"2.0.0"},{"fixed":"2.1.0"}]}]},
			{"package":{"name":"a.example/m"}}]}`,
		"GO-2026-0002": `{"id":"GO-2026-0002","modified":"2026-03-05T00:00:00Z","published":"2026-03-02T00:00:00Z","affected":[{"package":{"name":"b.example/m"}}]}`,
		"GO-2026-0003": `{"id":"GO-2026-0003","published":"2026-04-02T00:00:00Z","withdrawn":"2026-04-03T00:00:00Z","affected":[{"package":{"name":"c.example/m"}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(from, id+".json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	newest, n, err := writeDatabase(from, to)
	if err != nil || n != 2 || newest.Format(time.DateOnly) != "2026-03-02" {
		t.Errorf("%v, %d, %v", newest, n, err)
	}
	var modules []struct {
		Path  string
		Vulns []struct{ ID, Fixed string }
	}
	text, err := os.ReadFile(filepath.Join(to, "index", "modules.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &modules); err != nil {
		t.Fatal(err)
	}
	if len(modules) != 2 || modules[0].Path != "a.example/m" || modules[1].Path != "b.example/m" || len(modules[1].Vulns) != 2 || modules[1].Vulns[0].ID != "GO-2026-0001" {
		t.Errorf("%s", text)
	}
	for _, file := range []string{"index/db.json", "index/vulns.json", "ID/GO-2026-0001.json"} {
		if _, err := os.Stat(filepath.Join(to, file)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "ID", "GO-2026-0003.json")); err == nil {
		t.Error("a report that was withdrawn is there")
	}
}

// Without a database nothing is known, and that is what is said.
func TestWithoutADatabaseNothingIsKnown(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "-modcacherw")
	t.Setenv("GOMODCACHE", t.TempDir())
	v := vulnerabilities{database: pinnedDatabase, binary: "go.mod", stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	err := v.run(context.Background(), "..")
	if !errors.Is(err, errUnanswered) || !strings.Contains(err.Error(), "golang.org/x/vulndb@"+pinnedDatabase) || !strings.Contains(err.Error(), "nothing is known") {
		t.Errorf("%v", err)
	}
}
