package enginetest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	awseks "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-eks/sdk/v3/go/eks"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// cluster is a small cluster by pulumi-eks with a node group and a namespace.
func cluster(ctx *pulumi.Context) error {
	ireland, err := aws.NewProvider(ctx, "ireland", &aws.ProviderArgs{Region: pulumi.String("eu-west-1")})
	if err != nil {
		return err
	}
	in := pulumi.Provider(ireland)
	vpc, err := ec2.NewVpc(ctx, "vpc", &ec2.VpcArgs{CidrBlock: pulumi.String("10.0.0.0/16")}, in)
	if err != nil {
		return err
	}
	subnet, err := ec2.NewSubnet(ctx, "private", &ec2.SubnetArgs{VpcId: vpc.ID(), CidrBlock: pulumi.String("10.0.0.0/19")}, in)
	if err != nil {
		return err
	}
	role, err := iam.NewRole(ctx, "node", &iam.RoleArgs{AssumeRolePolicy: pulumi.String("{}")}, in)
	if err != nil {
		return err
	}
	template, err := ec2.NewLaunchTemplate(ctx, "node", &ec2.LaunchTemplateArgs{UserData: pulumi.String(get(ctx, "userData"))}, in)
	if err != nil {
		return err
	}
	mode := eks.AuthenticationModeApi
	pinned := "v1.0.0-eksbuild.1"
	c, err := eks.NewCluster(ctx, "c", &eks.ClusterArgs{
		VpcId: vpc.ID(), PrivateSubnetIds: pulumi.StringArray{subnet.ID()}, Version: pulumi.String(get(ctx, "version")),
		AuthenticationMode: &mode, SkipDefaultNodeGroup: pulumi.BoolRef(true), SkipDefaultSecurityGroups: pulumi.BoolRef(true),
		KubeProxyAddonOptions: &eks.KubeProxyAddonOptionsArgs{Version: pulumi.String(pinned)},
		VpcCniOptions:         &eks.VpcCniOptionsArgs{AddonVersion: pulumi.String(pinned)},
		CorednsAddonOptions:   &eks.CoreDnsAddonOptionsArgs{Enabled: pulumi.BoolRef(false)},
		AccessEntries: map[string]eks.AccessEntryArgs{"admin": {
			PrincipalArn: role.Arn,
			AccessPolicies: map[string]eks.AccessPolicyAssociationInput{"admin": eks.AccessPolicyAssociationArgs{
				PolicyArn:   pulumi.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"),
				AccessScope: awseks.AccessPolicyAssociationAccessScopeArgs{Type: pulumi.String("cluster")},
			}},
		}},
	}, pulumi.Providers(ireland))
	if err != nil {
		return err
	}
	nodes, err := eks.NewManagedNodeGroup(ctx, "nodes", &eks.ManagedNodeGroupArgs{
		Cluster: c, NodeRoleArn: role.Arn, SubnetIds: pulumi.StringArray{subnet.ID()},
		LaunchTemplate: &awseks.NodeGroupLaunchTemplateArgs{Id: template.ID(), Version: pulumi.Sprintf("%d", template.LatestVersion)},
		ScalingConfig:  &awseks.NodeGroupScalingConfigArgs{DesiredSize: pulumi.Int(3), MinSize: pulumi.Int(3), MaxSize: pulumi.Int(3)},
	}, pulumi.Providers(ireland))
	if err != nil {
		return err
	}
	k8s, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{
		Kubeconfig: pulumi.ToSecret(c.KubeconfigJson).(pulumi.StringOutput),
	})
	if err != nil {
		return err
	}
	if _, err := corev1.NewNamespace(ctx, "kafka", &corev1.NamespaceArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String("kafka")},
	}, pulumi.Provider(k8s), pulumi.DependsOn([]pulumi.Resource{nodes})); err != nil {
		return err
	}
	ctx.Export("group", c.NodeSecurityGroupId)
	ctx.Export("name", c.EksCluster.Name())
	return nil
}

