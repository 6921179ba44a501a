package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
)

// Planted passwords: found anywhere but in a file that is for passwords, they leaked.
const (
	plantedByVariable = "pl4nted-by-variable"
	plantedByFile     = "pl4nted-by-file"
)

// secured is a cluster in this process that wants a user and a password.
func secured(t *testing.T, password string) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "tester", password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// A whole test by the lab, with its child processes, at debug level: the password is in no command line, in no log and
// in no part of the report.
func TestPasswordsAreInNoCommandLineLogOrReport(t *testing.T) {
	for name, password := range map[string]string{"variable": plantedByVariable, "file": plantedByFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secretsOfALab(t, name, password)
		})
	}
}

func secretsOfALab(t *testing.T, way, password string) {
	source, destination := secured(t, password), secured(t, password)
	var c mirror.Config
	c.SetDefaults()
	login := kgo.SASL(plain.Auth{User: "tester", Pass: password}.AsMechanism())
	m, err := mirror.New(c, mirror.Deps{
		Source: []kgo.Opt{kgo.SeedBrokers(source...), login}, Destination: []kgo.Opt{kgo.SeedBrokers(destination...), login}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	mirrored := make(chan error, 1)
	go func() { mirrored <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-mirrored; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("mirror: %v", err)
		}
	}()

	dir := t.TempDir()
	out := filepath.Join(dir, "report")
	args := []string{"lab", "--source-bootstrap", source[0], "--destination-bootstrap", destination[0], "--replicator", "none", "--topics", "load",
		"--num-partitions", "2", "--throughput", "200/s", "--duration", "3s", "--drain-idle", "2s", "--ocean", "off", "--kill", "none", "--output", out, "--keep", "--log-level", "debug",
		"--sasl-mechanism", "plain", "--sasl-user", "tester"}
	env := []string{"LOADGEN_SASL_PASSWORD=" + password, "TMPDIR=" + dir}
	if way == "file" {
		file := filepath.Join(dir, "my-password")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args, env = append(args, "--sasl-password-file", file), env[1:]
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment(env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	seen := map[string]bool{} // commands of ours that were looked at
	for running := true; running; {
		select {
		case err := <-ended:
			if running = false; err != nil {
				t.Errorf("lab: %v\n%s", err, said.String())
			}
		case <-time.After(50 * time.Millisecond):
			lookAtCommandLines(t, password, seen)
		}
	}
	for _, command := range []string{"lab", "produce", "consume", "audit"} {
		if !seen[command] {
			t.Errorf("the command line of loadgen %s was never looked at", command)
		}
	}
	if strings.Contains(said.String(), password) {
		t.Errorf("the lab says the password:\n%s", said.String())
	}
	looked := map[string]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked[filepath.Base(path)] = true
		if !bytes.Contains(text, []byte(password)) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !strings.HasSuffix(filepath.Base(path), "password") || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the password, with mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"verdict.json", "report.html"} {
		if !looked[file] {
			t.Errorf("there was no %s to look at: %v", file, looked)
		}
	}
}

// lookAtCommandLines notes which commands of our binary run, and fails if one was told the password.
func lookAtCommandLines(t *testing.T, password string, seen map[string]bool) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(text), "\x00")
		if args[0] == binary && len(args) > 1 {
			seen[args[1]] = true
		}
		if strings.Contains(string(text), password) {
			t.Errorf("a command line has the password: %q", args)
		}
	}
}

// An address with a user and a password is shown without them.
func TestPasswordsInAddressesAreNotShown(t *testing.T) {
	const password = "pl4nted-in-an-address"
	for _, args := range [][]string{
		{"mark", "x", "--auditor", "http://u:" + password + "@127.0.0.1:1"},
		{"mark", "x", "--auditor", "http://u:" + password + "@[::1"},
		{"verdict", "--url", "http://u:" + password + "@127.0.0.1:1"},
		{"verdict", "--url", "ftp://u:" + password + "@127.0.0.1:1"},
		{"dashboards", "render", "--prometheus", "http://u:" + password + "@127.0.0.1:1", "--output", t.TempDir()},
		{"dashboards", "render", "--prometheus", "u:" + password + "@127.0.0.1:1", "--output", t.TempDir()},
		{"topics", "describe", "--topics", "a", "--bootstrap-servers", "u:" + password + "@127.0.0.1:1"},
		{"topics", "describe", "--topics", "a", "--bootstrap-servers", "http://u:" + password + "@127.0.0.1:1"},
		{"replicator", "register", "--replicator", "ureplicator", "--topics", "load", "--num-partitions", "1", "--timeout", "1s", "--url", "http://u:" + password + "@127.0.0.1:1"},
		{"replicator", "register", "--replicator", "brooklin", "--topics", "load", "--num-partitions", "1", "--url", "ftp://u:" + password + "@127.0.0.1:1"},
	} {
		r := loadgen(t, []string{"LOADGEN_LOG_LEVEL=debug"}, args...)
		if r.code != exitTrouble || r.stderr == "" {
			t.Errorf("%q: exit code %d", args, r.code)
		}
		if strings.Contains(r.stdout+r.stderr, password) {
			t.Errorf("%q tells the password:\n%s%s", args, r.stdout, r.stderr)
		}
	}
}
