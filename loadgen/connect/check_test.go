package connect_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// check runs connect.Check as a command would.
func check(t *testing.T, change func(*connect.Config), servers ...string) error {
	t.Helper()
	var c connect.Config
	c.SetDefaults()
	c.BootstrapServers = servers
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	opts, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return connect.Check(ctx, opts)
}

// wantError fails unless err holds every one of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// serve hands each connection to handle, until the test ends.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// closedPort returns an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestReachable(t *testing.T) {
	c := cluster(t, kfake.NumBrokers(3))
	if err := check(t, nil, c.ListenAddrs()...); err != nil {
		t.Error(err)
	}
	if err := check(t, nil, closedPort(t), c.ListenAddrs()[0]); err != nil {
		t.Errorf("one dead bootstrap server of two: %v", err)
	}
}

func TestNothingListens(t *testing.T) {
	one, two := closedPort(t), closedPort(t)
	wantError(t, check(t, nil, one, two), "cannot use Kafka at "+one, "cannot use Kafka at "+two, "nothing listens", "refused")
}

func TestUnknownHost(t *testing.T) {
	// .invalid never resolves (RFC 2606).
	wantError(t, check(t, nil, "kafka.invalid:9092"), "kafka.invalid:9092", "cannot be resolved")
}

func TestWrongPort(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secureWeb := httptest.NewUnstartedServer(http.NotFoundHandler())
	secureWeb.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of each look at it
	secureWeb.StartTLS()
	t.Cleanup(secureWeb.Close)

	closes := serve(t, func(net.Conn) {})
	ssh := serve(t, func(conn net.Conn) {
		io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n")
		io.Copy(io.Discard, conn)
	})
	zooKeeper := serve(t, func(conn net.Conn) {
		word, _ := bufio.NewReader(conn).Peek(4)
		if string(word) == "srvr" {
			io.WriteString(conn, "Zookeeper version: 3.8.4-9316c2a, built on 2024-02-12\nLatency: 0/0/0\n")
		}
	})
	for name, server := range map[string]struct{ address, want string }{
		"HTTP":           {web.Listener.Addr().String(), "it is an HTTP server, not Kafka"},
		"HTTPS":          {secureWeb.Listener.Addr().String(), "it is an HTTPS server, not Kafka"},
		"SSH":            {ssh, `says "SSH-2.0-OpenSSH_9.2", not Kafka`},
		"ZooKeeper":      {zooKeeper, "it is ZooKeeper, not Kafka"},
		"closes at once": {closes, "says nothing we know, not Kafka"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the HTTP server keeps us waiting
			wantError(t, check(t, nil, server.address), "cannot use Kafka at "+server.address, server.want, "check host and port")
		})
	}
	t.Run("HTTP, with TLS", func(t *testing.T) {
		t.Parallel()
		address := web.Listener.Addr().String()
		wantError(t, check(t, func(c *connect.Config) { c.TLS = true }, address), "it is an HTTP server, not Kafka")
	})
}

// A server that accepts and then says nothing is found out by time alone; the
// caller's deadline is kept.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	address := serve(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	t.Run("to the end", func(t *testing.T) {
		t.Parallel()
		wantError(t, check(t, nil, address), address, "says nothing we know")
	})
	t.Run("cut short", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wantError(t, connect.Check(ctx, []kgo.Opt{kgo.SeedBrokers(address)}), address, "ended before an answer came")
	})
}

func TestController(t *testing.T) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.Metadata.Int16(), -1)
	c := cluster(t, kfake.MaxVersions(versions))
	wantError(t, check(t, nil, c.ListenAddrs()...), c.ListenAddrs()[0], "KRaft controller")
}

