package main

import (
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// refused runs an update that must fail before anything is made, with words.
func refused(t *testing.T, s *enginetest.Stack, words ...string) {
	t.Helper()
	before := len(s.Resources())
	_, err := s.TryUp()
	if err == nil {
		t.Fatal("is accepted")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\ndoes not say %q", err, w)
		}
	}
	if after := len(s.Resources()); after != before {
		t.Errorf("%d resources became %d", before, after)
	}
}

func hasFault(s *enginetest.Stack) bool {
	for _, r := range s.Resources() {
		if strings.HasPrefix(r.Type, "kubernetes:chaos-mesh.org/") {
			return true
		}
	}
	return false
}

// A stack that is made again with the configuration of its last day must not be broken from the start.
func TestNoFaultBeginsOnTheFirstUpdate(t *testing.T) {
	s := newStack(t, source, fault(`{"kind":"broker-kill","victims":[3],"run":7}`))
	for range 2 {
		s.Up()
		if hasFault(s) {
			t.Fatal("a fault begins though its run has not changed")
		}
	}
	s.SetConfig("fault", `{"kind":"broker-kill","victims":[3],"run":8}`)
	s.Up()
	if !hasFault(s) {
		t.Error("the next run does not begin")
	}
	// Not even where the first update failed half-way.
	s = newStack(t, source, fault(`{"kind":"broker-kill","victims":[3],"run":7}`))
	s.FailOnce("kubernetes:apps/v1:StatefulSet", "kafka")
	if _, err := s.TryUp(); err == nil {
		t.Fatal("the update was to fail")
	}
	s.Up()
	if hasFault(s) {
		t.Error("a fault begins though its run has not changed")
	}
}

func TestAFaultThatHasNotBeenRunIsNone(t *testing.T) {
	s := newStack(t, source, nil)
	s.Up()
	s.SetConfig("fault", `{"kind":"broker-kill","victims":[3]}`)
	s.Up()
	if hasFault(s) {
		t.Error("run 0 begins")
	}
}

func TestWhatWouldBeLostIsRefused(t *testing.T) {
	s := newStack(t, source, nil)
	s.Up()
	s.SetConfig("partitions", "149")
	refused(t, s, "partitions: 149, and there are 150")
	s.SetConfig("partitions", "150")
	s.SetConfig("kafkaMode", "kraft")
	refused(t, s, "kafkaMode: kraft")
}

func TestAPeerThatCannotBeIsRefused(t *testing.T) {
	t.Run("not there", func(t *testing.T) {
		d := newStack(t, destination, map[string]string{"peerStack": "us-east-1"})
		refused(t, d, "unknown stack", "us-east-1")
	})
	t.Run("not up yet", func(t *testing.T) {
		refused(t, newPair(t, nil).destination, "us-east-1 has no outputs yet: run pulumi up --stack us-east-1 first")
	})
	t.Run("another role", func(t *testing.T) {
		p := newPair(t, nil)
		p.up()
		d := newStack(t, destination, nil)
		d.Peer("us-east-1", p.destination)
		refused(t, d, "peerStack: us-east-1 has the role destination")
	})
	p := newPair(t, nil)
	p.source.Up()
	for key, test := range map[string]struct {
		value string
		words []string
	}{
		"testId":       {"other", []string{"testId: other here, and test in us-east-1"}},
		"topicPattern": {"l.*", []string{"topicPattern"}},
		"peerCidr":     {"10.30.0.0/16", []string{"peerCidr: 10.30.0.0/16, and the vpcCidr of us-east-1 is 10.10.0.0/16"}},
		"vpcCidr":      {"10.10.0.0/16", []string{"vpcCidr: 10.10.0.0/16 overlaps"}},
		"replicator":   {"ureplicator", []string{"the source has kafkaMode kraft"}},
	} {
		t.Run(key, func(t *testing.T) {
			p := p
			if key == "replicator" {
				p = newPair(t, nil)
				p.source.SetConfig("kafkaMode", "kraft")
				p.source.Up()
			}
			d := newStack(t, destination, map[string]string{key: test.value})
			d.Peer("us-east-1", p.source)
			refused(t, d, test.words...)
		})
	}
}

// Both sides in two namespaces of a cluster that is there already: nothing of AWS, and nothing that
// both would make.
func TestExistingCluster(t *testing.T) {
	common := map[string]string{
		"kubeconfig": "apiVersion: v1\nkind: Config\n# c2VjcmV0", "nodes": "0", "brokers": "3",
		"vpcCidr": "", "peerCidr": "", "nodeRelease": "", "versions": "{}",
	}
	src := newStack(t, source, common)
	src.SetConfig("peerNamespace", "destination")
	dst := newStack(t, destination, common)
	dst.SetConfig("peerNamespace", "source")
	dst.SetConfig("installMonitoring", "false")
	dst.SetConfig("installChaos", "false")
	dst.SetConfig("liveMap", "none")
	dst.Peer("us-east-1", src)
	names := map[string]string{}
	for side, s := range map[string]*enginetest.Stack{"source": src, "destination": dst} {
		if side == "destination" {
			src.Up()
		}
		s.Up()
		if c := s.Up().Changes(); len(c) > 0 {
			t.Errorf("%s: a second up changes %q", side, c)
		}
		for _, r := range s.Resources() {
			if strings.HasPrefix(r.Type, "aws:") || strings.HasPrefix(r.Type, "eks:") || r.Type == "pulumi:providers:aws" {
				t.Errorf("%s: %s %s", side, r.Type, r.Name)
			}
			if r.Type == "kubernetes:core/v1:Namespace" || strings.Contains(r.Type, "rbac") && strings.Contains(r.Type, "Cluster") {
				name := r.Type + " " + r.Get("metadata.name").(string)
				if other, twice := names[name]; twice && other != side {
					t.Errorf("both sides make %s", name)
				}
				names[name] = side
			}
		}
		if strings.Contains(s.PlainText(), "c2VjcmV0") {
			t.Errorf("%s: the kubeconfig is in clear in the state", side)
		}
	}
	dst.Destroy()
	src.Destroy()
}
