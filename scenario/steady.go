package scenario

import (
	"fmt"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// The last seconds of a time line are left out, since ledgers have not told of all of them yet.
const untold = 2

// caughtUp is how old a record may be that is due in a steady state, in seconds. Up to about two of it
// are the ledgers'.
const caughtUp = 5

// steady says whether, in the last seconds of which all is known and that are after since (Unix seconds),
// the load ran, as many records arrived as were sent, none of them waited for long, and the 99th percentile
// of the latency stayed where it was. If not, why says what was otherwise.
func steady(doc *verdict.Document, since int64, seconds int) (ok bool, why string) {
	end := doc.Verdict.At/1_000_000 - untold
	var window []verdict.Point
	for _, p := range doc.Timeline {
		if p.Second > max(since, end-int64(seconds)) && p.Second <= end {
			window = append(window, p)
		}
	}
	var sent, received uint64
	var p99 []float64
	idle, oldest := 0, 0.0
	for _, p := range window {
		sent, received = sent+p.Sent, received+p.Received
		if p.Sent == 0 || p.Received == 0 {
			idle++
			continue
		}
		p99 = append(p99, p.P99)
		oldest = max(oldest, p.RPOSeconds)
	}
	switch {
	case len(window) < seconds:
		return false, fmt.Sprintf("only %d of %d seconds have been seen", len(window), seconds)
	case sent == 0:
		return false, "nothing was sent"
	case idle > 0:
		return false, fmt.Sprintf("nothing was sent, or nothing arrived, in %d of the last %d seconds", idle, seconds)
	case float64(received) < 0.9*float64(sent):
		return false, fmt.Sprintf("%d records arrived of %d that were sent in %d seconds", received, sent, seconds)
	case oldest > caughtUp:
		return false, fmt.Sprintf("there is a backlog: a record was due for %.1f s", oldest)
	case window[len(window)-1].Pending > window[0].Pending+2*sent/uint64(seconds):
		return false, fmt.Sprintf("the records that wait grew from %d to %d", window[0].Pending, window[len(window)-1].Pending)
	}
	slices.Sort(p99)
	median, worst := p99[len(p99)/2], p99[len(p99)-1]
	if worst > max(2*median, median+1000) {
		return false, fmt.Sprintf("the latency's 99th percentile was %.0f ms in one second and %.0f ms in most", worst, median)
	}
	return true, ""
}
