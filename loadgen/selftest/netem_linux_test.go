package selftest_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/selftest"
)

// Whatever this machine can do, the answer fits, and the device is left as it was.
func TestNetem(t *testing.T) {
	var out bytes.Buffer
	err := selftest.Netem(&out)
	switch {
	case err == nil:
		if !strings.Contains(out.String(), "sch_netem") {
			t.Errorf("said %q", out.String())
		}
	case strings.Contains(err.Error(), "operation not permitted"):
		if !strings.Contains(err.Error(), "NET_ADMIN") {
			t.Errorf("error %v", err)
		}
	case !strings.Contains(err.Error(), "kernel-modules-extra"):
		t.Errorf("error %v", err)
	}
	if tc, missing := exec.LookPath("tc"); missing == nil {
		if left, err := exec.Command(tc, "qdisc", "show", "dev", "lo").CombinedOutput(); err == nil && strings.Contains(string(left), "netem") {
			t.Errorf("it left %s", left)
		}
	}
}
