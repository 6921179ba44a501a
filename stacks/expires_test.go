package main

import (
	"fmt"
	"strings"
	"testing"
)

// When the load ends by itself is known to the producers, and to whoever asks where all is. It starts none
// of them anew.
func TestExpires(t *testing.T) {
	const at = "2026-12-24T18:00:00Z"
	s := newStack(t, source, nil)
	s.Up()
	s.SetConfig("expires", at)
	up := s.Up()
	if got := up.Changes(); len(got) != 1 || got[0] != "update kubernetes:core/v1:ConfigMap load-settings" {
		t.Errorf("the update did %q", got)
	}
	settings := fmt.Sprint(s.Resource("kubernetes:core/v1:ConfigMap", "load-settings").Get("data"))
	if !strings.Contains(settings, `"until": "`+at+`"`) {
		t.Errorf("the producers are told %s", settings)
	}
	if where := fmt.Sprint(up.Outputs["where"]); !strings.Contains(where, "the load ends          "+at) {
		t.Errorf("make where says:\n%s", where)
	}
}
