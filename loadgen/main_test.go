package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// binary is loadgen, as a user has it.
var binary string

// stubbornMode makes this test binary a process that never stops by itself.
const stubbornMode = "TEST_STUBBORN"

func TestMain(m *testing.M) {
	if os.Getenv(stubbornMode) != "" {
		ctx := withSignals(context.Background(), os.Stderr)
		fmt.Println("running")
		<-ctx.Done()
		fmt.Println("stopping")
		select {}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loadgen-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "loadgen")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is how a loadgen process ended.
type result struct {
	code           int
	stdout, stderr string
}

// loadgen runs the binary with these variables and no other LOADGEN_ ones.
func loadgen(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment(env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, envPrefix) })
	return append(env, more...)
}

// want fails unless the process ended with code and said each of the parts, on
// stdout if it succeeded and else on stderr.
func (r result) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	said, silent := r.stderr, r.stdout
	if code == exitHolds {
		said, silent = r.stdout, ""
	}
	for _, part := range parts {
		switch n := strings.Count(said, part); n {
		case 1:
		case 0:
			t.Errorf("did not say %q, but\n%s", part, said)
		default:
			t.Errorf("said %q %d times:\n%s", part, n, said)
		}
	}
	if silent != "" {
		t.Errorf("a failure wrote to stdout:\n%s", silent)
	}
}

func cluster(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		args string
		want []string
	}{
		{"", []string{"loadgen: a command is missing", "topics", "See 'loadgen --help'."}},
		{"tpoics", []string{`loadgen: unknown command "tpoics" (did you mean "topics"?)`, "See 'loadgen --help'."}},
		{"--no-such-flag", []string{"loadgen: unknown flag: --no-such-flag", "See 'loadgen --help'."}},
		{"topics", []string{"loadgen topics: a command is missing: apply, create, describe, grow", "See 'loadgen topics --help'."}},
		{"topics cretae", []string{`unknown command "cretae" (did you mean "create"?)`, "See 'loadgen topics --help'."}},
		{"topics create --no-such-flag", []string{"loadgen topics create: unknown flag: --no-such-flag", "See 'loadgen topics create --help'."}},
		{"topics create stray", []string{`unexpected argument "stray"`, "See 'loadgen topics create --help'."}},
		{"topics create --retention 5", []string{"--retention", "missing unit", "See"}},
		{"topics create --max-message-bytes 1XB --topics a", []string{"--max-message-bytes", `unit "XB"`, "See"}},
		{
			"topics create --num-partitions 0 --topics a/b",
			[]string{"no bootstrap servers", `topic "a/b"`, "0 partitions", "See 'loadgen topics create --help'."},
		},
		{"topics create --bootstrap-servers kafka --topics a", []string{`"kafka" is not host:port`, "See"}},
		{"topics grow --bootstrap-servers k:1 --topics a", []string{"0 partitions", "See 'loadgen topics grow --help'."}},
		{"version --log-level loud", []string{`--log-level "loud"`, "See"}},
		{"version --log-format xml", []string{`--log-format "xml"`, "See"}},
		{"selftest", []string{"loadgen selftest: a command is missing: kafka, netem, replicator"}},
		{"selftest kafka --bootstrap-servers k:1 --timeout 0s", []string{"0 brokers", "--brokers", "timeout 0s", "See"}},
		{"selftest replicator --topic a/b", []string{"source: no bootstrap servers", "destination: no bootstrap servers", `topic "a/b"`, "See"}},
		{"help nothing", []string{`unknown command "nothing"`}},
		{"completion", []string{"a command is missing: bash, fish, powershell, zsh"}},
		{"completion tcsh", []string{`unknown command "tcsh"`}},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := loadgen(t, nil, strings.Fields(test.args)...)
			r.want(t, exitTrouble, test.want...)
			if lines := strings.Count(r.stderr, "\n"); len(test.want) <= 3 && lines != 2 {
				t.Errorf("one mistake took %d lines, want it and the hint:\n%s", lines, r.stderr)
			}
		})
	}
}

func TestEnvironmentTrouble(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := loadgen(t, nil, "topics", "describe", "--bootstrap-servers", address, "--topics", "a")
	r.want(t, exitTrouble, "cannot use Kafka at "+address, "nothing listens")
	if strings.Contains(r.stderr, "--help") {
		t.Errorf("usage was right, yet it points at the help:\n%s", r.stderr)
	}

	address = cluster(t)
	r = loadgen(t, nil, "topics", "describe", "--bootstrap-servers", address, "--topics", "gone")
	r.want(t, exitTrouble, `topic "gone" does not exist`)
	r = loadgen(t, nil, "topics", "create", "--bootstrap-servers", address, "--topics", "a", "--num-replicas", "3")
	r.want(t, exitTrouble, "3 replicas, but the cluster has 1 brokers")
}

