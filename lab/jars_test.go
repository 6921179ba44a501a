package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A fake Maven that puts a file of that content at every jar's place.
func fakeMaven(t *testing.T, content string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`for a in "$@"; do case "$a" in -DoutputDirectory=*) out="${a#-DoutputDirectory=}";; esac; done; mkdir -p "$out"` + "\n")
	for _, j := range jars() {
		b.WriteString(`printf '` + content + `' > "$out/` + j.name + "\"\n")
	}
	dir := t.TempDir()
	script(t, dir, "mvn", b.String())
	return dir
}

func silent(string, ...any) {}

func TestJarsThatMavenResolvedWrongAreRefusedAndNotKept(t *testing.T) {
	t.Setenv("PATH", fakeMaven(t, "not a jar")+":"+os.Getenv("PATH"))
	cache := t.TempDir()
	_, err := resolveJars(t.Context(), cache, java{}, silent)
	first := jars()[0]
	if err == nil || !strings.Contains(err.Error(), first.name) || !strings.Contains(err.Error(), "must have "+first.sum) {
		t.Fatalf("got %v", err)
	}
	if left, _ := os.ReadDir(cache); len(left) > 0 {
		t.Errorf("the cache holds %v", left)
	}
}

func TestDamagedCacheIsNamed(t *testing.T) {
	cache := t.TempDir()
	path := filepath.Join(cache, "kafka-"+kafkaVersion, jars()[0].name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("half a jar"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := resolveJars(t.Context(), cache, java{}, silent)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove the directory") {
		t.Errorf("got %v", err)
	}
}

func TestMavenMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	cache := filepath.Join(t.TempDir(), "cache")
	_, err := resolveJars(t.Context(), cache, java{}, silent)
	if err == nil || !strings.Contains(err.Error(), "install mvn") || !strings.Contains(err.Error(), cache) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Error("something was made in the cache all the same")
	}
}

func TestMavenFailing(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "mvn", "echo Could not resolve anything; exit 1")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cache := t.TempDir()
	_, err := resolveJars(t.Context(), cache, java{}, silent)
	if err == nil || !strings.Contains(err.Error(), "Could not resolve anything") || !strings.Contains(err.Error(), "Maven Central") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(cache); len(left) > 0 {
		t.Errorf("the cache holds %v", left)
	}
}

func TestJarSumsAreComplete(t *testing.T) {
	all := jars()
	if len(all) < 100 {
		t.Errorf("%d jars only", len(all))
	}
	names := map[string]bool{}
	for _, j := range all {
		if len(j.sum) != 64 || !strings.HasSuffix(j.name, ".jar") {
			t.Errorf("odd line: %+v", j)
		}
		names[j.name] = true
	}
	for _, a := range artifacts {
		part := strings.Split(a, ":")
		if !names[part[1]+"-"+part[2]+".jar"] {
			t.Errorf("%s has no checksum", a)
		}
	}
}
