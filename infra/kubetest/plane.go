package kubetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Plane is a running control plane: API server, controller manager, scheduler and etcd on loopback, and kwok,
// which plays the nodes and what runs on them. It speaks the API itself, since what the engine hands out is
// JSON already: client-go and what it needs would be a hundred packages more for a handful of verbs.
type Plane struct {
	*Client

	name string
	dir  string
	children
}

// patience bounds how long a part of a plane may take to answer. Machines may be busy.
const patience = 5 * time.Minute

// Options says what a plane is like.
type Options struct {
	// Name is for people.
	Name string
	// ServiceCIDR holds the Services' addresses.
	ServiceCIDR string
	// PodCIDR holds those of the pods that kwok plays.
	PodCIDR string
	// Ports are free ones of the loopback device, for etcd's clients, its peers and the API server.
	Ports [3]int
}

// Start starts a control plane with its data in dir, which whoever made it removes after Stop, and returns when
// it answers.
func Start(ctx context.Context, dir string, binaries Binaries, o Options) (_ *Plane, err error) {
	p := &Plane{name: o.Name, dir: dir}
	p.children = *newChildren(p.dir)
	defer func() {
		if err != nil {
			err = fmt.Errorf("control plane %s: %w", o.Name, err)
			p.Stop()
		}
	}()
	if err := p.start(ctx, binaries, o); err != nil {
		return nil, err
	}
	return p, nil
}

// Stop ends the plane.
func (p *Plane) Stop() { p.stop() }

// Failed returns an error if a part of the plane has ended by itself.
func (p *Plane) Failed() error { return p.unasked() }

// Log returns the end of the log of a part, such as kube-scheduler.
func (p *Plane) Log(part string) string { return tail(filepath.Join(p.dir, part+".log")) }

func (p *Plane) start(ctx context.Context, binaries Binaries, o Options) error {
	files, err := p.credentials()
	if err != nil {
		return err
	}
	etcd, peer := "http://"+address(o.Ports[0]), "http://"+address(o.Ports[1])
	if err := p.children.start("etcd", binaries["etcd"], "--name=kmt", "--data-dir="+filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer,
		"--initial-cluster=kmt="+peer, "--log-level=warn"); err != nil {
		return err
	}
	if err := p.children.start("kube-apiserver", binaries["kube-apiserver"],
		"--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", o.Ports[2]),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range="+o.ServiceCIDR,
		"--tls-cert-file="+files.cert, "--tls-private-key-file="+files.key, "--token-auth-file="+files.tokens, "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+files.accounts, "--service-account-signing-key-file="+files.accounts,
		"--allow-privileged=true", // as on EKS, for Chaos Mesh
		"--request-timeout=10m",   // a machine may be so busy that a minute is too short
		"--profiling=false"); err != nil {
		return err
	}
	if p.Client, err = newClient("https://"+address(o.Ports[2]), files.token, files.pem); err != nil {
		return err
	}
	if err := files.connect("https://" + address(o.Ports[2])); err != nil {
		return err
	}
	if err := p.wait(ctx, "the API server answers", func(ctx context.Context) error {
		_, err := p.raw(ctx, http.MethodGet, "/readyz", nil, "", nil)
		return err
	}); err != nil {
		return err
	}
	if err := p.children.start("kube-controller-manager", binaries["kube-controller-manager"], "--kubeconfig="+files.kubeconfig, "--leader-elect=false",
		"--kube-api-qps=200", "--kube-api-burst=400", "--node-monitor-grace-period=300s", "--secure-port=0", "--profiling=false",
		"--service-account-private-key-file="+files.accounts, "--root-ca-file="+files.cert); err != nil {
		return err
	}
	if err := p.children.start("kube-scheduler", binaries["kube-scheduler"], "--kubeconfig="+files.kubeconfig, "--leader-elect=false",
		"--kube-api-qps=200", "--kube-api-burst=400", "--secure-port=0", "--profiling=false"); err != nil {
		return err
	}
	stages, err := p.stages(ctx, o)
	if err != nil {
		return err
	}
	if err := p.children.start("kwok", binaries["kwok"], "--kubeconfig="+files.kubeconfig, "--config="+stages, "--manage-all-nodes=true",
		"--node-ip=127.0.0.1", "--server-address=", "--cidr="+o.PodCIDR); err != nil {
		return err
	}
	// The controllers run when the default service account is there, without which no pod is.
	return p.wait(ctx, "the controllers run", func(ctx context.Context) error {
		_, err := p.Get(ctx, "v1", "ServiceAccount", "default", "default")
		return err
	})
}

// wait calls ready until it returns nil.
func (p *Plane) wait(ctx context.Context, what string, ready func(context.Context) error) error {
	return Wait(ctx, patience, what, func(ctx context.Context) error {
		if err := p.unasked(); err != nil {
			return Hopeless(err)
		}
		return ready(ctx)
	})
}

// files are what the parts of a plane know each other by.
type files struct{ cert, key, tokens, accounts, kubeconfig, token, pem string }

// credentials makes a certificate that is its own authority, a token of an administrator, and the key by
// which service accounts' tokens are signed. They are as short-lived as the plane.
func (p *Plane) credentials() (*files, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	accounts, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	f := &files{
		cert: filepath.Join(p.dir, "tls.crt"), key: filepath.Join(p.dir, "tls.key"), tokens: filepath.Join(p.dir, "tokens.csv"),
		accounts: filepath.Join(p.dir, "accounts.key"), kubeconfig: filepath.Join(p.dir, "kubeconfig"), token: hex.EncodeToString(secret),
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}
	return f, errors.Join(
		os.WriteFile(f.cert, []byte(f.pem), 0o600),
		os.WriteFile(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
		os.WriteFile(f.tokens, []byte(f.token+",admin,admin,system:masters\n"), 0o600),
		os.WriteFile(f.accounts, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(accounts)}), 0o600),
	)
}

// connect writes the kubeconfig by which the parts find the API server.
func (f *files) connect(server string) error {
	return os.WriteFile(f.kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: kmt
clusters: [{name: kmt, cluster: {server: %q, certificate-authority: %q}}]
contexts: [{name: kmt, context: {cluster: kmt, user: kmt}}]
users: [{name: kmt, user: {token: %s}}]
`, server, f.cert, f.token), 0o600)
}

// stages writes kwok's configuration: its own stages make nodes and pods ready and Jobs' pods complete.
// They come with its module.
func (p *Plane) stages(ctx context.Context, o Options) (string, error) {
	dir, err := source(ctx, "sigs.k8s.io/kwok", kwokVersion)
	if err != nil {
		return "", err
	}
	// All three numbers, since kwok takes zero for those that are missing beside others, and fails.
	all := []string{"apiVersion: config.kwok.x-k8s.io/v1alpha1\nkind: KwokConfiguration\noptions:\n" +
		"  nodeLeaseParallelism: 4\n  podPlayStageParallelism: 4\n  nodePlayStageParallelism: 4\n  nodeLeaseDurationSeconds: 200\n  cidr: " + o.PodCIDR + "\n"}
	for _, file := range []string{
		"node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease",
		"pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete",
	} {
		text, err := os.ReadFile(filepath.Join(dir, "kustomize", "stage", filepath.FromSlash(file)+".yaml"))
		if err != nil {
			return "", err
		}
		all = append(all, string(text))
	}
	path := filepath.Join(p.dir, "kwok.yaml")
	return path, os.WriteFile(path, []byte(strings.Join(all, "\n---\n")), 0o600)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
