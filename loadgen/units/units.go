// Package units reads and writes sizes ("1kB", "1MiB", "1000") and rates ("20k/s", "100MB/s", "max"). Both types can be
// used as flags (pflag.Value) and in text encodings such as JSON.
//
// k, M, G and T are powers of 1000; Ki, Mi, Gi and Ti are powers of 1024; B is a byte. Numbers are decimal, with or
// without a fraction, and are read exactly.
package units

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes; never negative when it comes from ParseSize.
type Size int64

// ParseSize reads a number with an optional unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB; the B may be left out.
func ParseSize(s string) (Size, error) {
	fail := func(why string) (Size, error) {
		return 0, fmt.Errorf("size %q %s: write it as 1000, 1kB or 1MiB", s, why)
	}
	number, unit, err := split(s)
	if err != nil {
		return fail(err.Error())
	}
	factor, err := prefix(strings.TrimSuffix(unit, "B"), unit)
	if err != nil {
		return fail(err.Error())
	}
	number.Mul(number, new(big.Rat).SetInt64(factor))
	if !number.IsInt() {
		return fail("is not a whole number of bytes")
	}
	if !number.Num().IsInt64() {
		return fail("is too large")
	}
	return Size(number.Num().Int64()), nil
}

// String returns a form that ParseSize reads back to the same size, such as "1kB", "1MiB" or "1001B".
func (s Size) String() string {
	for i := len(prefixes) - 1; i >= 0; i-- {
		if f := prefixes[i].factor; s != 0 && int64(s)%f == 0 {
			return strconv.FormatInt(int64(s)/f, 10) + prefixes[i].name + "B"
		}
	}
	return "0B"
}

// Set is ParseSize for pflag.Value; after an error s is as before.
func (s *Size) Set(text string) error { return set(s, text, ParseSize) }

// Type names the type in a flag's help.
func (s *Size) Type() string { return "size" }

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is Set.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// RateKind is what a rate counts.
type RateKind int

const (
	// Records counts records.
	Records RateKind = iota
	// Bytes counts bytes of messages, as message size does.
	Bytes
	// Unlimited is as fast as possible.
	Unlimited
)

// Rate is a number of records or bytes per second, or no limit. The zero value is no records at all.
type Rate struct {
	// Kind is what PerSecond counts.
	Kind RateKind
	// PerSecond is above zero when it comes from ParseRate, and 0 for Unlimited.
	PerSecond float64
}

// What makes no sense in any unit is refused, and String stays within what split reads.
const (
	minRate   = 1e-9
	maxRate   = 1e15
	maxDigits = 40
)

// ParseRate reads records ("20000", "20k/s", "0.5/s", "30/min", "10/h"), bytes ("100MB/s", "1GiB/h") or "max". Zero is
// refused.
func ParseRate(s string) (Rate, error) {
	fail := func(why string) (Rate, error) {
		return Rate{}, fmt.Errorf("rate %q %s: write records as 20k/s, bytes as 100MB/s, or max for no limit", s, why)
	}
	if strings.TrimSpace(s) == "max" {
		return Rate{Kind: Unlimited}, nil
	}
	amount, per, hasPer := strings.Cut(s, "/")
	number, unit, err := split(amount)
	if err != nil {
		return fail(err.Error())
	}
	r := Rate{}
	name, isBytes := strings.CutSuffix(unit, "B")
	if isBytes {
		r.Kind = Bytes
		if !hasPer {
			return fail("is a size")
		}
	}
	factor, err := prefix(name, unit)
	if err != nil {
		return fail(err.Error())
	}
	seconds := int64(1)
	switch per = strings.TrimSpace(per); {
	case !hasPer, per == "s":
	case per == "min":
		seconds = 60
	case per == "h":
		seconds = 3600
	default:
		return fail(fmt.Sprintf("has the unknown time %q (s, min and h are known)", per))
	}
	number.Mul(number, big.NewRat(factor, seconds))
	r.PerSecond, _ = number.Float64()
	switch {
	case number.Sign() == 0:
		return fail("is zero")
	case r.PerSecond < minRate:
		return fail("is too small")
	case r.PerSecond > maxRate:
		return fail("is too large")
	}
	return r, nil
}

// RecordsPerSecond converts to records of messageSize bytes: +Inf for Unlimited, and for Bytes when messageSize is not
// positive, since empty messages use up no bytes.
func (r Rate) RecordsPerSecond(messageSize Size) float64 {
	switch {
	case r.Kind == Unlimited, r.Kind == Bytes && messageSize <= 0:
		return math.Inf(1)
	case r.Kind == Bytes:
		return r.PerSecond / float64(messageSize)
	}
	return r.PerSecond
}

// String returns a form that ParseRate reads back to the same rate (but for zero), such as "20k/s", "100MB/s" or "max".
func (r Rate) String() string {
	unit := ""
	switch r.Kind {
	case Unlimited:
		return "max"
	case Bytes:
		unit = "B"
	}
	for i := len(prefixes) - 1; i >= 0; i-- {
		p := prefixes[i]
		if f := float64(p.factor); r.PerSecond != 0 && math.Mod(r.PerSecond, f) == 0 {
			return strconv.FormatFloat(r.PerSecond/f, 'f', -1, 64) + p.name + unit + "/s"
		}
	}
	return strconv.FormatFloat(r.PerSecond, 'f', -1, 64) + unit + "/s"
}

// Set is ParseRate for pflag.Value; after an error r is as before.
func (r *Rate) Set(text string) error { return set(r, text, ParseRate) }

// Type names the type in a flag's help.
func (r *Rate) Type() string { return "rate" }

// MarshalText returns String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is Set.
func (r *Rate) UnmarshalText(text []byte) error { return r.Set(string(text)) }

// prefixes in the order in which String prefers the later ones.
var prefixes = [...]struct {
	name   string
	factor int64
}{
	{"", 1},
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// split separates the number from its unit. Its errors, and those of prefix, complete a sentence that began with the value.
func split(s string) (*big.Rat, string, error) {
	s = strings.TrimSpace(s)
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	switch {
	case s == "":
		return nil, "", errors.New("is empty")
	case s[0] == '-':
		return nil, "", errors.New("is negative")
	case end == 0:
		return nil, "", errors.New("does not start with a number")
	case end > maxDigits:
		return nil, "", errors.New("has too many digits")
	}
	number, ok := new(big.Rat).SetString(s[:end])
	if !ok {
		return nil, "", errors.New("does not start with a number")
	}
	return number, strings.TrimSpace(s[end:]), nil
}

// prefix returns the factor of a prefix; unit is what the user wrote around it.
func prefix(name, unit string) (int64, error) {
	if name == "K" { // cannot be mistaken: 1024 is Ki
		name = "k"
	}
	for _, p := range prefixes {
		if p.name == name {
			return p.factor, nil
		}
	}
	if strings.HasSuffix(name, "b") {
		return 0, fmt.Errorf("has the unknown unit %q (b would be bits; bytes are B)", unit)
	}
	return 0, fmt.Errorf("has the unknown unit %q (k, M, G, T, Ki, Mi, Gi and Ti are known)", unit)
}

func set[T any](to *T, text string, parse func(string) (T, error)) error {
	v, err := parse(text)
	if err == nil {
		*to = v
	}
	return err
}
