// Command generate writes dashboards and rules to dashboards/generated. It is run by go generate, in the
// directory dashboards.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

func main() {
	if err := run("generated"); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := dashboards.Files()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
