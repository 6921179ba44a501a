package verdict

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// A verdict.json of the release before this one (commit 736e087) is read; one of another version is refused in words
// that name both, also where it has other types.
func TestDocumentsOfOtherVersions(t *testing.T) {
	text, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if d.Verdict.Outcome != Holds || d.Verdict.Total.Received == 0 || d.Verdict.Total.Expected != d.Verdict.Total.Received || len(d.Timeline) == 0 {
		t.Errorf("%+v", d.Verdict.Total)
	}
	for schema, want := range map[string]string{
		`"kafka-mirror-tester/verdict/v2"`:  `schema "kafka-mirror-tester/verdict/v2", this program reads "kafka-mirror-tester/verdict/v1": a newer loadgen wrote it`,
		`"kafka-mirror-tester/verdict/v0"`:  "an older loadgen wrote it",
		`"kafka-mirror-tester/verdict/v12"`: "a newer loadgen wrote it",
		`"kafka-mirror-tester/probe/v1"`:    "which is another document",
		`"something"`:                       "which is another document",
		`7`:                                 "schema 7, this program reads",
	} {
		other := strings.Replace(string(text), `"`+Schema+`"`, schema, 1)
		other = strings.Replace(other, `"timeline": [`, `"timeline": "elsewhere", "points": [`, 1)
		if _, err := Read(strings.NewReader(other)); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", schema, err, want)
		}
	}
	if _, err := Read(strings.NewReader("{}")); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "names no schema") {
		t.Errorf("%v", err)
	}
	if _, err := Read(strings.NewReader("not JSON")); err == nil || errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "want a verdict.json") {
		t.Errorf("%v", err)
	}
}
