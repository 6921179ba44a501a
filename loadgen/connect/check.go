package connect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
)

const (
	// attempt bounds each of the few steps it takes to check one address: one
	// connection, and one request with its answer.
	attempt = 5 * time.Second
	// glance bounds each look at what a server is that did not answer as Kafka.
	glance = time.Second
)

// Check proves that the cluster can be reached and used with opts, which are
// what Config.Options returned (or at least kgo.SeedBrokers): one bootstrap
// server answers a metadata request to this user, and at least one of the
// addresses the brokers advertise accepts a connection. One dead broker among
// several is no error, as it is none to a Kafka client.
//
// An error names each address, says what was found there (nothing, a firewall,
// an HTTP server, ZooKeeper, TLS or SASL missing or refused, …) and what to do.
// Check takes some 20 seconds at worst, and no longer than ctx allows.
func Check(ctx context.Context, opts []kgo.Opt) error {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("Kafka client options: %w", err)
	}
	seeds, _ := client.OptValue(kgo.SeedBrokers).([]string)
	tlsConf, _ := client.OptValue(kgo.DialTLSConfig).(*tls.Config)
	mechanisms, _ := client.OptValue(kgo.SASL).([]sasl.Mechanism)
	client.Close()

	type answer struct {
		seed    int
		brokers []string
		err     error
	}
	answers := make(chan answer, len(seeds))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the first good answer ends the other checks
	for i, address := range seeds {
		go func() {
			brokers, err := seed{address, opts, tlsConf, len(mechanisms) > 0}.check(ctx)
			answers <- answer{i, brokers, err}
		}()
	}
	errs := make([]error, len(seeds))
	for range seeds {
		a := <-answers
		if a.err == nil {
			return checkAdvertised(ctx, seeds[a.seed], a.brokers)
		}
		errs[a.seed] = fmt.Errorf("cannot use Kafka at %s: %w", seeds[a.seed], a.err)
	}
	return errors.Join(errs...)
}

// Denied reports whether err is a cluster's answer that this user has no
// permission for what was asked.
func Denied(err error) bool {
	for _, denial := range []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed,
	} {
		if errors.Is(err, denial) {
			return true
		}
	}
	return false
}

// seed is one bootstrap server under examination.
type seed struct {
	address string
	opts    []kgo.Opt
	tls     *tls.Config // nil means plain text
	sasl    bool        // opts authenticate
}

// check goes from the bottom up, so that each step's failure has one cause:
// TCP, then the Kafka protocol (with TLS, if configured), then this user. It
// returns the addresses the brokers advertise.
func (s seed) check(ctx context.Context) ([]string, error) {
	if err := dial(ctx, s.address); err != nil {
		return nil, err
	}
	if err := s.speaksKafka(ctx, s.tls); err != nil {
		return nil, s.explainProtocol(ctx, err)
	}
	brokers, err := s.metadata(ctx)
	if err != nil {
		return nil, s.explainUser(ctx, err)
	}
	return brokers, nil
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: attempt}).DialContext(ctx, "tcp", address)
	var unknown *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		return conn.Close()
	case ctx.Err() != nil:
		return ended(ctx, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there: check host and port, and that the broker runs: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the host name cannot be resolved: check its spelling and this machine's DNS: %w", err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s: check the address, and firewalls, security groups and routes on the way: %w", attempt, err)
	}
	return fmt.Errorf("no connection: %w", err)
}

// ended says that the caller's context cut the check short.
func ended(ctx context.Context, err error) error {
	return fmt.Errorf("the check was ended before an answer came (%w): %w", context.Cause(ctx), err)
}

