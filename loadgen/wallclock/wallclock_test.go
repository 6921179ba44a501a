package wallclock_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]wallclock.Error{
		"0s":           {},
		"250ms":        {Offset: 250 * time.Millisecond},
		"-2s":          {Offset: -2 * time.Second},
		"250ms+1ms/s":  {Offset: 250 * time.Millisecond, Drift: time.Millisecond},
		"-1s-500µs/s":  {Offset: -time.Second, Drift: -500 * time.Microsecond},
		"0s+100ms/s":   {Drift: 100 * time.Millisecond},
		"1h30m0s+1s/s": {}, // too much
		"25h":          {},
		"250":          {},
		"1ms/s":        {},
		"250ms+/s":     {},
		"":             {},
	} {
		got, err := wallclock.Parse(text)
		if refused := want == (wallclock.Error{}) && text != "0s"; refused != (err != nil) {
			t.Errorf("%q: %v, error %v", text, got, err)
		} else if err == nil {
			again, err := wallclock.Parse(got.String())
			if got != want || again != want || err != nil {
				t.Errorf("%q is %v, and %v when written and read (%v)", text, got, again, err)
			}
		}
	}
}

func TestClock(t *testing.T) {
	var right *wallclock.Clock
	now := time.Now()
	if got := right.Micros(now); got != now.UnixMicro() {
		t.Errorf("the machine's clock shows %d at %d", got, now.UnixMicro())
	}
	c := wallclock.New(wallclock.Error{Offset: -2 * time.Second, Drift: 10 * time.Millisecond})
	set := time.Now()
	// Between the call and set some time may have passed: as much drift.
	passed := set.Sub(now)
	got := c.At(set.Add(100 * time.Second)).Sub(set.Add(100 * time.Second))
	if want := -time.Second; got < want || got > want+passed {
		t.Errorf("after 100 s it is wrong by %s, want %s", got, want)
	}

	server := httptest.NewServer(c.Handler())
	defer server.Close()
	put := func(body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/clock", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, bad := range []string{``, `{}`, `{"error": "soon"}`, `{"error": "25h"}`, `{"eror": "1s"}`} {
		if code := put(bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if code := put(`{"error": "3s"}`); code != http.StatusNoContent || c.At(now).Sub(now) != 3*time.Second {
		t.Errorf("%d, and the clock is wrong by %s", code, c.At(now).Sub(now))
	}
	if put(`{"error": "0s"}`); !c.At(now).Equal(now) {
		t.Error("the clock is not right again")
	}
}
