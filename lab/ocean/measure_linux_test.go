package ocean

import (
	"strings"
	"testing"
	"time"
)

func TestMeasureWritesARowForEachTrial(t *testing.T) {
	controls, err := congestionControls()
	must(t, err)
	list := trials(controls)
	list = append(list[:2:2], list[len(list)-4:]...) // one of each kind, for all would take long
	var out strings.Builder
	must(t, measure(t.Context(), &out, effort{pings: 2, warmUp: 200 * time.Millisecond, span: 100 * time.Millisecond}, list))
	for _, trial := range list {
		if !strings.Contains(out.String(), "| "+trial.what+" ") {
			t.Errorf("no row %q in:\n%s", trial.what, out.String())
		}
	}
	t.Log("\n" + out.String())
}
