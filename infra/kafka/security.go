package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// Secrets of a secure cluster.
const (
	serverSecret = "kafka-server" // what brokers and controllers read
	clientSecret = "kafka-access" // what clients read, with the keys of kube.Access
)

// Keys of the Secret serverSecret, besides kube.SecretAuthority.
const (
	jaasFile     = "jaas"
	keystoreFile = "keystore.pem"
)

// secrets makes the Secrets of a secure cluster; the SDK has their data secret in Pulumi's state. A changed one reaches running brokers only when
// they are restarted (Args.Restart).
func (k *Kafka) secrets(ctx *pulumi.Context) error {
	s := k.args.Security
	if s == nil {
		return nil
	}
	create := func(name string, data pulumi.StringMapInput) (*corev1.Secret, error) {
		secret, err := corev1.NewSecret(ctx, k.name+strings.TrimPrefix(name, "kafka"), &corev1.SecretArgs{
			Metadata:   BrokerApp().Meta(k.args.Namespace, name),
			StringData: data,
		}, pulumi.Parent(k))
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		return secret, nil
	}
	server := pulumi.All(s.Password, s.Certificate, s.Key, s.Authority).ApplyT(func(all []any) (map[string]string, error) {
		password, certificate, key, authority := all[0].(string), all[1].(string), all[2].(string), all[3].(string)
		if err := checkCertificate(s.ServerName, certificate, key, authority); err != nil {
			return nil, err
		}
		line, err := jaas(s.User, password)
		return map[string]string{
			jaasFile:             line,
			keystoreFile:         strings.TrimSpace(key) + "\n" + strings.TrimSpace(certificate) + "\n",
			kube.SecretAuthority: authority,
		}, err
	}).(pulumi.StringMapOutput)
	servers, err := create(serverSecret, server)
	if err != nil {
		return err
	}
	k.servers = servers
	clients, err := create(clientSecret, pulumi.StringMap{
		kube.SecretUser:      pulumi.String(s.User),
		kube.SecretPassword:  s.Password,
		kube.SecretAuthority: s.Authority,
	})
	if err != nil {
		return err
	}
	k.ready = append(k.ready, clients)
	return nil
}

// jaas returns the login of a broker: the user it accepts, and the one it is to other brokers.
func jaas(user, password string) (string, error) {
	if password == "" || strings.ContainsAny(password, "\r\n\x00") {
		return "", errors.New("kafkaPassword: must be one line, not empty")
	}
	// Kafka in ZooKeeper mode reads what it has resolved once more.
	if strings.Contains(password, "${") {
		return "", errors.New("kafkaPassword: must not have ${ in it, which Kafka would replace")
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password) + `"`
	return fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required username="%s" password=%s user_%s=%s;`,
		user, quoted, user, quoted), nil
}

// checkCertificate finds what would only be seen in the log of a broker that does not start, or in
// that of a client. No error has a secret in it.
func checkCertificate(name, certificate, key, authority string) error {
	block, _ := pem.Decode([]byte(key))
	if block == nil || block.Type != "PRIVATE KEY" {
		return errors.New("kafkaKey: must be PKCS #8 in PEM form, not encrypted (BEGIN PRIVATE KEY), which is all that Kafka reads: convert it by openssl pkcs8 -topk8 -nocrypt")
	}
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		return fmt.Errorf("kafkaCertificate and kafkaKey: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		return errors.New("kafkaAuthority: no certificate in PEM form")
	}
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("kafkaCertificate: intermediate: %w", err)
		}
		intermediates.AddCert(c)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates}); err != nil {
		return fmt.Errorf("kafkaCertificate: must be valid for kafkaServerName and signed by kafkaAuthority: %w", err)
	}
	return nil
}
