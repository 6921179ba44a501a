// Package human writes figures for people: short, with units, rounded to what
// can be taken in at a glance. What machines read is written elsewhere, exactly.
package human

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Count writes a number of records with thousands apart: "12,345,678".
func Count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Plural writes a count with its noun: "1 record", "2,000 records".
func Plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Rounded writes a number to three significant digits with the prefix k, M, G
// or T: "99.8k", "12.3M", "7". It writes "–" for what is not a number.
func Rounded(v float64) string {
	number, prefix := scaled(v)
	return number + prefix
}

// Bytes writes a number of bytes to three significant digits: "99.8 MB".
func Bytes(v float64) string {
	number, prefix := scaled(v)
	return number + " " + prefix + "B"
}

func scaled(v float64) (number, prefix string) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–", ""
	}
	for _, prefix := range []string{"", "k", "M", "G"} {
		if math.Abs(v) < 999.5 {
			return significant(v), prefix
		}
		v /= 1000
	}
	return significant(v), "T"
}

// significant writes v with three significant digits, without trailing zeros
// behind the point.
func significant(v float64) string {
	decimals := 0
	switch a := math.Abs(v); {
	case a < 9.995:
		decimals = 2
	case a < 99.95:
		decimals = 1
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// Seconds writes a length of time given in seconds: "840 µs", "84 ms",
// "2.14 s", "3 min 5 s", "1 h 2 min", "2 d 3 h".
func Seconds(s float64) string {
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return "–"
	}
	if s < 0 {
		return "-" + Seconds(-s)
	}
	pair := func(unit float64, large, small string, per float64) string {
		n := math.Round(s / unit)
		out := strconv.FormatFloat(math.Floor(n/per), 'f', 0, 64) + " " + large
		if rest := math.Mod(n, per); rest > 0 {
			out += " " + strconv.FormatFloat(rest, 'f', 0, 64) + " " + small
		}
		return out
	}
	switch {
	case s == 0:
		return "0 s"
	case s < 0.9995e-3:
		return significant(s*1e6) + " µs"
	case s < 0.9995:
		return significant(s*1e3) + " ms"
	case s < 59.95:
		return significant(s) + " s"
	case s < 3599.5:
		return pair(1, "min", "s", 60)
	case s < 86370:
		return pair(60, "h", "min", 60)
	default:
		return pair(3600, "d", "h", 24)
	}
}

// Millis is Seconds of a time in milliseconds.
func Millis(ms float64) string { return Seconds(ms / 1000) }

// Elapsed writes a time since a beginning as clocks do: "2:36", "-0:05",
// "1:02:03".
func Elapsed(seconds float64) string {
	sign := ""
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	s := int64(math.Min(seconds, 1e12))
	if s >= 3600 {
		return fmt.Sprintf("%s%d:%02d:%02d", sign, s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%s%d:%02d", sign, s/60, s%60)
}

// Printable replaces characters that would drive a terminal instead of being
// shown, such as escapes and newlines, by a dot.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// Terminal returns how many columns wide the terminal behind w is; false when
// w is not a terminal, or one that cannot move its cursor (TERM=dumb).
func Terminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		columns = 80
	}
	return columns, true
}

// Colour reports whether w should be written to in colour: it is a terminal,
// and NO_COLOR (https://no-color.org) is not set.
func Colour(w io.Writer) bool {
	_, ok := Terminal(w)
	return ok && os.Getenv("NO_COLOR") == ""
}

// Line is a text that somebody gave, as a terminal can show it on one line: what cannot be shown is escaped, as in
// Go.
func Line(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// Lines is Line for a text of several lines.
func Lines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = Line(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Shown returns an error that quotes what somebody gave, with its text as a terminal can show it: by Line or by Lines.
func Shown(err error, by func(string) string) error { return shown{err, by} }

type shown struct {
	error
	by func(string) string
}

// Error implements error.
func (s shown) Error() string { return s.by(s.error.Error()) }

// Unwrap returns the error itself.
func (s shown) Unwrap() error { return s.error }