// speaksKafka asks for the versions of the protocol, which a broker tells
// everyone, before any authentication.
func (s seed) speaksKafka(ctx context.Context, conf *tls.Config) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "kafka-mirror-tester", "1" // brokers refuse empty ones
	answer, err := s.ask(ctx, s.bare(conf), req)
	if err != nil {
		// The client asks for the versions by itself first, and a broker with SASL closes the connection when
		// it is asked again before anybody has logged in.
		if cut(err) && s.offered(ctx, conf) != "" {
			return nil
		}
		return err
	}
	resp := answer.(*kmsg.ApiVersionsResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, key := range resp.ApiKeys {
		if key.ApiKey == kmsg.Metadata.Int16() {
			return nil
		}
	}
	return errController
}

var errController = errors.New("it speaks Kafka but serves no metadata, as a KRaft controller does: give the address of a broker's listener")

func (s seed) metadata(ctx context.Context) ([]string, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	resp, err := s.ask(ctx, s.opts, req)
	if err != nil {
		return nil, err
	}
	cluster := resp.(*kmsg.MetadataResponse)
	var brokers []string
	for _, b := range cluster.Brokers {
		brokers = append(brokers, net.JoinHostPort(b.Host, fmt.Sprint(b.Port)))
	}
	if len(brokers) == 0 {
		return nil, cmp.Or(kerr.ErrorForCode(cluster.ErrorCode), errors.New("it names no brokers: wait until the cluster is up"))
	}
	return brokers, nil
}

// bare returns options that reach the address without authentication.
func (seed) bare(conf *tls.Config) []kgo.Opt {
	if conf == nil {
		return nil
	}
	return []kgo.Opt{kgo.DialTLSConfig(conf)}
}

// ask sends one request to the address.
func (s seed) ask(ctx context.Context, opts []kgo.Opt, req kmsg.Request) (kmsg.Response, error) {
	limit, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	opts = append(opts[:len(opts):len(opts)],
		kgo.SeedBrokers(s.address), kgo.DialTimeout(attempt), kgo.RequestTimeoutOverhead(attempt))
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	resp, err := client.SeedBrokers()[0].Request(limit, req)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", attempt, err)
	}
	return resp, err
}

// explainProtocol says why a server that accepts connections did not answer as
// Kafka. The looks at it are made only now, because they would show up as
// errors in a broker's log.
func (s seed) explainProtocol(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx, err)
	}
	if errors.Is(err, errController) {
		return err
	}
	if s.tls != nil {
		if cause := explainTLS(err); cause != nil {
			return cause
		}
		if s.speaksKafka(ctx, nil) == nil {
			return fmt.Errorf("it is Kafka without TLS: remove --tls, or give the port of its TLS listener: %w", err)
		}
	} else if conn, isTLS := s.dialTLS(ctx); isTLS {
		if conn != nil && bytes.HasPrefix(talk(conn, httpRequest), []byte("HTTP/")) {
			return fmt.Errorf("it is an HTTPS server, not Kafka: check host and port: %w", err)
		}
		return fmt.Errorf("it expects TLS: add --tls (and --tls-ca-file, if its authority is not among the system's): %w", err)
	}
	return fmt.Errorf("%s, not Kafka: check host and port: %w", s.whatItIs(ctx), err)
}

func explainTLS(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("its certificate is signed by an authority not known here: give that authority with --tls-ca-file: %w", err)
	case errors.As(err, &host):
		return fmt.Errorf("its certificate is for another name: use a name the certificate has, or say with --tls-server-name which name that is: %w", err)
	case errors.As(err, &invalid):
		return fmt.Errorf("its certificate is not valid: renew it, or correct this machine's clock: %w", err)
	// Go has no type for an alert the other side sent.
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"),
		strings.Contains(err.Error(), "tls: unknown certificate authority"):
		return fmt.Errorf("it asks for a client certificate and did not accept ours: check --tls-cert-file and --tls-key-file: %w", err)
	}
	return nil
}

// dialTLS reports whether the server speaks TLS. The connection is nil if the
// server refused us, or if it is Kafka, of which nothing more need be known.
func (s seed) dialTLS(ctx context.Context) (net.Conn, bool) {
	// No secret and nothing that matters goes over this connection, so there is
	// no need to know who is on the other side.
	conf := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	limit, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	if s.speaksKafka(limit, conf) == nil {
		return nil, true
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: glance}, Config: conf}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, strings.Contains(err.Error(), "remote error: tls:")
	}
	return conn, true
}

