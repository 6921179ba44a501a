package lab

import (
	"context"
	"os"
)

// Kafka is what it takes to start Kafka's programs, for those who need one without a lab.
type Kafka struct {
	Java        string // path of the launcher
	JavaVersion string
	ClassPath   string // of brokers and tools, each jar checked against its checksum
	Version     string
}

// FindKafka finds Java and gets Kafka's jars, where it does not have them yet. Empty settings mean
// the lab's own defaults, as with --java and --cache-dir.
func FindKafka(ctx context.Context, java, cacheDir string, say func(format string, args ...any)) (Kafka, error) {
	j, err := findJava(ctx, java)
	if err != nil {
		return Kafka{}, err
	}
	cfg := Config{CacheDir: cacheDir}
	cache, err := cfg.cacheDir()
	if err != nil {
		return Kafka{}, err
	}
	classPath, err := resolveJars(ctx, cache, j, say)
	if err != nil {
		return Kafka{}, err
	}
	return Kafka{Java: j.path, JavaVersion: j.version, ClassPath: classPath, Version: kafkaVersion}, nil
}

// FreePorts finds n free loopback ports that no outgoing connection is given.
func FreePorts(n int) ([]int, error) { return freePorts(n) }

// TempDir makes a temporary directory below parent (empty: the system's). If the process is killed
// before it calls remove, the next one that calls TempDir, or the next lab, removes it.
func TempDir(parent string) (path string, remove func() error, err error) {
	if parent == "" {
		parent = os.TempDir()
	}
	w, err := newWorkDir(parent)
	if err != nil {
		return "", nil, err
	}
	return w.path, func() error { return w.remove(false) }, nil
}
