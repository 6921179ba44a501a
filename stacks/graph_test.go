package main

import (
	"os"
	"fmt"
	"testing"
)

func TestGraphDump(t *testing.T) {
	for _, r := range []string{"mirrormaker2", "ureplicator"} {
		p := newPair(t, map[string]string{"expose": `["203.0.113.0/24"]`})
		p.destination.SetConfig("replicator", r)
		p.up()
		os.WriteFile("/tmp/dump-src-"+r+".json", []byte(p.source.PlainText()), 0o644)
		os.WriteFile("/tmp/dump-dst-"+r+".json", []byte(p.destination.PlainText()), 0o644)
		for _, x := range p.destination.Resources() { if r == "ureplicator" { fmt.Println("D", x.Type, x.Name, "prov="+x.Provider) } }
		for _, x := range p.source.Resources() { if r == "ureplicator" { fmt.Println("S", x.Type, x.Name, "prov="+x.Provider) } }
	}
}