func TestTopics(t *testing.T) {
	address := cluster(t, kfake.NumBrokers(3))
	on := "--bootstrap-servers=" + address
	loadgen(t, nil, "topics", "create", on, "--topics", "a,b", "--num-partitions", "4", "--num-replicas", "2",
		"--retention", "10m", "--max-message-bytes", "4MB", "--log-append-time").want(t, exitHolds, "created a b\n")
	loadgen(t, nil, "topics", "create", on, "--topics", "a").want(t, exitTrouble, `"a" exists already`)

	apply := []string{"topics", "apply", on, "--num-replicas", "2", "--retention", "10m", "--log-append-time"}
	loadgen(t, nil, append(apply, "--topics", "a", "--topics", "c", "--num-partitions", "6")...).want(t, exitHolds, "created c\n", "grown a\n", "as asked: a c\n")
	loadgen(t, nil, append(apply, "--topics", "a,c", "--num-partitions", "6")...).want(t, exitHolds, "as asked: a c\n")
	loadgen(t, nil, append(apply, "--topics", "b,d", "--num-partitions", "5", "--grow=false")...).want(t, exitHolds, "created d\n", "as asked: b d\n")
	loadgen(t, nil, append(apply, "--topics", "a,b", "--num-partitions", "5")...).
		want(t, exitTrouble, `topic "a" has 6 partitions, 5 were asked for: partitions cannot shrink`)

	loadgen(t, nil, "topics", "grow", on, "--topics", "a", "--num-partitions", "8").want(t, exitHolds, "8 partitions: a\n")
	loadgen(t, nil, "topics", "describe", on, "--topics", "a").want(t, exitHolds, "retention.ms=600000 segment.ms=120000 max.message.bytes=4000000")

	// Brokers that do not answer now may in a moment.
	r := loadgen(t, nil, "topics", "apply", "--bootstrap-servers", closedPort(t), "--topics", "a", "--timeout", "1s")
	r.want(t, exitTrouble, "not within 1s: ")
	if !strings.Contains(r.stderr, "nothing listens there") || !strings.Contains(r.stderr, "trying again") {
		t.Errorf("it said\n%s", r.stderr)
	}

	var described []struct {
		Name                 string
		Partitions, Replicas int
		Settings             map[string]string
	}
	r = loadgen(t, nil, "topics", "describe", on, "--topics", "a", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &described); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if len(described) != 1 || described[0].Name != "a" || described[0].Partitions != 8 || described[0].Replicas != 2 ||
		described[0].Settings["message.timestamp.type"] != "LogAppendTime" {
		t.Errorf("described as %+v", described)
	}
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	address := cluster(t, kfake.SeedTopics(3, "a"), kfake.SeedTopics(5, "b"))
	env := []string{"LOADGEN_BOOTSTRAP_SERVERS=" + address, "LOADGEN_TOPICS=a,b"}
	loadgen(t, env, "topics", "describe").want(t, exitHolds, "\na ", "\nb ")

	// The flag wins.
	r := loadgen(t, env, "topics", "describe", "--topics", "b")
	r.want(t, exitHolds, "\nb ")
	if strings.Contains(r.stdout, "\na ") {
		t.Errorf("the environment was added to the flag:\n%s", r.stdout)
	}

	// A flag of another command is no mistake; one of no command is.
	env = append(env, "LOADGEN_NUM_PARTITIONS=many")
	loadgen(t, env, "topics", "describe").want(t, exitHolds, "\na ")
	loadgen(t, env, "topics", "grow").want(t, exitTrouble, `LOADGEN_NUM_PARTITIONS="many"`, "See 'loadgen topics grow --help'.")
	loadgen(t, []string{"LOADGEN_TOPIKS=a", "LOADGEN_LOGLEVEL=debug"}, "version").want(t, exitTrouble,
		"LOADGEN_TOPIKS is no flag of any command (the nearest is LOADGEN_TOPICS)",
		"LOADGEN_LOGLEVEL is no flag of any command (the nearest is LOADGEN_LOG_LEVEL)")
	loadgen(t, []string{"LOADGEN_PORT_8002_TCP_ADDR=10.0.0.1"}, "version").want(t, exitTrouble, "enableServiceLinks: false")
}

func TestPasswordIsOnlyInTheEnvironmentOrAFile(t *testing.T) {
	address := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "alice", "wonderland"), kfake.SeedTopics(1, "a"))
	args := []string{"topics", "describe", "--bootstrap-servers", address, "--topics", "a", "--sasl-mechanism", "scram-sha-256", "--sasl-user", "alice"}
	loadgen(t, []string{"LOADGEN_SASL_PASSWORD=wonderland"}, args...).want(t, exitHolds, "\na ")

	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("wonderland\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loadgen(t, []string{"LOADGEN_SASL_PASSWORD_FILE=" + file}, args...).want(t, exitHolds, "\na ")

	r := loadgen(t, []string{"LOADGEN_SASL_PASSWORD=looking-glass", "LOADGEN_LOG_LEVEL=debug"}, args...)
	r.want(t, exitTrouble, "cannot use Kafka at "+address)
	if strings.Contains(r.stderr, "looking-glass") {
		t.Errorf("the password is in the output:\n%s", r.stderr)
	}
	loadgen(t, nil, args...).want(t, exitTrouble, "needs one password")
	loadgen(t, nil, "topics", "describe", "--sasl-password", "x").want(t, exitTrouble, "unknown flag: --sasl-password")
}

