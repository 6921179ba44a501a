package lab

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestDirectoriesOfKilledLabsAreRemovedAndOthersAreNot(t *testing.T) {
	parent := t.TempDir()
	killed, err := newWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := newWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := newWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(parent, workDirPattern+"notes")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := killed.lock.Close(); err != nil { // as the kernel does for a killed process
		t.Fatal(err)
	}
	if err := kept.remove(true); err != nil {
		t.Fatal(err)
	}
	next, err := newWorkDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if exists(killed.path) {
		t.Error("the killed lab's directory is still there")
	}
	for name, path := range map[string]string{"living lab's": alive.path, "kept": kept.path, "foreign": foreign, "own": next.path} {
		if !exists(path) {
			t.Errorf("the %s directory is gone", name)
		}
	}
	for _, w := range []*workDir{alive, next} {
		if err := w.remove(false); err != nil {
			t.Error(err)
		}
		if exists(w.path) {
			t.Errorf("%s is still there", w.path)
		}
	}
}

func TestPortsAreFreeDistinctAndOutsideTheKernelsRange(t *testing.T) {
	ports, err := freePorts(100)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < 15000 || p >= 32768 {
			t.Errorf("port %d: twice or out of range", p)
		}
		seen[p] = true
		l, err := net.Listen("tcp4", address(p))
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
	}
}
