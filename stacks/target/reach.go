package target

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Reach reaches into the clusters, from where this program runs.
type Reach interface {
	// Auditor is the address of the auditor's HTTP, such as http://127.0.0.1:40123. What fails on it is
	// tried anew: with fresh, the last address is taken for dead.
	Auditor(ctx context.Context, fresh bool) (string, error)
	// Final is the final verdict; an error while there is none.
	Final(ctx context.Context) (*verdict.Document, error)
	// Fault is when Chaos Mesh's object of this name took effect on all victims, or with end, was undone on
	// all; it waits for that, within reason.
	Fault(ctx context.Context, side, object string, end bool) (time.Time, error)
	// Evidence writes the cluster's own state and logs below dir.
	Evidence(ctx context.Context, dir string) error
	// Close ends what it holds open.
	Close()
}

// Where says how a Reach comes to the clusters.
type Where struct {
	Clusters map[string]ClusterAt // by side
	Dir      string               // for files of its own
}

// ClusterAt is where a side lives.
type ClusterAt struct {
	// Login is the command that makes a kubeconfig for Context, of a cluster that the stack has made.
	Login, Context string
	// Kubeconfig is the file of a cluster that exists. Where there is neither, the user's own is used.
	Kubeconfig string
	Namespace  string
	// Chaos is the namespace of faults.
	Chaos string
}

// whereOf takes from the stacks' configuration and outputs where they are.
func whereOf(src, dst *stackSide, dir string, outputs auto.OutputMap) Where {
	w := Where{Clusters: map[string]ClusterAt{}, Dir: dir}
	for _, s := range []*stackSide{src, dst} {
		c := ClusterAt{Kubeconfig: s.kubeconfig, Namespace: s.file.own["namespace"].text, Chaos: s.file.own["chaosNamespace"].text}
		if c.Namespace == "" {
			c.Namespace = s.side
		}
		if c.Chaos == "" {
			c.Chaos = "chaos-mesh"
		}
		if s.side == destination {
			c.Login, c.Context = loginOf(outputs)
		} else if s.outputs != nil {
			c.Login, c.Context = loginOf(s.outputs)
		}
		w.Clusters[s.side] = c
	}
	return w
}

var loginPattern = regexp.MustCompile(`(?m)^kubectl's context +(aws eks update-kubeconfig .* --alias (\S+).*)$`)

// loginOf finds in the output where how kubectl is made ready. An existing cluster needs nothing.
func loginOf(outputs auto.OutputMap) (command, context string) {
	text, _ := outputs["where"].Value.(string)
	if m := loginPattern.FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// get asks the auditor for the verdict so far.
func get(ctx context.Context, r Reach) (doc *verdict.Document, err error) {
	err = call(ctx, r, http.MethodGet, "/verdict", nil, func(body io.Reader) error {
		doc, err = verdict.Read(body)
		return err
	})
	return doc, err
}

// post sends something to the auditor.
func post(ctx context.Context, r Reach, path string, what any) error {
	var body []byte
	if what != nil {
		var err error
		if body, err = json.Marshal(what); err != nil {
			return err
		}
	}
	return call(ctx, r, http.MethodPost, path, body, func(io.Reader) error { return nil })
}

// call asks once, and once more by a fresh way, since a forwarded port dies with its pod's container.
func call(ctx context.Context, r Reach, method, path string, body []byte, read func(io.Reader) error) error {
	var err error
	for _, fresh := range []bool{false, true} {
		var base string
		if base, err = r.Auditor(ctx, fresh); err != nil {
			continue
		}
		var unreachable bool
		if unreachable, err = callOnce(ctx, method, base+path, body, read); !unreachable {
			return err
		}
	}
	return fmt.Errorf("the auditor cannot be reached: %w", err)
}

func callOnce(ctx context.Context, method, url string, body []byte, read func(io.Reader) error) (unreachable bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return false, fmt.Errorf("the auditor answers %s %s by %s: %s", method, url, resp.Status, strings.TrimSpace(string(text)))
	}
	return false, read(resp.Body)
}

// faultPatience is how long Chaos Mesh gets to break or mend something.
const faultPatience = 3 * time.Minute

// kubectl reaches the clusters by kubectl, as `make where` says it.
type kubectl struct {
	where Where

	mu      sync.Mutex
	ready   map[string]bool // kubeconfigs
	forward *exec.Cmd
	address string
	done    chan struct{}
}

func newKubectl(w Where) *kubectl { return &kubectl{where: w, ready: map[string]bool{}} }

// command is a kubectl command in a side's cluster, with a kubeconfig of our own where the cluster is ours.
func (k *kubectl) command(ctx context.Context, side string, args ...string) (*exec.Cmd, error) {
	at := k.where.Clusters[side]
	env := os.Environ()
	switch {
	case at.Kubeconfig != "":
		env = append(env, "KUBECONFIG="+at.Kubeconfig)
	case at.Login != "":
		file := filepath.Join(k.where.Dir, "kubeconfig-"+side)
		env = append(env, "KUBECONFIG="+file)
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.ready[side] {
			words := strings.Fields(at.Login)
			login := exec.CommandContext(ctx, words[0], words[1:]...)
			login.Env = env
			if out, err := login.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%s: %w: %s", at.Login, err, bytes.TrimSpace(out))
			}
			k.ready[side] = true
		}
		args = append([]string{"--context", at.Context}, args...)
	}
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

