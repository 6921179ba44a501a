package enginetest

import (
	"context"
	"crypto/sha1" // it makes names, as the real component does
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	awseks "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-eks/sdk/v3/go/eks"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// eksKind is the double of pulumi-eks v3.9.1. It has no resources of its own, only components that are
// made of the other providers' resources. They are rewritten here from
// https://github.com/pulumi/pulumi-eks/tree/v3.9.1/nodejs/eks, as far as the stacks use them; what is
// left out is refused.
type eksKind struct{ awsKind }

// The versions that pulumi-eks v3.9.1 brings along: nodejs/eks/package.json.
const (
	eksAWS        = "6.79.1"
	eksKubernetes = "4.19.0"
)

// Construct makes a component.
func (s *service) Construct(ctx context.Context, req *pulumirpc.ConstructRequest) (*pulumirpc.ConstructResponse, error) {
	constructs := map[string]func(*construction) (pulumi.Map, error){
		"eks:index:Cluster":          constructCluster,
		"eks:index:ManagedNodeGroup": constructNodeGroup,
	}
	body, ok := constructs[req.GetType()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "the double of %s does not know the component %s", s.double.pkg, req.GetType())
	}
	plain, err := plugin.UnmarshalProperties(req.GetInputs(), plugin.MarshalOptions{KeepUnknowns: true})
	if err != nil {
		return nil, err
	}
	return provider.Construct(ctx, req, nil, func(ctx *pulumi.Context, typ, name string, inputs provider.ConstructInputs, opts pulumi.ResourceOption) (*provider.ConstructResult, error) {
		in, err := inputs.Map()
		if err != nil {
			return nil, err
		}
		c := &construction{ctx: ctx, name: name, plain: plain, in: in, self: &component{}}
		if err := ctx.RegisterComponentResource(typ, name, c.self, opts); err != nil {
			return nil, err
		}
		state, err := body(c)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", typ, name, err)
		}
		if err := ctx.RegisterResourceOutputs(c.self, state); err != nil {
			return nil, err
		}
		return &provider.ConstructResult{URN: c.self.URN(), State: state}, nil
	})
}

type component struct{ pulumi.ResourceState }

// construction is the making of one component.
type construction struct {
	ctx   *pulumi.Context
	name  string
	plain resource.PropertyMap // inputs as far as they are known
	in    pulumi.Map           // inputs
	self  pulumi.Resource      // the parent of what is made
}

// make registers a resource of aws below the component. Properties that are nil are left out.
func (c *construction) make(typ, name string, props pulumi.Map, res pulumi.CustomResource, opts ...pulumi.ResourceOption) error {
	for k, v := range props {
		if v == nil {
			delete(props, k)
		}
	}
	version := eksAWS
	if strings.HasPrefix(typ, "kubernetes:") {
		version = eksKubernetes
	}
	return c.ctx.RegisterResource(typ, name, props, res, append([]pulumi.ResourceOption{pulumi.Parent(c.self), pulumi.Version(version)}, opts...)...)
}

// flag returns the boolean input at the path, fallback where it is not given.
func (c *construction) flag(fallback bool, path ...string) bool {
	m := c.plain
	for _, p := range path[:len(path)-1] {
		m = object(m[resource.PropertyKey(p)])
	}
	if v := m[resource.PropertyKey(path[len(path)-1])]; v.IsBool() {
		return v.BoolValue()
	}
	return fallback
}

// at returns a property of the input, nil where it is not given.
func (c *construction) at(key string, path ...string) pulumi.Input {
	given := c.plain
	for _, p := range append([]string{key}, path...) {
		v := given[resource.PropertyKey(p)]
		if v.IsNull() {
			return nil
		}
		given = object(v)
	}
	return pulumi.ToOutput(c.in[key]).ApplyT(func(v any) any {
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return v
	})
}

