package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	kafkaVersion     = "3.9.2"
	dependencyPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
)

// artifacts are what Maven resolves; the rest of the jars follows from them.
var artifacts = []string{
	"org.apache.kafka:kafka_2.13:" + kafkaVersion, // brokers, and ZooKeeper with them
	"org.apache.kafka:kafka-tools:" + kafkaVersion,
	"org.apache.kafka:connect-runtime:" + kafkaVersion,
	"org.apache.kafka:connect-mirror:" + kafkaVersion, // MirrorMaker 2
	"org.slf4j:slf4j-reload4j:1.7.36",
}

// jarSums is what sha256sum prints for the jars. To change versions, resolve the artifacts above and
// run sha256sum over the result.
//
//go:embed jars.sha256
var jarSums string

// jar is a file that the lab runs, and what its content must be.
type jar struct{ name, sum string }

func jars() []jar {
	var all []jar
	lines := bufio.NewScanner(strings.NewReader(jarSums))
	for lines.Scan() {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		all = append(all, jar{name: name, sum: sum})
	}
	return all
}

// resolveJars returns the class path of Kafka, ZooKeeper and MirrorMaker 2. Every jar is checked
// against its known checksum on every call. Jars that are not in the cache yet are had from Maven
// Central, and are put there only when all of them are right.
func resolveJars(ctx context.Context, cache string, j java, say func(format string, args ...any)) (string, error) {
	dir := filepath.Join(cache, "kafka-"+kafkaVersion)
	classPath, err := checkJars(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return classPath, err
	}

	mvn, lookErr := exec.LookPath("mvn")
	if lookErr != nil {
		return "", fmt.Errorf("the Kafka jars are not all in %s, and Maven, which would get them, is missing: "+
			"install mvn, or name a directory that has them with --cache-dir: %w", dir, errors.Join(lookErr, err))
	}
	say("getting the jars of Kafka %s from Maven Central, once, into %s", kafkaVersion, dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the jars' directory, or name another with --cache-dir: %w", err)
	}
	fresh, err := os.MkdirTemp(cache, "resolving-")
	if err != nil {
		return "", fmt.Errorf("write into the jars' directory, or name another with --cache-dir: %w", err)
	}
	defer os.RemoveAll(fresh)
	if err := runMaven(ctx, mvn, fresh, j); err != nil {
		return "", err
	}
	resolved := filepath.Join(fresh, "jars")
	if _, err := checkJars(resolved); err != nil {
		return "", fmt.Errorf("what Maven resolved is not what this lab was built for: %w", err)
	}
	// Another lab may have been faster, or an incomplete directory may be in the way.
	if _, err := checkJars(dir); err != nil {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("remove the incomplete jars: %w", err)
		}
		if err := os.Rename(resolved, dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("keep the jars: %w", err)
		}
	}
	return checkJars(dir)
}

// checkJars returns the class path of the jars in dir. The error is fs.ErrNotExist where any is
// missing, and names file and checksums where one is not what it should be.
func checkJars(dir string) (string, error) {
	var paths []string
	for _, j := range jars() {
		path := filepath.Join(dir, j.name)
		sum, err := sha256Of(path)
		if err != nil {
			return "", fmt.Errorf("jar of Kafka %s: %w", kafkaVersion, err)
		}
		if sum != j.sum {
			return "", fmt.Errorf("%s has sha256 %s, must have %s: it is damaged or not the one that was released; "+
				"remove the directory to get the jars again", path, sum, j.sum)
		}
		paths = append(paths, path)
	}
	return strings.Join(paths, string(os.PathListSeparator)), nil
}

func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// runMaven has Maven copy the artifacts with all that they need at run time into dir/jars.
func runMaven(ctx context.Context, mvn, dir string, j java) error {
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom()), 0o644); err != nil {
		return err
	}
	return maven(ctx, mvn, dir, j, "the jars of Kafka "+kafkaVersion,
		"-f", filepath.Join(dir, "pom.xml"), dependencyPlugin+":copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "jars"))
}

// maven runs Maven in dir, which it makes, to get what its arguments ask for. It ends with ctx.
func maven(ctx context.Context, mvn, dir string, j java, what string, args ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mvn, append([]string{"-B", "-q"}, args...)...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if j.home != "" {
		cmd.Env = append(cmd.Env, "JAVA_HOME="+j.home)
	}
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("getting %s: %w", what, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s could not get %s from Maven Central: %w\n%s", mvn, what, err, tail(string(out), 15))
	}
	return nil
}

func pom() string {
	var b strings.Builder
	b.WriteString(`<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafka-mirror-tester</groupId>
  <artifactId>lab</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
`)
	for _, a := range artifacts {
		part := strings.Split(a, ":")
		fmt.Fprintf(&b, "    <dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n", part[0], part[1], part[2])
	}
	b.WriteString("  </dependencies>\n</project>\n")
	return b.String()
}
