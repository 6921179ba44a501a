// Package wallclock is the wall clock of a load tool, from which it takes the times that it sends and
// records. It can be set wrong on purpose, to show what becomes of a test whose machines disagree about
// the time. Waiting and schedules do not depend on it, as they do not on a real clock that is wrong.
package wallclock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Error is how wrong a clock is. The zero value is right.
type Error struct {
	// Offset is by how much it is ahead; below 0 it is behind.
	Offset time.Duration
	// Drift is how much further ahead it is after each second.
	Drift time.Duration
}

// Bounds on an Error: a time beyond them is not a clock that is wrong, but none.
const (
	MaxOffset = 24 * time.Hour
	MaxDrift  = 100 * time.Millisecond
)

// Validate reports every mistake at once.
func (e Error) Validate() error {
	var errs []error
	if e.Offset < -MaxOffset || e.Offset > MaxOffset {
		errs = append(errs, fmt.Errorf("offset: %s: use -%s to %[2]s", e.Offset, MaxOffset))
	}
	if e.Drift < -MaxDrift || e.Drift > MaxDrift {
		errs = append(errs, fmt.Errorf("drift: %s a second: use -%s to %[2]s", e.Drift, MaxDrift))
	}
	return errors.Join(errs...)
}

// String writes the error as Parse reads it.
func (e Error) String() string {
	if e.Drift == 0 {
		return e.Offset.String()
	}
	sign := "+"
	if e.Drift < 0 {
		sign = "" // the drift has its own
	}
	return e.Offset.String() + sign + e.Drift.String() + "/s"
}

// Parse reads an error such as 250ms, -2s, or 250ms+1ms/s for one that also drifts.
func Parse(text string) (Error, error) {
	wrong := fmt.Errorf("%q is no error of a clock: write an offset such as 250ms or -2s, and a drift behind it if there is one: 250ms+1ms/s", text)
	offset, drift := strings.TrimSpace(text), ""
	if rest, ok := strings.CutSuffix(offset, "/s"); ok {
		at := strings.LastIndexAny(rest, "+-")
		if at < 1 {
			return Error{}, wrong
		}
		offset, drift = rest[:at], rest[at:]
	}
	var e Error
	var err error
	if e.Offset, err = time.ParseDuration(offset); err != nil {
		return Error{}, wrong
	}
	if drift != "" {
		if e.Drift, err = time.ParseDuration(drift); err != nil {
			return Error{}, wrong
		}
	}
	return e, e.Validate()
}

// MarshalText writes the error as Parse reads it.
func (e Error) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText is Parse.
func (e *Error) UnmarshalText(text []byte) (err error) {
	*e, err = Parse(string(text))
	return err
}

// Set is UnmarshalText, for a flag, whose type is Type.
func (e *Error) Set(text string) error { return e.UnmarshalText([]byte(text)) }

// Type is what the flag's value is called.
func (*Error) Type() string { return "error" }

// Clock is a wall clock. A nil one is that of the machine. It is safe for concurrent use.
type Clock struct {
	wrong atomic.Pointer[since]
}

type since struct {
	Error
	at time.Time
}

// New returns a clock that is wrong from now on.
func New(e Error) *Clock {
	c := &Clock{}
	c.Set(e)
	return c
}

// Set makes the clock wrong by e from now on, and right by the zero Error.
func (c *Clock) Set(e Error) { c.wrong.Store(&since{e, time.Now()}) }

// At returns what the clock shows at a moment of the machine's clock.
func (c *Clock) At(t time.Time) time.Time {
	if c == nil {
		return t
	}
	x := c.wrong.Load()
	return t.Add(x.Offset + time.Duration(t.Sub(x.at).Seconds()*float64(x.Drift)))
}

// Micros returns what the clock shows at a moment of the machine's clock, in Unix microseconds.
func (c *Clock) Micros(t time.Time) int64 { return c.At(t).UnixMicro() }

// Handler sets the clock by PUT /clock with {"error": "250ms+1ms/s"}, and serves nothing else.
func (c *Clock) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /clock", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Error *Error `json:"error"`
		}
		in := json.NewDecoder(io.LimitReader(r.Body, 4096))
		in.DisallowUnknownFields()
		switch err := in.Decode(&body); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case body.Error == nil:
			http.Error(w, `error is missing: give {"error": "250ms"}, or "0s" for a clock that is right`, http.StatusBadRequest)
		default:
			c.Set(*body.Error)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return mux
}
