package lab

import (
	"fmt"
	"os"
	"sync"
)

const (
	// maxLog is how much of a process' output its log keeps. A broker says 30 kB a minute. A worker of uReplicator that
	// meets a record which it cannot read says 80 MB a second, and would fill the disk in minutes.
	maxLog = 64 << 20
	// maxLogEnd is how much of what comes after that is kept in the end.
	maxLogEnd = 64 << 10
)

// boundedLog is a file that what a process says is appended to, up to a limit. What comes after that is counted, and its end
// follows when the log is closed. An error of the file is kept for Close: a process must not die of its log.
type boundedLog struct {
	name string
	mu   sync.Mutex // standard output and standard error may be copied by goroutines of their own
	file *os.File
	left int64
	end  []byte // of what did not fit
	more int64  // bytes that did not fit
	err  error
}

// Write implements io.Writer and never fails.
func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fits := p[:min(int64(len(p)), l.left)]
	if len(fits) > 0 && l.err == nil {
		_, l.err = l.file.Write(fits)
	}
	l.left -= int64(len(fits))
	if over := p[len(fits):]; len(over) > 0 {
		l.more += int64(len(over))
		l.end = append(l.end, over...)
		if len(l.end) > 2*maxLogEnd {
			l.end = append(l.end[:0], l.end[len(l.end)-maxLogEnd:]...)
		}
	}
	return len(p), nil
}

// Close writes the end of what did not fit, and closes the file.
func (l *boundedLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more > 0 && l.err == nil {
		end := l.end[max(0, len(l.end)-maxLogEnd):]
		_, l.err = fmt.Fprintf(l.file, "\n… %d bytes are left out here, since a log keeps %d …\n%s", l.more-int64(len(end)), maxLog, end)
	}
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
	if l.err != nil {
		return fmt.Errorf("write the log of %s: %w", l.name, l.err)
	}
	return nil
}
