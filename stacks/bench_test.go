package main

import (
	"fmt"
	"strconv"
	"testing"
)

// Registering both full stacks with the real engine, preview and update each, as brokers and workers
// grow.
func BenchmarkStacks(b *testing.B) {
	for _, size := range []int{3, 30, 100, 300} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			resources := 0
			for b.Loop() {
				n := strconv.Itoa(size)
				p := newPair(b, map[string]string{"brokers": n, "nodes": strconv.Itoa(size + 20)})
				p.destination.SetConfig("workers", n)
				p.destination.SetConfig("replicatorConfig", `{"tasks.max":"`+strconv.Itoa(max(size, 32))+`"}`) // work for all
				p.up()
				resources = len(p.source.Resources()) + len(p.destination.Resources())
			}
			b.ReportMetric(float64(resources), "resources")
		})
	}
}
