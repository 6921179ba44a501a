package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script writes an executable shell script.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func says(version string) string {
	return "cat >&2 <<'END'\nProperty settings:\n    java.vendor = Nobody\n\nopenjdk version \"" + version + "\" 2020-01-01\nEND"
}

func TestJavaTooOldIsRefusedWithWhatWasFound(t *testing.T) {
	for version, major := range map[string]string{"1.8.0_292": "1.8.0_292", "9.0.4": "9.0.4", "10": "10"} {
		path := script(t, t.TempDir(), "java", says(version))
		_, err := findJava(t.Context(), path)
		if err == nil {
			t.Errorf("Java %s was taken", version)
			continue
		}
		for _, want := range []string{path, "Java " + major, "needs Java 11 or newer", "--java"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Java %s: %q is not in: %v", version, want, err)
			}
		}
	}
}

func TestJavaNewEnoughIsTaken(t *testing.T) {
	for _, version := range []string{"11", "11.0.2", "17.0.15", "25-ea"} {
		path := script(t, t.TempDir(), "java", says(version))
		j, err := findJava(t.Context(), path)
		if err != nil {
			t.Errorf("Java %s: %v", version, err)
		} else if j.version != version || j.path != path {
			t.Errorf("Java %s was read as %+v", version, j)
		}
	}
}

func TestJavaMissing(t *testing.T) {
	t.Setenv("JAVA_HOME", "")
	t.Setenv("PATH", t.TempDir())
	_, err := findJava(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "no Java found") || !strings.Contains(err.Error(), "--java") {
		t.Errorf("nothing on PATH: %v", err)
	}
	home := t.TempDir()
	t.Setenv("JAVA_HOME", home)
	if _, err = findJava(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "JAVA_HOME "+home) {
		t.Errorf("an empty JAVA_HOME: %v", err)
	}
	if _, err = findJava(t.Context(), "/no/such/java"); err == nil || !strings.Contains(err.Error(), "/no/such/java") {
		t.Errorf("a named one that is not there: %v", err)
	}
}

func TestWhatIsNotJavaIsRefused(t *testing.T) {
	for body, want := range map[string]string{
		"echo hello":               "does not look like Java",
		"echo out of luck; exit 3": "exit status 3; it said:\n    out of luck",
	} {
		_, err := findJava(t.Context(), script(t, t.TempDir(), "java", body))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "name another Java with --java") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// A wrapper's JVM would outlive a kill -9 of the lab, which reaches direct children only.
func TestJavaBehindAWrapperIsFound(t *testing.T) {
	home := t.TempDir()
	launcher := script(t, home, "bin/java", "exit 1")
	wrapper := script(t, t.TempDir(), "java", "cat <<'END'\n    java.home = "+home+"\nopenjdk version \"17.0.1\"\nEND")
	j, err := findJava(t.Context(), wrapper)
	if err != nil {
		t.Fatal(err)
	}
	if j.path != launcher || j.home != home {
		t.Errorf("found %+v, want %s", j, launcher)
	}
}

func TestJavaThatHangsEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := findJava(ctx, script(t, t.TempDir(), "java", "sleep 600"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
