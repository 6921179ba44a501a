package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/slowdisk"
)

const workDirPattern = "kafka-mirror-lab-"

// workDir is the lab's temporary directory: the clusters' data and configuration. A lock held for
// the lab's life tells a later lab which directories were left by one that was killed.
type workDir struct {
	path string
	lock *os.File
}

// newWorkDir makes a fresh directory below parent and removes those that killed labs left there.
func newWorkDir(parent string) (*workDir, error) {
	if _, err := sweep(parent); err != nil {
		return nil, fmt.Errorf("remove what a killed lab left in %s: %w", parent, err)
	}
	path, err := os.MkdirTemp(parent, workDirPattern)
	if err != nil {
		return nil, fmt.Errorf("make the lab's temporary directory: %w", err)
	}
	// Locked before it has its name, so that nobody finds it there unlocked while we live.
	fresh := filepath.Join(path, "lock.new")
	lock, err := os.Create(fresh)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(fresh, filepath.Join(path, "lock"))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), os.RemoveAll(path))
	}
	return &workDir{path: path, lock: lock}, nil
}

// remove ends the lock and removes the directory, or with keep leaves it for good.
func (w *workDir) remove(keep bool) error {
	what := w.path
	if keep {
		what = filepath.Join(w.path, "lock") // without which no sweep touches it
	}
	return errors.Join(os.RemoveAll(what), w.lock.Close())
}

// sweep removes the directories below parent whose lab has been killed, and returns what it did, a line each.
func sweep(parent string) ([]string, error) {
	// What is mounted in such a directory has nobody to answer any more.
	unmounted, err := slowdisk.Clean()
	errs := []error{err}
	locks, err := filepath.Glob(filepath.Join(parent, workDirPattern+"*", "lock"))
	if err != nil {
		return nil, err
	}
	var done []string
	for _, dir := range unmounted {
		done = append(done, dir+" unmounted")
	}
	for _, path := range locks {
		lock, err := os.Open(path)
		if err != nil {
			continue // gone, or another user's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			errs = append(errs, os.RemoveAll(filepath.Dir(path)))
			done = append(done, filepath.Dir(path)+" removed")
		}
		errs = append(errs, lock.Close())
	}
	return done, errors.Join(errs...)
}

// lives reports whether a lab's directory is that of one that runs.
func lives(dir string) bool {
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return errors.Is(err, os.ErrPermission) // another user's may live
	}
	defer lock.Close()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}