// tags returns the named sets of tags in one, the last first, and the tag Name.
func (c *construction) tags(name string, keys ...string) pulumi.Input {
	var sets []any
	for _, k := range keys {
		if v := c.in[k]; v != nil {
			sets = append(sets, v)
		}
	}
	return pulumi.All(sets...).ApplyT(func(sets []any) map[string]any {
		out := map[string]any{}
		if name != "" {
			out["Name"] = name
		}
		for _, s := range slices.Backward(sets) {
			m, _ := s.(map[string]any)
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	})
}

// role makes the component ServiceRole: servicerole.ts.
func (c *construction) role(name, service, description string, policies ...string) (*iam.Role, []pulumi.Resource, error) {
	self := &component{}
	if err := c.ctx.RegisterComponentResource("eks:index:ServiceRole", name, self, pulumi.Parent(c.self)); err != nil {
		return nil, nil, err
	}
	in := *c
	in.self = self
	props := pulumi.Map{
		"assumeRolePolicy": pulumi.String(`{"Version":"2012-10-17","Statement":[{"Action":["sts:AssumeRole","sts:TagSession"],"Effect":"Allow","Principal":{"Service":["` + service + `"]}}]}`),
		"tags":             c.at("tags"),
	}
	if description != "" {
		props["description"] = pulumi.String(description)
	}
	role := &iam.Role{}
	if err := in.make("aws:iam/role:Role", name+"-role", props, role); err != nil {
		return nil, nil, err
	}
	var attached []pulumi.Resource
	for _, p := range policies {
		arn := "arn:aws:iam::aws:policy/" + p
		sum := sha1.Sum([]byte(arn))
		attachment := &iam.RolePolicyAttachment{}
		if err := in.make("aws:iam/rolePolicyAttachment:RolePolicyAttachment", name+"-"+hex.EncodeToString(sum[:])[:8],
			pulumi.Map{"policyArn": pulumi.String(arn), "role": role.Name}, attachment); err != nil {
			return nil, nil, err
		}
		attached = append(attached, attachment)
	}
	return role, attached, c.ctx.RegisterResourceOutputs(self, pulumi.Map{})
}

// addon makes an add-on at the version that the options name.
func (c *construction) addon(name, addon, options, version string, cluster *awseks.Cluster, opts ...pulumi.ResourceOption) error {
	v := c.at(options, version)
	if v == nil {
		return fmt.Errorf("%s.%s is not given: the real component would take the newest version that AWS has that day", options, version)
	}
	conflicts := func(key string) pulumi.Input {
		if v := c.at(options, key); v != nil {
			return v
		}
		return pulumi.String("OVERWRITE")
	}
	props := pulumi.Map{
		"clusterName": cluster.Name, "addonName": pulumi.String(addon), "addonVersion": v, "preserve": pulumi.Bool(true),
		"tags": c.at("tags"), "resolveConflictsOnCreate": conflicts("resolveConflictsOnCreate"),
		"resolveConflictsOnUpdate": conflicts("resolveConflictsOnUpdate"),
	}
	if values := c.at(options, "configurationValues"); values != nil {
		props["configurationValues"] = pulumi.JSONMarshal(values)
	}
	return c.make("aws:eks/addon:Addon", name, props, &awseks.Addon{}, opts...)
}

// constructCluster is createCore and createCluster of cluster/cluster.ts.
func constructCluster(c *construction) (pulumi.Map, error) {
	name := c.name
	for _, key := range []string{"fargate", "encryptionConfigKeyArn", "creationRoleProvider", "customInstanceRolePolicy", "storageClasses", "nodeGroupOptions"} {
		if c.plain.HasValue(resource.PropertyKey(key)) {
			return nil, fmt.Errorf("the double has no %s", key)
		}
	}
	switch {
	case c.flag(false, "autoMode", "enabled"):
		return nil, errors.New("the double has no autoMode")
	case !c.flag(false, "skipDefaultNodeGroup"):
		return nil, errors.New("the double makes no default node group: set skipDefaultNodeGroup")
	case !c.plain.HasValue("vpcId"):
		return nil, errors.New("without vpcId the real component takes the account's default VPC")
	}
	mode := text(c.plain["authenticationMode"])
	if mode != "" && mode != "API" && mode != "CONFIG_MAP" && mode != "API_AND_CONFIG_MAP" {
		return nil, fmt.Errorf("invalid value for authentication mode: %s", mode)
	}
	byConfigMap, byAPI := mode == "" || mode == "CONFIG_MAP" || mode == "API_AND_CONFIG_MAP", mode == "API" || mode == "API_AND_CONFIG_MAP"
	if !byAPI && c.plain.HasValue("accessEntries") {
		return nil, fmt.Errorf("accessEntries are only supported when authentication mode is set to API or API_AND_CONFIG_MAP")
	}

	subnets := c.at("subnetIds")
	if subnets == nil {
		subnets = pulumi.All(list(c.in["publicSubnetIds"]), list(c.in["privateSubnetIds"])).ApplyT(func(all []any) []any {
			public, _ := all[0].([]any)
			private, _ := all[1].([]any)
			return append(slices.Clone(public), private...)
		})
	}
	var clusterRoleArn pulumi.Input
	var roles []pulumi.Resource
	if given := c.at("serviceRole"); given != nil {
		clusterRoleArn = pulumi.ToOutput(c.in["serviceRole"]).ApplyT(roleArn)
	} else {
		role, attached, err := c.role(name+"-eksRole", "eks.amazonaws.com", "Allows EKS to manage clusters on your behalf.", "AmazonEKSClusterPolicy")
		if err != nil {
			return nil, err
		}
		clusterRoleArn, roles = role.Arn, append(attached, role)
	}

	out := pulumi.Map{}
	vpcConfig := pulumi.Map{
		"subnetIds": subnets, "endpointPrivateAccess": c.at("endpointPrivateAccess"),
		"endpointPublicAccess": c.at("endpointPublicAccess"), "publicAccessCidrs": c.at("publicAccessCidrs"),
	}
	ownGroups := !c.flag(false, "skipDefaultSecurityGroups")
	group, rule := &ec2.SecurityGroup{}, &ec2.SecurityGroupRule{}
	switch {
	case c.plain.HasValue("clusterSecurityGroup"):
		return nil, errors.New("the double has no clusterSecurityGroup")
	case ownGroups:
		if err := c.make("aws:ec2/securityGroup:SecurityGroup", name+"-eksClusterSecurityGroup", pulumi.Map{
			"vpcId": c.in["vpcId"], "revokeRulesOnDelete": pulumi.Bool(true),
			"tags": c.tags(name+"-eksClusterSecurityGroup", "tags", "clusterSecurityGroupTags"),
		}, group); err != nil {
			return nil, err
		}
		if err := c.make("aws:ec2/securityGroupRule:SecurityGroupRule", name+"-eksClusterInternetEgressRule",
			open("egress", "-1", 0, 0, "Allow internet access.", group.ID(), pulumi.Map{"cidrBlocks": pulumi.ToStringArray([]string{"0.0.0.0/0"})}), rule); err != nil {
			return nil, err
		}
		vpcConfig["securityGroupIds"] = pulumi.Array{group.ID()}
		out["clusterSecurityGroup"] = group
	}
	for k, v := range vpcConfig {
		if v == nil {
			delete(vpcConfig, k)
		}
	}

	props := pulumi.Map{
		"name": c.at("name"), "roleArn": clusterRoleArn, "vpcConfig": vpcConfig, "version": c.at("version"),
		"enabledClusterLogTypes": c.at("enabledClusterLogTypes"), "tags": c.tags(name+"-eksCluster", "tags", "clusterTags"),
		"defaultAddonsToRemoves": c.at("defaultAddonsToRemove"),
	}
	if cidr := c.at("kubernetesServiceIpAddressRange"); cidr != nil || c.at("ipFamily") != nil {
		network := pulumi.Map{"ipFamily": pulumi.String("ipv4"), "serviceIpv4Cidr": cidr}
		if cidr == nil {
			delete(network, "serviceIpv4Cidr")
		}
		props["kubernetesNetworkConfig"] = network
	}
	if mode != "" {
		props["accessConfig"] = pulumi.Map{
			"authenticationMode": pulumi.String(mode), "bootstrapClusterCreatorAdminPermissions": pulumi.Bool(true),
		}
	}
	cluster := &awseks.Cluster{}
	if err := c.make("aws:eks/cluster:Cluster", name+"-eksCluster", props, cluster, pulumi.DependsOn(roles),
		pulumi.IgnoreChanges([]string{"accessConfig.bootstrapClusterCreatorAdminPermissions", "bootstrapSelfManagedAddons"})); err != nil {
		return nil, err
	}
	if c.flag(true, "kubeProxyAddonOptions", "enabled") {
		if err := c.addon(name+"-kube-proxy", "kube-proxy", "kubeProxyAddonOptions", "version", cluster); err != nil {
			return nil, err
		}
	}

	config := kubeconfig(cluster)
	cluster8s := &kubernetes.Provider{}
	if err := c.ctx.RegisterResource("pulumi:providers:kubernetes", name+"-eks-k8s", pulumi.Map{
		"kubeconfig": pulumi.JSONMarshal(config),
	}, cluster8s, pulumi.Parent(c.self), pulumi.Version(eksKubernetes)); err != nil {
		return nil, err
	}

	instanceRoles := pulumi.Input(pulumi.Array{})
	switch {
	case c.plain.HasValue("instanceRoles"):
		instanceRoles = c.in["instanceRoles"]
	case c.plain.HasValue("instanceRole"):
		instanceRoles = pulumi.Array{c.in["instanceRole"]}
	case c.flag(false, "createInstanceRole"):
		return nil, errors.New("the double has no createInstanceRole: give instanceRoles, or each node group its nodeRole")
	}
	core := pulumi.Map{
		"cluster": cluster, "endpoint": cluster.Endpoint, "vpcId": c.in["vpcId"], "subnetIds": subnets, "kubeconfig": config,
		"provider": cluster8s, "instanceRoles": instanceRoles, "nodeGroupOptions": pulumi.Map{}, "autoModeNodeRoleName": pulumi.String(""),
	}
	for _, key := range []string{"publicSubnetIds", "privateSubnetIds"} {
		if v := c.at(key); v != nil {
			core[key] = v
		}
	}
	var auth []pulumi.Resource
	if byConfigMap {
		access := &corev1.ConfigMap{}
		if err := c.make("kubernetes:core/v1:ConfigMap", name+"-nodeAccess", pulumi.Map{
			"apiVersion": pulumi.String("v1"), "kind": pulumi.String("ConfigMap"), "immutable": pulumi.Bool(false),
			"metadata": pulumi.Map{
				"name": pulumi.String("aws-auth"), "namespace": pulumi.String("kube-system"),
				"annotations": pulumi.StringMap{"pulumi.com/patchForce": pulumi.String("true")},
			},
			"data": pulumi.Map{"mapRoles": pulumi.JSONMarshal(instanceRoles)},
		}, access, pulumi.Provider(cluster8s)); err != nil {
			return nil, err
		}
		auth = append(auth, access)
		core["eksNodeAccess"] = access
	}
	entries := object(c.plain["accessEntries"])
	for _, key := range entries.StableKeys() {
		entry, err := c.accessEntry(string(key), object(entries[key]), cluster)
		if err != nil {
			return nil, err
		}
		auth = append(auth, entry)
	}
	if !c.flag(false, "useDefaultVpcCni") {
		self := &component{}
		if err := c.ctx.RegisterComponentResource("eks:index:VpcCniAddon", name+"-vpc-cni", self, pulumi.Parent(c.self), pulumi.DependsOn(auth)); err != nil {
			return nil, err
		}
		in := *c
		in.self = self
		if err := in.addon(name+"-vpc-cni", "vpc-cni", "vpcCniOptions", "addonVersion", cluster); err != nil {
			return nil, err
		}
	}
	if c.flag(false, "corednsAddonOptions", "enabled") && object(c.plain["corednsAddonOptions"]).HasValue("version") {
		if err := c.addon(name+"-coredns", "coredns", "corednsAddonOptions", "version", cluster); err != nil {
			return nil, err
		}
	}
	issuer := cluster.Identities.ApplyT(func(ids []awseks.ClusterIdentity) string {
		if len(ids) == 0 || len(ids[0].Oidcs) == 0 || ids[0].Oidcs[0].Issuer == nil {
			return ""
		}
		return *ids[0].Oidcs[0].Issuer
	}).(pulumi.StringOutput)
	out["oidcProviderArn"] = pulumi.String("")
	if c.flag(false, "createOidcProvider") {
		oidc := &iam.OpenIdConnectProvider{}
		if err := c.make("aws:iam/openIdConnectProvider:OpenIdConnectProvider", name+"-oidcProvider", pulumi.Map{
			"clientIdLists": pulumi.ToStringArray([]string{"sts.amazonaws.com"}), "url": issuer,
			"thumbprintLists": pulumi.ToStringArray([]string{"9e99a48a9960b14926bb7f3b02e22da2b0ab7280"}),
		}, oidc); err != nil {
			return nil, err
		}
		core["oidcProvider"], out["oidcProviderArn"] = oidc, oidc.Arn
	}

	groupID := pulumi.Input(cluster.VpcConfig.ClusterSecurityGroupId())
	out["clusterSecurityGroupId"], out["nodeSecurityGroupId"], out["clusterIngressRuleId"] = groupID, groupID, pulumi.String("")
	if ownGroups {
		nodes, ingress, err := c.nodeSecurityGroup(cluster, group)
		if err != nil {
			return nil, err
		}
		out["clusterSecurityGroupId"], out["nodeSecurityGroupId"], out["clusterIngressRuleId"] = group.ID(), nodes.ID(), ingress.SecurityGroupRuleId
		out["nodeSecurityGroup"], out["eksClusterIngressRule"] = nodes, ingress
	}
	out["core"], out["eksCluster"], out["instanceRoles"] = core, cluster, instanceRoles
	out["kubeconfig"], out["kubeconfigJson"] = config, pulumi.JSONMarshal(config)
	out["oidcProviderUrl"] = issuer
	out["oidcIssuer"] = issuer.ApplyT(func(url string) string { return strings.TrimPrefix(url, "https://") })
	for _, key := range []string{"defaultNodeGroupAsgName", "fargateProfileId", "fargateProfileStatus", "autoModeNodeRoleName"} {
		out[key] = pulumi.String("")
	}
	return out, nil
}

// accessEntry is createAccessEntries of cluster/authenticationMode.ts.
func (c *construction) accessEntry(key string, given resource.PropertyMap, cluster *awseks.Cluster) (pulumi.Resource, error) {
	field := func(path ...string) pulumi.Input { return c.at("accessEntries", append([]string{key}, path...)...) }
	entry := &awseks.AccessEntry{}
	if err := c.make("aws:eks/accessEntry:AccessEntry", c.name+"-"+key, pulumi.Map{
		"clusterName": cluster.Name, "principalArn": field("principalArn"), "kubernetesGroups": field("kubernetesGroups"),
		"type": field("type"), "userName": field("username"), "tags": field("tags"),
	}, entry, pulumi.DependsOn([]pulumi.Resource{cluster})); err != nil {
		return nil, err
	}
	in := *c
	in.self = entry
	policies := object(given["accessPolicies"])
	for _, p := range policies.StableKeys() {
		if err := in.make("aws:eks/accessPolicyAssociation:AccessPolicyAssociation", c.name+"-"+key+"-"+string(p), pulumi.Map{
			"clusterName": cluster.Name, "principalArn": field("principalArn"),
			"policyArn": field("accessPolicies", string(p), "policyArn"), "accessScope": field("accessPolicies", string(p), "accessScope"),
		}, &awseks.AccessPolicyAssociation{}, pulumi.DependsOn([]pulumi.Resource{entry})); err != nil {
			return nil, err
		}
	}
	return entry, nil
}

// nodeSecurityGroup is createNodeGroupSecurityGroup of nodes/securitygroup.ts.
func (c *construction) nodeSecurityGroup(cluster *awseks.Cluster, clusterGroup *ec2.SecurityGroup) (*ec2.SecurityGroup, *ec2.SecurityGroupRule, error) {
	name := c.name
	nodes := &ec2.SecurityGroup{}
	tags := pulumi.All(c.tags(name+"-nodeSecurityGroup", "tags", "nodeSecurityGroupTags"), cluster.Name).ApplyT(func(all []any) map[string]any {
		out := map[string]any{"kubernetes.io/cluster/" + all[1].(string): "owned"}
		for k, v := range all[0].(map[string]any) {
			out[k] = v
		}
		return out
	})
	if err := c.make("aws:ec2/securityGroup:SecurityGroup", name+"-nodeSecurityGroup", pulumi.Map{
		"vpcId": c.in["vpcId"], "revokeRulesOnDelete": pulumi.Bool(true), "tags": tags,
	}, nodes); err != nil {
		return nil, nil, err
	}
	from := func(id pulumi.Input) pulumi.Map { return pulumi.Map{"sourceSecurityGroupId": id} }
	rules := []struct {
		name  string
		props pulumi.Map
	}{
		{"-eksNodeIngressRule", open("ingress", "-1", 0, 0, "Allow nodes to communicate with each other", nodes.ID(), pulumi.Map{"self": pulumi.Bool(true)})},
		{"-eksNodeClusterIngressRule", open("ingress", "tcp", 1025, 65535, "Allow worker Kubelets and pods to receive communication from the cluster control plane", nodes.ID(), from(clusterGroup.ID()))},
		{"-eksExtApiServerClusterIngressRule", open("ingress", "tcp", 443, 443, "Allow pods running extension API servers on port 443 to receive communication from cluster control plane", nodes.ID(), from(clusterGroup.ID()))},
		{"-eksNodeInternetEgressRule", open("egress", "-1", 0, 0, "Allow internet access.", nodes.ID(), pulumi.Map{"cidrBlocks": pulumi.ToStringArray([]string{"0.0.0.0/0"})})},
		{"-eksClusterIngressRule", open("ingress", "tcp", 443, 443, "Allow pods to communicate with the cluster API Server", clusterGroup.ID(), from(nodes.ID()))},
	}
	var last *ec2.SecurityGroupRule
	for _, r := range rules {
		last = &ec2.SecurityGroupRule{}
		if err := c.make("aws:ec2/securityGroupRule:SecurityGroupRule", name+r.name, r.props, last); err != nil {
			return nil, nil, err
		}
	}
	return nodes, last, nil
}

// open returns the inputs of a security group rule.
func open(direction, protocol string, from, to int, description string, group pulumi.Input, more pulumi.Map) pulumi.Map {
	props := pulumi.Map{
		"type": pulumi.String(direction), "protocol": pulumi.String(protocol), "fromPort": pulumi.Int(from), "toPort": pulumi.Int(to),
		"description": pulumi.String(description), "securityGroupId": group,
	}
	for k, v := range more {
		props[k] = v
	}
	return props
}

// kubeconfig is generateKubeconfig of cluster/cluster.ts. It holds no credentials: the AWS CLI is run
// for a token. So it is no secret, there as here.
func kubeconfig(cluster *awseks.Cluster) pulumi.Output {
	return pulumi.All(cluster.Name, cluster.Endpoint, cluster.CertificateAuthority.Data(), cluster.Arn).ApplyT(func(all []any) (map[string]any, error) {
		data, _ := all[2].(*string)
		if data == nil {
			data = new(string)
		}
		arn := strings.Split(all[3].(string), ":")
		if len(arn) < 4 {
			return nil, fmt.Errorf("cluster arn %q has no region", all[3])
		}
		return map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": "aws",
			"clusters": []any{map[string]any{"name": "kubernetes", "cluster": map[string]any{
				"server": all[1], "certificate-authority-data": *data,
			}}},
			"contexts": []any{map[string]any{"name": "aws", "context": map[string]any{"cluster": "kubernetes", "user": "aws"}}},
			"users": []any{map[string]any{"name": "aws", "user": map[string]any{"exec": map[string]any{
				"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws",
				"args": []any{"--region", arn[3], "eks", "get-token", "--cluster-name", all[0], "--output", "json"},
			}}}},
		}, nil
	})
}

