package dns

import (
	"encoding/json"
	"errors"
	"fmt"

	awseks "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// ExternalDNSArgs describes one cluster's ExternalDNS.
type ExternalDNSArgs struct {
	// Image is registry.k8s.io/external-dns/external-dns, 0.19.0 or later, by digest. Earlier ones
	// also watch nodes, which this one may not.
	Image string
	// Namespace is a plain name, so that the role is bound to it before it exists. For the objects in
	// it, pass pulumi.DependsOn on the namespace.
	Namespace string
	// ClusterName is the EKS cluster's, whose Pod Identity agent hands out the role.
	ClusterName pulumi.StringInput
	// Owner marks the records of this cluster among those of the other; two clusters with the same
	// owner would change each other's.
	Owner string
	// Domain and ZoneID are the zone's.
	Domain string
	ZoneID pulumi.StringInput
	// Region is where the cluster is.
	Region string
	// Interval is how often all records are compared, seconds, 10 or more; changes are also seen as
	// they happen. Route 53 takes five requests a second for the whole account.
	Interval int
	// Tags go on the AWS resources.
	Tags map[string]string
}

// ExternalDNS keeps the zone's records in step with the cluster's headless Services: whichever has
// the annotation external-dns.alpha.kubernetes.io/hostname gets an address record with its ready
// pods' addresses, which are routable from the other region. No other kind of Service is published.
type ExternalDNS struct {
	pulumi.ResourceState

	name   string
	args   *ExternalDNSArgs
	role   *iam.Role
	policy *iam.RolePolicy
	pods   *awseks.PodIdentityAssociation
	rbac   *rbacv1.ClusterRoleBinding
}

// Hostname is the annotation by which a headless Service gets a name in the zone.
const Hostname = "external-dns.alpha.kubernetes.io/hostname"

// externalDNS is the Kubernetes name of all its objects.
const externalDNS = "external-dns"

var app = kube.App{Name: externalDNS, Component: "dns"}

// NewExternalDNS registers the role, the permissions and the Deployment. The Kubernetes provider
// comes with opts, and so does what the objects in the cluster depend on. It reports every mistake in
// args at once, before anything is registered.
//
// The role and its association are no children of the component: those wait for all that opts name,
// the nodes among it. A pod gets its credentials' variables when it is admitted, and never later, but
// EKS takes seconds to see a new association. So it is made as soon as there is a control plane,
// minutes before there is a node for the pod.
// https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
func NewExternalDNS(ctx *pulumi.Context, name string, args *ExternalDNSArgs, opts ...pulumi.ResourceOption) (*ExternalDNS, error) {
	if err := errors.Join(args.Validate(), required("zone", args.ZoneID), required("cluster", args.ClusterName)); err != nil {
		return nil, fmt.Errorf("ExternalDNS %s: %w", name, err)
	}
	e := &ExternalDNS{name: name, args: args}
	for _, part := range []func(*pulumi.Context) error{
		e.newRole,
		e.newPodIdentity,
		func(ctx *pulumi.Context) error {
			return ctx.RegisterComponentResource("kafka-mirror-tester:dns:ExternalDNS", name, e, opts...)
		},
		e.newPermissions,
		e.newNetworkPolicy,
		e.newDeployment,
	} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("ExternalDNS %s: %w", name, err)
		}
	}
	return e, ctx.RegisterResourceOutputs(e, pulumi.Map{})
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *ExternalDNSArgs) Validate() error {
	errs := []error{
		kube.CheckImage("images.externalDns", a.Image),
		validateDomain(a.Domain),
		region(a.Region),
	}
	if a.Namespace == "" {
		errs = append(errs, errors.New("namespace: empty: name the one that it is in"))
	}
	if a.Owner == "" {
		errs = append(errs, errors.New("owner: empty: use a name that only this cluster has"))
	}
	if a.Interval < 10 {
		errs = append(errs, fmt.Errorf("interval: %d s: use 10 or more, since Route 53 takes five requests a second for the whole account", a.Interval))
	}
	return errors.Join(errs...)
}

