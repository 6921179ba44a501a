package enginetest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sqs"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	helmv3 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/helm/v3"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	storagev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/storage/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// get is a shorter ctx.GetConfig for the project's keys.
func get(ctx *pulumi.Context, key string) string {
	v, _ := ctx.GetConfig("kafka-mirror-tester:" + key)
	return v
}

// k8s is a provider as the stacks have it.
func k8s(ctx *pulumi.Context, name string) pulumi.ResourceOption {
	p, err := kubernetes.NewProvider(ctx, name, &kubernetes.ProviderArgs{
		Kubeconfig:             pulumi.String("cluster " + name),
		EnableConfigMapMutable: pulumi.Bool(true), EnableSecretMutable: pulumi.Bool(true),
	})
	if err != nil {
		panic(err)
	}
	return pulumi.Provider(p)
}

// change is a program with one resource, x, and what a change of its setting does to it.
type change struct {
	name, typ   string
	make        func(ctx *pulumi.Context, v string) error
	op          string
	deleteFirst bool
	paths       []string
}

func named(name string) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{Name: pulumi.String(name)}
}

// The doubles tell updates from replacements, and the two kinds of replacement apart.
func TestUpdateOrReplace(t *testing.T) {
	str := func(v string) pulumi.String { return pulumi.String("v" + v) }
	number := func(v string) pulumi.Int { return pulumi.Int(v[0]) }
	data := func(v string) pulumi.StringMap { return pulumi.StringMap{"v": pulumi.String(v)} }
	pod := func(v string) *corev1.PodTemplateSpecArgs {
		return &corev1.PodTemplateSpecArgs{Spec: &corev1.PodSpecArgs{
			Containers: corev1.ContainerArray{&corev1.ContainerArgs{Name: pulumi.String("c"), Image: str(v)}},
		}}
	}
	for _, c := range []change{
		{
			name: "replicas", typ: "kubernetes:apps/v1:StatefulSet", op: "update", paths: []string{"spec.replicas"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := appsv1.NewStatefulSet(ctx, "x", &appsv1.StatefulSetArgs{Metadata: named("x"), Spec: &appsv1.StatefulSetSpecArgs{Replicas: number(v), Template: pod("")}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "pod template", typ: "kubernetes:apps/v1:StatefulSet", op: "update", paths: []string{"spec.template.spec.containers[0].image"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := appsv1.NewStatefulSet(ctx, "x", &appsv1.StatefulSetArgs{Metadata: named("x"), Spec: &appsv1.StatefulSetSpecArgs{Template: pod(v)}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "service name of a set with a fixed name", typ: "kubernetes:apps/v1:StatefulSet", op: "replace", deleteFirst: true, paths: []string{"spec.serviceName"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := appsv1.NewStatefulSet(ctx, "x", &appsv1.StatefulSetArgs{Metadata: named("x"), Spec: &appsv1.StatefulSetSpecArgs{ServiceName: str(v), Template: pod("")}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "template of a job named by Pulumi", typ: "kubernetes:batch/v1:Job", op: "replace", paths: []string{"spec.template.spec.containers[0].image"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := batchv1.NewJob(ctx, "x", &batchv1.JobArgs{Spec: &batchv1.JobSpecArgs{Template: pod(v)}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "deadline of a job", typ: "kubernetes:batch/v1:Job", op: "update", paths: []string{"spec.activeDeadlineSeconds"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := batchv1.NewJob(ctx, "x", &batchv1.JobArgs{Spec: &batchv1.JobSpecArgs{ActiveDeadlineSeconds: number(v), Template: pod("")}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "mutable config map", typ: "kubernetes:core/v1:ConfigMap", op: "update", paths: []string{"data.v"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Metadata: named("x"), Data: data(v)}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "config map without the switch", typ: "kubernetes:core/v1:ConfigMap", op: "replace", paths: []string{"data.v"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Data: data(v)})
				return err
			},
		},
		{
			name: "secret's data", typ: "kubernetes:core/v1:Secret", op: "update", paths: []string{"stringData.v"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := corev1.NewSecret(ctx, "x", &corev1.SecretArgs{StringData: data(v)}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "custom resource", typ: "kubernetes:chaos-mesh.org/v1alpha1:NetworkChaos", op: "update", paths: []string{"spec.action"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := apiextensions.NewCustomResource(ctx, "x", &apiextensions.CustomResourceArgs{
					ApiVersion: pulumi.String("chaos-mesh.org/v1alpha1"), Kind: pulumi.String("NetworkChaos"), Metadata: named("x"),
					OtherFields: kubernetes.UntypedArgs{"spec": map[string]any{"action": v}},
				}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "custom resource that is replaced on changes", typ: "kubernetes:chaos-mesh.org/v1alpha1:NetworkChaos", op: "replace", deleteFirst: true, paths: []string{"spec.action"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := apiextensions.NewCustomResource(ctx, "x", &apiextensions.CustomResourceArgs{
					ApiVersion: pulumi.String("chaos-mesh.org/v1alpha1"), Kind: pulumi.String("NetworkChaos"), Metadata: named("x"),
					OtherFields: kubernetes.UntypedArgs{"spec": map[string]any{"action": v}},
				}, k8s(ctx, "k"), pulumi.ReplaceOnChanges([]string{"spec"}), pulumi.DeleteBeforeReplace(true))
				return err
			},
		},
		{
			name: "values of a chart", typ: "kubernetes:helm.sh/v3:Release", op: "update", paths: []string{"values.v"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := helmv3.NewRelease(ctx, "x", &helmv3.ReleaseArgs{Chart: pulumi.String("c"), Values: pulumi.Map{"v": pulumi.String(v)}}, k8s(ctx, "k"))
				return err
			},
		},
		{
			name: "CIDR of a subnet", typ: "aws:ec2/subnet:Subnet", op: "replace", paths: []string{"cidrBlock"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := ec2.NewSubnet(ctx, "x", &ec2.SubnetArgs{VpcId: pulumi.String("vpc-1"), CidrBlock: pulumi.String("10.0." + v + ".0/24")})
				return err
			},
		},
		{
			name: "tags of DHCP options", typ: "aws:ec2/vpcDhcpOptions:VpcDhcpOptions", op: "update", paths: []string{"tags.v"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := ec2.NewVpcDhcpOptions(ctx, "x", &ec2.VpcDhcpOptionsArgs{DomainName: pulumi.String("d"), Tags: data(v)})
				return err
			},
		},
		{
			name: "user data of a launch template", typ: "aws:ec2/launchTemplate:LaunchTemplate", op: "update", paths: []string{"userData"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := ec2.NewLaunchTemplate(ctx, "x", &ec2.LaunchTemplateArgs{UserData: str(v)})
				return err
			},
		},
		{
			name: "path of a role with a fixed name", typ: "aws:iam/role:Role", op: "replace", deleteFirst: true, paths: []string{"path"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := iam.NewRole(ctx, "x", &iam.RoleArgs{Name: pulumi.String("r"), AssumeRolePolicy: pulumi.String("{}"), Path: str(v)})
				return err
			},
		},
		{
			name: "a rule's port", typ: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", op: "update", paths: []string{"fromPort"},
			make: func(ctx *pulumi.Context, v string) error {
				_, err := vpc.NewSecurityGroupIngressRule(ctx, "x", &vpc.SecurityGroupIngressRuleArgs{
					SecurityGroupId: pulumi.String("sg-1"), IpProtocol: pulumi.String("tcp"), CidrIpv4: pulumi.String("10.0.0.0/8"), FromPort: number(v),
				})
				return err
			},
		},
		{
			name: "a rule's kind of source", typ: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", op: "replace", paths: []string{"cidrIpv4", "referencedSecurityGroupId"},
			make: func(ctx *pulumi.Context, v string) error {
				args := &vpc.SecurityGroupIngressRuleArgs{SecurityGroupId: pulumi.String("sg-1"), IpProtocol: pulumi.String("tcp"), CidrIpv4: pulumi.String("10.0.0.0/8")}
				if v == "2" {
					args.CidrIpv4, args.ReferencedSecurityGroupId = nil, pulumi.String("sg-2")
				}
				_, err := vpc.NewSecurityGroupIngressRule(ctx, "x", args)
				return err
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := enginetest.New(t, func(ctx *pulumi.Context) error { return c.make(ctx, get(ctx, "v")) })
			s.SetConfig("v", "1")
			s.Up()
			before := s.Resource(c.typ, "x")
			same(t, "a second update", s.Up().Changes(), nil)
			same(t, "refresh", s.Refresh().Changes(), nil)
			s.SetConfig("v", "2")
			r := s.Up()
			same(t, "changes", r.Changes(), []string{c.op + " " + c.typ + " x"})
			step, _ := r.Step(c.typ, "x")
			same(t, "properties", step.Diff, c.paths)
			if step.DeleteFirst != c.deleteFirst {
				t.Errorf("deleted first: %v", step.DeleteFirst)
			}
			if after := s.Resource(c.typ, "x"); c.op == "update" && after.ID != before.ID {
				t.Errorf("an update changed the id from %s to %s", before.ID, after.ID)
			}
			s.Destroy()
			if left := s.Resources(); len(left) > 0 {
				t.Errorf("destroy left %d resources", len(left))
			}
		})
	}
}

// What the real services refuse, the doubles refuse.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(ctx *pulumi.Context, v string) error
		want string
	}{
		{"name", func(ctx *pulumi.Context, _ string) error {
			_, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Metadata: named("Upper_Case")})
			return err
		}, "not a DNS subdomain"},
		{"label", func(ctx *pulumi.Context, _ string) error {
			_, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Metadata: &metav1.ObjectMetaArgs{Labels: pulumi.StringMap{"a": pulumi.String("not a label")}}})
			return err
		}, "not a label"},
		{"the same object twice", func(ctx *pulumi.Context, _ string) error {
			in := k8s(ctx, "k")
			if _, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Metadata: named("same")}, in); err != nil {
				return err
			}
			_, err := corev1.NewConfigMap(ctx, "y", &corev1.ConfigMapArgs{Metadata: named("same")}, in)
			return err
		}, "already exists"},
		{"object that may come before its namespace", func(ctx *pulumi.Context, _ string) error {
			in := k8s(ctx, "k")
			if _, err := corev1.NewNamespace(ctx, "n", &corev1.NamespaceArgs{Metadata: named("n")}, in); err != nil {
				return err
			}
			_, err := corev1.NewConfigMap(ctx, "x", &corev1.ConfigMapArgs{Metadata: &metav1.ObjectMetaArgs{Namespace: pulumi.String("n")}}, in)
			return err
		}, "lives in the namespace n but does not depend on it"},
		{"immutable field", func(ctx *pulumi.Context, v string) error {
			_, err := storagev1.NewStorageClass(ctx, "x", &storagev1.StorageClassArgs{Provisioner: pulumi.String("p"), ReclaimPolicy: pulumi.String("Retain" + v)})
			return err
		}, "reclaimPolicy: Forbidden"},
		{"type that is not in the table", func(ctx *pulumi.Context, _ string) error {
			_, err := sqs.NewQueue(ctx, "x", nil)
			return err
		}, "add it to awsTypes"},
		{"route without target", func(ctx *pulumi.Context, _ string) error {
			_, err := ec2.NewRoute(ctx, "x", &ec2.RouteArgs{RouteTableId: pulumi.String("rtb-1"), DestinationCidrBlock: pulumi.String("0.0.0.0/0")})
			return err
		}, "exactly one of"},
		{"error of the program", func(*pulumi.Context, string) error { return errors.New("brokers: 0 is too few") }, "brokers: 0 is too few"},
		{"panic of the program", func(*pulumi.Context, string) error { panic("out of range") }, "the program panicked: out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := enginetest.New(t, func(ctx *pulumi.Context) error { return c.make(ctx, get(ctx, "v")) })
			s.SetConfig("v", "1")
			_, err := s.TryUp()
			if err == nil {
				s.SetConfig("v", "2")
				_, err = s.TryUp()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
		})
	}
}

// A create that fails in the middle leaves what was made before, and the next update makes the rest.
func TestFailedCreate(t *testing.T) {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		v, err := ec2.NewVpc(ctx, "vpc", &ec2.VpcArgs{CidrBlock: pulumi.String("10.0.0.0/16")})
		if err != nil {
			return err
		}
		subnet, err := ec2.NewSubnet(ctx, "subnet", &ec2.SubnetArgs{VpcId: v.ID()})
		if err != nil {
			return err
		}
		_, err = ec2.NewNatGateway(ctx, "nat", &ec2.NatGatewayArgs{SubnetId: subnet.ID()})
		return err
	})
	s.FailOnce("aws:ec2/subnet:Subnet", "subnet")
	r, err := s.TryUp()
	if err == nil || !strings.Contains(err.Error(), "aws:ec2/subnet:Subnet subnet") || !strings.Contains(err.Error(), "ordered to fail") {
		t.Fatalf("error %v", err)
	}
	same(t, "first", r.Changes(), []string{"create pulumi:pulumi:Stack kafka-mirror-tester-test", "create aws:ec2/vpc:Vpc vpc"})
	same(t, "second", s.Up().Changes(), []string{"create aws:ec2/subnet:Subnet subnet", "create aws:ec2/natGateway:NatGateway nat"})
	same(t, "third", s.Up().Changes(), nil)
	if got, want := s.Resource("aws:ec2/natGateway:NatGateway", "nat").Get("subnetId"), s.Resource("aws:ec2/subnet:Subnet", "subnet").ID; got != want || !strings.HasPrefix(want, "subnet-") {
		t.Errorf("the NAT gateway is in %v, the subnet is %v", got, want)
	}

	d := s.Destroy()
	order := []int{d.Index("aws:ec2/natGateway:NatGateway", "nat"), d.Index("aws:ec2/subnet:Subnet", "subnet"), d.Index("aws:ec2/vpc:Vpc", "vpc")}
	if !slices.IsSorted(order) || order[0] < 0 {
		t.Errorf("destroyed in the order %v", d.Steps)
	}
}

// An object that does not become ready stays; a Job that asks for it is made again, others are updated.
func TestNotReady(t *testing.T) {
	const job, deployment = "kubernetes:batch/v1:Job", "kubernetes:apps/v1:Deployment"
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		in := k8s(ctx, "k")
		test, err := batchv1.NewJob(ctx, "test", &batchv1.JobArgs{
			Metadata: &metav1.ObjectMetaArgs{Annotations: pulumi.StringMap{"pulumi.com/replaceUnready": pulumi.String("true")}},
			Spec:     &batchv1.JobSpecArgs{Template: &corev1.PodTemplateSpecArgs{}},
		}, in)
		if err != nil {
			return err
		}
		_, err = appsv1.NewDeployment(ctx, "web", &appsv1.DeploymentArgs{Metadata: named("web")}, in, pulumi.DependsOn([]pulumi.Resource{test}))
		return err
	})
	s.FailInitOnce(job, "test")
	if _, err := s.TryUp(); err == nil || !strings.Contains(err.Error(), "ordered not to become ready") {
		t.Fatalf("error %v", err)
	}
	failed := s.Resource(job, "test")
	if !failed.Failed || s.Has(deployment, "web") {
		t.Errorf("the Job is marked: %v; what depends on it was made: %v", failed.Failed, s.Has(deployment, "web"))
	}

	s.FailInitOnce(deployment, "web")
	r, err := s.TryUp()
	if err == nil {
		t.Error("the Deployment became ready")
	}
	same(t, "second", r.Changes(), []string{"replace " + job + " test", "create " + deployment + " web"})
	if again := s.Resource(job, "test"); again.Failed || again.ID == failed.ID || !s.Resource(deployment, "web").Failed {
		t.Errorf("the Job is still %s, or the Deployment is not marked", again.ID)
	}
	// The failure came before the old Job was deleted.
	same(t, "third", s.Up().Changes(), []string{"update " + deployment + " web", "delete-replaced " + job + " test"})
	same(t, "fourth", s.Up().Changes(), nil)
}

// Secrets stay secret from the configuration to every output that is computed from them.
func TestSecrets(t *testing.T) {
	const password = "hunter2-and-more"
	leak := false
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		plain := get(ctx, "password")
		if !ctx.IsConfigSecret("kafka-mirror-tester:password") {
			return errors.New("the configuration lost the secret")
		}
		secret := pulumi.ToSecret(pulumi.String(plain)).(pulumi.StringOutput)
		in := k8s(ctx, "k")
		if _, err := corev1.NewSecret(ctx, "s", &corev1.SecretArgs{StringData: pulumi.StringMap{"password": pulumi.String(plain)}}, in); err != nil {
			return err
		}
		if _, err := helmv3.NewRelease(ctx, "r", &helmv3.ReleaseArgs{Chart: pulumi.String("c"), Values: pulumi.Map{
			"grafana": pulumi.Map{"adminPassword": secret, "replicas": pulumi.Int(1)},
		}}, in); err != nil {
			return err
		}
		ctx.Export("url", pulumi.Sprintf("https://admin:%s@grafana", secret))
		if err := ctx.Log.Warn("the password was set", nil); err != nil {
			return err
		}
		if leak {
			ctx.Export("leak", pulumi.String(plain))
		}
		return nil
	})
	s.SetSecret("password", password)
	r := s.Up()
	if r.Outputs["url"] != enginetest.Secret {
		t.Errorf("outputs %v", r.Outputs)
	}
	if !strings.Contains(strings.Join(r.Log, "\n"), "warning: the password was set") {
		t.Errorf("log %q", r.Log)
	}
	release := s.Resource("kubernetes:helm.sh/v3:Release", "r")
	same(t, "secret inputs", release.SecretInputs, []string{"values.grafana.adminPassword"})
	same(t, "secret outputs", release.SecretOutputs, []string{"values.grafana.adminPassword"})
	if release.Get("values.grafana.adminPassword") != password || release.Get("values.grafana.replicas") != 1 {
		t.Errorf("values %v", release.Get("values"))
	}
	same(t, "secret inputs", s.Resource("kubernetes:core/v1:Secret", "s").SecretInputs, []string{"stringData"})
	if text := s.PlainText(); strings.Contains(text, password) || !strings.Contains(text, enginetest.Secret) || !strings.Contains(text, "kubernetes:helm.sh/v3:Release::r") {
		t.Errorf("plain text:\n%s", text)
	}
	leak = true
	s.Up()
	if !strings.Contains(s.PlainText(), password) {
		t.Error("PlainText hides what is plain")
	}
}

// Stacks see each other's outputs as with a real backend.
func TestReferences(t *testing.T) {
	source := enginetest.New(t, func(ctx *pulumi.Context) error {
		v, err := ec2.NewVpc(ctx, "vpc", nil)
		if err != nil {
			return err
		}
		ctx.Export("vpc", v.ID())
		ctx.Export("password", pulumi.ToSecret(pulumi.String("geheim")))
		return nil
	}, enginetest.WithName("p", "us-east-1"))
	destination := enginetest.New(t, func(ctx *pulumi.Context) error {
		ref, err := pulumi.NewStackReference(ctx, "organization/p/us-east-1", nil)
		if err != nil {
			return err
		}
		self, err := pulumi.NewStackReference(ctx, "organization/p/eu-west-1", nil)
		if err != nil {
			return err
		}
		runs, err := self.GetOutputDetails("runs")
		if err != nil {
			return err
		}
		before, _ := runs.Value.(float64)
		ctx.Export("runs", pulumi.Int(int(before)+1))
		ctx.Export("peer", ref.GetOutput(pulumi.String("vpc")))
		ctx.Export("password", ref.GetOutput(pulumi.String("password")))
		_, err = ec2.NewVpcPeeringConnection(ctx, "peering", &ec2.VpcPeeringConnectionArgs{
			VpcId: pulumi.String("vpc-1"), PeerVpcId: ref.GetStringOutput(pulumi.String("vpc")),
		})
		return err
	}, enginetest.WithName("p", "eu-west-1"))

	if _, err := destination.TryUp(); err == nil || !strings.Contains(err.Error(), `unknown stack "organization/p/us-east-1"`) {
		t.Errorf("a stack that is absent: %v", err)
	}
	destination.Peer("us-east-1", source)
	if _, err := destination.TryUp(); err == nil || !strings.Contains(err.Error(), "vpc") {
		t.Errorf("a stack without outputs: %v", err)
	}
	source.Up()
	first := destination.Up()
	if want := source.Resource("aws:ec2/vpc:Vpc", "vpc").ID; first.Outputs["peer"] != want || first.Outputs["password"] != enginetest.Secret {
		t.Errorf("outputs %v, the VPC is %s", first.Outputs, want)
	}
	second := destination.Up()
	if second.Outputs["runs"] != first.Outputs["runs"].(int)+1 {
		t.Errorf("runs %v, then %v", first.Outputs["runs"], second.Outputs["runs"])
	}
	same(t, "second", second.Changes(), nil)
	if strings.Contains(destination.PlainText(), "geheim") {
		t.Error("the other stack's secret is plain here")
	}
}

// In a preview what a resource will compute is unknown. A program that waits for it, or that makes
// resources by it, differs between preview and update.
func TestPreview(t *testing.T) {
	previews, updates := 0, 0
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		v, err := ec2.NewVpc(ctx, "vpc", nil)
		if err != nil {
			return err
		}
		_ = v.Arn.ApplyT(func(arn string) string { // runs once it is known
			if ctx.DryRun() {
				t.Error("a preview of a create knew the ARN")
			}
			_, err := ec2.NewSubnet(ctx, "hidden", &ec2.SubnetArgs{VpcId: pulumi.String(arn)})
			if err != nil {
				t.Error(err)
			}
			return arn
		})
		if ctx.DryRun() {
			previews++
		} else {
			updates++
		}
		return nil
	})
	_, err := s.TryUp()
	if err == nil || !strings.Contains(err.Error(), "the preview announced nothing, the update did: create aws:ec2/subnet:Subnet hidden") {
		t.Errorf("error %v", err)
	}
	if previews != 1 || updates != 1 {
		t.Errorf("%d previews, %d updates", previews, updates)
	}
}

// What another resource's replacement makes unknown does not count as a difference.
func TestPreviewOfDependents(t *testing.T) {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		subnet, err := ec2.NewSubnet(ctx, "subnet", &ec2.SubnetArgs{VpcId: pulumi.String("vpc-1"), CidrBlock: pulumi.String(get(ctx, "cidr"))})
		if err != nil {
			return err
		}
		template, err := ec2.NewLaunchTemplate(ctx, "template", &ec2.LaunchTemplateArgs{
			Description: subnet.ID().ApplyT(func(id pulumi.ID) string { return "always the same" }).(pulumi.StringOutput),
		})
		if err != nil {
			return err
		}
		_, err = ec2.NewNatGateway(ctx, "nat", &ec2.NatGatewayArgs{SubnetId: subnet.ID(), Tags: pulumi.StringMap{"template": template.ID()}})
		return err
	})
	s.SetConfig("cidr", "10.0.0.0/24")
	s.Up()
	s.SetConfig("cidr", "10.0.1.0/24")
	same(t, "preview", s.Preview().Changes(), []string{"replace aws:ec2/subnet:Subnet subnet", "update aws:ec2/launchTemplate:LaunchTemplate template", "replace aws:ec2/natGateway:NatGateway nat"})
	same(t, "update", s.Up().Changes(), []string{"replace aws:ec2/subnet:Subnet subnet", "replace aws:ec2/natGateway:NatGateway nat"})
}

