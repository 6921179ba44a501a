package dns_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	awseks "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/dns"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

var image = "registry.k8s.io/external-dns/external-dns@sha256:" + strings.Repeat("a", 64)

func good() *dns.ExternalDNSArgs {
	return &dns.ExternalDNSArgs{
		Image:       image,
		Namespace:   "dns",
		ClusterName: pulumi.String("mirror-source"),
		Owner:       "mirror-source",
		Domain:      "mirror.internal",
		ZoneID:      pulumi.String("Z0123"),
		Region:      "us-east-1",
		Interval:    60,
		Tags:        map[string]string{"cost": "mirror"},
	}
}

func stack(t *testing.T, args *dns.ExternalDNSArgs) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("{}")})
		if err != nil {
			return err
		}
		_, err = dns.NewExternalDNS(ctx, "names", args, pulumi.Providers(cluster))
		return err
	})
}

func TestExternalDNSMayChangeOneZone(t *testing.T) {
	s := stack(t, good())
	s.Up()
	if again := s.Up().Changes(); len(again) > 0 {
		t.Errorf("a second up changes %q", again)
	}

	var policy struct {
		Statement []struct {
			Effect   string
			Action   []string
			Resource string
		}
	}
	text := s.Resource("aws:iam/rolePolicy:RolePolicy", "names").Get("policy").(string)
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, statement := range policy.Statement {
		for _, action := range statement.Action {
			if anywhere := action == "route53:ListHostedZones"; !anywhere && statement.Resource != "arn:aws:route53:::hostedzone/Z0123" {
				t.Errorf("%s on %s", action, statement.Resource)
			}
			if !strings.HasPrefix(action, "route53:") || strings.Contains(action, "*") {
				t.Errorf("it may also %s", action)
			}
		}
	}

	association := s.Resource("aws:eks/podIdentityAssociation:PodIdentityAssociation", "names")
	account := s.Resource("kubernetes:core/v1:ServiceAccount", "names")
	deployment := s.Resource("kubernetes:apps/v1:Deployment", "names")
	pod := "spec.template.spec."
	if a, b, c := association.Get("serviceAccount"), account.Get("metadata.name"), deployment.Get(pod+"serviceAccountName"); a != b || b != c {
		t.Errorf("the role is for %v, the account is %v, the pod runs as %v", a, b, c)
	}
	if a, b, c := association.Get("namespace"), account.Get("metadata.namespace"), deployment.Get("metadata.namespace"); a != b || b != c {
		t.Errorf("namespaces differ: %v, %v, %v", a, b, c)
	}
	for _, r := range s.Resources() {
		if strings.HasPrefix(r.Type, "kubernetes:") && r.Provider != "cluster" {
			t.Errorf("%s goes through provider %q", r.Type, r.Provider)
		}
	}

	for _, verb := range s.Resource("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "names").Get("rules").([]any) {
		for _, v := range verb.(map[string]any)["verbs"].([]any) {
			if !slices.Contains([]any{"get", "list", "watch"}, v) {
				t.Errorf("it may %v Kubernetes objects", v)
			}
		}
	}

	flags := fmt.Sprint(deployment.Get(pod + "containers[0].args"))
	for _, want := range []string{"--zone-id-filter=Z0123", "--domain-filter=mirror.internal", "--txt-owner-id=mirror-source", "--aws-zone-type=private", "--service-type-filter=ClusterIP", "--policy=upsert-only", "--interval=60s"} {
		if !strings.Contains(flags, want) {
			t.Errorf("%s lacks %s", flags, want)
		}
	}
	if strings.Contains(flags, "internal-services") {
		t.Error("cluster addresses are published, which cannot be reached from the other region")
	}
}

// A pod that starts before EKS sees its role's association has no credentials, ever. So the association
// comes before all that takes minutes, and the pod after it.
func TestRoleIsThereLongBeforeThePod(t *testing.T) {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		control, err := awseks.NewCluster(ctx, "control", &awseks.ClusterArgs{
			Name: pulumi.String("mirror-source"), RoleArn: pulumi.String("arn:aws:iam::123456789012:role/control"),
			VpcConfig: &awseks.ClusterVpcConfigArgs{SubnetIds: pulumi.ToStringArray([]string{"subnet-1"})},
		})
		if err != nil {
			return err
		}
		nodes, err := awseks.NewNodeGroup(ctx, "nodes", &awseks.NodeGroupArgs{
			ClusterName: control.Name, NodeRoleArn: pulumi.String("arn:aws:iam::123456789012:role/node"),
			SubnetIds:     pulumi.ToStringArray([]string{"subnet-1"}),
			ScalingConfig: &awseks.NodeGroupScalingConfigArgs{DesiredSize: pulumi.Int(1), MinSize: pulumi.Int(1), MaxSize: pulumi.Int(1)},
		})
		if err != nil {
			return err
		}
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("{}")}, pulumi.DependsOn([]pulumi.Resource{nodes}))
		if err != nil {
			return err
		}
		namespace, err := corev1.NewNamespace(ctx, "dns", &corev1.NamespaceArgs{
			Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String("dns")},
		}, pulumi.Provider(cluster))
		if err != nil {
			return err
		}
		zone, err := dns.NewAssociation(ctx, "zone", &dns.AssociationArgs{ZoneID: pulumi.String("Z0123"), VpcID: pulumi.String("vpc-1"), Region: "us-east-1"})
		if err != nil {
			return err
		}
		args := good()
		args.ClusterName = control.Name
		_, err = dns.NewExternalDNS(ctx, "names", args, pulumi.Providers(cluster), pulumi.DependsOn([]pulumi.Resource{namespace, zone}))
		return err
	})
	s.Up()
	role := s.Resource("aws:iam/role:Role", "names")
	association := s.Resource("aws:eks/podIdentityAssociation:PodIdentityAssociation", "names")
	policy := s.Resource("aws:iam/rolePolicy:RolePolicy", "names")
	deployment := s.Resource("kubernetes:apps/v1:Deployment", "names")
	late := []enginetest.Resource{
		s.Resource("aws:eks/nodeGroup:NodeGroup", "nodes"),
		s.Resource("pulumi:providers:kubernetes", "cluster"),
		s.Resource("kubernetes:core/v1:Namespace", "dns"),
		s.Resource("aws:route53/zoneAssociation:ZoneAssociation", "zone"),
		s.Resource("kubernetes:core/v1:ServiceAccount", "names"),
	}
	for _, early := range []enginetest.Resource{role, policy, association} {
		if strings.Contains(early.URN, "kafka-mirror-tester:dns:ExternalDNS") {
			t.Errorf("%s waits for the component's providers, whatever the graph says", early.URN)
		}
		for _, l := range late {
			if s.DependsOn(early, l) {
				t.Errorf("%s waits for %s", early.URN, l.URN)
			}
		}
	}
	for _, before := range append(late[:4], association, policy) {
		if !s.DependsOn(deployment, before) {
			t.Errorf("the pod may start before %s", before.URN)
		}
	}
	s.Destroy()
}

