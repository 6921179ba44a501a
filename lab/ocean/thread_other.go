//go:build !linux

package ocean

// threadID is that of no process: only on Linux does the first thread matter.
func threadID() int { return 0 }
