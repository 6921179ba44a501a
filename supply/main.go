// Command supply looks at what the project is made of: newer versions of what is pinned, known
// vulnerabilities, and the licences of the Go modules.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "supply: %v\n", err)
		if errors.Is(err, errUnanswered) {
			os.Exit(3) // as a verdict that cannot say
		}
		os.Exit(1)
	}
}

// errUnanswered is wrapped where somebody could not be asked, so that what was found is not the whole.
var errUnanswered = errors.New("not everybody could be asked")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cmd := &cobra.Command{
		Use:               "supply",
		Short:             "What the project is made of: versions, vulnerabilities, licences",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	var root string
	cmd.PersistentFlags().StringVar(&root, "root", ".", "directory of the Go module")

	u := updates{http: &http.Client{Timeout: 20 * time.Second}, proxies: goProxies(os.Getenv("GOPROXY")), central: mavenCentral}
	newer := &cobra.Command{
		Use:   "updates",
		Short: "List newer versions of what is pinned: Go modules, tools, jars, charts, images",
		Long: `updates asks where each comes from, and changes nothing. What could not be asked is listed with the
reason, and the command exits with 3: what it lists is then not the whole. EKS's node image and add-ons are AWS's
to tell: make versions. There are no GitHub actions here.`,
		Example: "  go run ./supply updates\n  go run ./supply updates --only go --only charts",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context(), root, stdout) },
	}
	newer.Flags().StringSliceVar(&u.only, "only", nil, "kinds to ask for: go, tools, maven, charts, images; all when not given")
	newer.Flags().StringVar(&u.match, "match", "", "only what has this in its name")

	v := vulnerabilities{stdout: stdout, stderr: stderr}
	known := &cobra.Command{
		Use:   "vulnerabilities",
		Short: "Look for known vulnerabilities, with govulncheck",
		Long: `vulnerabilities runs govulncheck over a binary, symbol by symbol: it fails where something vulnerable is built in. Its database is the Go module golang.org/x/vulndb, pinned here and had through the Go module proxy, so that it can be
had where vuln.go.dev cannot be reached, and so that the same source has the same answer. For the Pulumi program:
  go build -o bin/stacks ./stacks && go run ./supply vulnerabilities --binary bin/stacks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd.Context(), root) },
	}
	known.Flags().StringVar(&v.database, "database", pinnedDatabase, "version of golang.org/x/vulndb; latest for the newest")
	known.Flags().StringVar(&v.binary, "binary", "bin/loadgen", "binary to look at")

	licences := &cobra.Command{
		Use:   "licences",
		Short: "List the licence of every Go module that is built in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readLicences(cmd.Context(), root)
			for _, l := range all {
				fmt.Fprintln(stdout, l)
			}
			return err
		},
	}
	cmd.AddCommand(newer, known, licences)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}