func TestDependsOn(t *testing.T) {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		in := k8s(ctx, "k")
		var group pulumi.ResourceState
		if err := ctx.RegisterComponentResource("test:index:Group", "group", &group); err != nil {
			return err
		}
		if _, err := corev1.NewConfigMap(ctx, "child", &corev1.ConfigMapArgs{Metadata: named("child")}, in, pulumi.Parent(&group)); err != nil {
			return err
		}
		after, err := corev1.NewConfigMap(ctx, "after", &corev1.ConfigMapArgs{Metadata: named("after")}, in, pulumi.DependsOn([]pulumi.Resource{&group}))
		if err != nil {
			return err
		}
		_, err = corev1.NewConfigMap(ctx, "last", &corev1.ConfigMapArgs{Metadata: named("last"), Data: pulumi.StringMap{"v": after.Metadata.Name().Elem()}}, in)
		return err
	})
	s.Up()
	configMap := func(name string) enginetest.Resource { return s.Resource("kubernetes:core/v1:ConfigMap", name) }
	group, provider := s.Resource("test:index:Group", "group"), s.Resource("pulumi:providers:kubernetes", "k")
	for _, c := range []struct {
		a, b enginetest.Resource
		want bool
	}{
		{configMap("last"), configMap("after"), true},
		{configMap("last"), configMap("child"), true},
		{configMap("last"), group, true},
		{configMap("last"), provider, true},
		{configMap("after"), configMap("last"), false},
		{configMap("child"), configMap("after"), false},
		{configMap("child"), group, false},
	} {
		if got := s.DependsOn(c.a, c.b); got != c.want {
			t.Errorf("%s depends on %s: %v", c.a.Name, c.b.Name, got)
		}
	}
	if got := configMap("child"); got.Parent != group.URN || got.Provider != "k" || got.ID != "default/child" {
		t.Errorf("%+v", got)
	}
}

