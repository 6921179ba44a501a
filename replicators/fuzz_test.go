package replicators

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// says answers every request with the same.
type says struct {
	status int
	body   string
}

func (s says) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: s.status, Body: io.NopCloser(strings.NewReader(s.body)), Header: http.Header{}, Request: r}, nil
}

// Whatever a replicator answers: a refusal says which request it was for, on one line that a terminal can show;
// whether it passes depends on the status alone; and what is believed is written as it was read.
func FuzzAnswers(f *testing.F) {
	recorded, err := filepath.Glob("testdata/*.json")
	if err != nil || len(recorded) == 0 {
		f.Fatal(recorded, err)
	}
	for _, file := range recorded {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(200), string(text))
		f.Add(uint16(409), string(text))
	}
	for _, text := range []string{"", "OK\n", "null", "[]", `{"allInstances":null,"instances":{"b":[],"a":null}}`, `{"allInstances":["b","a",""]}`,
		`{"idealState":{"0":{"w":"ONLINE"}},"externalView":{"0":{"w":"online"},"1":null}}`, `{"message":"a\u001b[2Jb"}`, "Successfully add new topic",
		`{"name":"kmt","metadata":{"a":"b"},"source":{"connectionString":"x","partitions":3}}`, "\x00\xff", strings.Repeat("ä", 200)} {
		f.Add(uint16(200), text)
		f.Add(uint16(503), text)
	}
	f.Fuzz(func(t *testing.T, number uint16, body string) {
		status := 200 + int(number)%400
		if number < 600 && number >= 200 {
			status = int(number)
		}
		ctx := context.Background()
		r, err := newREST("http://user:hunter2@replicator:9000")
		if err != nil {
			t.Fatal(err)
		}
		r.http = &http.Client{Transport: says{status, body}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		check := func(what string, err error) bool {
			if err == nil {
				if status > 299 && status != http.StatusNotFound {
					t.Fatalf("%s: status %d is no error", what, status)
				}
				return true
			}
			text := err.Error()
			var refused *APIError
			switch {
			case strings.Contains(text, "hunter2"):
				t.Fatalf("%s: tells the password: %s", what, text)
			case !strings.Contains(text, what) || len(text) > 1000:
				t.Fatalf("%s: is not named, or at length: %s", what, text)
			case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
				t.Fatalf("%s: cannot be shown: %q", what, text)
			case errors.As(err, &refused) != (status > 299):
				t.Fatalf("%s: status %d: %v", what, status, err)
			case Passing(err) != (status >= 500 || status == http.StatusTooManyRequests):
				t.Fatalf("%s: status %d passes: %v", what, status, Passing(err))
			}
			return false
		}

		u, b := &UReplicatorClient{rest: r}, &BrooklinClient{rest: r}
		if check("health", u.Healthy(ctx)) != (status <= 299) {
			t.Fatalf("status %d is taken for well or ill", status)
		}
		if all, err := u.Instances(ctx); check("instances", err) && !slices.IsSorted(all) {
			t.Fatalf("%q", all)
		}
		view, found, err := u.Topic(ctx, "load")
		if check("topics/load", err) && (found == (status == http.StatusNotFound) || view.Online < 0 || view.Assigned < 0 ||
			!found && view != (TopicView{}) || view.Online+view.Assigned > len(body)) {
			t.Fatalf("%+v, %v of %q", view, found, body)
		}
		if err := u.Add(ctx, "load", 3); status <= 299 && (err == nil) != strings.HasPrefix(body, "Successfully") {
			t.Fatalf("%q: %v", body, err)
		}
		d, found, err := b.Datastream(ctx, "kmt")
		if !check("datastream/kmt", err) || !found {
			if !reflect.DeepEqual(d, Datastream{}) {
				t.Fatalf("not found and %+v", d)
			}
			return
		}
		written, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again Datastream
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(written) || !again.Same(d) || !d.Same(again) {
			t.Fatalf("%+v is read back as %+v", d, again)
		}
	})
}
