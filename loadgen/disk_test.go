package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// On a real disk that is full, verdict and report of before stay as they were, the new verdict is printed, and the
// error says what to do. When there is room again, both are written.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk; TestDiskFull has a writer that says that it is full")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	conclude := func(outcome verdict.Outcome) (string, error) {
		var out bytes.Buffer
		a := &app{stdout: &out, stderr: io.Discard}
		err := a.conclude(document(outcome), outputDir(dir))
		return out.String(), err
	}
	written := func() (all string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == "filler" {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all += e.Name() + "\n" + string(text) + "\n"
		}
		return all
	}
	if _, err := conclude(verdict.Holds); err != nil {
		t.Fatal(err)
	}
	before := written()
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if _, err := io.Copy(filler, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	out, err := conclude(verdict.Broken)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "verdict.json")) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("the error is %v", err)
	}
	if !strings.Contains(out, "BROKEN") {
		t.Errorf("the verdict was not printed: %q", out)
	}
	if now := written(); now != before {
		t.Errorf("what was there is not what it was: %d bytes in place of %d", len(now), len(before))
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	var exit verdictError
	if _, err := conclude(verdict.Broken); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	if now := written(); now == before {
		t.Error("there is room again, and nothing was written")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
