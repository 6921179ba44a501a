package livemap_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func args(kind string) *livemap.Args {
	return &livemap.Args{Kind: kind, Namespace: "livemap", Image: "r.example/" + kind + digest}
}

func stack(t *testing.T, a *livemap.Args) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("{}")})
		if err != nil {
			return err
		}
		m, err := livemap.New(ctx, "livemap", a, pulumi.Providers(cluster))
		if err != nil {
			return err
		}
		ctx.Export("command", m.Command)
		ctx.Export("address", pulumi.String(m.Address))
		ctx.Export("token", m.TokenCommand)
		ctx.Export("public", m.PublicAddress)
		return nil
	})
}

const (
	deployment = "kubernetes:apps/v1:Deployment"
	daemonSet  = "kubernetes:apps/v1:DaemonSet"
	service    = "kubernetes:core/v1:Service"
)

func TestOutputsSayHowToReachIt(t *testing.T) {
	for kind, want := range map[string]map[string]any{
		livemap.Headlamp: {
			"command": "kubectl --namespace livemap port-forward service/headlamp 8080:80", "address": "http://localhost:8080",
			"token": "kubectl --namespace livemap create token viewer --duration 8h", "public": "",
		},
		livemap.KubernetesDashboard: {
			"command": "kubectl --namespace livemap port-forward service/kubernetes-dashboard 8080:80", "address": "https://localhost:8080",
			"token": "kubectl --namespace livemap create token viewer --duration 8h", "public": "",
		},
		livemap.WeaveScope: {
			"command": "kubectl --namespace livemap port-forward service/weavescope 8080:80", "address": "http://localhost:8080",
			"token": "", "public": "",
		},
	} {
		s := stack(t, args(kind))
		if got := s.Up().Outputs; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
		if got := s.Up().Changes(); len(got) > 0 {
			t.Errorf("%s: a second update does %q", kind, got)
		}
		s.Destroy()
		if left := s.Resources(); len(left) > 0 {
			t.Errorf("%s: destroy leaves %v", kind, left)
		}
	}
}

// What somebody with the token, or with the pod, can do: look at all but secrets.
func TestNobodyMayChangeAnythingOrReadSecrets(t *testing.T) {
	for _, kind := range []string{livemap.Headlamp, livemap.KubernetesDashboard, livemap.WeaveScope} {
		s := stack(t, args(kind))
		s.Up()
		for _, r := range s.Resources() {
			switch r.Type {
			case "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole":
				rules, _ := r.Get("rules").([]any)
				for _, rule := range rules {
					rule := rule.(map[string]any)
					for _, verb := range rule["verbs"].([]any) {
						if !slices.Contains([]any{"get", "list", "watch"}, verb) {
							t.Errorf("%s: %s may %v %v", kind, r.Name, verb, rule["resources"])
						}
					}
					core := slices.Contains(rule["apiGroups"].([]any), "")
					for _, resource := range rule["resources"].([]any) {
						if core && (resource == "secrets" || resource == "*") {
							t.Errorf("%s: %s may see %v", kind, r.Name, resource)
						}
					}
				}
			case "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding":
				subject, role := r.Get("subjects[0].name"), r.Get("roleRef.name")
				if subject == kind {
					t.Errorf("%s: the server itself has role %v", kind, role)
				}
				if name, _ := role.(string); name != "view" && !strings.HasPrefix(name, kind) {
					t.Errorf("%s: %v has role %v", kind, subject, role)
				}
			}
		}
	}
}

// restricted reports how a pod's template falls short of the restricted Pod Security level.
func restricted(r enginetest.Resource) []string {
	var short []string
	for path, want := range map[string]any{
		"securityContext.runAsNonRoot":                           true,
		"securityContext.seccompProfile.type":                    "RuntimeDefault",
		"containers[0].securityContext.allowPrivilegeEscalation": false,
		"containers[0].securityContext.capabilities.drop":        []any{"ALL"},
		"containers[0].securityContext.readOnlyRootFilesystem":   true,
		"containers[0].securityContext.privileged":               nil,
		"hostNetwork":         nil,
		"hostPID":             nil,
		"volumes[0].hostPath": nil,
	} {
		if got := r.Get("spec.template.spec." + path); !reflect.DeepEqual(got, want) {
			short = append(short, path)
		}
	}
	return short
}

func TestOnlyWhatIsListedIsUnrestricted(t *testing.T) {
	for _, kind := range []string{livemap.Headlamp, livemap.KubernetesDashboard, livemap.WeaveScope} {
		s := stack(t, args(kind))
		s.Up()
		for _, r := range s.Resources() {
			if r.Type != deployment && r.Type != daemonSet {
				continue
			}
			reason, listed := livemap.Unrestricted()[r.Name]
			if short := restricted(r); listed == (len(short) == 0) {
				t.Errorf("%s: %s falls short in %v; listed: %q", kind, r.Name, short, reason)
			}
			for _, path := range []string{"requests.cpu", "requests.memory", "limits.memory"} {
				if r.Get("spec.template.spec.containers[0].resources."+path) == nil {
					t.Errorf("%s: %s has no %s", kind, r.Name, path)
				}
			}
		}
	}
}

func TestExposedForNamedNetworksOnly(t *testing.T) {
	a := args(livemap.KubernetesDashboard)
	s := stack(t, a)
	s.Up()
	const policy = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
	if got := s.Resource(policy, "kubernetes-dashboard").Get("spec.ingress"); !reflect.DeepEqual(got, []any{}) {
		t.Errorf("without a load balancer, the pods are reached by %v", got)
	}
	a.Expose = []string{"203.0.113.7/32"}
	if got, want := s.Up().Changes(), []string{"create " + service + " kubernetes-dashboard-public", "update " + policy + " kubernetes-dashboard"}; !slices.Equal(got, want) {
		t.Fatalf("did %q, want %q", got, want)
	}
	public := s.Resource(service, "kubernetes-dashboard-public")
	if got := public.Get("spec.loadBalancerSourceRanges"); !reflect.DeepEqual(got, []any{"203.0.113.7/32"}) {
		t.Errorf("the load balancer lets in %v", got)
	}
	if got := public.Get("spec.ports[0].port"); !reflect.DeepEqual(got, 443) {
		t.Errorf("port %v of a server that speaks TLS", got)
	}
	a.Expose = nil
	if got, want := s.Up().Changes(), []string{"delete " + service + " kubernetes-dashboard-public", "update " + policy + " kubernetes-dashboard"}; !slices.Equal(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		args livemap.Args
		want []string
	}{
		"unknown":               {livemap.Args{Kind: "lens"}, []string{`liveMap: "lens"`, "headlamp", "none", "namespace"}},
		"image":                 {livemap.Args{Kind: livemap.Headlamp, Namespace: "x", Image: "headlamp:latest"}, []string{"images.headlamp", "headlamp:latest"}},
		"everyone":              {livemap.Args{Kind: livemap.Headlamp, Namespace: "x", Image: "h" + digest, Expose: []string{"0.0.0.0/0"}}, []string{"expose", "0.0.0.0/0"}},
		"Weave Scope in public": {livemap.Args{Kind: livemap.WeaveScope, Namespace: "x", Image: "h" + digest, Expose: []string{"203.0.113.7/32"}}, []string{"expose", "asks nobody"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stack(t, &test.args).TryUp()
			if err == nil {
				t.Fatal("is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}
