package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const supervisedRole = "KMT_LAB_TEST_SUPERVISE"

// TestMain lets the test's own executable stand in for a lab that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(supervisedRole); dir != "" {
		superviseUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func superviseUntilKilled(dir string) {
	s := newSupervisor(dir, dir)
	for i := range 3 {
		p, err := s.start(command{name: fmt.Sprintf("sleeper %d", i), argv: []string{"sleep", "3600"}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.cmd.Process.Pid)
	}
	fmt.Println("started")
	select {}
}

// leftovers are the processes whose working or temporary directory is below dir.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range all {
		env, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(env), "TMPDIR="+dir) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			left = append(left, filepath.Base(filepath.Dir(path))+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return left
}

func waitNoLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := await(t.Context(), 20*time.Second, "no process left", func(context.Context) error {
		if left := leftovers(t, dir); len(left) > 0 {
			return fmt.Errorf("%d processes left: %s", len(left), strings.Join(left, "; "))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testSupervisor(t *testing.T) *supervisor {
	t.Helper()
	dir := t.TempDir()
	s := newSupervisor(dir, dir)
	t.Cleanup(s.stop)
	return s
}

func TestEarlyDeathIsNoticedAtOnceWithTheEndOfItsLog(t *testing.T) {
	s := testSupervisor(t)
	if _, err := s.start(command{name: "bystander", argv: []string{"sleep", "3600"}}); err != nil {
		t.Fatal(err)
	}
	p, err := s.start(command{name: "source broker 7", argv: []string{"sh", "-c", "seq 1 100; echo out of memory >&2; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	during, end := s.during(t.Context())
	defer end()
	err = await(during, time.Minute, "what never comes", func(context.Context) error { return errors.New("not yet") })
	if err == nil {
		t.Fatal("nothing was noticed")
	}
	for _, want := range []string{"source broker 7 ended unasked", "exit status 3", p.log, "out of memory", "    100"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "    50\n") {
		t.Errorf("the whole log is in the error: %v", err)
	}
}

// Why a process ended may stand far above the end of its log, and what one before it wrote is not of it.
func TestLastWordsAreThoseThatSayWhy(t *testing.T) {
	s := testSupervisor(t)
	s.kept = "/evidence"
	say := func(body string) error {
		p, err := s.start(command{name: "source broker 7", argv: []string{"sh", "-c", body}})
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		return p.unasked()
	}
	if err := say("exit 4"); !strings.Contains(err.Error(), "exit status 4; it said nothing (/evidence/source-broker-7.log)") {
		t.Errorf("a silent one: %v", err)
	}
	contains(t, say("echo '2026-12-01 02:51:55,854 FATAL of old (k)'; exit 1"), "of old")
	err := say(`echo '2026-12-01 02:51:55,854 ERROR no such port (k)'; printf '\tat java.base\n'; echo 'Caused by: a reason'; seq 1 40; exit 1`)
	contains(t, err, "its log /evidence/source-broker-7.log ends:\n    2026-12-01 02:51:55,854 ERROR no such port (k)\n    Caused by: a reason\n    …\n    26\n", "    40")
	for _, not := range []string{"of old", "java.base", "    25\n"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("%q is in: %v", not, err)
		}
	}
}

// A process that says more than a log keeps must not fill the disk, be held up or die of it; what it says first and last stays.
func TestALogIsBounded(t *testing.T) {
	s := testSupervisor(t)
	p, err := s.start(command{name: "chatterer", argv: []string{"sh", "-c", fmt.Sprintf("echo first; yes | head -c %d; echo last, to stderr >&2; exit 3", 2*maxLog)}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	contains(t, p.unasked(), "exit status 3", "last, to stderr")
	text, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < maxLog || len(text) > maxLog+2*maxLogEnd {
		t.Errorf("the log has %d bytes", len(text))
	}
	if left := fmt.Sprintf("… %d bytes are left out here", int64(2*maxLog+len("first\nlast, to stderr\n")-maxLog-maxLogEnd)); !bytes.Contains(text, []byte(left)) {
		t.Errorf("the log does not say %q", left)
	}
	if !bytes.HasPrefix(text, []byte("first\n")) || !bytes.HasSuffix(text, []byte("last, to stderr\n")) {
		t.Errorf("the log begins %q and ends %q", text[:10], text[len(text)-20:])
	}
}

func TestAskedEndIsNoFailure(t *testing.T) {
	s := testSupervisor(t)
	p, err := s.start(command{name: "victim", argv: []string{"sleep", "3600"}})
	if err != nil {
		t.Fatal(err)
	}
	p.kill()
	if s.failed.Err() != nil {
		t.Errorf("counted as a failure: %v", context.Cause(s.failed))
	}
	if err := s.run(t.Context(), command{name: "job", argv: []string{"true"}}); err != nil || s.failed.Err() != nil {
		t.Errorf("a job that did its work: %v, %v", err, context.Cause(s.failed))
	}
	err = s.run(t.Context(), command{name: "bad job", argv: []string{"sh", "-c", "echo no such topic; exit 2"}})
	if err == nil || !strings.Contains(err.Error(), "bad job failed") || !strings.Contains(err.Error(), "no such topic") {
		t.Errorf("a job that failed: %v", err)
	}
}

func TestStopEndsChildrenOfChildrenToo(t *testing.T) {
	s := testSupervisor(t)
	p, err := s.start(command{name: "family", argv: []string{"sh", "-c", "sleep 3600 & sleep 3600 & echo ready; wait"}})
	if err != nil {
		t.Fatal(err)
	}
	err = await(t.Context(), time.Minute, "the family", func(context.Context) error {
		if text, _ := os.ReadFile(p.log); !strings.Contains(string(text), "ready") {
			return errors.New("not ready")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(leftovers(t, s.dir)); n != 3 {
		t.Fatalf("%d processes run, want 3: the test cannot tell", n)
	}
	s.stop()
	waitNoLeftovers(t, s.dir)
	if _, err := s.start(command{name: "late", argv: []string{"true"}}); err == nil {
		t.Error("a child was started after stop")
	}
}

func TestKillOfTheLabItselfLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), supervisedRole+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() && lines.Text() != "started" {
		said = append(said, lines.Text())
	}
	if n := len(leftovers(t, dir)); n != 3 {
		t.Errorf("%d children run, want 3: %v", n, said)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it should be
	waitNoLeftovers(t, dir)
}

func TestChildrenDoNotGetTheLabsFlags(t *testing.T) {
	t.Setenv("LOADGEN_DURATION", "2m")
	s := testSupervisor(t)
	err := s.run(t.Context(), command{name: "env", argv: []string{"sh", "-c", `test -z "$LOADGEN_DURATION" && test "$TMPDIR" = "$PWD"`}})
	if err != nil {
		t.Error(err)
	}
}

// A lab that died without its children dying with it, as where nothing ties their lives to the lab's.
func TestCleanEndsWhatADeadLabHasLeft(t *testing.T) {
	parent := t.TempDir()
	sleeper := func(w *workDir) *exec.Cmd {
		cmd := exec.Command("sleep", "3600")
		cmd.Env = append(os.Environ(), "TMPDIR="+w.path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	var dirs [2]*workDir
	for i := range dirs {
		var err error
		if dirs[i], err = newWorkDir(parent); err != nil {
			t.Fatal(err)
		}
	}
	dead, alive := dirs[0], dirs[1]
	defer func() {
		if err := alive.remove(false); err != nil {
			t.Error(err)
		}
	}()
	victim, bystander := sleeper(dead), sleeper(alive)
	if err := dead.lock.Close(); err != nil { // as the kernel does for a killed process
		t.Fatal(err)
	}
	done, err := clean(parent)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("process %d killed: sleep 3600\n%s removed", victim.Process.Pid, dead.path); strings.Join(done, "\n") != want {
		t.Errorf("did %q, want %q", done, want)
	}
	_ = victim.Wait() // killed, as it should be
	if exists(dead.path) || !exists(alive.path) || bystander.Process.Signal(syscall.Signal(0)) != nil {
		t.Error("the dead lab's directory is still there, or the living one's is not, or its process")
	}
	if done, err := clean(parent); err != nil || len(done) > 0 {
		t.Errorf("once more: %q, %v", done, err)
	}
}
