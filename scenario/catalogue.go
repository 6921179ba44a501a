package scenario

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed catalogue/*.yaml
var catalogue embed.FS

// Names returns the names of the scenarios in the catalogue, sorted.
func Names() ([]string, error) {
	files, err := catalogue.ReadDir("catalogue")
	if err != nil {
		return nil, fmt.Errorf("catalogue of scenarios: %w", err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return names, nil
}

// IsFile reports whether name is the path of a file and not the name of a scenario of the catalogue.
func IsFile(name string) bool {
	return strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// Load reads the scenario of that name from the catalogue, or from a file if name is its path. settings
// change its baseline, as for ParseWith.
func Load(name string, settings []string) (*Scenario, error) {
	if IsFile(name) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("scenario: %w", err)
		}
		base := filepath.Base(name)
		return ParseWith(strings.TrimSuffix(base, filepath.Ext(base)), text, settings)
	}
	text, err := catalogue.ReadFile("catalogue/" + name + ".yaml")
	if err != nil {
		names, err := Names()
		if err != nil {
			return nil, err
		}
		hint := "loadgen scenario list shows all; a file of your own is given with its path, ./" + name + ".yaml"
		begin := slices.DeleteFunc(slices.Clone(names), func(known string) bool { return name == "" || !strings.HasPrefix(known, name) })
		switch near := Nearest(name, names); {
		case len(begin) > 0:
			hint = fmt.Sprintf("did you mean %s?", strings.Join(begin, " or "))
		case near != "":
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		return nil, fmt.Errorf("scenario %q is not in the catalogue: %s", name, hint)
	}
	return ParseWith(name, text, settings)
}
