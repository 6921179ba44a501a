package cluster

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	awseks "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-eks/sdk/v3/go/eks"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// EKS describes a cluster to be made. Everything that AWS would choose for us is pinned, so that a
// scenario's update changes what the scenario is about and nothing else.
type EKS struct {
	// Name is the cluster's in EKS, unique in the region.
	Name string
	// Region is where it is, such as eu-west-1.
	Region string
	// Profile is the stack's aws:profile, which kubectl must use too; empty for ambient credentials.
	Profile string
	// Version of Kubernetes, like 1.35.
	Version string
	// VpcID is the network's.
	VpcID pulumi.StringInput
	// SubnetIDs are private ones in at least two zones, for the control plane's network interfaces.
	SubnetIDs pulumi.StringArrayInput
	// NodeSubnetIDs are those in which nodes live.
	NodeSubnetIDs pulumi.StringArrayInput
	// ServiceCIDR holds the Services' addresses: private, a /12 to a /24, apart from PodCIDRs.
	ServiceCIDR string
	// PodCIDRs are the networks of the VPCs on both sides, whose addresses pods have.
	PodCIDRs []string
	// APICIDRs are the public networks from which the API answers, 1 to 40. Nodes reach it inside the
	// VPC. There is no switch for a private endpoint only: Pulumi itself must reach the API.
	APICIDRs []string
	// AdminARNs are roles and users that administer the cluster, besides whoever makes it: that one
	// is its administrator already, and EKS refuses a second entry for it.
	AdminARNs []string
	// MTU of the pods' network, bytes, 1280 to 9001. 8500 is what peering between regions carries;
	// larger packets would cost path MTU discovery on every new connection.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html
	MTU int
	// AddOns are the versions of EKS's add-ons.
	AddOns AddOns
	// Nodes are the only node group.
	Nodes Nodes
	// Tags go on everything that can carry tags, for the bill.
	Tags map[string]string
}

// AddOns are versions of EKS add-ons, like v1.20.4-eksbuild.2. Brokers keep their logs on the node's
// disk, so no storage driver is among them.
type AddOns struct{ VPCCNI, KubeProxy, CoreDNS, PodIdentityAgent string }

type addOn struct{ key, name, version string } // key under versions, and EKS's name

func (a *AddOns) list() []addOn {
	return append(a.beforeNodes(), a.afterNodes()...)
}

// beforeNodes are what a node needs to become ready.
func (a *AddOns) beforeNodes() []addOn {
	return []addOn{{"vpcCni", "vpc-cni", a.VPCCNI}, {"kubeProxy", "kube-proxy", a.KubeProxy}}
}

// afterNodes are what needs nodes to become active.
func (a *AddOns) afterNodes() []addOn {
	return []addOn{{"coreDns", "coredns", a.CoreDNS}, {"podIdentityAgent", "eks-pod-identity-agent", a.PodIdentityAgent}}
}

// Nodes describes the node group.
type Nodes struct {
	// Count of nodes, at least 1. It is in the group's scaling configuration and nowhere else.
	Count int
	// InstanceTypes in order of preference, at least one, all of one architecture and size.
	InstanceTypes []string
	// AMIType is one of Amazon Linux 2023, of the instance types' architecture.
	AMIType string
	// Release of the image, like 1.35.0-20260101. Left open, EKS would replace all nodes when AWS
	// publishes the next.
	Release string
	// CapacityType is ON_DEMAND or SPOT.
	CapacityType string
	// Disk is each node's root volume, which also holds the brokers' logs.
	Disk Disk
}

// Disk is a gp3 volume: size in GiB, I/O operations a second (3000 or more), throughput in MiB/s (125
// or more, at most a quarter of IOPS).
type Disk struct{ GiB, IOPS, MiBps int }

func (c *Cluster) newEKS(ctx *pulumi.Context) error {
	control, err := c.newControlPlane(ctx)
	if err != nil {
		return err
	}
	before, err := c.newAddOns(ctx, c.args.EKS.AddOns.beforeNodes(), control)
	if err != nil {
		return err
	}
	nodes, err := c.newNodeGroup(ctx, control, before)
	if err != nil {
		return err
	}
	after, err := c.newAddOns(ctx, c.args.EKS.AddOns.afterNodes(), control, nodes)
	if err != nil {
		return err
	}
	c.outputs(control)
	return c.newProvider(ctx, append(after, nodes)...)
}