// Configuration comes with the project's defaults and types.
func TestProjectFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	project := write("Pulumi.yaml", "name: p\nruntime: go\nconfig:\n  brokers:\n    type: integer\n    default: 30\n  secure:\n    type: boolean\n    default: false\n")
	stack := write("Pulumi.s.yaml", "config:\n  p:secure: true\n  p:fault:\n    kind: loss\n  aws:region: eu-west-1\n")
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		for _, key := range []string{"p:brokers", "p:secure", "p:fault", "aws:region"} {
			v, _ := ctx.GetConfig(key)
			ctx.Export(key, pulumi.String(v))
		}
		return nil
	}, enginetest.WithProjectFile(project), enginetest.WithConfigFile(stack))
	s.SetConfig("extra", "1")
	want := map[string]any{"p:brokers": "30", "p:secure": "true", "p:fault": `{"kind":"loss"}`, "aws:region": "eu-west-1"}
	if got := s.Up().Outputs; !reflect.DeepEqual(got, want) {
		t.Errorf("the program saw %v", got)
	}
	if got := s.Config(); got["p:brokers"] != "30" || got["p:extra"] != "1" || len(got) != 5 {
		t.Errorf("PULUMI_CONFIG is %v", got)
	}
	s.SetConfig("brokers", "many")
	if _, err := s.TryUp(); err == nil || !strings.Contains(err.Error(), "brokers") {
		t.Errorf("a word for a number: %v", err)
	}
}

