//go:build race

package verdict_test

// The race detector slows histories down tenfold, and they share nothing.
const defaultHistories = 500