// newControlPlane makes the cluster without any nodes and without security groups of our own: EKS
// makes one group for the control plane, all nodes and their pods, in which everything may talk to
// everything. What may cross from the other region is added to it by the peering. Kubernetes' secrets
// are encrypted with a key that AWS owns, as EKS does since 1.28.
func (c *Cluster) newControlPlane(ctx *pulumi.Context) (*eks.Cluster, error) {
	e := c.args.EKS
	mode, yes, no := eks.AuthenticationModeApi, true, false
	args := &eks.ClusterArgs{
		Name:                            pulumi.String(e.Name),
		Version:                         pulumi.String(e.Version),
		VpcId:                           e.VpcID,
		SubnetIds:                       e.SubnetIDs,
		KubernetesServiceIpAddressRange: pulumi.String(e.ServiceCIDR),
		AuthenticationMode:              &mode,
		AccessEntries:                   admins(e.AdminARNs),
		EndpointPrivateAccess:           pulumi.Bool(true),
		EndpointPublicAccess:            pulumi.Bool(true), // also makes pulumi-eks wait until the API answers
		PublicAccessCidrs:               pulumi.ToStringArray(e.APICIDRs),
		CreateOidcProvider:              pulumi.Bool(false), // pods get roles by Pod Identity
		SkipDefaultNodeGroup:            &yes,
		SkipDefaultSecurityGroups:       &yes,
		UseDefaultVpcCni:                &yes, // that is: pulumi-eks leaves it to us
		KubeProxyAddonOptions:           &eks.KubeProxyAddonOptionsArgs{Enabled: &no},
		CorednsAddonOptions:             &eks.CoreDnsAddonOptionsArgs{Enabled: &no},
		Tags:                            pulumi.ToStringMap(e.Tags),
	}
	if e.Profile != "" {
		args.ProviderCredentialOpts = eks.KubeconfigOptionsArgs{ProfileName: pulumi.String(e.Profile)}
	}
	return eks.NewCluster(ctx, c.name, args, c.child())
}

// notInName is what is replaced where an ARN becomes part of a resource's name.
var notInName = regexp.MustCompile(`[^A-Za-z0-9]+`)

func admins(arns []string) map[string]eks.AccessEntryArgs {
	entries := map[string]eks.AccessEntryArgs{}
	for _, arn := range arns {
		_, principal, _ := strings.Cut(arn, ":iam::") // unique, and the same wherever it stands in the list
		entries[notInName.ReplaceAllString(principal, "-")] = eks.AccessEntryArgs{
			PrincipalArn: pulumi.String(arn),
			AccessPolicies: map[string]eks.AccessPolicyAssociationInput{"admin": eks.AccessPolicyAssociationArgs{
				PolicyArn:   pulumi.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"),
				AccessScope: &awseks.AccessPolicyAssociationAccessScopeArgs{Type: pulumi.String("cluster")},
			}},
		}
	}
	return entries
}

// newAddOns takes over what EKS put into the cluster by itself (OVERWRITE), at a version of ours.
func (c *Cluster) newAddOns(ctx *pulumi.Context, addOns []addOn, control *eks.Cluster, after ...pulumi.Resource) ([]pulumi.Resource, error) {
	e := c.args.EKS
	var made []pulumi.Resource
	for _, a := range addOns {
		args := &awseks.AddonArgs{
			ClusterName:              c.eksName(control),
			AddonName:                pulumi.String(a.name),
			AddonVersion:             pulumi.String(a.version),
			ResolveConflictsOnCreate: pulumi.String("OVERWRITE"),
			ResolveConflictsOnUpdate: pulumi.String("OVERWRITE"),
			Tags:                     pulumi.ToStringMap(e.Tags),
		}
		if a.name == "vpc-cni" {
			settings, err := podNetwork(e.MTU)
			if err != nil {
				return nil, err
			}
			args.ConfigurationValues = pulumi.String(settings)
		}
		addOn, err := awseks.NewAddon(ctx, c.name+"-"+a.name, args, c.child(), pulumi.DependsOn(after))
		if err != nil {
			return nil, err
		}
		made = append(made, addOn)
	}
	return made, nil
}

// podNetwork is the configuration of the add-on vpc-cni. Pods keep their own addresses on their way
// out of the VPC (external SNAT: the NAT gateway translates, not the node), so that brokers can be
// reached from the other region by the addresses they advertise. NetworkPolicies are enforced.
// Prefix delegation stays off, as is the default: few pods live on a node, and it wants unbroken /28s.
// https://github.com/aws/amazon-vpc-cni-k8s#cni-configuration-variables
func podNetwork(mtu int) (string, error) {
	settings, err := json.Marshal(map[string]any{
		"enableNetworkPolicy": "true",
		"env": map[string]string{
			"AWS_VPC_ENI_MTU":              fmt.Sprint(mtu),
			"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true",
		},
	})
	return string(settings), err
}

