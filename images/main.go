// Command images brings every image that the stacks run to registries of our own, by digest, and
// writes the references into the stacks' configuration. It builds the load generator's image itself.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

// settings is what the flags say.
type settings struct {
	stacks     []string // NAME or NAME=REGION
	registry   string   // HOST/PREFIX; empty: ECR
	repository string   // first part of the repositories' names in ECR
	only       []string
	all        bool
	upstreams  map[string]string
	platform   string
	dryRun     bool
	print      bool
	build      builder
}

func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	var s settings
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Bring the images that the stacks run to our own registries, by digest",
		Long:  long(),
		Example: `  go run ./images --dry-run
  go run ./images
  go run ./images --only loadgen
  go run ./images --registry localhost:5001/kmt
  go run ./images --upstream ureplicator=registry.example.com/ureplicator:2.1`,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd.Context(), env, stdout)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&s.stacks, "stacks", []string{"us-east-1", "eu-west-1"}, "stacks to set up, as NAME, or NAME=REGION where the name is not the region")
	f.StringVar(&s.registry, "registry", "", "registry to use instead of ECR, as HOST/PREFIX; all stacks pull from it")
	f.StringVar(&s.repository, "repository", "kafka-mirror-tester", "first part of the repositories' names in ECR")
	f.StringSliceVar(&s.only, "only", nil, "only these images, by name")
	f.BoolVar(&s.all, "all", false, "the optional images also")
	f.StringToStringVar(&s.upstreams, "upstream", nil, "copy an image from elsewhere, as NAME=REFERENCE")
	f.StringVar(&s.platform, "platform", "linux/amd64", "the nodes' operating system and architecture")
	f.BoolVar(&s.dryRun, "dry-run", false, "change nothing, here or in any registry: say what would be done")
	f.BoolVar(&s.print, "print", false, "print the commands that configure the stacks instead of running them")
	f.StringVar(&s.build.version, "version", "unknown", "what the load generator says its version is")
	f.StringVar(&s.build.base, "base", "", "image by digest to build the load generator's on; none: certificate authorities and /tmp only")
	f.StringVar(&s.build.bundle, "ca-bundle", "", "file of certificate authorities for the load generator's image; none: this machine's")
	f.StringVar(&s.build.jar, "agent-jar", "", "file of the JMX agent; none: it is downloaded from Maven Central")
	f.StringVar(&s.build.agent.SHA256, "agent-sha256", defaultAgent().SHA256, "SHA-256 of the JMX agent")
	cmd.AddCommand(&cobra.Command{
		Use:   "sbom BINARY",
		Short: "Say what a load generator's binary is made of, as CycloneDX JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			binary, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("sbom: %w", err)
			}
			defer binary.Close()
			text, err := sbom(binary, s.build.version)
			if err != nil {
				return fmt.Errorf("sbom of %s: %w", args[0], err)
			}
			_, err = stdout.Write(text)
			return err
		},
	})
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

func long() string {
	var b strings.Builder
	b.WriteString(`images makes a repository in ECR for each image, in the region of each stack, copies the
images there, verifies their digests, and sets images.NAME in the stacks' configuration.
"pulumi up" refuses an image without digest. Run again, it copies what is missing.

The images, those that Helm charts run among them:
`)
	for _, im := range catalogue.All() {
		from := im.Upstream
		if from == "" {
			from = "./loadgen"
		}
		if im.Chart != "" {
			from += ", of the chart " + im.Chart + " " + catalogue.Charts()[im.Chart]
		}
		if im.Optional {
			from += " (optional: --only or --all)"
		}
		fmt.Fprintf(&b, "  %-19s %s: %s\n", im.Key, im.About, from)
	}
	b.WriteString(`
The load generator's image is the static binary, the JMX agent and certificate authorities. The
same source, Go version and authorities give the same digest. What it is made of is in it, as CycloneDX:
  crane export IMAGE - | tar -xO ` + sbomPath + `
Of other images one platform is
copied, unchanged: its digest is what "docker buildx imagetools inspect" shows for the platform.

Credentials: AWS's usual ones for ECR; for other registries what "docker login" has stored. The
repositories stay after "pulumi destroy"; what they hold costs about 0.10 USD per GB and month.
Remove one by:
  aws ecr delete-repository --force --repository-name kafka-mirror-tester/kafka --region us-east-1`)
	return b.String()
}

// validate checks what the flags say, and returns the platform.
func (s *settings) validate() (*v1.Platform, error) {
	var errs []error
	platform, err := v1.ParsePlatform(s.platform)
	if err != nil || platform.OS != "linux" || platform.Architecture == "" {
		errs = append(errs, fmt.Errorf("--platform %q: use linux/amd64 or linux/arm64", s.platform))
	}
	if len(s.stacks) == 0 {
		errs = append(errs, errors.New("--stacks: name at least one, such as us-east-1"))
	}
	if s.registry != "" {
		if _, err := name.NewRepository(s.registry + "/x"); err != nil || !strings.Contains(s.registry, "/") {
			errs = append(errs, fmt.Errorf("--registry %q: use HOST/PREFIX in lower case, such as localhost:5001/kmt", s.registry))
		}
	}
	return platform, errors.Join(errs...)
}

