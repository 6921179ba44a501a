package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// previousRelease is the commit whose program made the states in testdata/upgrade. They are written by
// `go test ./stacks -run TestAStackOfThePreviousRelease -update` in a checkout of that commit to which this file
// and infra/enginetest/state.go have been copied.
const previousRelease = "736e087"

func stateFile(role string) string {
	return filepath.Join("testdata", "upgrade", previousRelease+"-"+role+".json.gz")
}

// costly are the types of what a user loses data, time or money by when it is made anew: the network, the cluster
// and its nodes, what joins the regions, Kafka and its disks.
var costly = []string{
	"aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip", "aws:ec2/vpcPeeringConnection:VpcPeeringConnection",
	"aws:route53/zone:Zone", "eks:index:Cluster", "aws:eks/cluster:Cluster", "eks:index:ManagedNodeGroup", "aws:eks/nodeGroup:NodeGroup",
	"kubernetes:core/v1:Namespace", "kubernetes:apps/v1:StatefulSet", "kubernetes:core/v1:PersistentVolumeClaim", "kubernetes:core/v1:PersistentVolume", "kubernetes:helm.sh/v3:Release",
	"pulumi:providers:kubernetes",
}

// What the previous release has made is updated: nothing costly is replaced or deleted.
func TestAStackOfThePreviousReleaseIsUpdated(t *testing.T) {
	p := newPair(t, nil)
	if *update {
		p.up()
		for role, s := range map[string]*enginetest.Stack{source: p.source, destination: p.destination} {
			var packed bytes.Buffer
			w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(s.Export()); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(stateFile(role)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(stateFile(role), packed.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, side := range []struct {
		role  string
		stack *enginetest.Stack
	}{{source, p.source}, {destination, p.destination}} {
		file, err := os.Open(stateFile(side.role))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		state, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		side.stack.Import(state)
		before := map[string]string{} // URN to id
		found := map[string]bool{}
		for _, r := range side.stack.Resources() {
			if slices.Contains(costly, r.Type) {
				before[r.URN], found[r.Type] = r.ID, true
			}
		}
		for _, typ := range []string{"aws:ec2/vpc:Vpc", "eks:index:Cluster", "kubernetes:apps/v1:StatefulSet"} {
			if !found[typ] {
				t.Fatalf("%s: the stored state has no %s", side.role, typ)
			}
		}
		update := side.stack.Up()
		for _, step := range update.Steps {
			t.Logf("%s: %v: %s", side.role, step, strings.Join(step.Diff, ", "))
			if (strings.HasPrefix(step.Op, "replace") || strings.HasPrefix(step.Op, "delete")) && slices.Contains(costly, step.Type) {
				t.Errorf("%s: %v because of %s", side.role, step, strings.Join(step.Replaces, ", "))
			}
		}
		after := map[string]string{}
		for _, r := range side.stack.Resources() {
			after[r.URN] = r.ID
		}
		for urn, id := range before {
			if after[urn] != id {
				t.Errorf("%s: %s had the id %q, and has now %q", side.role, urn, id, after[urn])
			}
		}
		if again := side.stack.Up().Changes(); len(again) > 0 {
			t.Errorf("%s: another update changes %q", side.role, again)
		}
	}
}
