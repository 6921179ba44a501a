package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/serve"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func document(outcome verdict.Outcome) *verdict.Document {
	return &verdict.Document{Schema: verdict.Schema, Verdict: verdict.Verdict{Test: "t1", Outcome: outcome, Final: true}}
}

func TestVerdictExitCodes(t *testing.T) {
	for outcome, code := range map[verdict.Outcome]int{
		verdict.Holds: exitHolds, verdict.Broken: exitBroken, verdict.CannotSay: exitCannotSay, "": exitCannotSay,
	} {
		t.Run(string(outcome), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "verdict.json")
			var b bytes.Buffer
			if err := document(outcome).Write(&b); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			auditor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/verdict" {
					http.NotFound(w, r)
				}
				_, _ = w.Write(b.Bytes())
			}))
			defer auditor.Close()
			for _, from := range [][]string{{"--file", file}, {"--url", auditor.URL}, {"--url", auditor.URL + "/verdict"}} {
				r := loadgen(t, nil, append([]string{"verdict"}, from...)...)
				if r.code != code || !strings.Contains(r.stdout, "t1") || r.stderr != "" {
					t.Errorf("%v: exit code %d, want %d; stdout %q, stderr %q", from, r.code, code, r.stdout, r.stderr)
				}
				r = loadgen(t, nil, append([]string{"verdict", "--json"}, from...)...)
				if _, err := verdict.Read(strings.NewReader(r.stdout)); err != nil || r.code != code {
					t.Errorf("%v --json: exit code %d, %v", from, r.code, err)
				}
			}
		})
	}
}

func TestVerdictTrouble(t *testing.T) {
	dir := t.TempDir()
	text, other := filepath.Join(dir, "text"), filepath.Join(dir, "other")
	for file, content := range map[string]string{text: "no JSON", other: `{"schema":"kafka-mirror-tester/verdict/v99"}`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for _, test := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"give either --file", "See 'loadgen verdict --help'."}},
		{[]string{"--file", text, "--url", web.URL}, []string{"give either --file"}},
		{[]string{"--url", "127.0.0.1:8002"}, []string{`--url "127.0.0.1:8002"`}},
		{[]string{"--file", filepath.Join(dir, "gone")}, []string{"gone", "no such file"}},
		{[]string{"--file", text}, []string{text, "read verdict"}},
		{[]string{"--file", other}, []string{other, "v99"}},
		{[]string{"--url", web.URL}, []string{web.URL + "/verdict answers 404", "is it an auditor?"}},
	} {
		loadgen(t, nil, append([]string{"verdict"}, test.args...)...).want(t, exitTrouble, test.want...)
	}
}

func TestAuditTrouble(t *testing.T) {
	loadgen(t, nil, "audit", "--metrics-address", "nowhere", "--output", "", "--producers", "-1").want(t, exitTrouble,
		"source: no bootstrap servers", "destination: no bootstrap servers", "test id", "no topics: name at least one", "producers: -1",
		`metrics address "nowhere"`, "--output is empty")
	loadgen(t, nil, "audit", "--expect", "losses<=0").want(t, exitTrouble, `there is no quantity "losses"`)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	alive, dead := cluster(t), closedPort(t)
	start := func(destination string, more ...string) result {
		return loadgen(t, nil, append([]string{"audit", "--test-id", "t1", "--topics", "a",
			"--source-bootstrap-servers", alive, "--destination-bootstrap-servers", destination}, more...)...)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(alive, "--output", filepath.Join(file, "report")).want(t, exitTrouble, "--output: mkdir "+file)
	start(alive, "--output", t.TempDir(), "--metrics-address", l.Addr().String()).
		want(t, exitTrouble, "address already in use", "choose another")
	start(dead, "--output", t.TempDir()).want(t, exitTrouble, "destination: cannot use Kafka at "+dead)
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The verdict is printed even if there is no room to write it, and what was
// there before stays whole.
func TestDiskFull(t *testing.T) {
	dir := outputDir(t.TempDir())
	full := func(w io.Writer) error {
		_, _ = io.WriteString(w, "half a")
		return syscall.ENOSPC
	}
	if err := dir.write("verdict.json", document(verdict.Holds).Write); err != nil {
		t.Fatal(err)
	}
	err := dir.write("verdict.json", full)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(string(dir), "verdict.json")) || !strings.Contains(err.Error(), "--output") {
		t.Errorf("the error is %v", err)
	}
	entries, err := os.ReadDir(string(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	file, err := os.Open(filepath.Join(string(dir), "verdict.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := verdict.Read(file); err != nil {
		t.Errorf("what was there is damaged: %v", err)
	}

	var out bytes.Buffer
	a := &app{stdout: &out, stderr: io.Discard}
	if err := a.conclude(document(verdict.Holds), outputDir(filepath.Join(string(dir), "gone"))); err == nil {
		t.Error("no error although nothing could be written")
	}
	if !strings.Contains(out.String(), "t1") {
		t.Errorf("the verdict was not printed: %q", out.String())
	}
}

func TestServe(t *testing.T) {
	a := &app{log: slog.New(slog.DiscardHandler)}
	address := closedPort(t)
	missing := errors.New("the load does not run")
	stop, err := a.serve(serve.Config{Address: address}, newRegistry(), func() error { return missing },
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "more "+r.URL.Path) }))
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string, code int, want string) {
		t.Helper()
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != code || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %d, want %d with %q (%v):\n%s", path, resp.StatusCode, code, want, err, body)
		}
	}
	get("/readyz", http.StatusServiceUnavailable, "the load does not run")
	missing = nil
	get("/readyz", http.StatusOK, "ready")
	get("/metrics", http.StatusOK, "kmt_build_info{version=")
	get("/verdict", http.StatusOK, "more /verdict")
	stop()
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
}

