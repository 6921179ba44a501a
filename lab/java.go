package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// minJava is the oldest Java that Kafka 3.9's brokers and MirrorMaker 2 are meant to run on.
const minJava = 11

// java is a Java that was found and is new enough.
type java struct {
	path    string // the launcher itself, not a wrapper
	home    string // its java.home; may be empty
	version string // as it names itself, for example 17.0.15
}

var (
	javaVersion = regexp.MustCompile(`(?m)version "(?:1\.)?(\d+)([^"]*)"`)
	javaHome    = regexp.MustCompile(`(?m)^\s*java\.home = (.+?)\s*$`)
)

// findJava looks at path, else at JAVA_HOME, else on PATH, and asks what it found for its version.
func findJava(ctx context.Context, path string) (java, error) {
	asked := path
	switch home := os.Getenv("JAVA_HOME"); {
	case path != "":
	case home != "":
		path, asked = filepath.Join(home, "bin", "java"), "JAVA_HOME "+home
	default:
		path, asked = "java", "PATH"
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return java{}, fmt.Errorf("no Java found (looked at %s): install Java %d or newer, or name one with --java: %w", asked, minJava, err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return java{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, found, "-XX:-UsePerfData", "-XshowSettings:properties", "-version")
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return java{}, fmt.Errorf("%s -version failed, name another Java with --java: %w; it said:\n%s", found, errors.Join(err, context.Cause(ctx)), tail(string(out), 5))
	}
	m := javaVersion.FindStringSubmatch(string(out))
	if m == nil {
		return java{}, fmt.Errorf("%s -version does not look like Java's answer, name another Java with --java; it said:\n%s", found, tail(string(out), 5))
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return java{}, fmt.Errorf("%s says an unreadable version %q: %w", found, m[1]+m[2], err)
	}
	version := strings.TrimSuffix(strings.TrimPrefix(m[0], `version "`), `"`)
	if major < minJava {
		return java{}, fmt.Errorf("%s is Java %s: Kafka %s needs Java %d or newer; install one or name one with --java", found, version, kafkaVersion, minJava)
	}

	j := java{path: found, version: version}
	// What was found may be a wrapper script that does not exec; its JVM would outlive a killed lab.
	if m := javaHome.FindStringSubmatch(string(out)); m != nil {
		j.home = m[1]
		if launcher, err := exec.LookPath(filepath.Join(j.home, "bin", "java")); err == nil {
			j.path = launcher
		}
	}
	return j, nil
}