// constructNodeGroup is createManagedNodeGroup of nodes/nodegroup.ts.
func constructNodeGroup(c *construction) (pulumi.Map, error) {
	for _, key := range []string{"kubeletExtraArgs", "bootstrapExtraArgs", "bottlerocketSettings", "nodeadmExtraOptions", "enableIMDSv2", "userData",
		"amiId", "enableEfaSupport", "operatingSystem", "gpu"} {
		if c.plain.HasValue(resource.PropertyKey(key)) {
			return nil, fmt.Errorf("the double has no %s: give a launchTemplate and an amiType", key)
		}
	}
	var role pulumi.Input
	switch {
	case c.plain.HasValue("nodeRoleArn") && c.plain.HasValue("nodeRole"):
		return nil, errors.New("nodeRole and nodeRoleArn cannot both be given")
	case c.plain.HasValue("nodeRoleArn"):
		role = c.in["nodeRoleArn"]
	case c.plain.HasValue("nodeRole"):
		role = pulumi.ToOutput(c.in["nodeRole"]).ApplyT(roleArn)
	default:
		return nil, errors.New("an IAM role, or role ARN must be provided to create a managed node group")
	}
	// of the component, or of its output core, what of the cluster is asked for
	cluster := func(get func(*awseks.Cluster) pulumi.Output) pulumi.Input {
		return pulumi.ToOutput(c.in["cluster"]).ApplyT(func(v any) (any, error) { // an output in an any is awaited in turn
			switch v := v.(type) {
			case *eks.Cluster:
				return v.EksCluster.ApplyT(func(cluster *awseks.Cluster) any { return get(cluster) }), nil
			case map[string]any:
				if cluster, ok := v["cluster"].(*awseks.Cluster); ok {
					return get(cluster), nil
				}
			}
			return nil, fmt.Errorf("cluster is %T, neither an eks.Cluster nor its core", v)
		})
	}
	props := pulumi.Map{"nodeRoleArn": role, "clusterName": c.at("clusterName"), "subnetIds": c.at("subnetIds")}
	for _, key := range []string{"amiType", "capacityType", "diskSize", "forceUpdateVersion", "instanceTypes", "labels", "launchTemplate", "nodeGroupName",
		"nodeGroupNamePrefix", "releaseVersion", "remoteAccess", "tags", "taints", "version"} {
		props[key] = c.at(key)
	}
	if props["clusterName"] == nil {
		props["clusterName"] = cluster(func(c *awseks.Cluster) pulumi.Output { return c.Name })
	}
	if props["version"] == nil && props["launchTemplate"] == nil {
		props["version"] = cluster(func(c *awseks.Cluster) pulumi.Output { return c.Version })
	}
	if props["subnetIds"] == nil {
		return nil, errors.New("the double needs subnetIds")
	}
	scaling := pulumi.Map{}
	for key, fallback := range map[string]int{"desiredSize": 2, "minSize": 1, "maxSize": 2} {
		if scaling[key] = c.at("scalingConfig", key); scaling[key] == nil {
			scaling[key] = pulumi.Int(fallback)
		}
	}
	props["scalingConfig"] = scaling
	var opts []pulumi.ResourceOption
	if c.flag(false, "ignoreScalingChanges") {
		opts = append(opts, pulumi.IgnoreChanges([]string{"scalingConfig.desiredSize"}))
	}
	group := &awseks.NodeGroup{}
	if err := c.make("aws:eks/nodeGroup:NodeGroup", c.name, props, group, opts...); err != nil {
		return nil, err
	}
	return pulumi.Map{"nodeGroup": group, "placementGroupName": pulumi.String("")}, nil
}

func roleArn(v any) (pulumi.StringOutput, error) {
	role, ok := v.(*iam.Role)
	if !ok {
		return pulumi.StringOutput{}, fmt.Errorf("role is %T, not an IAM role", v)
	}
	return role.Arn, nil
}

// list returns in, or an empty list for nil.
func list(in pulumi.Input) pulumi.Input {
	if in == nil {
		return pulumi.Array{}
	}
	return in
}
