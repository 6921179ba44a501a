package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// javaScript is a Java that does what body says when it is asked for its version, and else what start says.
func javaScript(t *testing.T, version, start string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "java")
	text := "#!/bin/sh\ncase \"$*\" in *-version*) " + version + ";; *) " + start + ";; esac\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// labRun runs loadgen with a temporary directory of its own, in which it must leave nothing, no process either. What
// the lab tells of its progress is left out for a lab alone.
func labRun(t *testing.T, temp string, args ...string) result {
	t.Helper()
	r := loadgen(t, []string{"TMPDIR=" + temp}, args...)
	if args[0] == "lab" {
		r.stdout = ""
	}
	if left := names(t, temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %q", left)
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		if environ, err := os.ReadFile(path); err == nil && strings.Contains(string(environ), "TMPDIR="+temp) {
			t.Errorf("a process was left: %s", path)
		}
	}
	return r
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A Java that the lab cannot use is refused before anything is made, however many scenarios are to be played with it.
func TestUselessJavaIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		java string
		want []string
	}{
		"too old": {javaScript(t, `echo 'openjdk version "1.8.0_292"' >&2`, "exit 1"), []string{"is Java 1.8.0_292", "needs Java 11 or newer"}},
		"dies":    {javaScript(t, "echo Could not reserve enough space for object heap >&2; exit 1", "exit 1"), []string{"exit status 1", "\n      Could not reserve enough space", "name another Java with --java"}},
		"missing": {"/nonexistent/java", []string{"looked at /nonexistent/java", "install Java 11 or newer, or name one with --java"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			for _, args := range [][]string{{"lab"}, {"scenario", "run", "control", "kill-source-broker"}} {
				labRun(t, t.TempDir(), append(args, "--ocean", "off", "--java", test.java, "--output", filepath.Join(out, "output"))...).want(t, exitTrouble, test.want...)
			}
			if left := names(t, out); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// A JVM that dies at its start is shown with the last that it said and a log that is still there.
func TestJVMThatDiesAtItsStart(t *testing.T) {
	t.Parallel()
	java := javaScript(t, `echo 'openjdk version "17.0.1"' >&2`, "echo There is insufficient memory for the Java Runtime Environment to continue. >&2; exit 1")
	logged := func(said string) {
		t.Helper()
		log := regexp.MustCompile(`its log (\S+\.log) ends:`).FindStringSubmatch(said)
		if log == nil {
			t.Fatalf("no log is named:\n%s", said)
		}
		if text, err := os.ReadFile(log[1]); err != nil || !strings.Contains(string(text), "insufficient memory") {
			t.Errorf("the log %s says %q (%v)", log[1], text, err)
		}
	}
	r := labRun(t, t.TempDir(), "lab", "--ocean", "off", "--java", java, "--output", filepath.Join(t.TempDir(), "output"))
	if r.code != exitTrouble || !strings.Contains(r.stderr, "zookeeper ended unasked") || !strings.Contains(r.stderr, "exit status 1") ||
		!strings.Contains(r.stderr, "\n      There is insufficient memory") {
		t.Errorf("exit code %d:\n%s", r.code, r.stderr)
	}
	logged(r.stderr)

	output := filepath.Join(t.TempDir(), "output")
	r = labRun(t, t.TempDir(), "scenario", "run", "control", "--ocean", "off", "--prometheus", "--java", java, "--output", output)
	_, summary, _ := strings.Cut(r.stdout, "CANNOT SAY")
	if r.code != exitCannotSay || !strings.HasPrefix(summary, "  the target did not start: ") || !strings.Contains(summary, "insufficient memory") || strings.Contains(summary, "and 1 more") {
		t.Errorf("exit code %d:\n%s", r.code, r.stdout)
	}
	if strings.Contains(r.stdout, "scratch") {
		t.Errorf("a directory is named that is gone:\n%s", r.stdout)
	}
	logged(summary)
	metrics := regexp.MustCompile(`metrics are kept in (\S+);`).FindStringSubmatch(r.stdout)
	if metrics == nil || !slices.Contains(names(t, metrics[1]), "data") {
		t.Errorf("Prometheus' data are not where is said, %q:\n%s", metrics, r.stdout)
	}
	if left := names(t, filepath.Join(output, "control", "mirrormaker2", "run-1")); strings.Contains(strings.Join(left, " "), "scratch") {
		t.Errorf("left in the output: %q", left)
	}
}

// A port that another program has is named, with what to do; by audit too, see TestAuditTrouble.
func TestMetricsPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	alive := cluster(t)
	loadgen(t, nil, "topics", "create", "--bootstrap-servers", alive, "--topics", "load").want(t, exitHolds)
	for _, args := range [][]string{
		{"produce", "--id", "p1", "--bootstrap-servers", alive, "--throughput", "1/s"},
		{"consume", "--bootstrap-servers", alive},
	} {
		loadgen(t, nil, append(args, "--test-id", "t1", "--topics", "load", "--metrics-address", l.Addr().String())...).
			want(t, exitTrouble, "metrics address "+l.Addr().String()+": choose another one (--metrics-address), or none (--metrics-address=): ", "address already in use")
	}
}

// A disk that has too little room is found before anything is made on it: that of the clusters' data and that of the
// output.
func TestDiskNearlyFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk; lab.TestRoomOnTheDisk asks for more than any disk has")
	}
	t.Parallel()
	small, out := t.TempDir(), t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	java := javaScript(t, `echo 'openjdk version "17.0.1"' >&2`, "exit 1")
	elsewhere, here := filepath.Join(out, "output"), filepath.Join(small, "output")
	labRun(t, small, "lab", "--ocean", "off", "--java", java, "--output", elsewhere).
		want(t, exitTrouble, "the disk of "+small+" has 32 MiB left", "the run needs 3192 MiB", "228 MiB of records in 5 replicas", "set TMPDIR", "send less")
	labRun(t, t.TempDir(), "lab", "--ocean", "off", "--java", java, "--output", here).
		want(t, exitTrouble, "the disk of "+small+" has 32 MiB left", "the run needs 100 MiB", "name an --output on another disk")
	if left := append(names(t, out), names(t, small)...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	r := labRun(t, small, "scenario", "run", "control", "kill-source-broker", "--ocean", "off", "--java", java, "--output", elsewhere)
	if n := strings.Count(r.stdout, "NOT PLAYED  cannot be played here: the disk of "+small); r.code != exitCannotSay || n != 2 {
		t.Errorf("exit code %d, %d of 2 were not played:\n%s%s", r.code, n, r.stdout, r.stderr)
	}
}