const (
	httpRequest      = "GET / HTTP/1.0\r\n\r\n"
	zooKeeperRequest = "srvr"
)

// whatItIs describes a server by how it answers the protocols that are most
// often found on a port taken for Kafka's.
func (s seed) whatItIs(ctx context.Context) string {
	for _, request := range []string{httpRequest, zooKeeperRequest} {
		conn, err := (&net.Dialer{Timeout: glance}).DialContext(ctx, "tcp", s.address)
		if err != nil {
			break
		}
		answer := talk(conn, request)
		switch {
		case bytes.HasPrefix(answer, []byte("HTTP/")):
			return "it is an HTTP server"
		case bytes.HasPrefix(answer, []byte("Zookeeper version")):
			return "it is ZooKeeper"
		case len(answer) > 0:
			line, _, _ := bytes.Cut(answer, []byte("\n"))
			return fmt.Sprintf("it is a server that says %q", bytes.TrimRight(line, "\r"))
		}
	}
	return "it is a server that accepts connections and says nothing we know"
}

// talk sends a request, returns the beginning of the answer, if any, and closes
// the connection.
func talk(conn net.Conn, request string) []byte {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(glance)); err != nil {
		return nil
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return nil
	}
	answer := make([]byte, 80)
	n, _ := io.ReadAtLeast(conn, answer, len("Zookeeper version"))
	return answer[:n]
}

// explainUser says why a server that speaks Kafka did not serve this user.
func (s seed) explainUser(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx, err)
	}
	closed := cut(err)
	switch {
	case Denied(err):
		return fmt.Errorf("this user has no permission to read the cluster's metadata: grant it DESCRIBE on the cluster: %w", err)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("it does not offer this SASL mechanism: set --sasl-mechanism to %s: %w", s.offered(ctx, s.tls), err)
	case errors.Is(err, kerr.IllegalSaslState):
		return fmt.Errorf("it does not use SASL: remove --sasl-mechanism, or give the port of its SASL listener: %w", err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("it refused the user or the password: check --sasl-user, the password and --sasl-mechanism: %w", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return err // the password file, which names itself
	case closed && s.sasl:
		return fmt.Errorf("it closed the connection during authentication: check --sasl-user, the password and --sasl-mechanism: %w", err)
	case closed:
		if offered := s.offered(ctx, s.tls); offered != "" {
			return fmt.Errorf("it asks for SASL authentication: set --sasl-mechanism to %s, with --sasl-user and --sasl-password-file: %w", offered, err)
		}
	}
	return fmt.Errorf("no metadata: %w", err)
}

// cut reports whether the server closed the connection.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// offered asks for a mechanism that does not exist, because the refusal lists
// those that do. It is empty where SASL is not in use.
func (s seed) offered(ctx context.Context, conf *tls.Config) string {
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "NONE"
	resp, err := s.ask(ctx, s.bare(conf), req)
	if err != nil {
		return ""
	}
	return strings.Join(resp.(*kmsg.SASLHandshakeResponse).SupportedMechanisms, " or ")
}

// checkAdvertised finds the commonest fault that a bootstrap server hides: the
// brokers advertise addresses that mean nothing where we are.
func checkAdvertised(ctx context.Context, address string, brokers []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(brokers))
	var wg sync.WaitGroup
	for i, broker := range brokers {
		wg.Go(func() {
			if errs[i] = dial(ctx, broker); errs[i] == nil {
				cancel() // one is enough
			} else {
				errs[i] = fmt.Errorf("%s: %w", broker, errs[i])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("Kafka at %s answers, but none of the addresses its brokers advertise can be reached from here: set the brokers' advertised.listeners to addresses that this machine can reach: %w", address, errors.Join(errs...))
}