// The bootstrap server answers, but the brokers advertise what cannot be
// reached: here, because a port forwarding stands before a cluster that does
// not accept connections itself.
func TestAdvertisedAddresses(t *testing.T) {
	backends := make(chan net.Conn)
	c := cluster(t, kfake.ListenFn(func(_, _ string) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		address := l.Addr()
		l.Close() // what is advertised is closed from now on
		return &handedOver{address: address, conns: backends, closed: make(chan struct{})}, nil
	}))
	forwarded := serve(t, func(conn net.Conn) {
		ours, theirs := net.Pipe()
		backends <- theirs
		go func() {
			io.Copy(ours, conn)
			ours.Close()
		}()
		io.Copy(conn, ours)
	})
	wantError(t, check(t, nil, forwarded), forwarded, "advertised.listeners", c.ListenAddrs()[0], "nothing listens")
}

// handedOver is a listener whose connections are made elsewhere.
type handedOver struct {
	address net.Addr
	conns   <-chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *handedOver) Addr() net.Addr { return h.address }

// certificate makes a self-signed certificate for 127.0.0.1, and its files.
type certificate struct {
	pair              tls.Certificate
	pool              *x509.CertPool
	certFile, keyFile string
}

func newCertificate(t *testing.T, change func(*x509.Certificate)) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafka"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := certificate{
		pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool: x509.NewCertPool(),
		certFile: filepath.Join(t.TempDir(), "cert.pem"), keyFile: filepath.Join(t.TempDir(), "key.pem"),
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	cert.pool.AddCert(parsed)
	write(t, cert.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, cert.keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	return cert
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	cert := newCertificate(t, nil)
	address := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert.pair}})).ListenAddrs()[0]

	if err := check(t, func(c *connect.Config) { c.TLS, c.TLSCAFile = true, cert.certFile }, address); err != nil {
		t.Error(err)
	}
	wantError(t, check(t, nil, address), address, "it expects TLS: add --tls")
	wantError(t, check(t, func(c *connect.Config) { c.TLS = true }, address), address, "authority", "--tls-ca-file")
}

func TestTLSCertificateOfAnotherName(t *testing.T) {
	cert := newCertificate(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = nil, []string{"kafka.example.com"}
	})
	address := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert.pair}})).ListenAddrs()[0]
	wantError(t, check(t, func(c *connect.Config) { c.TLS, c.TLSCAFile = true, cert.certFile }, address), address, "another name", "--tls-server-name")

	// Whatever the brokers advertise, the certificate must be for the name given.
	named := func(name string) error {
		return check(t, func(c *connect.Config) { c.TLS, c.TLSCAFile, c.TLSServerName = true, cert.certFile, name }, address)
	}
	if err := named("kafka.example.com"); err != nil {
		t.Error(err)
	}
	wantError(t, named("zookeeper.example.com"), address, "another name", "kafka.example.com")
}

func TestTLSCertificateExpired(t *testing.T) {
	cert := newCertificate(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	address := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert.pair}})).ListenAddrs()[0]
	wantError(t, check(t, func(c *connect.Config) { c.TLS, c.TLSCAFile = true, cert.certFile }, address), address, "not valid", "expired")
}

func TestTLSClientCertificate(t *testing.T) {
	cert, stranger := newCertificate(t, nil), newCertificate(t, nil)
	address := cluster(t, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{cert.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: cert.pool,
	})).ListenAddrs()[0]
	with := func(own certificate) func(*connect.Config) {
		return func(c *connect.Config) {
			c.TLS, c.TLSCAFile, c.TLSCertFile, c.TLSKeyFile = true, cert.certFile, own.certFile, own.keyFile
		}
	}
	if err := check(t, with(cert), address); err != nil {
		t.Error(err)
	}
	wantError(t, check(t, with(certificate{}), address), address, "asks for a client certificate")
	wantError(t, check(t, with(stranger), address), address, "asks for a client certificate")
	wantError(t, check(t, nil, address), address, "it expects TLS: add --tls")
}

func TestTLSToPlainText(t *testing.T) {
	c := cluster(t)
	// A real broker closes the connection when a TLS greeting, read as a
	// length, asks for more than it accepts; kfake would wait for the bytes.
	broker := serve(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if first, err := r.Peek(1); err != nil || first[0] == 0x16 {
			return
		}
		backend, err := net.Dial("tcp", c.ListenAddrs()[0])
		if err != nil {
			return
		}
		go func() {
			io.Copy(backend, r)
			backend.Close()
		}()
		io.Copy(conn, backend)
	})
	wantError(t, check(t, func(c *connect.Config) { c.TLS = true }, broker), broker, "Kafka without TLS: remove --tls")
}