// Every command's help has an example of it, and what the examples say can be
// run: the commands and the flags are there.
func TestHelp(t *testing.T) {
	var walk func(path string)
	walk = func(path string) {
		r := loadgen(t, nil, append(strings.Fields(path)[1:], "--help")...)
		r.want(t, exitHolds, "Usage:\n  "+path)
		section := func(title string) string {
			_, after, _ := strings.Cut(r.stdout, "\n"+title+":\n")
			for _, next := range []string{"Available Commands", "Flags", "Global Flags"} {
				after, _, _ = strings.Cut(after, "\n\n"+next+":")
			}
			return after
		}
		if examples := section("Examples"); !strings.Contains(examples, path) {
			t.Errorf("the help of %s has no example of it", path)
		} else {
			checkExamples(t, examples)
		}
		for line := range strings.Lines(section("Available Commands")) {
			walk(path + " " + strings.Fields(line)[0])
		}
	}
	walk("loadgen")
}

func checkExamples(t *testing.T, examples string) {
	t.Helper()
	for line := range strings.Lines(strings.ReplaceAll(examples, "\\\n", " ")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " > ")
		at := strings.Index(line, "loadgen ")
		if at < 0 || strings.HasPrefix(line, "#") || strings.ContainsAny(line, "()") {
			continue
		}
		command := "loadgen"
		for _, word := range strings.Fields(line[at:])[1:] {
			if strings.ContainsAny(word, "-/>|&\"") {
				break
			}
			if command += " " + word; word == "help" {
				break // what follows are its arguments
			}
		}
		shell := exec.CommandContext(t.Context(), "bash", "-c", line+" --help")
		shell.Env, shell.Dir = environment("PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH")), t.TempDir()
		out, err := shell.CombinedOutput()
		_, usage, _ := strings.Cut(string(out), "Usage:\n  ")
		usage, _, _ = strings.Cut(usage, "\n")
		// What a command without others takes are arguments.
		leaf := !strings.Contains(string(out), "Available Commands:") && strings.HasPrefix(command, regexp.MustCompile(`^[a-z]+( [a-z-]+)*`).FindString(usage))
		if err != nil || usage == "" || !strings.HasPrefix(usage, command) && !leaf {
			t.Errorf("the example %q cannot be run: %v\n%s", line, err, out)
		}
	}
}

func TestCompletion(t *testing.T) {
	// A wrong environment must not break the user's shell.
	env := []string{"LOADGEN_NONSENSE=1"}
	r := loadgen(t, env, "__complete", "topics", "")
	r.want(t, exitHolds, "create\t", "describe\t", "grow\t")
	loadgen(t, env, "__complete", "version", "--log-format", "").want(t, exitHolds, "text\n", "json\n")
	loadgen(t, env, "__complete", "topics", "create", "--sasl-mechanism", "").want(t, exitHolds, "PLAIN\n", "SCRAM-SHA-512\n")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := loadgen(t, env, "completion", shell)
		if r.code != 0 || !strings.Contains(r.stdout, "loadgen") {
			t.Errorf("%s: exit code %d, %d bytes, stderr %q", shell, r.code, len(r.stdout), r.stderr)
		}
	}
	script := loadgen(t, env, "completion", "bash").stdout
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("bash cannot read its completion: %v\n%s", err, out)
	}
}

func TestVersion(t *testing.T) {
	loadgen(t, nil, "version").want(t, exitHolds, "loadgen ", "\ngo1.", "\nfranz-go v1.")
	var b build
	r := loadgen(t, nil, "version", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &b); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if b.Version == "" || !strings.HasPrefix(b.Go, "go1.") || !strings.HasPrefix(b.FranzGo, "v1.") || b.Platform == "" {
		t.Errorf("version is %+v", b)
	}
}

// start runs a process and returns it once it has said it is ready.
func start(t *testing.T, cmd *exec.Cmd) (lines *bufio.Reader, stderr *bytes.Buffer) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return bufio.NewReader(stdout), stderr
}

func TestFirstSignalCancels(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		t.Run(signal.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			// A broker that never answers keeps the command busy.
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, "topics", "describe", "--topics", "a", "--bootstrap-servers", l.Addr().String())
			cmd.Env = environment()
			_, stderr := start(t, cmd)
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			r := result{cmd.ProcessState.ExitCode(), "", stderr.String()}
			r.want(t, code, signal.String()+": stopping", "a second signal ends at once", "stopped before its work was done")
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = environment(stubbornMode + "=1")
	lines, _ := start(t, cmd)
	for _, step := range []struct {
		says string
		then syscall.Signal
	}{{"running\n", syscall.SIGTERM}, {"stopping\n", syscall.SIGINT}} {
		if line, err := lines.ReadString('\n'); err != nil || line != step.says {
			t.Fatalf("it says %q (%v), want %q", line, err, step.says)
		}
		if err := cmd.Process.Signal(step.then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d after SIGTERM and SIGINT, want 130", code)
	}
}
