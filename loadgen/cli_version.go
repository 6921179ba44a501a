package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the Makefile; a build without it knows what Go recorded.
var version string

// build says what this binary was made from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the source had changes beyond Revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
	FranzGo  string `json:"franzGo"`
}

func readBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, FranzGo: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "unknown")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/twmb/franz-go" {
			b.FranzGo = m.Version
		}
	}
	return b
}

// versions names them for a report.
func (b build) versions() map[string]string {
	return map[string]string{"loadgen": b.Version, "go": b.Go, "platform": b.Platform, "franz-go": b.FranzGo}
}

func versionCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := a.command(&cobra.Command{
		Use:   "version",
		Short: "Print the versions of loadgen, Go and franz-go",
		Example: `  loadgen version
  loadgen version --json`,
	}, func(context.Context) error {
		b := readBuild()
		if asJSON {
			enc := json.NewEncoder(a.stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(b)
		}
		revision := ""
		if b.Revision != "" {
			revision = " (revision " + b.Revision
			if b.Modified {
				revision += ", modified"
			}
			revision += ")"
		}
		_, err := fmt.Fprintf(a.stdout, "loadgen %s%s\n%s %s\nfranz-go %s\n", b.Version, revision, b.Go, b.Platform, b.FranzGo)
		return err
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
