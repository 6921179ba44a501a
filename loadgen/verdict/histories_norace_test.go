//go:build !race

package verdict_test

const defaultHistories = 10_000
