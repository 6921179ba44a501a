package lab

import (
	"archive/zip"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// installation is a replicator that no registry has: a directory with its jars and those that it needs,
// which the user has made.
type installation struct {
	title   string
	flag    string // that names the directory
	dir     string
	classes []string // that must be in it
}

func (c *Config) uReplicator() installation {
	return installation{"uReplicator", "ureplicator-home", c.UReplicatorHome, []string{replicators.UReplicatorControllerClass, replicators.UReplicatorWorkerClass}}
}

func (c *Config) brooklin() installation {
	return installation{"Brooklin", "brooklin-home", c.BrooklinHome, []string{replicators.BrooklinClass}}
}

// validate reports why a directory that is named is no installation, or nil.
func (i installation) validate() error {
	if i.dir == "" {
		return nil
	}
	_, err := i.jars()
	return err
}

// jars returns the names of the jars that have the program's main classes, each once.
func (i installation) jars() ([]string, error) {
	all, err := filepath.Glob(filepath.Join(globless(i.dir), "*.jar"))
	if err != nil || len(all) == 0 {
		return nil, fmt.Errorf("%s %s: there is no jar in it: name the directory that has the jars of %s, and of all that it needs, directly in it", i.flag, i.dir, i.title)
	}
	var found []string
	missing := slices.Clone(i.classes)
	for _, path := range all {
		names, err := entries(path)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", i.flag, i.dir, err)
		}
		left := slices.DeleteFunc(slices.Clone(missing), func(class string) bool { return names[strings.ReplaceAll(class, ".", "/")+".class"] })
		if len(left) < len(missing) {
			found = append(found, filepath.Base(path))
		}
		if missing = left; len(missing) == 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("%s %s: none of its %d jars has %s: name the directory that has the jars of %s, and of all that it needs, directly in it",
		i.flag, i.dir, len(all), strings.Join(missing, " or "), i.title)
}

// globless has a path stand for itself in a pattern.
func globless(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func entries(jar string) (map[string]bool, error) {
	r, err := zip.OpenReader(jar)
	if err != nil {
		return nil, fmt.Errorf("%s is no jar: %w", filepath.Base(jar), err)
	}
	defer r.Close()
	names := map[string]bool{}
	for _, f := range r.File {
		names[f.Name] = true
	}
	return names, nil
}

// classPath is what Java finds the jars by.
func (i installation) classPath() (string, error) {
	dir, err := filepath.Abs(i.dir) // children run elsewhere
	return filepath.Join(dir, "*"), err
}

// version is what an installation says of itself: its files' names.
func (i installation) version() string {
	if i.dir == "" {
		return ""
	}
	jars, err := i.jars()
	if err != nil {
		return ""
	}
	for k := range jars {
		jars[k] = strings.TrimSuffix(jars[k], ".jar")
	}
	return strings.Join(jars, ", ")
}

// check reports why the lab cannot run it, and what it cannot do.
func (i installation) check(l *Lab, c scenario.Config) error {
	var errs []error
	cannot := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("replicator: %s: %w: "+format, append([]any{c.Destination.Replicator, scenario.ErrCannotPlay}, args...)...))
	}
	if i.dir == "" {
		cannot("no registry has %s: make a directory of its jars, as the README says, and name it with --%s", i.title, i.flag)
	}
	switch {
	case l.cfg.existing():
		cannot("the lab runs it between clusters of its own only, whose ZooKeepers it knows")
	case l.cfg.Ocean != OceanTUN:
		cannot("its REST interface has no password and listens on every address there is: the lab runs it in network namespaces of its own only: run the lab as root on Linux, with --ocean=%s", OceanTUN)
	}
	if c.Secure {
		errs = append(errs, fmt.Errorf("secure: true: the Kafka client in %s is too old for certificates in PEM form: use %s, or secure false", i.title, scenario.MirrorMaker2))
	}
	return errors.Join(errs...)
}
