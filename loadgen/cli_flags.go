package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

// The functions below add the flags that several commands share. Each takes its
// defaults from the config, which has them from SetDefaults.

func testFlag(cmd *cobra.Command, id *string) {
	cmd.Flags().StringVar(id, "test-id", *id, "name of the test; all its processes have the same")
}

func ledgerFlag(cmd *cobra.Command, replicas *int) {
	cmd.Flags().IntVar(replicas, "ledger-replicas", *replicas, "replicas of a ledger topic that has to be made (0: as many as there are brokers, up to 3)")
}

// clockFlag adds the flag that sets the tool's clock wrong. Its result is nil without the flag: then the clock is
// the machine's.
func clockFlag(cmd *cobra.Command) func() *wallclock.Clock {
	var wrong wallclock.Error
	const name = "clock-error"
	cmd.Flags().Var(&wrong, name, "for tests of the tester: have the times that this tool sends and records be wrong by so much, such as 250ms, -2s, or 250ms+1ms/s with a drift; PUT /clock then changes it")
	return func() *wallclock.Clock {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		return wallclock.New(wrong)
	}
}

// handlerOf serves what sets the clock, where it may be set.
func handlerOf(c *wallclock.Clock) http.Handler {
	if c == nil {
		return nil
	}
	return c.Handler()
}

func bootstrapFlag(cmd *cobra.Command, c *connect.Config) {
	cmd.Flags().StringSliceVar(&c.BootstrapServers, "bootstrap-servers", c.BootstrapServers, "addresses of some brokers, host:port")
}

func topicsFlag(cmd *cobra.Command, names *[]string) {
	cmd.Flags().StringSliceVar(names, "topics", *names, "topics")
}

func settingsFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "settings-file", *file, "file that names topics, with the rate and size of each; read again when it changes, and the same for all processes of a test")
}

// topicShapeFlags adds the flags that say what new topics are like.
func topicShapeFlags(cmd *cobra.Command, c *topics.Config) {
	f := cmd.Flags()
	f.IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions of each topic")
	f.IntVar(&c.Replicas, "num-replicas", c.Replicas, "replicas of each partition (0: as many as there are brokers, up to 3)")
	f.DurationVar(&c.Retention, "retention", c.Retention, "how long records are kept (0: the cluster's default)")
	f.Var(&c.MaxMessageBytes, "max-message-bytes", "largest batch a topic takes, such as 4MB (0B: the cluster's default)")
	f.IntVar(&c.MinInSyncReplicas, "min-insync-replicas", c.MinInSyncReplicas, "replicas that must have a record before acks=all is answered (0: the cluster's default)")
	f.BoolVar(&c.LogAppendTime, "log-append-time", c.LogAppendTime, "have brokers stamp records with the time they are appended")
}

// securityFlags adds the TLS and SASL flags; they come last in the help.
func (a *app) securityFlags(cmd *cobra.Command, c *connect.Config) {
	f := cmd.Flags()
	f.BoolVar(&c.TLS, "tls", c.TLS, "use TLS")
	f.StringVar(&c.TLSCAFile, "tls-ca-file", c.TLSCAFile, "certificate authorities, PEM (default the system's)")
	f.StringVar(&c.TLSServerName, "tls-server-name", c.TLSServerName, "name that the brokers' certificates must be for (default the host that is connected to)")
	f.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "client certificate, PEM")
	f.StringVar(&c.TLSKeyFile, "tls-key-file", c.TLSKeyFile, "client certificate's key, PEM")
	f.StringVar(&c.SASLMechanism, "sasl-mechanism", c.SASLMechanism, "SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default no authentication)")
	f.StringVar(&c.SASLUser, "sasl-user", c.SASLUser, "SASL user")
	f.StringVar(&c.SASLPasswordFile, "sasl-password-file", c.SASLPasswordFile, "file with the SASL password (or set LOADGEN_SASL_PASSWORD)")
	completeWith(cmd, "sasl-mechanism", connect.Plain, connect.ScramSHA256, connect.ScramSHA512)
	for _, entry := range a.env {
		if value, ok := strings.CutPrefix(entry, passwordVariable+"="); ok {
			c.SASLPassword = connect.Secret(value)
		}
	}
}

// reach checks that the cluster can be used, and returns the options of its
// clients.
func (a *app) reach(ctx context.Context, c *connect.Config) ([]kgo.Opt, error) {
	opts, err := c.Options()
	if err != nil {
		return nil, err
	}
	if err := connect.Check(ctx, opts); err != nil {
		return nil, err
	}
	return append(opts, kgo.WithLogger(connect.Logger(a.log))), nil
}

// dial is reach, and a client.
func (a *app) dial(ctx context.Context, c *connect.Config) (*kgo.Client, error) {
	opts, err := a.reach(ctx, c)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("Kafka client: %w", err)
	}
	return client, nil
}