// newNodeGroup makes the nodes: their role, their launch template, and one group over all their
// zones. AWS's own resource is used, not pulumi-eks's ManagedNodeGroup: with a launch template of
// one's own the latter adds nothing but a second opinion on what may be set.
func (c *Cluster) newNodeGroup(ctx *pulumi.Context, control *eks.Cluster, after []pulumi.Resource) (*awseks.NodeGroup, error) {
	e := c.args.EKS
	role, policies, err := c.newNodeRole(ctx)
	if err != nil {
		return nil, err
	}
	template, err := c.newLaunchTemplate(ctx)
	if err != nil {
		return nil, err
	}
	return awseks.NewNodeGroup(ctx, c.name, &awseks.NodeGroupArgs{
		ClusterName:    c.eksName(control),
		NodeRoleArn:    role.Arn,
		SubnetIds:      e.NodeSubnetIDs,
		Version:        pulumi.String(e.Version),
		AmiType:        pulumi.String(e.Nodes.AMIType),
		ReleaseVersion: pulumi.String(e.Nodes.Release),
		CapacityType:   pulumi.String(e.Nodes.CapacityType),
		InstanceTypes:  pulumi.ToStringArray(e.Nodes.InstanceTypes),
		LaunchTemplate: &awseks.NodeGroupLaunchTemplateArgs{
			Id:      template.ID(),
			Version: pulumi.Sprintf("%d", template.LatestVersion),
		},
		ScalingConfig: &awseks.NodeGroupScalingConfigArgs{ // no autoscaler: a test's nodes do not come and go by themselves
			MinSize:     pulumi.Int(e.Nodes.Count),
			DesiredSize: pulumi.Int(e.Nodes.Count),
			MaxSize:     pulumi.Int(e.Nodes.Count),
		},
		Tags: pulumi.ToStringMap(e.Tags),
	}, c.child(), pulumi.DependsOn(append(after, policies...)))
}

// nodePolicies are what a node may do: join, manage its pods' addresses, pull images, and (by the
// first) hand out Pod Identity credentials.
// https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html
var nodePolicies = []string{
	"AmazonEKSWorkerNodePolicy",
	"AmazonEKS_CNI_Policy",
	"AmazonEC2ContainerRegistryPullOnly",
}

func (c *Cluster) newNodeRole(ctx *pulumi.Context) (*iam.Role, []pulumi.Resource, error) {
	role, err := iam.NewRole(ctx, c.name+"-node", &iam.RoleArgs{
		Description:      pulumi.String("Nodes of the EKS cluster " + c.args.EKS.Name),
		AssumeRolePolicy: pulumi.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
		Tags:             pulumi.ToStringMap(c.args.EKS.Tags),
	}, c.child())
	if err != nil {
		return nil, nil, err
	}
	var attached []pulumi.Resource
	for _, policy := range nodePolicies {
		attachment, err := iam.NewRolePolicyAttachment(ctx, c.name+"-node-"+policy, &iam.RolePolicyAttachmentArgs{
			Role:      role.Name,
			PolicyArn: pulumi.String("arn:aws:iam::aws:policy/" + policy),
		}, c.child())
		if err != nil {
			return nil, nil, err
		}
		attached = append(attached, attachment)
	}
	return role, attached, nil
}

// newLaunchTemplate has no image, type, subnet or role: those are the node group's. Without a
// security group EKS gives nodes the cluster's.
// https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html
func (c *Cluster) newLaunchTemplate(ctx *pulumi.Context) (*ec2.LaunchTemplate, error) {
	e := c.args.EKS
	tags := pulumi.ToStringMap(e.Tags)
	tags["Name"] = pulumi.String(e.Name + "-node")
	specification := func(kind string) *ec2.LaunchTemplateTagSpecificationArgs {
		return &ec2.LaunchTemplateTagSpecificationArgs{ResourceType: pulumi.String(kind), Tags: tags}
	}
	return ec2.NewLaunchTemplate(ctx, c.name+"-node", &ec2.LaunchTemplateArgs{
		UpdateDefaultVersion: pulumi.Bool(true),
		BlockDeviceMappings: ec2.LaunchTemplateBlockDeviceMappingArray{&ec2.LaunchTemplateBlockDeviceMappingArgs{
			DeviceName: pulumi.String("/dev/xvda"), // the root of Amazon Linux 2023
			Ebs: &ec2.LaunchTemplateBlockDeviceMappingEbsArgs{
				VolumeType:          pulumi.String("gp3"),
				VolumeSize:          pulumi.Int(e.Nodes.Disk.GiB),
				Iops:                pulumi.Int(e.Nodes.Disk.IOPS),
				Throughput:          pulumi.Int(e.Nodes.Disk.MiBps),
				Encrypted:           pulumi.String("true"),
				DeleteOnTermination: pulumi.String("true"),
			},
		}},
		MetadataOptions: &ec2.LaunchTemplateMetadataOptionsArgs{
			HttpEndpoint:            pulumi.String("enabled"),
			HttpTokens:              pulumi.String("required"),
			HttpPutResponseHopLimit: pulumi.Int(1), // a pod is one hop further and does not get the node's role
		},
		TagSpecifications: ec2.LaunchTemplateTagSpecificationArray{
			specification("instance"), specification("volume"), specification("network-interface"),
		},
		Tags:     pulumi.ToStringMap(e.Tags),
		UserData: pulumi.String(base64.StdEncoding.EncodeToString([]byte(userData))),
	}, c.child())
}

