//go:build !race

package ledger

const manyRecords = 100_000_000
