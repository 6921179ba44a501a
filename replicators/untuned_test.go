package replicators

import (
	"strings"
	"testing"
	"time"
)

// Each setting takes the place of one that the tuned file has.
func TestUntunedUndoesTheTuning(t *testing.T) {
	m := MirrorMaker2{Source: []string{"s:1"}, Destination: []string{"d:1"}, Topics: []string{"load"}, Tasks: 1, RefreshInterval: time.Second, Replicas: 1}
	tuned := string(m.Properties())
	m.Overrides = MirrorMaker2Untuned()
	untuned := string(m.Properties())
	if err := m.ValidateOverrides(); err != nil {
		t.Error(err)
	}
	for key, value := range MirrorMaker2Untuned() {
		if !strings.Contains(tuned, key+"=") || strings.Contains(tuned, key+"="+value+"\n") || !strings.Contains(untuned, key+"="+value+"\n") {
			t.Errorf("%s is not one of the tuned settings, or stays as it is", key)
		}
	}
	if strings.Contains(untuned, "buffer.bytes=-1") {
		t.Errorf("something is still tuned:\n%s", untuned)
	}
}
