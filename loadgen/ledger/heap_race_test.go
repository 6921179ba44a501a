//go:build race

package ledger

// The race detector makes everything ten times as slow.
const manyRecords = 5_000_000
