package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpinned takes all that make versions writes out of both stacks.
func (w *world) unpinned() {
	w.t.Helper()
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		w.configure(stack, project+":nodeRelease", "")
		w.configure(stack, project+":versions", `{"kubernetesPlugin":"4.26.0"}`)
	}
}

// written returns the calls of pulumi that have set something since it was last asked.
func (w *world) written() string {
	w.t.Helper()
	file := filepath.Join(w.tools, "said", "argv")
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	os.Remove(file)
	var set strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `["config" "--json"`) {
			set.WriteString(line)
		}
	}
	return set.String()
}

// setAll is how pulumi is to be called, as it is recorded.
func setAll(stack string, pairs ...string) string {
	args := []string{"config", "set-all", "--stack", stack, "--path"}
	for _, pair := range pairs {
		args = append(args, "--plaintext", pair)
	}
	return fmt.Sprintf("%q\n", append(args, "--non-interactive"))
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// What AWS recommends in each region is pinned in one call a stack, and then stays until --update.
func TestVersionsArePinnedAndMoveOnlyWhenAsked(t *testing.T) {
	w := newWorld(t)
	w.unpinned()
	w.configure("eu-west-1", project+":nodeImage", "AL2023_ARM_64_STANDARD")
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := w.preflight(append([]string{"versions"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.written(); got != want {
			t.Errorf("pulumi was called\n%swant\n%s", got, want)
		}
		return out
	}
	addOns := []string{
		"versions.vpcCni=v1.20.4-eksbuild.2", "versions.kubeProxy=v1.35.0-eksbuild.2",
		"versions.coreDns=v1.13.1-eksbuild.1", "versions.podIdentityAgent=v1.3.10-eksbuild.1",
	}
	out := run(setAll("us-east-1", append([]string{"nodeRelease=1.35.0-20260110"}, addOns...)...) +
		setAll("eu-west-1", append([]string{"nodeRelease=1.35.0-20260211"}, addOns...)...))
	contains(t, out, "us-east-1: Kubernetes 1.35 and AL2023_x86_64_STANDARD in us-east-1\n", "  nodeRelease: set to 1.35.0-20260211\n", "  versions.coreDns: set to v1.13.1-eksbuild.1\n")
	var versions map[string]string
	if err := json.Unmarshal([]byte(w.stack("eu-west-1")[project+":versions"].Value), &versions); err != nil || len(versions) != 5 || versions["kubernetesPlugin"] != "4.26.0" {
		t.Errorf("versions of others are lost: %v, %v", versions, err)
	}
	if out, err := w.preflight(); err != nil || !strings.Contains(out, "✓ us-east-1: pinned versions: nodes 1.35.0-20260110, and 4 add-ons, of Kubernetes 1.35") {
		t.Errorf("preflight does not take what was pinned: %v", err)
	}
	w.written()
	contains(t, run(""), "nodeRelease: kept 1.35.0-20260110, which AWS recommends")

	// AWS goes on, and one stack is ahead of it by its user's wish.
	w.releases["1.35/x86_64"], w.releases["1.35/arm64"] = "1.35.2-202603", "1.35.2-202603"
	w.addOns["1.35/coredns"] = []string{"v1.13.10-eksbuild.1*", "v1.13.9-eksbuild.1", "v1.13.1-eksbuild.1"} // 10 is newer than 9
	w.configure("us-east-1", project+":versions", `{"vpcCni":"v1.20.9-eksbuild.2","kubeProxy":"v1.35.0-eksbuild.2","coreDns":"v1.13.9-eksbuild.1"}`)
	contains(t, run(setAll("us-east-1", "versions.podIdentityAgent=v1.3.10-eksbuild.1")),
		"nodeRelease: kept 1.35.0-20260110; newer: 1.35.2-20260310\n", "versions.coreDns: kept v1.13.9-eksbuild.1; newer: v1.13.10-eksbuild.1\n",
		"vpcCni: kept v1.20.9-eksbuild.2, which is newer than what AWS recommends, v1.20.4-eksbuild.2", "versions.podIdentityAgent: set to v1.3.10-eksbuild.1\n",
		"moves only with --update (make versions ARGS=--update): a new nodeRelease replaces all nodes of a running stack")
	contains(t, run(setAll("us-east-1", "nodeRelease=1.35.2-20260310", "versions.coreDns=v1.13.10-eksbuild.1"), "--stacks", "us-east-1", "--update"),
		"nodeRelease: set to 1.35.2-20260310, was 1.35.0-20260110\n", "take care: a new nodeRelease replaces all nodes", "vpcCni: kept v1.20.9")
	run("", "--stacks", "us-east-1", "--update")
}

// After kubernetesVersion was set anew, what is pinned for the old one is not replaced unasked, and
// what is missing is still set.
func TestVersionsOfAnotherKubernetesAreKeptAndItFails(t *testing.T) {
	w := newWorld(t)
	w.configure("us-east-1", project+":nodeRelease", "1.36.0-20260501")
	w.configure("us-east-1", project+":versions", `{"vpcCni":"v1.20.4-eksbuild.2","kubeProxy":"v1.36.0-eksbuild.1","coreDns":"v1.13.1-eksbuild.1"}`)
	out, err := w.preflight("versions", "--stacks", "us-east-1")
	if err == nil || !strings.Contains(err.Error(), "AWS does not have for Kubernetes 1.35 what is pinned and was kept, nodeRelease 1.36.0-20260501, versions.kubeProxy v1.36.0-eksbuild.1: use --update") {
		t.Errorf("error %v", err)
	}
	contains(t, out, "kept 1.36.0-20260501, which AWS does not have for Kubernetes 1.35: it recommends 1.35.0-20260110")
	if got := w.written(); got != setAll("us-east-1", "versions.podIdentityAgent=v1.3.10-eksbuild.1") {
		t.Error(got)
	}
	if _, err := w.preflight("versions", "--stacks", "us-east-1", "--update"); err != nil {
		t.Error(err)
	}
	if got := w.written(); got != setAll("us-east-1", "nodeRelease=1.35.0-20260110", "versions.kubeProxy=v1.35.0-eksbuild.2") {
		t.Error(got)
	}
}

func TestVersionsCanBePrintedOnly(t *testing.T) {
	w := newWorld(t)
	w.unpinned()
	w.configure("us-east-1", project+":nodeRelease", "1.35.0-20251213")
	w.secret("eu-west-1", "kubeconfig", "yaml")
	out, err := w.preflight("versions", "--print")
	if err != nil {
		t.Fatal(err)
	}
	var commands strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "#") {
			commands.WriteString(line)
		}
	}
	const want = `pulumi config set-all --stack us-east-1 --path \
  --plaintext versions.vpcCni=v1.20.4-eksbuild.2 \
  --plaintext versions.kubeProxy=v1.35.0-eksbuild.2 \
  --plaintext versions.coreDns=v1.13.1-eksbuild.1 \
  --plaintext versions.podIdentityAgent=v1.3.10-eksbuild.1
`
	if commands.String() != want {
		t.Errorf("commands\n%s", commands.String())
	}
	contains(t, out, "# eu-west-1: an existing cluster, by kubeconfig: nothing to pin\n", "#   nodeRelease: kept 1.35.0-20251213; newer: 1.35.0-20260110\n")
	if got := w.written(); got != "" {
		t.Error(got)
	}
}

func TestVersionsOfExistingClustersAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.unpinned()
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		w.secret(stack, "kubeconfig", "yaml")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	out, err := w.preflight("versions", "--update")
	if err != nil || len(w.calls) > 0 || w.written() != "" {
		t.Errorf("error %v, calls %v", err, w.calls)
	}
	contains(t, out, "us-east-1: an existing cluster, by kubeconfig: nothing to pin\n", "eu-west-1: an existing")
}