func TestLabTrouble(t *testing.T) {
	loadgen(t, nil, "lab", "--java", "/nonexistent/java", "--output", t.TempDir()).want(t, exitTrouble, "looked at /nonexistent/java", "install Java")
	loadgen(t, nil, "lab", "--brokers", "0", "--kill", "everything").want(t, exitTrouble, "source: brokers: 0", `kill is "everything"`)
	loadgen(t, nil, "lab", "--expect", "p99<=5s").want(t, exitTrouble, `there is no quantity "p99"`)
	loadgen(t, nil, "lab", "--tls").want(t, exitTrouble, "for clusters that exist", "--secure")
	nothing := closedPort(t)
	existing := []string{"lab", "--replicator", "none", "--source-bootstrap", nothing, "--output", t.TempDir()}
	loadgen(t, nil, existing...).want(t, exitTrouble, "destination-bootstrap: no bootstrap servers")
	loadgen(t, nil, append(existing, "--destination-bootstrap", nothing)...).want(t, exitTrouble, "source: cannot use Kafka at "+nothing, "nothing listens there")
	loadgen(t, nil, append(existing, "--destination-bootstrap", nothing, "--ocean", "tun")...).want(t, exitTrouble, `ocean is "tun"`, "leave it out")
	loadgen(t, nil, append(existing, "--destination-bootstrap", nothing, "--kill", "source")...).want(t, exitTrouble, `kill is "source"`, "loadgen mark")
}

// An ocean that is asked for and cannot be had is an error; another stands in for one that is not asked for.
func TestLabOceanNeedsRoot(t *testing.T) {
	who := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		who.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	dir := t.TempDir() // which nobody may enter
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for ocean, want := range map[string]string{"tun": "root", "auto": "TCP proxies stand in for the ocean"} {
		cmd := exec.CommandContext(t.Context(), reachable(t), "lab", "--ocean", ocean, "--java", "/nonexistent/java", "--output", filepath.Join(dir, ocean))
		cmd.Env, cmd.SysProcAttr, cmd.Dir = environment(), who, "/"
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != exitTrouble || !strings.Contains(string(out), want) {
			t.Errorf("--ocean %s: %v, want exit code %d and %q:\n%s", ocean, err, exitTrouble, want, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), reachable(t), "lab", "ocean")
	cmd.Env, cmd.SysProcAttr, cmd.Dir = environment(), who, "/"
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != exitTrouble || !strings.Contains(string(out), "measure the ocean") || !strings.Contains(string(out), "run as root") {
		t.Errorf("lab ocean: %v, want exit code %d and what it needs:\n%s", err, exitTrouble, out)
	}
}

// reachable is the load tools' executable where everybody may run it.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kmt-everybody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "loadgen")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Link(binary, path)); err != nil {
		data, err := os.ReadFile(binary)
		if err == nil {
			err = os.WriteFile(path, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestMarkTrouble(t *testing.T) {
	loadgen(t, nil, "mark").want(t, exitTrouble, "a text is missing")
	loadgen(t, nil, "mark", "broker", "killed").want(t, exitTrouble, "quotation marks")
	loadgen(t, nil, "mark", "x", "--side", "left", "--auditor", "there").want(t, exitTrouble, `--side "left"`, `--auditor "there"`)
	loadgen(t, nil, "mark", "x", "--auditor", "http://"+closedPort(t)).want(t, exitTrouble, "no auditor answers")
}
