//go:build race

package ledger

// The race detector makes everything ten times as slow.
const (
	fewRecords  = 200_000
	manyRecords = 2_000_000
)
