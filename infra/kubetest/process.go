package kubetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// children are the processes of a plane. They are started by one thread that lives as long as they do,
// since Linux kills a child when the thread that started it ends.
type children struct {
	dir    string // of logs
	starts chan func()
	all    []*child
	ended  chan *child // those that ended unasked
}

type child struct {
	name, log string
	cmd       *exec.Cmd
	done      chan struct{}
	err       error // once done is closed
}

func newChildren(dir string) *children {
	c := &children{dir: dir, starts: make(chan func()), ended: make(chan *child, 16)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for start := range c.starts {
			start()
		}
	}()
	return c
}

// start starts a program with its output in a log.
func (c *children) start(name, path string, args ...string) error {
	p := &child{name: name, log: filepath.Join(c.dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = c.dir, log, log, childAttributes()
	started := make(chan error)
	c.starts <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	c.all = append(c.all, p)
	go func() {
		p.err = errors.Join(p.cmd.Wait(), log.Close())
		close(p.done)
		c.ended <- p
	}()
	return nil
}

// stop kills them all, the last first, and returns when none is left.
func (c *children) stop() {
	for i := len(c.all) - 1; i >= 0; i-- {
		p := c.all[i]
		select {
		case <-p.done: // its id may be another's by now
		default:
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails where it has just ended
		}
		<-p.done
	}
	close(c.starts)
}

// unasked returns an error if one has ended.
func (c *children) unasked() error {
	select {
	case p := <-c.ended:
		return fmt.Errorf("%s ended: %w\n%s", p.name, p.err, tail(p.log))
	default:
		return nil
	}
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
