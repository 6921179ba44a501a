package scenario_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// What the release before this one (commit 736e087) left of a run is read, and what another version left is refused
// in words that name both, also where it has other types.
func TestResultsOfOtherVersions(t *testing.T) {
	const dir = "testdata/v1"
	results, err := scenario.ReadResults(dir)
	if err != nil || len(results) != 1 || results[0].Outcome != verdict.Holds || results[0].Figures.Received == 0 || results[0].Replicator != scenario.MirrorMaker2 {
		t.Fatalf("%+v, %v", results, err)
	}
	plan, err := scenario.ReadPlan(dir)
	if err != nil || len(plan.Scenarios) == 0 || plan.Target != "lab" {
		t.Errorf("%+v, %v", plan, err)
	}
	for _, test := range []struct{ file, schema, other, want string }{
		{"kill-destination-broker/mirrormaker2/run-1/result.json", scenario.ResultSchema, "kafka-mirror-tester/scenario-result/v2", "a newer loadgen wrote it"},
		{"kill-destination-broker/mirrormaker2/run-1/result.json", scenario.ResultSchema, "kafka-mirror-tester/scenario-result/v0", "an older loadgen wrote it"},
		{"plan.json", scenario.PlanSchema, "kafka-mirror-tester/scenario-plan/v2", "a newer loadgen wrote it"},
		{"plan.json", scenario.PlanSchema, "kafka-mirror-tester/verdict/v1", "which is another document"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, test.file))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer(test.schema, test.other, `"target": "lab"`, `"target": ["lab"]`).Replace(string(text))
		to := t.TempDir()
		if err := os.WriteFile(filepath.Join(to, filepath.Base(test.file)), []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		if test.file == "plan.json" {
			_, err = scenario.ReadPlan(to)
		} else {
			_, err = scenario.ReadResults(to)
		}
		for _, want := range []string{test.schema, test.other, test.want} {
			if !errors.Is(err, verdict.ErrSchema) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", test.file, test.other, err, want)
			}
		}
	}
}

// A file may say which form it has. One of another version is refused for that alone, whatever else is in it.
func TestFilesOfOtherVersions(t *testing.T) {
	if s, err := scenario.Parse("good", []byte("version: 1\n"+good)); err != nil || s.Version != 1 {
		t.Errorf("%v", err)
	}
	if s, err := scenario.Parse("good", []byte(good)); err != nil || s.Version != scenario.FileVersion {
		t.Errorf("%v", err)
	}
	for _, version := range []string{"2", "0", "1.5", "one", ""} {
		_, err := scenario.Parse("good", []byte("unknownKey: 1\nversion: "+version+"\n"+good))
		if !errors.Is(err, scenario.ErrFileVersion) || !strings.Contains(err.Error(), `line 2: version: "`+version+`", and this program reads 1`) || strings.Contains(err.Error(), "unknownKey") {
			t.Errorf("version %s: %v", version, err)
		}
	}
}