func (k *kubectl) run(ctx context.Context, side string, args ...string) ([]byte, error) {
	cmd, err := k.command(ctx, side, args...)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}

// Auditor forwards a free port of this machine to the auditor.
func (k *kubectl) Auditor(ctx context.Context, fresh bool) (string, error) {
	if fresh {
		k.hangUp()
	}
	k.mu.Lock()
	address := k.address
	k.mu.Unlock()
	if address != "" {
		return address, nil
	}
	cmd, err := k.command(context.WithoutCancel(ctx), destination, "--namespace", k.where.Clusters[destination].Namespace,
		"port-forward", "--address", "127.0.0.1", "deployment/auditor", fmt.Sprintf(":%d", metrics.AuditorPort))
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	first := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			select {
			case first <- lines.Text():
			default:
			}
		}
		_ = cmd.Wait() // it ends when it is killed, or by itself, and either way the next call sees it
		close(first)
	}()
	k.mu.Lock()
	k.forward, k.done = cmd, done
	k.mu.Unlock()
	select {
	case line := <-first:
		m := regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+)`).FindStringSubmatch(line)
		if m == nil {
			k.hangUp()
			return "", fmt.Errorf("kubectl port-forward deployment/auditor: %s %s", line, bytes.TrimSpace(stderr.Bytes()))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.address = "http://" + m[1]
		return k.address, nil
	case <-ctx.Done():
		k.hangUp()
		return "", context.Cause(ctx)
	}
}

// hangUp ends the forwarding.
func (k *kubectl) hangUp() {
	k.mu.Lock()
	cmd, done := k.forward, k.done
	k.forward, k.done, k.address = nil, nil, ""
	k.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may have ended
		<-done
	}
}

// Close ends the forwarding.
func (k *kubectl) Close() { k.hangUp() }

// Final reads what the auditor left in its pod. Its command exits by the verdict.
func (k *kubectl) Final(ctx context.Context) (*verdict.Document, error) {
	out, err := k.run(ctx, destination, "--namespace", k.where.Clusters[destination].Namespace,
		"exec", "deployment/auditor", "--", "loadgen", "verdict", "--json", "--file", "/report/verdict.json")
	if doc, readErr := verdict.Read(bytes.NewReader(out)); readErr == nil {
		return doc, nil
	} else if err == nil {
		err = readErr
	}
	return nil, err
}

// Fault reads the fault's own status, in which times are whole seconds.
func (k *kubectl) Fault(ctx context.Context, side, object string, end bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, faultPatience)
	defer cancel()
	for {
		out, err := k.run(ctx, side, "--namespace", k.where.Clusters[side].Chaos, "get", "podchaos,networkchaos", "--output", "json")
		if err == nil {
			var at time.Time
			if at, err = faultTime(out, object, end); err == nil {
				return at, nil
			}
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return time.Time{}, err
		case <-timer.C:
		}
	}
}

// faultTime finds in a list of Chaos Mesh's objects when one first took effect, or was last undone.
func faultTime(list []byte, object string, end bool) (time.Time, error) {
	var objects struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
				Experiment struct {
					ContainerRecords []struct {
						Events []struct {
							Type, Operation string
							Timestamp       time.Time
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(list, &objects); err != nil {
		return time.Time{}, fmt.Errorf("faults: %w", err)
	}
	condition, operation := "AllInjected", "Apply"
	if end {
		condition, operation = "AllRecovered", "Recover"
	}
	for _, o := range objects.Items {
		if o.Metadata.Name != object {
			continue
		}
		met := slices.ContainsFunc(o.Status.Conditions, func(c struct{ Type, Status string }) bool { return c.Type == condition && c.Status == "True" })
		var times []time.Time
		for _, r := range o.Status.Experiment.ContainerRecords {
			for _, e := range r.Events {
				if e.Type == "Succeeded" && e.Operation == operation {
					times = append(times, e.Timestamp)
				}
			}
		}
		if !met || len(times) == 0 {
			return time.Time{}, fmt.Errorf("the fault %s is not yet %s", object, condition)
		}
		slices.SortFunc(times, time.Time.Compare)
		if end {
			return times[len(times)-1], nil
		}
		return times[0], nil
	}
	return time.Time{}, fmt.Errorf("there is no fault %s", object)
}

// Evidence keeps objects, events, faults and logs of both sides, as far as they can be had: all at once, so that
// what does not answer takes nobody's time.
func (k *kubectl) Evidence(ctx context.Context, dir string) error {
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for side, at := range k.where.Clusters {
		for name, args := range map[string][]string{
			"objects.txt": {"--namespace", at.Namespace, "get", "pods,statefulsets,deployments,jobs,configmaps", "--output", "wide"},
			"events.txt":  {"--namespace", at.Namespace, "get", "events", "--sort-by", ".lastTimestamp"},
			"faults.yaml": {"--namespace", at.Chaos, "get", "podchaos,networkchaos", "--output", "yaml"},
			"logs.txt": {"--namespace", at.Namespace, "logs", "--selector", "app.kubernetes.io/part-of=kafka-mirror-tester",
				"--all-containers", "--prefix", "--tail", "2000", "--max-log-requests", "500"},
		} {
			all.Go(func() {
				out, err := k.run(ctx, side, args...)
				if len(out) > 0 { // what came before an error is evidence too
					err = errors.Join(err, os.WriteFile(filepath.Join(dir, side+"-"+name), out, 0o644))
				}
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
	}
	all.Wait()
	return errors.Join(errs...)
}
