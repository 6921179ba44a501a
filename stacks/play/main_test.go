package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const selfVariable = "KMT_TEST_PLAY"

// TestMain is the program itself, where it is asked for.
func TestMain(m *testing.M) {
	if os.Getenv(selfVariable) == "" {
		os.Exit(m.Run())
	}
	main()
}

// A signal to all processes leaves the order in which things end to loadgen: what it asks for then is still done.
func TestASignalLeavesTheEndToLoadgen(t *testing.T) {
	bin := t.TempDir()
	for name, script := range map[string]string{"kubectl": "", "aws": "", "pulumi": "[ \"$1\" = version ] && echo v3.200.0 && exit; echo asked >&2; exit 1"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-project", "../..")
	cmd.Env = append(os.Environ(), selfVariable+"=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "TMPDIR="+t.TempDir())
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(stdout)
	ask := func(id int, method, want string) {
		t.Helper()
		fmt.Fprintf(stdin, "{\"id\":%d,\"method\":%q,\"text\":\"clock\",\"configs\":[{}]}\n", id, method)
		if !answers.Scan() || !strings.Contains(answers.Text(), fmt.Sprintf("\"id\":%d,", id)) || !strings.Contains(answers.Text(), want) {
			t.Errorf("%s is answered by %q: %v", method, answers.Text(), answers.Err())
		}
	}
	ask(1, "provides", "the stacks have not clock")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ask(2, "start", "stderr: asked")
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
