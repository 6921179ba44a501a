// Package connect turns the settings for reaching a Kafka cluster into
// franz-go client options, and proves that the cluster can be reached before a
// test starts.
package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The SASL mechanisms Config.SASLMechanism may name.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// Secret is text that must not be seen: it prints, logs and encodes as stars.
type Secret string

const hidden = "***"

// String returns stars.
func (Secret) String() string { return hidden }

// GoString returns stars, for %#v.
func (Secret) GoString() string { return hidden }

// LogValue returns stars, for slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns stars, for JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Shown returns an address that a user gave as it may be shown: without what stands before an @, which may be
// a name and a password.
func Shown(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	scheme := ""
	if i := strings.Index(address, "://"); i >= 0 && i < at {
		scheme = address[:i+len("://")]
	}
	return scheme + hidden + address[at:]
}

// Config says how one Kafka cluster is reached.
//
// There is no setting for socket buffers: Go leaves them to the kernel, which
// tunes them to the path. That is what a connection across an ocean needs; a
// fixed buffer of Kafka's default size holds it to about 1.6 MB/s at 80 ms.
type Config struct {
	// BootstrapServers are host:port addresses of some brokers, at least one.
	BootstrapServers []string
	// ClientID is the name the brokers see in their logs, metrics and quotas.
	ClientID string

	// TLS encrypts the connections. The server's certificate is always
	// verified, against the system's authorities or TLSCAFile.
	TLS bool
	// TLSCAFile is a PEM file of certificate authorities; empty means the
	// system's.
	TLSCAFile string
	// TLSServerName is the name that the brokers' certificates must be for; empty
	// means the host that is connected to. Brokers may advertise addresses that
	// no certificate has, such as those of pods.
	TLSServerName string
	// TLSCertFile and TLSKeyFile are the client's own certificate and key (PEM);
	// both or neither.
	TLSCertFile, TLSKeyFile string

	// SASLMechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 in any case of
	// letters; empty means no authentication.
	SASLMechanism string
	// SASLUser is the user's name.
	SASLUser string
	// SASLPasswordFile holds the password; line ends after it are ignored. The
	// file is read again for each new connection, so a password can be rotated.
	SASLPasswordFile string
	// SASLPassword is the password itself, from the environment and never from
	// a command line. Give either this or SASLPasswordFile.
	SASLPassword Secret
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read.
func (c *Config) SetDefaults() {
	*c = Config{ClientID: "kafka-mirror-tester"}
}

// Validate reports every mistake in c at once. It reads no file.
func (c *Config) Validate() error {
	var errs []error
	if len(c.BootstrapServers) == 0 {
		errs = append(errs, errors.New("no bootstrap servers: give at least one host:port"))
	}
	for _, address := range c.BootstrapServers {
		errs = append(errs, validateAddress(address))
	}

	for _, file := range []struct{ name, value string }{
		{"CA file", c.TLSCAFile}, {"certificate file", c.TLSCertFile}, {"key file", c.TLSKeyFile}, {"server name", c.TLSServerName},
	} {
		if file.value != "" && !c.TLS {
			errs = append(errs, fmt.Errorf("TLS %s %q is given, but TLS is off: add --tls", file.name, file.value))
		}
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		errs = append(errs, errors.New("a client certificate needs both --tls-cert-file and --tls-key-file"))
	}

	switch strings.ToUpper(c.SASLMechanism) {
	case "":
		// SASLPassword alone is no mistake: an environment shared by several
		// processes may hold it.
		if c.SASLUser != "" || c.SASLPasswordFile != "" {
			errs = append(errs, fmt.Errorf("a SASL user or password file is given without a mechanism: add --sasl-mechanism (%s, %s or %s)", Plain, ScramSHA256, ScramSHA512))
		}
	case Plain, ScramSHA256, ScramSHA512:
		if c.SASLUser == "" {
			errs = append(errs, fmt.Errorf("SASL mechanism %s needs a user: add --sasl-user", c.SASLMechanism))
		}
		if (c.SASLPasswordFile == "") == (c.SASLPassword == "") {
			errs = append(errs, fmt.Errorf("SASL mechanism %s needs one password: either --sasl-password-file or the variable LOADGEN_SASL_PASSWORD", c.SASLMechanism))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown SASL mechanism %q: use %s, %s or %s", c.SASLMechanism, Plain, ScramSHA256, ScramSHA512))
	}
	return errors.Join(errs...)
}

func validateAddress(address string) error {
	if strings.Contains(address, "@") {
		return fmt.Errorf("bootstrap server %q: write host:port without a user: use --sasl-user, and --sasl-password-file or LOADGEN_SASL_PASSWORD", Shown(address))
	}
	if strings.Contains(address, "://") {
		return fmt.Errorf("bootstrap server %q: write host:port without a scheme", address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("bootstrap server %q is not host:port (%w): for example kafka-0.example.com:9092 or [::1]:9092", address, err)
	}
	if host == "" {
		return fmt.Errorf("bootstrap server %q has no host: for example 127.0.0.1%s", address, address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("bootstrap server %q: port %q is not a number from 1 to 65535", address, port)
	}
	return nil
}

// dialTimeout is how long a connection may take to open. Where an address answers no more, as when a broker is
// replaced by one elsewhere, franz-go 1.22 dials it twice for each of up to five produce requests before a request
// for metadata behind them is served, by another broker at last: with its own 10 s a producer stood still for two
// minutes (seen in replace-broker-source). Two seconds have room for a SYN that is lost and for TLS over 600 ms.
const dialTimeout = 2 * time.Second

// Options returns the client options for c, which must be valid. It reads the
// files c names, and names the one that cannot be used.
func (c *Config) Options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(c.BootstrapServers...), kgo.DialTimeout(dialTimeout)}
	if c.ClientID != "" {
		opts = append(opts, kgo.ClientID(c.ClientID))
	}
	if c.TLS {
		conf, err := c.tlsConfig()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	if c.SASLMechanism != "" {
		mechanism, err := c.mechanism()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (c *Config) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLSServerName}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("TLS CA file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TLS CA file %q holds no certificate in PEM form", c.TLSCAFile)
		}
	}
	if c.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate file %q with key file %q: %w", c.TLSCertFile, c.TLSKeyFile, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func (c *Config) mechanism() (sasl.Mechanism, error) {
	if _, err := c.password(); err != nil {
		return nil, err
	}
	conf := *c // what is changed in c later must not reach a running client
	user, password := conf.SASLUser, conf.password
	switch strings.ToUpper(c.SASLMechanism) {
	case Plain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			secret, err := password()
			return plain.Auth{User: user, Pass: secret}, err
		}), nil
	case ScramSHA256, ScramSHA512:
		auth := func(context.Context) (scram.Auth, error) {
			secret, err := password()
			return scram.Auth{User: user, Pass: secret}, err
		}
		if strings.ToUpper(c.SASLMechanism) == ScramSHA256 {
			return scram.Sha256(auth), nil
		}
		return scram.Sha512(auth), nil
	}
	return nil, fmt.Errorf("unknown SASL mechanism %q: use %s, %s or %s", c.SASLMechanism, Plain, ScramSHA256, ScramSHA512)
}

func (c *Config) password() (string, error) {
	if c.SASLPasswordFile == "" {
		return string(c.SASLPassword), nil
	}
	raw, err := os.ReadFile(c.SASLPasswordFile)
	if err != nil {
		return "", fmt.Errorf("SASL password file: %w", err)
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("SASL password file %q is empty", c.SASLPasswordFile)
	}
	return secret, nil
}

// Logger returns a kgo.Logger that writes to log. A client's informational
// messages (each group join, each metadata update) become debug messages,
// since they are noise to someone who watches a test.
func Logger(log *slog.Logger) kgo.Logger { return clientLogger{log} }

type clientLogger struct{ log *slog.Logger }

func (l clientLogger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	case l.log.Enabled(ctx, slog.LevelError):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelError
	case kgo.LogLevelWarn:
		to = slog.LevelWarn
	default: // the rest is detail
	}
	l.log.Log(context.Background(), to, msg, keyvals...)
}