// newRole makes a role that may change this zone and no other.
func (e *ExternalDNS) newRole(ctx *pulumi.Context) (err error) {
	e.role, err = iam.NewRole(ctx, e.name, &iam.RoleArgs{
		Description:      pulumi.String("ExternalDNS of kafka-mirror-tester: one private zone"),
		AssumeRolePolicy: pulumi.String(podIdentityTrust),
		Tags:             pulumi.ToStringMap(e.args.Tags),
	})
	if err != nil {
		return err
	}
	policy := e.args.ZoneID.ToStringOutput().ApplyT(zonePolicy).(pulumi.StringOutput)
	e.policy, err = iam.NewRolePolicy(ctx, e.name, &iam.RolePolicyArgs{Role: e.role.Name, Policy: policy})
	return err
}

// podIdentityTrust lets the EKS Pod Identity agent hand the role to pods.
// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
const podIdentityTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

type statement struct {
	Effect   string
	Action   []string
	Resource string
}

// zonePolicy allows what ExternalDNS does in one zone, and to list zones, which AWS cannot limit.
// https://github.com/kubernetes-sigs/external-dns/blob/master/docs/tutorials/aws.md
func zonePolicy(zoneID string) (string, error) {
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []statement{
		{Effect: "Allow", Action: []string{"route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"}, Resource: "arn:aws:route53:::hostedzone/" + zoneID},
		{Effect: "Allow", Action: []string{"route53:ListHostedZones"}, Resource: "*"},
	}})
	return string(policy), err
}

func (e *ExternalDNS) newPodIdentity(ctx *pulumi.Context) (err error) {
	e.pods, err = awseks.NewPodIdentityAssociation(ctx, e.name, &awseks.PodIdentityAssociationArgs{
		ClusterName:    e.args.ClusterName,
		Namespace:      pulumi.String(e.args.Namespace),
		ServiceAccount: pulumi.String(externalDNS),
		RoleArn:        e.role.Arn,
		Tags:           pulumi.ToStringMap(e.args.Tags),
	})
	return err
}

// newPermissions lets it watch Services and the addresses behind them, in all namespaces.
func (e *ExternalDNS) newPermissions(ctx *pulumi.Context) error {
	account, err := corev1.NewServiceAccount(ctx, e.name, &corev1.ServiceAccountArgs{
		Metadata:                     app.Meta(e.namespace(), externalDNS),
		AutomountServiceAccountToken: pulumi.Bool(false), // the pod asks for its own
	}, e.child())
	if err != nil {
		return err
	}
	read := pulumi.ToStringArray([]string{"get", "list", "watch"})
	role, err := rbacv1.NewClusterRole(ctx, e.name, &rbacv1.ClusterRoleArgs{
		Metadata: app.Meta(nil, externalDNS),
		Rules: rbacv1.PolicyRuleArray{
			&rbacv1.PolicyRuleArgs{ApiGroups: pulumi.ToStringArray([]string{""}), Resources: pulumi.ToStringArray([]string{"services", "pods"}), Verbs: read},
			&rbacv1.PolicyRuleArgs{ApiGroups: pulumi.ToStringArray([]string{"discovery.k8s.io"}), Resources: pulumi.ToStringArray([]string{"endpointslices"}), Verbs: read},
		},
	}, e.child())
	if err != nil {
		return err
	}
	e.rbac, err = rbacv1.NewClusterRoleBinding(ctx, e.name, &rbacv1.ClusterRoleBindingArgs{
		Metadata: app.Meta(nil, externalDNS),
		RoleRef: &rbacv1.RoleRefArgs{
			ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("ClusterRole"), Name: role.Metadata.Name().Elem(),
		},
		Subjects: rbacv1.SubjectArray{&rbacv1.SubjectArgs{
			Kind: pulumi.String("ServiceAccount"), Name: account.Metadata.Name().Elem(), Namespace: e.namespace(),
		}},
	}, e.child())
	return err
}