// userData is run by cloud-init before nodeadm starts the kubelet (nodeadm-run.service comes after
// cloud-final.service); EKS adds its own part, the NodeConfig, to ours.
//
// Faults of the network need the kernel module sch_netem, which Amazon Linux 2023 keeps in a package
// of its own, named after the kernel: kernel-modules-extra for 6.1, kernel6.12-modules-extra and so
// on for later ones (as in awslabs/amazon-eks-ami, templates/al2023/provisioners). The version must
// be the running kernel's; the image locks kernel packages, hence the plugin's absence. A node
// without the module still joins: the faults' self-test says so, and the rest of a test works.
//
// The socket buffers' upper bounds are raised from 6 and 4 MiB: at 80 ms a connection moves at most
// its buffer twelve times a second. Pods take them over from the node.
const userData = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
running="$(uname -r)"
case "$running" in
6.1.*) package=kernel ;;
*) package="kernel$(echo "$running" | cut -d. -f1,2)" ;;
esac
for try in 1 2 3; do
  timeout 120 dnf install -y --disableplugin=versionlock "$package-modules-extra-$running" && break
  timeout 120 dnf install -y --disableplugin=versionlock --releasever=latest "$package-modules-extra-$running" && break
  sleep 5
done
echo sch_netem > /etc/modules-load.d/kafka-mirror-tester.conf
modprobe sch_netem || echo "kafka-mirror-tester: no sch_netem for $running: network faults will not work on this node"
cat > /etc/sysctl.d/90-kafka-mirror-tester.conf <<END
net.ipv4.tcp_rmem = 4096 131072 33554432
net.ipv4.tcp_wmem = 4096 16384 33554432
END
sysctl -p /etc/sysctl.d/90-kafka-mirror-tester.conf
exit 0
--//--
`

// eksName is the cluster's name as the cluster itself returns it. What takes it depends on the cluster
// inside pulumi-eks's component, not only on the component: on destroy the engine takes a component's
// children for free as soon as nothing names them.
func (c *Cluster) eksName(control *eks.Cluster) pulumi.StringOutput {
	return control.EksCluster.Name()
}

func (c *Cluster) outputs(control *eks.Cluster) {
	e := c.args.EKS
	c.Name = c.eksName(control)
	c.Context = e.Name
	c.Command = fmt.Sprintf("aws eks update-kubeconfig --region %s --name %s --alias %s", e.Region, e.Name, e.Name)
	c.NodeSecurityGroupID = control.ClusterSecurityGroupId
	c.Kubeconfig = secret(control.KubeconfigJson)
	if e.Profile != "" {
		c.Command += " --profile " + e.Profile
		c.Kubeconfig = secret(control.KubeconfigJson.ApplyT(withProfile(e.Profile)).(pulumi.StringOutput))
	}
}

// withProfile makes a kubeconfig ask for tokens with an AWS profile. pulumi-eks keeps the profile out
// of the kubeconfig that it returns, so that it can be handed on; our provider needs it.
func withProfile(profile string) func(string) (string, error) {
	return func(kubeconfig string) (string, error) {
		var config map[string]any
		if err := json.Unmarshal([]byte(kubeconfig), &config); err != nil {
			return "", fmt.Errorf("kubeconfig of pulumi-eks: %w", err)
		}
		var found bool
		users, _ := config["users"].([]any)
		for _, u := range users {
			user, _ := u.(map[string]any)
			inner, _ := user["user"].(map[string]any)
			if exec, ok := inner["exec"].(map[string]any); ok {
				args, _ := exec["args"].([]any)
				exec["args"], found = append(args, "--profile", profile), true
			}
		}
		if !found {
			return "", fmt.Errorf("kubeconfig of pulumi-eks: no exec for the AWS profile %s", profile)
		}
		out, err := json.Marshal(config)
		return string(out), err
	}
}
