package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Keys of the stacks' configuration, in stacks/settings.go.
const (
	keyAuthority       = "kafkaAuthority"
	keyCertificate     = "kafkaCertificate"
	keyKey             = "kafkaKey"
	keyPassword        = "kafkaPassword"
	keyGrafanaPassword = "grafanaPassword"
)

// group is secrets that are made together: one without the others is of no use.
type group struct {
	about string
	keys  []string
	make  func() (map[string]string, error)
}

func secretsCommand(p *preflight) *cobra.Command {
	var names []string
	var rotate bool
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Make the secrets that the stacks read",
		Long: `secrets makes what "secure: true" needs, and Grafana's password, and writes them as Pulumi's
encrypted configuration into the stacks, the same into each:

  kafkaAuthority, kafkaCertificate, kafkaKey   a certificate of the brokers (ECDSA P-256, one year),
                                               and the authority that signed it, whose key is thrown away
  kafkaPassword                                32 random bytes; the user is kafkaUser
  grafanaPassword                              32 random bytes; the user is admin

What a stack has is kept, and given to the stacks that lack it, so that it can be run again. With
--rotate all is made anew; "pulumi up" of both stacks then restarts what reads it, but for the brokers,
which the next kafkaRestart rolls. Nothing is printed, and no secret is an argument of a process. Read
one by:
  pulumi config get grafanaPassword --stack eu-west-1`,
		Example: `  go run ./preflight secrets
  go run ./preflight secrets --stacks us-east-1,eu-west-1 --rotate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if slices.Contains(names, "") {
				return errors.New("--dns-name: empty: use a name such as kafka.kmt.internal, or leave it out")
			}
			return p.secrets(cmd.Context(), names, rotate)
		},
	}
	cmd.Flags().StringSliceVar(&names, "dns-name", nil, "names in the brokers' certificate (default kafka.DOMAIN, of the stacks' domain)")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "replace what there is")
	return cmd
}

func groups(names []string) []group {
	password := func(key string) func() (map[string]string, error) {
		return func() (map[string]string, error) {
			var b [32]byte
			_, err := rand.Read(b[:])
			return map[string]string{key: base64.RawURLEncoding.EncodeToString(b[:])}, err
		}
	}
	return []group{
		{"the brokers' certificate", []string{keyAuthority, keyCertificate, keyKey}, func() (map[string]string, error) { return certificate(names, time.Now()) }},
		{"Kafka's password", []string{keyPassword}, password(keyPassword)},
		{"Grafana's password", []string{keyGrafanaPassword}, password(keyGrafanaPassword)},
	}
}

// secrets brings each group into all stacks.
func (p *preflight) secrets(ctx context.Context, names []string, rotate bool) error {
	have := make([]map[string]value, len(p.stacks))
	for i, stack := range p.stacks {
		var err error
		if have[i], err = p.values(ctx, stack, true); err != nil {
			return fmt.Errorf("%w\n(if there is no such stack: pulumi stack init %s)", err, stack)
		}
	}
	if len(names) == 0 {
		names = serverNames(have)
	}
	var errs []error
	for _, g := range groups(names) {
		if err := p.bring(ctx, g, have, rotate); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.about, err))
		}
	}
	return errors.Join(errs...)
}

// serverNames are what clients ask for whatever address they use, since brokers are reached by their pods'
// addresses: serverName in stacks/region.go, of each stack's domain.
func serverNames(have []map[string]value) []string {
	var names []string
	for _, config := range have {
		name := "kafka." + cmp.Or(config[project+":domain"].Value, "kmt.internal")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// bring brings a group of secrets into all stacks: what one of them has in full, else new ones.
func (p *preflight) bring(ctx context.Context, g group, have []map[string]value, rotate bool) error {
	var set map[string]string
	said := "made"
	if !rotate {
		var err error
		if set, err = p.existing(g, have); err != nil {
			return err
		}
	}
	if set != nil {
		said = "kept"
	} else {
		var err error
		if set, err = g.make(); err != nil {
			return err
		}
	}
	for i, stack := range p.stacks {
		written := false
		for _, key := range g.keys {
			if have[i][project+":"+key].Value == strings.TrimSuffix(set[key], "\n") {
				continue
			}
			if _, err := p.pulumi(ctx, set[key], "config", "set", "--stack", stack, "--secret", key); err != nil {
				return fmt.Errorf("%w\n(run again to complete it)", err)
			}
			written = true
		}
		what := said
		if written && said == "kept" {
			what = "completed from the other stack"
		}
		fmt.Fprintf(p.stdout, "%s: %s: %s%s\n", stack, g.about, what, until(set[keyCertificate]))
	}
	return nil
}

// existing returns the group as the first stack has it in full, and nil if none has anything of it.
// What could not be completed without replacing something is an error.
func (p *preflight) existing(g group, have []map[string]value) (map[string]string, error) {
	const todo = "use --rotate to make all anew, or remove it by `pulumi config rm %s --stack %s`"
	found := make([]map[string]string, len(p.stacks))
	full := -1
	for i := range p.stacks {
		found[i] = map[string]string{}
		for _, key := range g.keys {
			if v := have[i][project+":"+key].Value; v != "" {
				found[i][key] = v
			}
		}
		if full < 0 && len(found[i]) == len(g.keys) {
			full = i
		}
	}
	for i, stack := range p.stacks {
		for _, key := range g.keys {
			switch there := found[i][key]; {
			case there == "":
			case full < 0:
				return nil, fmt.Errorf("%s of the stack %s is there, and not all of %s, perhaps since an earlier run was stopped: "+todo,
					key, stack, strings.Join(g.keys, ", "), key, stack)
			case there != found[full][key]:
				return nil, fmt.Errorf("%s of the stacks %s and %s differ, and both sides must have the same: "+todo,
					key, p.stacks[full], stack, key, stack)
			}
		}
	}
	if full < 0 {
		return nil, nil
	}
	return found[full], nil
}

// until says how long a certificate is valid.
func until(text string) string {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return ""
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	said := ", valid until " + c.NotAfter.Format(time.DateOnly)
	if time.Until(c.NotAfter) < 30*24*time.Hour {
		said += ": use --rotate"
	}
	return said
}

// certificate makes an authority and a certificate for servers with these names, valid for a year,
// both in PEM; the key in PKCS #8, which is what Kafka reads. The authority's key is not kept.
func certificate(names []string, now time.Time) (map[string]string, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: project + " throw-away authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range []*x509.Certificate{ca, server} {
		c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.AddDate(1, 0, 0) // clocks differ a little
		if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
			return nil, err
		}
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	encode := func(kind string, der []byte) string {
		var b bytes.Buffer
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a buffer takes all
		return b.String()
	}
	return map[string]string{
		keyAuthority:   encode("CERTIFICATE", caDER),
		keyCertificate: encode("CERTIFICATE", serverDER),
		keyKey:         encode("PRIVATE KEY", keyDER),
	}, nil
}
