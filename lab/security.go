package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// The user that the lab's own clusters know, and the name that their certificate is for.
const (
	labUser = "kmt"
	labName = "kafka.lab"
)

// Files of a security's directory.
const (
	authorityFile = "ca.pem"
	keystoreFile  = "keystore.pem"
	userFile      = "user"
	passwordFile  = "password"
	loginFile     = "jaas"
)

// security is TLS and SASL for the lab's own clusters: an authority, a certificate and a password that
// live as long as the lab. Nil is plain text.
type security struct{ dir string }

// newSecurity makes everything below dir, which only the lab's user may read.
func newSecurity(dir string) (*security, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of certificates: %w", err)
	}
	authority, keystore, err := certificates()
	if err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	password := rand.Text()
	for name, content := range map[string]string{
		authorityFile: authority, keystoreFile: keystore, userFile: labUser, passwordFile: password,
		loginFile: fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required username="%s" password="%s" user_%s="%s";`, labUser, password, labUser, password),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("write certificates: %w", err)
		}
	}
	return &security{dir: dir}, nil
}

// certificates returns, in PEM form, a fresh authority, and a key with a certificate of labName's that
// it has signed.
func certificates() (authority, keystore string, err error) {
	now := time.Now()
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), BasicConstraintsValid: true,
		}
	}
	ca := template(1, "kafka-mirror-tester lab")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return "", "", err
	}
	server := template(2, labName)
	server.DNSNames, server.KeyUsage = []string{labName}, x509.KeyUsageDigitalSignature
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", caDER), block("PRIVATE KEY", pkcs8) + block("CERTIFICATE", der), nil
}

// scheme names the protocol of the listeners.
func (s *security) scheme() string {
	if s == nil {
		return "PLAINTEXT"
	}
	return "SASL_SSL"
}

// broker adds what a broker needs.
func (s *security) broker(p map[string]string) {
	if s == nil {
		return
	}
	p["config.providers"] = "directory"
	p["config.providers.directory.class"] = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
	p["sasl.enabled.mechanisms"] = connect.Plain
	p["sasl.mechanism.inter.broker.protocol"] = connect.Plain
	p["ssl.keystore.type"] = "PEM"
	p["ssl.keystore.location"] = filepath.Join(s.dir, keystoreFile)
	p["ssl.truststore.type"] = "PEM"
	p["ssl.truststore.location"] = filepath.Join(s.dir, authorityFile)
	p["ssl.endpoint.identification.algorithm"] = "" // brokers reach each other by addresses, which no certificate has
}

// listener adds what one of a broker's listeners needs.
func (s *security) listener(p map[string]string, name string) {
	if s != nil {
		p["listener.name."+strings.ToLower(name)+".plain.sasl.jaas.config"] = "${directory:" + s.dir + ":" + loginFile + "}"
	}
}

// reach adds what a client of the lab's or a load tool needs.
func (s *security) reach(c *connect.Config) {
	if s == nil {
		return
	}
	c.TLS, c.TLSCAFile, c.TLSServerName = true, filepath.Join(s.dir, authorityFile), labName
	c.SASLMechanism, c.SASLUser, c.SASLPasswordFile = connect.Plain, labUser, filepath.Join(s.dir, passwordFile)
}

// credentials are the replicator's.
func (s *security) credentials() *replicators.Credentials {
	if s == nil {
		return nil
	}
	return &replicators.Credentials{Directory: s.dir, Authority: authorityFile, User: userFile, Password: passwordFile}
}

// replicatorSecurity returns the replicator's settings for clusters that exist, which are reached as access
// says, and writes what they name below dir.
func replicatorSecurity(access connect.Config, dir string) (map[string]string, error) {
	p := map[string]string{}
	protocol := map[[2]bool]string{{false, false}: "PLAINTEXT", {true, false}: "SSL", {false, true}: "SASL_PLAINTEXT", {true, true}: "SASL_SSL"}
	p["security.protocol"] = protocol[[2]bool{access.TLS, access.SASLMechanism != ""}]
	if p["security.protocol"] == "PLAINTEXT" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("security of the replicator: %w", err)
	}
	if access.TLSCAFile != "" {
		p["ssl.truststore.type"], p["ssl.truststore.location"] = "PEM", access.TLSCAFile
	}
	if access.TLSServerName != "" {
		p["ssl.endpoint.identification.algorithm"] = "" // Java's client knows no other name than the host's
	}
	if access.TLSCertFile != "" {
		key, err := os.ReadFile(access.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("TLS key file: %w", err)
		}
		certificate, err := os.ReadFile(access.TLSCertFile)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate file: %w", err)
		}
		if block, _ := pem.Decode(key); block == nil || block.Type != "PRIVATE KEY" {
			return nil, fmt.Errorf("TLS key file %s: Java reads PKCS #8 in PEM form only, not encrypted (BEGIN PRIVATE KEY): convert it by openssl pkcs8 -topk8 -nocrypt", access.TLSKeyFile)
		}
		p["ssl.keystore.type"], p["ssl.keystore.location"] = "PEM", filepath.Join(dir, keystoreFile)
		if err := os.WriteFile(p["ssl.keystore.location"], []byte(string(key)+"\n"+string(certificate)), 0o600); err != nil {
			return nil, fmt.Errorf("security of the replicator: %w", err)
		}
	}
	if access.SASLMechanism != "" {
		secret, err := os.ReadFile(access.SASLPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("SASL password file: %w", err)
		}
		password := strings.TrimRight(string(secret), "\r\n")
		if strings.ContainsAny(password+access.SASLUser, "\"\\\n") || strings.Contains(password, "${") {
			return nil, fmt.Errorf("SASL user %q: a user or password with a quotation mark, a backslash or ${ cannot be handed to MirrorMaker 2: use another, or --replicator none", access.SASLUser)
		}
		const file = "replicator-password"
		if err := os.WriteFile(filepath.Join(dir, file), []byte(password), 0o600); err != nil {
			return nil, fmt.Errorf("security of the replicator: %w", err)
		}
		module := "org.apache.kafka.common.security.scram.ScramLoginModule"
		if strings.EqualFold(access.SASLMechanism, connect.Plain) {
			module = "org.apache.kafka.common.security.plain.PlainLoginModule"
		}
		p["sasl.mechanism"] = strings.ToUpper(access.SASLMechanism)
		p["sasl.jaas.config"] = fmt.Sprintf(`%s required username="%s" password="${directory:%s:%s}";`, module, access.SASLUser, dir, file)
	}
	both := map[string]string{
		"config.providers":                 "directory",
		"config.providers.directory.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
	}
	for key, value := range p {
		both[Source+"."+key], both[Destination+"."+key] = value, value
	}
	return both, nil
}