// newNetworkPolicy lets nobody reach it but Prometheus, in whatever namespace that is.
func (e *ExternalDNS) newNetworkPolicy(ctx *pulumi.Context) error {
	prometheus := kube.Peers{&networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: &metav1.LabelSelectorArgs{},
		PodSelector:       &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("prometheus")}},
	}}
	_, err := app.NewIngressPolicy(ctx, e.name, e.namespace(), externalDNS, []kube.Ingress{{Ports: []int{metricsPort}, From: prometheus}}, e.child())
	return err
}

// newDeployment waits for the association, without which a pod gets no credentials, and for the role's
// policy.
func (e *ExternalDNS) newDeployment(ctx *pulumi.Context) error {
	probe := &corev1.ProbeArgs{
		HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/healthz"), Port: pulumi.Int(metricsPort)},
		PeriodSeconds: pulumi.Int(10),
	}
	_, err := appsv1.NewDeployment(ctx, e.name, &appsv1.DeploymentArgs{
		Metadata: kube.Annotated(app.Meta(e.namespace(), externalDNS), kube.TimeoutSeconds, "300"),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Strategy: &appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}, // never two with one owner's name
			Selector: app.LabelSelector(),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: app.Labels()},
				Spec: &corev1.PodSpecArgs{
					ServiceAccountName:           pulumi.String(externalDNS),
					AutomountServiceAccountToken: pulumi.Bool(true), // it watches Services
					SecurityContext:              kube.PodSecurity(),
					Containers: corev1.ContainerArray{&corev1.ContainerArgs{
						Name:            pulumi.String(externalDNS),
						Image:           pulumi.String(e.args.Image),
						Args:            e.arguments(),
						Env:             kube.Env("AWS_REGION", e.args.Region),
						Ports:           corev1.ContainerPortArray{&corev1.ContainerPortArgs{Name: pulumi.String("metrics"), ContainerPort: pulumi.Int(metricsPort)}},
						Resources:       kube.Resources{CPU: "50m", Memory: "128Mi"}.Args(),
						SecurityContext: kube.ContainerSecurity(),
						LivenessProbe:   probe,
						ReadinessProbe:  probe,
					}},
				},
			},
		},
	}, e.child(), pulumi.DependsOn([]pulumi.Resource{e.pods, e.policy, e.rbac}))
	return err
}

// metricsPort also answers /healthz.
const metricsPort = 7979

// arguments are the flags, see docs/flags.md of external-dns. The filter by type leaves out NodePort
// and LoadBalancer Services; a ClusterIP Service with an address of its own is not published, since
// such addresses end at the cluster's edge.
func (e *ExternalDNS) arguments() pulumi.StringArrayInput {
	return pulumi.StringArray{
		pulumi.String("--provider=aws"),
		pulumi.String("--aws-zone-type=private"),
		pulumi.Sprintf("--zone-id-filter=%s", e.args.ZoneID),
		pulumi.String("--domain-filter=" + e.args.Domain),
		pulumi.String("--source=service"),
		pulumi.String("--service-type-filter=ClusterIP"),
		pulumi.String("--registry=txt"),
		pulumi.String("--txt-owner-id=" + e.args.Owner),
		// Records are never taken away: while a pod is replaced it has no address, and a name that
		// vanishes meanwhile is remembered as absent by whoever asks. What stays goes with the zone.
		pulumi.String("--policy=upsert-only"),
		pulumi.Sprintf("--interval=%ds", e.args.Interval),
		pulumi.String("--events"),
	}
}

func (e *ExternalDNS) namespace() pulumi.String { return pulumi.String(e.args.Namespace) }

func (e *ExternalDNS) child() pulumi.ResourceOption { return pulumi.Parent(e) }
