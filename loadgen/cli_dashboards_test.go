package main

import (
	"strings"
	"testing"
)

func TestDashboardsSayWhichFlagIsWrong(t *testing.T) {
	w := watched{source: "prometheus:9090", from: "soon", to: "0s", values: map[string]string{"tset": "t1"}}
	text := errorText(w.Validate())
	for _, want := range []string{`--prometheus "prometheus:9090"`, `--from "soon"`, "--set tset"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, strings.Count(text, want), text)
		}
	}
	if strings.Contains(text, "--destination-prometheus") {
		t.Errorf("a flag that was not set is wrong:\n%s", text)
	}
	w = watched{source: "http://127.0.0.1:9090", destination: "nowhere", from: "5m", to: "10m"}
	text = errorText(w.Validate())
	if !strings.Contains(text, `--destination-prometheus "nowhere"`) || strings.Contains(text, `--prometheus "http`) {
		t.Errorf("of two addresses the second is wrong:\n%s", text)
	}
	w.destination = ""
	if text = errorText(w.Validate()); !strings.Contains(text, "--from 5m is not before --to 10m") {
		t.Error(text)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