func TestImageChangeTouchesTheDeploymentOnly(t *testing.T) {
	args := good()
	s := stack(t, args)
	s.Up()
	args.Image = "registry.k8s.io/external-dns/external-dns@sha256:" + strings.Repeat("b", 64)
	if got, want := s.Up().Changes(), []string{"update kubernetes:apps/v1:Deployment names"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Destroy()
	if n := len(s.Resources()); n > 0 {
		t.Errorf("%d resources left", n)
	}
}

// The zone has a VPC of each stack. What the second adds must survive an update of the first.
func TestZoneOfTwoStacks(t *testing.T) {
	vpc := "vpc-source"
	source := enginetest.New(t, func(ctx *pulumi.Context) error {
		zone, err := dns.NewZone(ctx, "names", &dns.ZoneArgs{Domain: "mirror.internal", VpcID: pulumi.String(vpc), Region: "us-east-1"})
		if err != nil {
			return err
		}
		ctx.Export("zoneId", zone.ZoneId)
		return nil
	}, enginetest.WithName("kafka-mirror-tester", "us-east-1"))
	destination := enginetest.New(t, func(ctx *pulumi.Context) error {
		peer, err := pulumi.NewStackReference(ctx, "organization/kafka-mirror-tester/us-east-1", nil)
		if err != nil {
			return err
		}
		_, err = dns.NewAssociation(ctx, "names", &dns.AssociationArgs{
			ZoneID: peer.GetStringOutput(pulumi.String("zoneId")), VpcID: pulumi.String("vpc-destination"), Region: "eu-west-1",
		})
		return err
	}, enginetest.WithName("kafka-mirror-tester", "eu-west-1"))
	destination.Peer("us-east-1", source)
	source.Up()
	destination.Up()

	zone := source.Resource("aws:route53/zone:Zone", "names")
	association := destination.Resource("aws:route53/zoneAssociation:ZoneAssociation", "names")
	if association.Get("zoneId") != zone.ID || association.Get("vpcRegion") != "eu-west-1" {
		t.Errorf("associated: %v, zone %s", association.Inputs, zone.ID)
	}
	if zone.Get("forceDestroy") != true {
		t.Error("records that ExternalDNS leaves would keep the zone from being destroyed")
	}
	authority := source.Resource("aws:route53/record:Record", "names")
	if got := fmt.Sprintf("%v %v %v %v %v", authority.Get("type"), authority.Get("name"), authority.Get("ttl"), authority.Get("allowOverwrite"), authority.Get("records")); got !=
		"SOA mirror.internal 15 true [ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 15]" {
		t.Errorf("names that are not there yet stay absent for longer than 15 s: %s", got)
	}
	vpc = "vpc-other" // stands for what a refresh sees: a list of VPCs that is not the program's
	if got := source.Up().Changes(); len(got) > 0 {
		t.Errorf("the list of VPCs is not left alone: %q", got)
	}
	destination.Destroy()
	source.Destroy()
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*dns.ExternalDNSArgs)
		want   []string
	}{
		{"several at once", func(a *dns.ExternalDNSArgs) { a.Image, a.Domain, a.Interval = "external-dns:v0.19.0", "Mirror", 1 },
			[]string{"images.externalDns", `domain: "Mirror"`, "interval: 1 s"}},
		{"one label", func(a *dns.ExternalDNSArgs) { a.Domain = "internal" }, []string{"mirror.internal"}},
		{"dot at the end", func(a *dns.ExternalDNSArgs) { a.Domain = "mirror.internal." }, []string{`domain: "mirror.internal."`}},
		{"owner", func(a *dns.ExternalDNSArgs) { a.Owner = "" }, []string{"owner: empty"}},
		{"namespace", func(a *dns.ExternalDNSArgs) { a.Namespace = "" }, []string{"namespace: empty"}},
		{"ids", func(a *dns.ExternalDNSArgs) { a.ZoneID, a.ClusterName = nil, nil }, []string{"no id of the zone", "no id of the cluster"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := good()
			c.change(args)
			_, err := stack(t, args).TryUp()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\nlacks %q", err, want)
				}
			}
		})
	}
}