// Whatever is wrong with one stack is said, and then neither has anything written.
func TestVersionsAreWrittenNowhereIfAnythingIsWrong(t *testing.T) {
	refuse := func(service, code string) func(*world) {
		return func(w *world) {
			w.answer = func(rw http.ResponseWriter, s, _ string) bool {
				if s != service {
					return false
				}
				rw.Header().Set("X-Amzn-Errortype", code)
				rw.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(rw, `{"__type":%q,"message":"as AWS says it"}`, code)
				return true
			}
		}
	}
	set := func(key, v string) func(*world) {
		return func(w *world) { w.configure("eu-west-1", project+":"+key, v) }
	}
	for name, test := range map[string]struct {
		broken func(*world)
		says   []string
	}{
		"no image for this Kubernetes": {set("kubernetesVersion", "1.99"), []string{"stack eu-west-1: AWS in eu-west-1 has no image AL2023_x86_64_STANDARD for Kubernetes 1.99", "set kubernetesVersion"}},
		"not offered": {func(w *world) {
			w.configure("eu-west-1", project+":kubernetesVersion", "1.36")
			w.releases["1.36/x86_64"] = "1.36.0-202601"
		}, []string{"stack eu-west-1: EKS in eu-west-1 does not offer 1.36", "set kubernetesVersion"}},
		"EKS refuses the version":    {refuse("eks", "InvalidParameterException"), []string{"stack us-east-1: EKS in us-east-1 does not offer 1.35"}},
		"an image of another kind":   {set("nodeImage", "BOTTLEROCKET_x86_64"), []string{`nodeImage: "BOTTLEROCKET_x86_64": use AL2023_x86_64_STANDARD or AL2023_ARM_64_STANDARD`}},
		"a release of another":       {func(w *world) { w.releases["1.35/x86_64"] = "1.34.2-202601" }, []string{"is no release like 1.35.0-20260101"}},
		"no default":                 {func(w *world) { w.addOns["1.35/coredns"] = []string{"v1.13.1-eksbuild.1"} }, []string{`names "" as the default version of coredns for Kubernetes 1.35`, "set versions.coreDns to one of v1.13.1-eksbuild.1"}},
		"a default of another form":  {func(w *world) { w.addOns["1.35/coredns"] = []string{"v1;reboot*"} }, []string{`"v1;reboot"`}},
		"images may not be asked":    {refuse("ssm", "AccessDeniedException"), []string{"may not do it: as AWS says it", "preflight --help", "stack us-east-1", "stack eu-west-1"}},
		"add-ons may not be asked":   {refuse("eks", "AccessDeniedException"), []string{"ask EKS for versions of vpc-cni: these credentials may not do it"}},
		"no credentials":             {func(w *world) { w.t.Setenv("AWS_ACCESS_KEY_ID", "") }, []string{"no credentials found", "aws sso login"}},
		"no stack":                   {func(w *world) { os.Remove(filepath.Join(w.tools, "said", "eu-west-1.json")) }, []string{"no stack named 'eu-west-1' found", "pulumi stack init eu-west-1"}},
		"no region":                  {func(w *world) { w.configure("eu-west-1", "aws:region", "") }, []string{"stack eu-west-1: aws:region: missing"}},
		"versions of the wrong form": {set("versions", `["v1"]`), []string{`stack eu-west-1: versions: ["v1"] is not of the right form`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.unpinned()
			test.broken(w)
			_, err := w.preflight("versions")
			if err == nil {
				t.Fatal("no error")
			}
			contains(t, err.Error(), append(test.says, "nothing was written")...)
			if got := w.written(); got != "" {
				t.Errorf("written: %s", got)
			}
		})
	}
	t.Run("a stack cannot be written", func(t *testing.T) {
		w := newWorld(t)
		w.unpinned()
		w.say("full", "")
		_, err := w.preflight("versions")
		if err == nil {
			t.Fatal("no error")
		}
		contains(t, err.Error(), "stack us-east-1: pulumi config set-all", "stack eu-west-1: pulumi", "no space left")
	})
}