// An update of 500 objects, with its preview: about a second of CPU.
func BenchmarkUp(b *testing.B) {
	const n = 500
	s := enginetest.New(b, func(ctx *pulumi.Context) error {
		in := k8s(ctx, "k")
		ns, err := corev1.NewNamespace(ctx, "n", &corev1.NamespaceArgs{Metadata: named("n")}, in)
		if err != nil {
			return err
		}
		for i := range n {
			if _, err := corev1.NewConfigMap(ctx, fmt.Sprint("c", i), &corev1.ConfigMapArgs{
				Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(fmt.Sprint("c", i)), Namespace: ns.Metadata.Name()},
				Data:     pulumi.StringMap{"v": pulumi.String(get(ctx, "v"))},
			}, in); err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; b.Loop(); i++ {
		s.SetConfig("v", fmt.Sprint(i))
		if steps := len(s.Up().Steps); steps < n {
			b.Fatalf("%d steps", steps)
		}
	}
}

// What was done in the cloud is told in its order, with the objects as they were and are: enough to do it
// again elsewhere.
func TestOperations(t *testing.T) {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		in := k8s(ctx, "k")
		if _, err := corev1.NewConfigMap(ctx, "settings", &corev1.ConfigMapArgs{Metadata: named("settings"), Data: pulumi.StringMap{"v": pulumi.String(get(ctx, "v"))}}, in); err != nil {
			return err
		}
		template := &corev1.PodTemplateSpecArgs{Spec: &corev1.PodSpecArgs{Containers: corev1.ContainerArray{&corev1.ContainerArgs{Name: pulumi.String("c"), Image: pulumi.String(get(ctx, "v"))}}}}
		if _, err := batchv1.NewJob(ctx, "named-by-pulumi", &batchv1.JobArgs{Spec: &batchv1.JobSpecArgs{Template: template}}, in); err != nil {
			return err
		}
		_, err := appsv1.NewStatefulSet(ctx, "fixed", &appsv1.StatefulSetArgs{Metadata: named("fixed"), Spec: &appsv1.StatefulSetSpecArgs{ServiceName: pulumi.String(get(ctx, "v")), Template: template}}, in)
		return err
	})
	told := func(r *enginetest.Result) (out []string) {
		for _, o := range r.Operations {
			of := func(r *enginetest.Resource) string {
				if r == nil {
					return "nothing"
				}
				return fmt.Sprint([]any{r.Get("data.v"), r.Get("spec.template.spec.containers[0].image"), r.Get("spec.serviceName")})
			}
			if o.Op != "update" && strings.HasPrefix(o.String(), o.Op+" pulumi:") {
				continue // the provider
			}
			out = append(out, o.String()+": "+of(o.Old)+" to "+of(o.New))
		}
		return out
	}
	const settings, job, set = "kubernetes:core/v1:ConfigMap settings", "kubernetes:batch/v1:Job named-by-pulumi", "kubernetes:apps/v1:StatefulSet fixed"
	s.SetConfig("v", "1")
	same(t, "up", told(s.Up()), []string{
		"create " + settings + ": nothing to [1 <nil> <nil>]", "create " + job + ": nothing to [<nil> 1 <nil>]", "create " + set + ": nothing to [<nil> 1 1]",
	})
	s.SetConfig("v", "2")
	change := told(s.Up())
	same(t, "change", change, []string{
		"update " + settings + ": [1 <nil> <nil>] to [2 <nil> <nil>]",
		"create " + job + ": nothing to [<nil> 2 <nil>]", "delete " + job + ": [<nil> 1 <nil>] to nothing",
		"delete " + set + ": [<nil> 1 1] to nothing", "create " + set + ": nothing to [<nil> 2 2]",
	})
	before := func(first, second string) {
		t.Helper()
		at := func(prefix string) int {
			return slices.IndexFunc(change, func(c string) bool { return strings.HasPrefix(c, prefix) })
		}
		if at(first) > at(second) {
			t.Errorf("%s comes after %s: %q", first, second, change)
		}
	}
	before("create "+job, "delete "+job)
	before("delete "+set, "create "+set)
	if o := s.Preview().Operations; len(o) > 0 {
		t.Errorf("a preview did %v", o)
	}
	if d := told(s.Destroy()); len(d) != 3 {
		t.Errorf("destroy: %q", d)
	}
}
