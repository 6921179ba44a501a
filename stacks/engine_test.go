package main

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// pair is both stacks, with the talk's sizes and the files that are in the repository.
type pair struct{ source, destination *enginetest.Stack }

// newPair prepares both stacks; values are further configuration, of both.
func newPair(t testing.TB, values map[string]string) *pair {
	t.Helper()
	p := &pair{newStack(t, source, values), newStack(t, destination, values)}
	p.destination.Peer("us-east-1", p.source)
	return p
}

// newStack prepares the stack of a role: its file, what make images, make versions and make secrets
// write, and values.
func newStack(t testing.TB, role string, values map[string]string) *enginetest.Stack {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimPrefix(stackFiles[role], "Pulumi."), ".yaml")
	var s *enginetest.Stack
	s = enginetest.New(t, func(ctx *pulumi.Context) error { return program(ctx, s.Config()) }, enginetest.WithName(projectName, name))
	secret := project(t).Config
	for key, value := range usable(t, role, values) {
		if d, ok := secret[strings.TrimPrefix(key, projectName+":")]; ok && d.Secret && value != "" {
			s.SetSecret(key, value)
		} else {
			s.SetConfig(key, value)
		}
	}
	return s
}

func (p *pair) up() {
	p.source.Up()
	p.destination.Up()
}

func TestUpAndAgainAndRefreshAndDestroy(t *testing.T) {
	for _, replicator := range []string{"mirrormaker2", "ureplicator", "brooklin", "none"} {
		t.Run(replicator, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.destination.SetConfig("replicator", replicator)
			p.up()
			for name, s := range map[string]*enginetest.Stack{"source": p.source, "destination": p.destination} {
				if c := s.Up().Changes(); len(c) > 0 {
					t.Errorf("%s: a second up changes %q", name, c)
				}
				if c := s.Refresh().Changes(); len(c) > 0 {
					t.Errorf("%s: a refresh changes %q", name, c)
				}
			}
			p.destination.Destroy()
			p.source.Destroy()
			for name, s := range map[string]*enginetest.Stack{"source": p.source, "destination": p.destination} {
				for _, r := range s.Resources() {
					t.Errorf("%s: destroy leaves %s %s", name, r.Type, r.Name)
				}
			}
		})
	}
}
