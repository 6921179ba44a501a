package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"
)

// addOn is one of EKS's add-ons: its key in versions, and AWS's name for it.
type addOn struct{ key, name string }

// addOns are those that the stacks install, in infra/cluster.
func addOns() []addOn {
	return []addOn{
		{"vpcCni", "vpc-cni"}, {"kubeProxy", "kube-proxy"}, {"coreDns", "coredns"}, {"podIdentityAgent", "eks-pod-identity-agent"},
	}
}

// The forms that infra/cluster takes. What AWS says is held to them before it is written.
var (
	releaseForm = regexp.MustCompile(`^(1\.[0-9]{2})\.[0-9]+-[0-9]{8}$`)
	addOnForm   = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+$`)
)

// The ways to do it, where a check has found that versions are missing, or that they do not fit.
const (
	pinThem  = "run make versions"
	moveThem = "run make versions ARGS=--update, or set them by `pulumi config set --path`"
)

const nodesWarning = "a new nodeRelease replaces all nodes of a running stack at its next update, with their brokers' data"

func versionsCommand(p *preflight) *cobra.Command {
	var update, show bool
	cmd := &cobra.Command{
		Use:   "versions",
		Short: "Pin the node image and EKS's add-ons in the stacks' configuration",
		Long: `versions asks AWS, in each stack's region, what it recommends for the stack's kubernetesVersion
and nodeImage, and writes it into the stack's configuration:

  nodeRelease                 the recommended release of the nodes' image
  versions.vpcCni, kubeProxy, coreDns, podIdentityAgent
                              the default version of each EKS add-on

What is pinned is kept, and what is newer is only shown:
` + nodesWarning + `;
a new version of an add-on restarts its pods. With --update what AWS recommends is written where it
is newer than what is pinned, or where what is pinned does not fit the stack's kubernetesVersion;
otherwise nothing goes back.

All stacks are asked before the first is written, and each is written in one command, in full or
not at all. An existing cluster (kubeconfig is set) has its own versions: it is left alone.

It needs, on AWS: sts:GetCallerIdentity; eks:DescribeAddonVersions; ssm:GetParameter for
/aws/service/eks/optimized-ami/*.`,
		Example: `  go run ./preflight versions
  go run ./preflight versions --print
  go run ./preflight versions --stacks us-east-1 --update`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.versions(cmd.Context(), update, show) },
	}
	cmd.Flags().BoolVar(&update, "update", false, "move what is pinned to what is newer; "+nodesWarning)
	cmd.Flags().BoolVar(&show, "print", false, "print the commands, write nothing")
	return cmd
}

// versions pins in each stack what is missing there.
func (p *preflight) versions(ctx context.Context, update, show bool) error {
	regions := make([]*region, len(p.stacks)) // nil: not on AWS
	pins := make([][]pin, len(p.stacks))
	var errs []error
	for i, stack := range p.stacks {
		var err error
		if regions[i], pins[i], err = p.ask(ctx, stack); err != nil {
			errs = append(errs, fmt.Errorf("stack %s: %w", stack, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, errors.New("nothing was written"))...)
	}
	for i, stack := range p.stacks {
		if regions[i] == nil {
			p.note(show, "%s: an existing cluster, by kubeconfig: nothing to pin", stack)
			continue
		}
		if err := p.write(ctx, regions[i], pins[i], update, show); err != nil {
			errs = append(errs, fmt.Errorf("stack %s: %w", stack, err))
		}
	}
	return errors.Join(errs...)
}

// note prints a line, and beside commands as a comment of the shell.
func (p *preflight) note(show bool, format string, args ...any) {
	if show {
		format = "# " + format
	}
	fmt.Fprintf(p.stdout, format+"\n", args...)
}

// ask returns what AWS recommends for a stack; no region if the stack is not on AWS.
func (p *preflight) ask(ctx context.Context, stack string) (*region, []pin, error) {
	config, err := p.configuration(ctx, stack)
	if err != nil {
		return nil, nil, fmt.Errorf("%w\n(if there is no such stack: pulumi stack init %s)", err, stack)
	}
	s, err := readSettings(stack, config)
	if err != nil || !s.aws {
		return nil, nil, err
	}
	if _, err := p.login(ctx, s.region); err != nil {
		return nil, nil, explain("log in to AWS", err).err()
	}
	r, err := p.region(ctx, s)
	if err != nil {
		return nil, nil, explain("read AWS's configuration", err).err()
	}
	pins, err := r.pins(ctx)
	return r, pins, err
}

// pin is a version to be pinned.
type pin struct {
	key    string // of the configuration
	pinned string // empty: not yet
	fits   bool   // what is pinned is of the Kubernetes version
	best   string // what AWS recommends
}

// state is what becomes of a pin.
type state int

const (
	kept    state = iota
	older         // kept, and AWS recommends a newer one
	misfit        // kept, and not for this Kubernetes
	written       // where there was none
	moved
)

// next says what becomes of a pin.
func (v pin) next(update bool) state {
	newer := v.pinned != "" && slices.Compare(numbers(v.best), numbers(v.pinned)) > 0
	switch {
	case v.pinned == "":
		return written
	case update && (newer || !v.fits):
		return moved
	case !v.fits:
		return misfit
	case newer:
		return older
	}
	return kept
}

// says tells it to the user; kubernetes is its version.
func (v pin) says(s state, kubernetes string) string {
	switch {
	case s == written:
		return "set to " + v.best
	case s == moved:
		return fmt.Sprintf("set to %s, was %s", v.best, v.pinned)
	case s == misfit:
		return fmt.Sprintf("kept %s, which AWS does not have for Kubernetes %s: it recommends %s", v.pinned, kubernetes, v.best)
	case s == older:
		return fmt.Sprintf("kept %s; newer: %s", v.pinned, v.best)
	case v.pinned != v.best:
		return fmt.Sprintf("kept %s, which is newer than what AWS recommends, %s", v.pinned, v.best)
	}
	return fmt.Sprintf("kept %s, which AWS recommends", v.pinned)
}

// numbers are those in a version, by which versions are ordered.
func numbers(version string) []int {
	var all []int
	for _, digits := range strings.FieldsFunc(version, func(c rune) bool { return c < '0' || c > '9' }) {
		n, _ := strconv.Atoi(digits) // only digits; too many are the largest
		all = append(all, n)
	}
	return all
}

// write sets in a stack what is missing, and with update also what has moved.
func (p *preflight) write(ctx context.Context, r *region, pins []pin, update, show bool) error {
	args := []string{"config", "set-all", "--stack", r.stack, "--path"}
	none := len(args)
	var said, misfits []string
	behind, replaced := false, false
	for _, v := range pins {
		s := v.next(update)
		switch s {
		case written, moved:
			args = append(args, "--plaintext", v.key+"="+v.best)
		case misfit:
			misfits = append(misfits, v.key+" "+v.pinned)
		}
		behind = behind || s == older || s == misfit
		replaced = replaced || s == moved && v.key == "nodeRelease"
		said = append(said, fmt.Sprintf("  %s: %s", v.key, v.says(s, r.version)))
	}
	switch {
	case len(args) == none:
	case show: // no word of it needs quotes
		fmt.Fprintln(p.stdout, strings.ReplaceAll("pulumi "+strings.Join(args, " "), " --plaintext", " \\\n  --plaintext"))
	default:
		if _, err := p.pulumi(ctx, "", args...); err != nil {
			return fmt.Errorf("%w\n(nothing was written into it)", err)
		}
	}
	p.note(show, "%s: Kubernetes %s and %s in %s", r.stack, r.version, r.nodeImage, r.region)
	for _, line := range said {
		p.note(show, "%s", line)
	}
	if behind {
		p.note(show, "  what is pinned moves only with --update (make versions ARGS=--update): %s", nodesWarning)
	}
	if replaced {
		p.note(show, "  take care: %s", nodesWarning)
	}
	if len(misfits) > 0 {
		return fmt.Errorf("AWS does not have for Kubernetes %s what is pinned and was kept, %s: use --update (make versions ARGS=--update), or set kubernetesVersion back if it was changed", r.version, strings.Join(misfits, ", "))
	}
	return nil
}

// pins asks AWS for all that is to be pinned.
func (r *region) pins(ctx context.Context) ([]pin, error) {
	best, err := r.newestRelease(ctx)
	if err != nil {
		return nil, err
	}
	all := []pin{{"nodeRelease", r.release, r.releaseFits(r.release), best}}
	for _, a := range addOns() {
		offered, best, err := r.offers(ctx, a.name)
		switch {
		case errors.Is(err, errNotOffered):
			return nil, r.notOffered().err()
		case err != nil:
			return nil, explain("ask EKS for versions of "+a.name, err).err()
		case !addOnForm.MatchString(best):
			return nil, fmt.Errorf("EKS in %s names %q as the default version of %s for Kubernetes %s, and not one like v1.2.3-eksbuild.4: set versions.%s to one of %s yourself",
				r.region, best, a.name, r.version, a.key, strings.Join(offered, ", "))
		}
		pinned := r.versions[a.key]
		all = append(all, pin{"versions." + a.key, pinned, slices.Contains(offered, pinned), best})
	}
	return all, nil
}

// releaseFits says whether a release of the nodes' image is of the Kubernetes version.
func (r *region) releaseFits(release string) bool {
	m := releaseForm.FindStringSubmatch(release)
	return m != nil && m[1] == r.version
}

// newestRelease asks for the release of the nodes' image that AWS recommends.
// https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html
func (r *region) newestRelease(ctx context.Context) (string, error) {
	var architecture string
	switch r.nodeImage {
	case "AL2023_x86_64_STANDARD":
		architecture = "x86_64"
	case "AL2023_ARM_64_STANDARD":
		architecture = "arm64"
	default: // infra/cluster takes no other
		return "", fmt.Errorf("nodeImage: %q: use AL2023_x86_64_STANDARD or AL2023_ARM_64_STANDARD, to suit nodeTypes", r.nodeImage)
	}
	name := fmt.Sprintf("/aws/service/eks/optimized-ami/%s/amazon-linux-2023/%s/standard/recommended/release_version", r.version, architecture)
	out, err := within(ctx, r.deadline, func(ctx context.Context) (*ssm.GetParameterOutput, error) {
		return r.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	})
	var none *ssmtypes.ParameterNotFound
	if errors.As(err, &none) {
		return "", fail(setVersion, "AWS in %s has no image %s for Kubernetes %s", r.region, r.nodeImage, r.version).err()
	}
	if err != nil {
		return "", explain("read the parameter "+name, err).err()
	}
	if out.Parameter == nil || !r.releaseFits(aws.ToString(out.Parameter.Value)) {
		return "", fmt.Errorf("the parameter %s in %s is no release like %s.0-20260101: set nodeRelease yourself", name, r.region, r.version)
	}
	return *out.Parameter.Value, nil
}

// errNotOffered says that EKS has no add-ons for the Kubernetes version, and so not the version itself.
var errNotOffered = errors.New("the version is not offered")

const setVersion = "set kubernetesVersion of the stack to one that https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html lists"

func (r *region) notOffered() finding {
	return fail(setVersion, "EKS in %s does not offer %s", r.region, r.version)
}

// offers asks for the versions of an add-on for the Kubernetes version, and the default among them.
func (r *region) offers(ctx context.Context, name string) (all []string, best string, err error) {
	pages := eks.NewDescribeAddonVersionsPaginator(r.eks, &eks.DescribeAddonVersionsInput{AddonName: &name, KubernetesVersion: &r.version})
	for pages.HasMorePages() {
		page, err := within(ctx, r.deadline, func(ctx context.Context) (*eks.DescribeAddonVersionsOutput, error) { return pages.NextPage(ctx) })
		var api smithy.APIError
		if errors.As(err, &api) && (api.ErrorCode() == "InvalidParameterException" || api.ErrorCode() == "ResourceNotFoundException") {
			return nil, "", fmt.Errorf("%w: %w", errNotOffered, err)
		}
		if err != nil {
			return nil, "", err
		}
		for _, a := range page.Addons {
			for _, v := range a.AddonVersions {
				for _, c := range v.Compatibilities {
					if aws.ToString(c.ClusterVersion) != r.version {
						continue
					}
					all = append(all, aws.ToString(v.AddonVersion))
					if c.DefaultVersion {
						best = aws.ToString(v.AddonVersion)
					}
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, "", errNotOffered
	}
	return all, best, nil
}

// checkVersion asks for the network add-on of the Kubernetes version: a version that EKS does not
// offer has none. (The call that lists versions is not in this SDK's version.)
func (r *region) checkVersion(ctx context.Context) finding {
	_, _, err := r.offers(ctx, "vpc-cni")
	if errors.Is(err, errNotOffered) {
		return r.notOffered()
	}
	if err != nil {
		return explain("ask EKS for add-ons of "+r.version, err)
	}
	return ok("EKS offers %s", r.version)
}

// checkPins checks that what is pinned is there, and of the Kubernetes version.
func (r *region) checkPins(ctx context.Context) finding {
	var missing, wrong []string
	switch {
	case r.release == "":
		missing = append(missing, "nodeRelease: missing")
	case !r.releaseFits(r.release):
		wrong = append(wrong, fmt.Sprintf("nodeRelease: %s is no release for Kubernetes %s, such as %s.0-20260101", r.release, r.version, r.version))
	}
	for _, a := range addOns() {
		pinned := r.versions[a.key]
		if pinned == "" {
			missing = append(missing, "versions."+a.key+": missing")
			continue
		}
		offered, _, err := r.offers(ctx, a.name)
		if errors.Is(err, errNotOffered) {
			return skip("see Kubernetes version")
		}
		if err != nil {
			return explain("ask EKS for versions of "+a.name, err)
		}
		if !slices.Contains(offered, pinned) {
			wrong = append(wrong, fmt.Sprintf("versions.%s: EKS in %s has no %s %s for Kubernetes %s", a.key, r.region, a.name, pinned, r.version))
		}
	}
	says := strings.Join(append(missing, wrong...), "\n")
	switch {
	case len(wrong) > 0:
		return fail(moveThem, "%s", says)
	case len(missing) > 0:
		return fail(pinThem, "%s", says)
	}
	return ok("nodes %s, and %d add-ons, of Kubernetes %s", r.release, len(addOns()), r.version)
}
