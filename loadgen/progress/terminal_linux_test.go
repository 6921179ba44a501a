package progress_test

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// pty is a real terminal of the given width; screen tells what it shows.
type pty struct {
	t       *testing.T
	control *os.File
	*os.File
	output chan []byte
	screen *screen
}

func newPTY(t *testing.T, columns uint16) *pty {
	t.Helper()
	t.Setenv("TERM", "xterm")
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	p := &pty{t: t, control: control, File: terminal, output: make(chan []byte, 1000), screen: &screen{}}
	p.resize(columns)
	go func() {
		defer close(p.output)
		for {
			b := make([]byte, 1<<16)
			n, err := control.Read(b)
			if err != nil {
				return // the test is over
			}
			p.output <- b[:n]
		}
	}()
	return p
}

func (p *pty) resize(columns uint16) {
	p.t.Helper()
	if err := unix.IoctlSetWinsize(int(p.control.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: columns}); err != nil {
		p.t.Fatal(err)
	}
}

// read returns what was written since the last call.
func (p *pty) read() string {
	p.t.Helper()
	const end = "<end>"
	if _, err := io.WriteString(p.File, end); err != nil {
		p.t.Fatal(err)
	}
	var got string
	for !strings.HasSuffix(got, end) {
		select {
		case b, ok := <-p.output:
			if !ok {
				p.t.Fatalf("the terminal ended after %q", got)
			}
			got += string(b)
		case <-time.After(10 * time.Second):
			p.t.Fatalf("the terminal shows nothing after %q", got)
		}
	}
	return strings.TrimSuffix(got, end)
}

// settle is read, and returns also what the screen shows then.
func (p *pty) settle() (raw string, lines []string) {
	p.t.Helper()
	raw = p.read()
	p.screen.take(p.t, raw)
	for _, l := range p.screen.lines {
		lines = append(lines, strings.TrimRight(string(l), " "))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return raw, lines
}

// screen understands as much of a terminal's language as the printer speaks.
type screen struct {
	lines [][]rune
	x, y  int
}

var escape = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)

func (s *screen) take(t *testing.T, text string) {
	t.Helper()
	for len(text) > 0 {
		for len(s.lines) <= s.y {
			s.lines = append(s.lines, nil)
		}
		if m := escape.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch m[2] {
			case "A":
				n, err := strconv.Atoi(m[1])
				if err != nil || n > s.y {
					t.Fatalf("cannot go up %q from line %d", m[1], s.y)
				}
				s.y -= n
			case "K":
				s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
			case "J":
				s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
				s.lines = s.lines[:s.y+1]
			case "m":
			default:
				t.Fatalf("unknown escape %q", m[0])
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch r {
		case '\n':
			s.y++
		case '\r':
			s.x = 0
		default:
			for len(s.lines[s.y]) <= s.x {
				s.lines[s.y] = append(s.lines[s.y], ' ')
			}
			s.lines[s.y][s.x] = r
			s.x++
		}
	}
}

func TestBlockOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	tty := newPTY(t, 120)
	p := progress.New(tty.File, progress.Config{})
	for s := range 20 {
		p.Show(sample(s))
	}
	raw, lines := tty.settle()
	if len(lines) != 4 {
		t.Fatalf("the block has %d lines, want 4:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for i, wants := range [][]string{{"0:19", "loading", "sent 3,000,000", "received 2,999,000"}, {"in  100 MB/s, 100k/s", "out  64 MB/s, 19k/s", "▁▁▁▂", "▇█"}, {"p99  2.14 s", "pending  1,583,000, 15.8 s"}, {"lost  0", "skipped 43"}} {
		for _, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("line %d lacks %q: %q", i, want, lines[i])
			}
		}
	}
	if !strings.Contains(raw, "\x1b[33m43\x1b[0m") {
		t.Error("skipped records are not marked")
	}
	if strings.Contains(raw, "\x1b[2J") || strings.Count(raw, "\x1b[J") != 20 {
		t.Error("the screen is cleared, which flickers")
	}

	// Events and logs stay above, the block renews itself below.
	p.Event(verdict.Event{Time: begin.Add(15 * time.Second).UnixMicro(), Kind: "broker-kill", Side: "source"})
	if _, err := io.WriteString(p.Writer(), "a line of the log"); err != nil {
		t.Fatal(err)
	}
	p.Show(sample(21))
	_, lines = tty.settle()
	if len(lines) != 7 || !strings.Contains(lines[0], "broker-kill") || lines[1] != "a line of the log" || !strings.Contains(lines[2], "0:21") || !strings.Contains(lines[6], "event  broker-kill (source)  0:06 ago") {
		t.Errorf("events and logs stand wrongly:\n%s", strings.Join(lines, "\n"))
	}

	p.Close()
	if _, err := io.WriteString(p.Writer(), "the end\n"); err != nil {
		t.Fatal(err)
	}
	_, lines = tty.settle()
	if len(lines) != 8 || lines[7] != "the end" {
		t.Errorf("after the end:\n%s", strings.Join(lines, "\n"))
	}
}

func TestNarrowTerminal(t *testing.T) {
	tty := newPTY(t, 120)
	p := progress.New(tty.File, progress.Config{})
	p.Event(verdict.Event{Kind: strings.Repeat("long ", 100)})
	p.Show(sample(1))
	tty.read()
	tty.resize(40)
	p.Show(sample(2))
	raw := tty.read()
	visible := regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(raw, "")
	for line := range strings.SplitSeq(visible, "\r\n") {
		if n := utf8.RuneCountInString(strings.Trim(line, "\r")); n >= 40 {
			t.Errorf("a line of %d on a terminal of 40 columns: %q", n, line)
		}
	}
	// The lines that stand there, of up to 119 columns, are wrapped by now.
	m := regexp.MustCompile(`\x1b\[(\d+)A`).FindStringSubmatch(raw)
	if m == nil {
		t.Fatalf("the block is not renewed: %q", raw)
	}
	if up, err := strconv.Atoi(m[1]); err != nil || up <= 5 || up > 15 {
		t.Errorf("went up %s lines", m[1])
	}
}

func TestNoColour(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	tty := newPTY(t, 120)
	p := progress.New(tty.File, progress.Config{})
	p.Show(sample(1))
	raw, lines := tty.settle()
	if regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(raw) {
		t.Errorf("colours in spite of NO_COLOR: %q", raw)
	}
	if len(lines) != 4 {
		t.Errorf("the block has %d lines", len(lines))
	}
}

func TestDumbTerminal(t *testing.T) {
	tty := newPTY(t, 120)
	t.Setenv("TERM", "dumb")
	p := progress.New(tty.File, progress.Config{})
	p.Show(sample(1))
	p.Show(sample(2))
	if raw, lines := tty.settle(); strings.Contains(raw, "\x1b") || len(lines) != 1 {
		t.Errorf("a dumb terminal got %q", raw)
	}
}
