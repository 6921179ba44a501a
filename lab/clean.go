package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Clean ends and removes what labs have left that were killed: processes whose lab is dead, mounts, and
// directories below the one for temporary files. It returns what there was, a line each. Labs that run are
// left alone. Network namespaces and their devices end with the last process in them.
func Clean() ([]string, error) {
	return clean(os.TempDir())
}

func clean(parent string) ([]string, error) {
	var done []string
	orphans, err := orphansOf(parent)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, o := range orphans {
		if err := syscall.Kill(o.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d (%s): %w", o.pid, o.command, err))
			continue
		}
		done = append(done, fmt.Sprintf("process %d killed: %s", o.pid, o.command))
	}
	swept, err := sweep(parent)
	return append(done, swept...), errors.Join(append(errs, err)...)
}

// orphan is a process whose lab is dead.
type orphan struct {
	pid     int
	command string
}

// orphansOf are the processes that were started by labs below parent which are dead.
func orphansOf(parent string) ([]orphan, error) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var found []orphan
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // gone, or another user's
		}
		dir := ""
		for v := range bytes.SplitSeq(environ, []byte{0}) {
			if value, ok := strings.CutPrefix(string(v), "TMPDIR="); ok {
				dir = value
			}
		}
		if filepath.Dir(dir) != filepath.Clean(parent) || !strings.HasPrefix(filepath.Base(dir), workDirPattern) || lives(dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err != nil {
			continue
		}
		words := strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
		found = append(found, orphan{pid, words[:min(len(words), 120)]})
	}
	return found, nil
}