// The components of pulumi-eks are made of what the real ones are made of, in the region of the
// provider that is passed to them, and feed a provider for what runs in the cluster.
func TestRemoteComponents(t *testing.T) {
	s := enginetest.New(t, cluster)
	s.SetConfig("version", "1.35")
	s.SetConfig("userData", "one")
	r := s.Up()
	same(t, "first", r.Changes(), []string{
		"create aws:ec2/launchTemplate:LaunchTemplate node",
		"create aws:ec2/subnet:Subnet private",
		"create aws:ec2/vpc:Vpc vpc",
		"create aws:eks/accessEntry:AccessEntry c-admin",
		"create aws:eks/accessPolicyAssociation:AccessPolicyAssociation c-admin-admin",
		"create aws:eks/addon:Addon c-kube-proxy",
		"create aws:eks/addon:Addon c-vpc-cni",
		"create aws:eks/cluster:Cluster c-eksCluster",
		"create aws:eks/nodeGroup:NodeGroup nodes",
		"create aws:iam/role:Role c-eksRole-role",
		"create aws:iam/role:Role node",
		"create aws:iam/rolePolicyAttachment:RolePolicyAttachment c-eksRole-4b490823",
		"create eks:index:Cluster c",
		"create eks:index:ManagedNodeGroup nodes",
		"create eks:index:ServiceRole c-eksRole",
		"create eks:index:VpcCniAddon c-vpc-cni",
		"create kubernetes:core/v1:Namespace kafka",
		"create pulumi:providers:aws ireland",
		"create pulumi:providers:kubernetes c-eks-k8s",
		"create pulumi:providers:kubernetes cluster",
		"create pulumi:pulumi:Stack kafka-mirror-tester-test",
	})
	control := s.Resource("aws:eks/cluster:Cluster", "c-eksCluster")
	if control.Provider != "ireland" || !strings.Contains(fmt.Sprint(control.Output("endpoint")), ".eu-west-1.eks.") {
		t.Errorf("the cluster is at %v, made by the provider %q", control.Output("endpoint"), control.Provider)
	}
	if r.Outputs["name"] != control.Output("name") || r.Outputs["group"] != control.Output("vpcConfig.clusterSecurityGroupId") || control.Get("vpcConfig.subnetIds[0]") != s.Resource("aws:ec2/subnet:Subnet", "private").ID {
		t.Errorf("outputs %v, cluster %v", r.Outputs, control.Outputs)
	}
	provider := s.Resource("pulumi:providers:kubernetes", "cluster")
	if !slices.Contains(provider.SecretInputs, "kubeconfig") || !strings.Contains(fmt.Sprint(provider.Get("kubeconfig")), fmt.Sprint(control.Output("endpoint"))) {
		t.Errorf("the provider has %v, secret %v", provider.Get("kubeconfig"), provider.SecretInputs)
	}
	group := s.Resource("aws:eks/nodeGroup:NodeGroup", "nodes")
	if group.Get("clusterName") != control.Output("name") || group.Get("launchTemplate.version") != "1" {
		t.Errorf("node group %v", group.Inputs)
	}
	namespace := s.Resource("kubernetes:core/v1:Namespace", "kafka")
	if namespace.Provider != "cluster" || !s.DependsOn(namespace, group) || !s.DependsOn(namespace, control) || s.DependsOn(group, namespace) {
		t.Error("the namespace does not depend on cluster and nodes")
	}

	same(t, "again", s.Up().Changes(), nil)
	same(t, "refresh", s.Refresh().Changes(), nil)
	s.SetConfig("userData", "two")
	same(t, "other user data", s.Up().Changes(), []string{"update aws:ec2/launchTemplate:LaunchTemplate node", "update aws:eks/nodeGroup:NodeGroup nodes"})
	s.SetConfig("version", "1.36")
	same(t, "other version", s.Up().Changes(), []string{"update aws:eks/cluster:Cluster c-eksCluster"})

	d := s.Destroy()
	if left := s.Resources(); len(left) > 0 {
		t.Errorf("destroy left %d resources", len(left))
	}
	order := []int{
		d.Index("kubernetes:core/v1:Namespace", "kafka"), d.Index("aws:eks/nodeGroup:NodeGroup", "nodes"),
		d.Index("aws:eks/cluster:Cluster", "c-eksCluster"), d.Index("aws:ec2/subnet:Subnet", "private"), d.Index("aws:ec2/vpc:Vpc", "vpc"),
	}
	if !slices.IsSorted(order) || order[0] < 0 {
		t.Errorf("destroyed in the order %v", d.Steps)
	}
}