func (s *settings) run(ctx context.Context, env []string, stdout io.Writer) error {
	platform, err := s.validate()
	if err != nil {
		return err
	}
	images, err := choose(s.only, s.all, s.upstreams)
	if err != nil {
		return err
	}
	if err := s.prepareBuild(*platform, env); err != nil {
		return err
	}
	if !s.print && !s.dryRun {
		if _, err := exec.LookPath("pulumi"); err != nil {
			return errors.New("pulumi is not on PATH: see https://www.pulumi.com/docs/install/, or use --print to set the configuration yourself")
		}
	}
	registries, err := s.registries(ctx)
	if err != nil {
		return err
	}

	// One image that cannot be had is no reason not to bring the others.
	var errs []error
	references := make([]map[string]string, len(registries)) // image -> reference
	for _, im := range images {
		got, err := s.bring(ctx, im, registries, stdout)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", im.Key, err))
		}
		for i, ref := range got {
			if references[i] == nil {
				references[i] = map[string]string{}
			}
			references[i][im.Key] = ref
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprintln(stdout)
	for i, r := range registries {
		for _, stack := range r.stacks {
			if err := s.configure(ctx, stack, references[i], env, stdout); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// prepareBuild completes the builder's settings.
func (s *settings) prepareBuild(platform v1.Platform, env []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the source: %w", err)
	}
	b := &s.build
	if b.source, err = moduleRoot(dir); err != nil {
		return err
	}
	b.platform, b.env, b.auth = platform, env, remote.WithAuthFromKeychain(authn.DefaultKeychain)
	b.agent.URL = defaultAgent().URL
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	b.cache = filepath.Join(cache, "kafka-mirror-tester")
	return nil
}

// region is the form of AWS's names of regions.
var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)

// registries returns where the stacks pull from.
func (s *settings) registries(ctx context.Context) ([]*registry, error) {
	var all []*registry
	if s.registry != "" {
		var names []string
		for _, stack := range s.stacks {
			n, _, _ := strings.Cut(stack, "=")
			names = append(names, n)
		}
		return []*registry{{
			stacks: names,
			title:  s.registry,
			repository: func(_ context.Context, suffix string, _ bool) (name.Repository, error) {
				return name.NewRepository(s.registry + "/" + suffix)
			},
			auth: remote.WithAuthFromKeychain(authn.DefaultKeychain),
		}}, nil
	}
	var errs []error
	for _, stack := range s.stacks {
		n, in, found := strings.Cut(stack, "=")
		if !found {
			in = n[strings.LastIndex(n, "/")+1:]
		}
		if !region.MatchString(in) {
			errs = append(errs, fmt.Errorf("--stacks %s: %q is no region of AWS: use NAME=REGION, such as %s=us-east-1", stack, in, n))
			continue
		}
		if i := slices.IndexFunc(all, func(r *registry) bool { return r.title == in }); i >= 0 {
			all[i].stacks = append(all[i].stacks, n)
			continue
		}
		all = append(all, &registry{stacks: []string{n}, title: in})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, r := range all {
		login, err := newECR(ctx, r.title, s.repository)
		if err != nil {
			return nil, err
		}
		r.repository, r.auth = login.repository, login.auth
	}
	return all, nil
}

// bring brings one image to all registries, and returns by registry the reference there.
func (s *settings) bring(ctx context.Context, im catalogue.Image, registries []*registry, stdout io.Writer) (map[int]string, error) {
	from, label := im.Upstream, hint(im.Upstream)
	var img v1.Image
	var err error
	if im.Upstream == "" {
		from, label = "built from ./loadgen, version "+s.build.version, s.build.version
		img, err = s.build.build(ctx)
	} else {
		img, err = resolve(ctx, im.Upstream, s.build.platform, s.build.auth)
	}
	fmt.Fprintf(stdout, "%s: %s\n", im.Key, from)
	if err != nil {
		fmt.Fprintln(stdout, "  failed")
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, fmt.Errorf("digest of %s: %w", from, err)
	}
	fmt.Fprintf(stdout, "  %s, %s\n", s.platform, digest)
	references := map[int]string{}
	var errs []error
	for i, r := range registries {
		progress := &indented{to: stdout, prefix: "  " + r.title + ": "}
		repo, err := r.repository(ctx, im.Repository, s.dryRun)
		if err == nil {
			references[i], err = copyTo(ctx, img, repo, tag(label, digest), r.auth, s.dryRun, progress)
		}
		if err != nil {
			fmt.Fprintln(progress, "failed")
			delete(references, i)
			errs = append(errs, err)
		}
	}
	return references, errors.Join(errs...)
}

// indented puts a prefix before each line; each Write is one.
type indented struct {
	to     io.Writer
	prefix string
}

// Write writes p after the prefix.
func (i *indented) Write(p []byte) (int, error) {
	if _, err := io.WriteString(i.to, i.prefix); err != nil {
		return 0, err
	}
	return i.to.Write(p)
}

// configure sets images.NAME in a stack's configuration: all in one command, so that it is set in
// full or not at all.
func (s *settings) configure(ctx context.Context, stack string, references map[string]string, env []string, stdout io.Writer) error {
	if len(references) == 0 {
		return nil
	}
	args := []string{"config", "set-all", "--stack", stack, "--path"}
	for _, key := range slices.Sorted(maps.Keys(references)) {
		args = append(args, "--plaintext", "images."+key+"="+references[key])
	}
	if s.print || s.dryRun {
		// No word of it needs quotes.
		_, err := fmt.Fprintln(stdout, strings.ReplaceAll("pulumi "+strings.Join(args, " "), " --plaintext", " \\\n  --plaintext"))
		return err
	}
	cmd := exec.CommandContext(ctx, "pulumi", append(args, "--non-interactive")...)
	cmd.Env = env
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("configure the stack %s: pulumi config set-all: %w\n%s\n(if there is no such stack: pulumi stack init %s)", stack, err, bytes.TrimSpace(output), stack)
	}
	_, err := fmt.Fprintf(stdout, "stack %s: %d images set\n", stack, len(references))
	return err
}
