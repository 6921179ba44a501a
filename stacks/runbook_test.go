package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// The steps of docs/runbook.md that the engine can try, in its order.

// A fault that did not end is ended by taking it out of the configuration, and that touches nothing else.
func TestRunbookAFaultIsTakenAway(t *testing.T) {
	s := newStack(t, source, nil)
	s.Up()
	s.SetConfig("fault", `{"kind":"broker-partition","victims":[3],"duration":"10m","run":1}`)
	s.Up()
	if !hasFault(s) {
		t.Fatal("the fault is not there")
	}
	s.UnsetConfig("fault")
	for _, step := range s.Up().Steps {
		if step.Op != "delete" || !strings.HasPrefix(step.Type, "kubernetes:chaos-mesh.org/") {
			t.Errorf("%v", step)
		}
	}
	if hasFault(s) {
		t.Error("the fault is still there")
	}
}

// A destination whose peering was made by half is gone on with, or destroyed, and the source is left as it was.
func TestRunbookAHalfCreatedPeeringIsDestroyed(t *testing.T) {
	p := newPair(t, nil)
	p.source.Up()
	p.destination.FailOnce("aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter", "peering")
	if _, err := p.destination.TryUp(); err == nil {
		t.Fatal("the update was to fail")
	}
	if !slices.ContainsFunc(p.destination.Resources(), func(r enginetest.Resource) bool { return r.Type == "aws:ec2/vpcPeeringConnection:VpcPeeringConnection" }) {
		t.Fatal("the peering was not even begun")
	}
	before := len(p.source.Resources())
	p.destination.Destroy()
	if rest := p.destination.Resources(); len(rest) > 0 {
		t.Errorf("destroy leaves %s", name(rest[0]))
	}
	if c := p.source.Up().Changes(); len(c) > 0 || len(p.source.Resources()) != before {
		t.Errorf("the source's next update does %q", c)
	}
}

// The state that was exported is all that another machine needs.
func TestRunbookAStateOnAnotherMachine(t *testing.T) {
	lost := newStack(t, source, nil)
	lost.Up()
	other := newStack(t, source, nil)
	other.Import(lost.Export())
	if c := other.Up().Changes(); len(c) > 0 {
		t.Errorf("the first update from another machine changes %q", c)
	}
	other.Destroy()
	if rest := other.Resources(); len(rest) > 0 {
		t.Errorf("destroy leaves %s", name(rest[0]))
	}
}

// A new password is an update in place: no cluster, no broker's pod and no disk is made anew.
func TestRunbookASecretIsRotated(t *testing.T) {
	p := newPair(t, nil)
	p.source.Up()
	p.destination.Up()
	p.destination.SetSecret("grafanaPassword", "another horse")
	update := p.destination.Up()
	if len(update.Steps) == 0 {
		t.Fatal("a new password changes nothing")
	}
	for _, step := range update.Steps {
		if step.Op != "update" {
			t.Errorf("%v because of %s", step, strings.Join(step.Replaces, ", "))
		}
	}
	if strings.Contains(p.destination.PlainText(), "another horse") {
		t.Error("the password is in the state in clear")
	}
}

// The tests that the runbook names as its evidence are there.
func TestRunbookNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest[A-Z][A-Za-z]+\b`).FindAllString(string(text), -1)
	if len(names) < 5 {
		t.Fatalf("%q", names)
	}
	var all strings.Builder
	err = filepath.WalkDir("..", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(all.String(), "func "+name+"(") {
			t.Errorf("docs/runbook.md names %s, and there is no such test", name)
		}
	}
}
