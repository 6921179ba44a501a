package ocean

import (
	"strings"
	"testing"
)

func wantMistakes(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not name %q:\n%v", text, err)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != len(texts) {
		t.Errorf("%d mistakes, want %d:\n%v", got, len(texts), err)
	}
}
