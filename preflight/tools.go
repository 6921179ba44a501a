package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// tool runs a program, with input on its standard input, and returns what it wrote to its standard
// output. What it wrote to standard error is in the error. No secret may be in args: other users of
// the machine can read them.
func (p *preflight) tool(ctx context.Context, input string, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(append([]string{}, p.env...), "PULUMI_SKIP_UPDATE_CHECK=true")
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = 10 * time.Second // its children may hold its output open; on a busy machine the last of it takes seconds
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(append([]string{program}, args...), " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), err
}

// pulumi runs the CLI, which may have to ask its backend several times.
func (p *preflight) pulumi(ctx context.Context, input string, args ...string) (string, error) {
	return within(ctx, 3*p.deadline, func(ctx context.Context) (string, error) {
		return p.tool(ctx, input, "pulumi", append(args, "--non-interactive")...)
	})
}

// version is what a tool says of itself.
type version struct {
	args  []string
	read  func(output string) string
	least [2]int // major, minor; 0.0 for any
	get   string // how to get it
	why   string
}

func (p *preflight) toolCheck(name string, v version) check {
	return check{name, func(ctx context.Context) finding {
		output, err := within(ctx, p.deadline, func(ctx context.Context) (string, error) { return p.tool(ctx, "", name, v.args...) })
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return fail(v.get, "is not on PATH, and %s needs it", v.why)
		case err != nil:
			return fail(v.get, "%v", err)
		}
		got := v.read(output)
		var found [2]int
		if _, err := fmt.Sscanf(strings.TrimLeft(got, "vgo"), "%d.%d", &found[0], &found[1]); err != nil {
			return warn("is it really "+name+"?", "its version cannot be told from %q", output)
		}
		if found[0] < v.least[0] || found[0] == v.least[0] && found[1] < v.least[1] {
			return fail(v.get, "%s, and %s needs at least %d.%d", got, v.why, v.least[0], v.least[1])
		}
		return ok("%s", got)
	}}
}

// word returns the n-th word of a text.
func word(n int) func(string) string {
	return func(text string) string {
		if words := strings.Fields(text); n < len(words) {
			return words[n]
		}
		return ""
	}
}

func (p *preflight) toolChecks() []check {
	return []check{
		p.toolCheck("go", version{args: []string{"version"}, read: word(2), least: [2]int{1, 21}, // which gets what go.mod asks for
			get: "see https://go.dev/doc/install", why: "the Pulumi program"}),
		p.toolCheck("pulumi", version{args: []string{"version"}, read: word(0), least: [2]int{3, 200},
			get: "see https://www.pulumi.com/docs/install/", why: "the program's SDK"}),
		p.toolCheck("kubectl", version{args: []string{"version", "--client", "--output", "json"}, least: [2]int{1, 0},
			read: func(output string) string {
				var v struct {
					ClientVersion struct{ GitVersion string }
				}
				if json.Unmarshal([]byte(output), &v) != nil {
					return ""
				}
				return v.ClientVersion.GitVersion
			},
			get: "see https://kubernetes.io/docs/tasks/tools/", why: "make where, and whoever wants to look at the test"}),
		p.toolCheck("aws", version{args: []string{"--version"}, least: [2]int{2, 0},
			read: func(output string) string { return strings.TrimPrefix(word(0)(output), "aws-cli/") },
			get:  "see https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html", why: "the kubeconfig of EKS"}),
	}
}

// backend checks where Pulumi keeps its state.
func (p *preflight) backend(ctx context.Context) finding {
	output, err := p.pulumi(ctx, "", "whoami", "--json")
	if err != nil {
		return fail("log in by `pulumi login`, or by `pulumi login s3://BUCKET?region=REGION`", "%v", err)
	}
	var who struct{ User, URL string }
	if err := json.Unmarshal([]byte(output), &who); err != nil {
		return fail("which pulumi is on PATH?", "pulumi whoami --json: %v: %s", err, output)
	}
	if strings.HasPrefix(who.URL, "file://") {
		return warn("use Pulumi Cloud or a bucket: if this machine is lost, what runs on AWS has to be found and deleted by hand",
			"the state is on this machine only, in %s", who.URL)
	}
	return ok("%s, as %s", who.URL, who.User)
}

// configuration reads a stack's configuration as the program will see it, defaults included. Secrets
// stay where they are: the word secret stands for each that is set.
func (p *preflight) configuration(ctx context.Context, stack string) (map[string]string, error) {
	values, err := p.values(ctx, stack, false)
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	for key, v := range values {
		config[key] = v.Value
		if v.Secret {
			config[key] = secret
		}
	}
	return config, nil
}

// secret stands for a secret's value.
const secret = "[secret]"

// value is one of a stack's configuration as `pulumi config --json` writes it: a list or an object is
// JSON in Value, and a secret is empty unless it was asked for. One that is not set has the default of
// Pulumi.yaml, which is empty and not secret.
type value struct {
	Value  string
	Secret bool
}

func (p *preflight) values(ctx context.Context, stack string, secrets bool) (map[string]value, error) {
	output, err := p.pulumi(ctx, "", "config", "--json", fmt.Sprintf("--show-secrets=%t", secrets), "--stack", stack)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of the stack %s: %w", stack, err)
	}
	var values map[string]value
	if err := json.Unmarshal([]byte(output), &values); err != nil {
		return nil, fmt.Errorf("read the configuration of the stack %s: pulumi config --json: not as expected", stack) // err could quote a secret
	}
	return values, nil
}

// buildMinutes bounds the first build of the program, which compiles the providers' SDKs.
const buildMinutes = 20

// buildProgram compiles the Pulumi program, as `pulumi up` will, and returns the file.
func (p *preflight) buildProgram(ctx context.Context, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildMinutes*time.Minute)
	defer cancel()
	binary := dir + "/stacks"
	_, err := p.tool(ctx, "", "go", "build", "-o", binary, "./stacks")
	return binary, err
}

// checkProgram lets the program check a stack's configuration, without an engine.
func (p *preflight) checkProgram(ctx context.Context, binary, stack string, config map[string]string) finding {
	text, err := json.Marshal(config)
	if err != nil {
		return fail("", "%v", err)
	}
	with := *p
	with.env = append(append([]string{}, p.env...), "PULUMI_PROJECT="+project, "PULUMI_STACK="+stack, "PULUMI_CONFIG="+string(text))
	_, err = within(ctx, p.deadline, func(ctx context.Context) (string, error) { return with.tool(ctx, "", binary, "-check") })
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		_, said, _ := strings.Cut(err.Error(), "exit status "+strconv.Itoa(exit.ExitCode())+": ")
		return fail("run the make that it names, or correct it by `pulumi config set --stack "+stack+" KEY VALUE`; Pulumi.yaml has all keys", "%s", said)
	}
	if err != nil {
		return fail("", "%v", err)
	}
	return ok("is valid")
}
