//go:build !race

package ledger

const (
	fewRecords  = 1_000_000
	manyRecords = 100_000_000
)