func TestSASL(t *testing.T) {
	for _, mechanism := range []string{connect.Plain, connect.ScramSHA256, connect.ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			address := cluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "alice", "wonder land")).ListenAddrs()[0]
			file := filepath.Join(t.TempDir(), "password")
			write(t, file, []byte("wonder land\n"))
			with := func(user, mechanism string) func(*connect.Config) {
				return func(c *connect.Config) { c.SASLMechanism, c.SASLUser, c.SASLPasswordFile = mechanism, user, file }
			}

			if err := check(t, with("alice", strings.ToLower(mechanism)), address); err != nil {
				t.Error(err)
			}
			if err := check(t, func(c *connect.Config) {
				c.SASLMechanism, c.SASLUser, c.SASLPassword = mechanism, "alice", "wonder land"
			}, address); err != nil {
				t.Errorf("password from the environment: %v", err)
			}
			wantError(t, check(t, nil, address), address, "asks for SASL", "PLAIN or SCRAM-SHA-256 or SCRAM-SHA-512", "--sasl-user")
			wantError(t, check(t, with("mallory", mechanism), address), address, "--sasl-user")

			err := check(t, func(c *connect.Config) {
				c.SASLMechanism, c.SASLUser, c.SASLPassword = mechanism, "alice", "not-the-password"
			}, address)
			wantError(t, err, address, "the password")
			if strings.Contains(err.Error(), "not-the-password") {
				t.Errorf("the password is in the error: %v", err)
			}

			// Rotated while the process runs: the same options, a new password.
			c := connect.Config{BootstrapServers: []string{address}}
			with("alice", mechanism)(&c)
			opts, optsErr := c.Options()
			if optsErr != nil {
				t.Fatal(optsErr)
			}
			write(t, file, []byte("wrong"))
			wantError(t, connect.Check(t.Context(), opts), "the password")
			write(t, file, []byte("wonder land"))
			if err := connect.Check(t.Context(), opts); err != nil {
				t.Errorf("after the password was put right: %v", err)
			}
		})
	}
}

func TestSASLMechanismNotOffered(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser(connect.Plain, "alice", "pw"))
	c.ControlKey(kmsg.SASLHandshake.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = 33 // UNSUPPORTED_SASL_MECHANISM
		resp.SupportedMechanisms = []string{"GSSAPI", "SCRAM-SHA-512"}
		return resp, nil, true
	})
	err := check(t, func(c *connect.Config) {
		c.SASLMechanism, c.SASLUser, c.SASLPassword = connect.Plain, "alice", "pw"
	}, c.ListenAddrs()[0])
	wantError(t, err, c.ListenAddrs()[0], "does not offer", "GSSAPI or SCRAM-SHA-512")
}

func TestSASLNotInUse(t *testing.T) {
	c := cluster(t)
	c.ControlKey(kmsg.SASLHandshake.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = 34 // ILLEGAL_SASL_STATE, what Kafka answers on a listener without SASL
		return resp, nil, true
	})
	err := check(t, func(c *connect.Config) {
		c.SASLMechanism, c.SASLUser, c.SASLPassword = connect.Plain, "alice", "pw"
	}, c.ListenAddrs()[0])
	wantError(t, err, c.ListenAddrs()[0], "does not use SASL: remove --sasl-mechanism")
}

func TestNoPermission(t *testing.T) {
	c := cluster(t)
	c.ControlKey(kmsg.Metadata.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.ErrorCode = 31 // CLUSTER_AUTHORIZATION_FAILED
		return resp, nil, true
	})
	wantError(t, check(t, nil, c.ListenAddrs()[0]), c.ListenAddrs()[0], "no permission", "DESCRIBE on the cluster")
}
