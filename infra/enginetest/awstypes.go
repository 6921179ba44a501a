package enginetest

// awsType is what the double of aws knows about a resource type.
type awsType struct {
	// id is a pattern: {hex} are 17 hexadecimal digits, {region} and {account} are what they say, and
	// any other {word} is the input of that name.
	id string
	// autoName is the property that Pulumi fills in when it is absent.
	autoName string
	// forceNew are the properties that only a replacement can change; "*" are all but the tags and those
	// in inPlace.
	forceNew []string
	inPlace  []string
	// oneOf are sets of properties of which exactly one must be given; with fixedChoice another choice
	// forces a replacement.
	oneOf       [][]string
	fixedChoice bool
	// deleteFirst is set where pulumi-aws deletes before it replaces.
	deleteFirst bool
	// outputs are patterns too, with {id} for the id.
	outputs map[string]any
}

const (
	arnEC2 = "arn:aws:ec2:{region}:{account}:"
	arnEKS = "arn:aws:eks:{region}:{account}:"
	arnIAM = "arn:aws:iam::{account}:"
)

// awsTypes is the table of the types that the stacks use; a type that is missing is refused. What
// forces a replacement is marked ForceNew (or RequiresReplace) in the schemas of terraform-provider-aws
// v5.100, on which pulumi-aws v6.83 is built. Names are Pulumi's.
// https://github.com/hashicorp/terraform-provider-aws/tree/v5.100.0/internal/service/SERVICE/FILE.go
//
// Read there, in some version: ec2/ec2_eip, ec2/vpc_nat_gateway, ec2/vpc_peering_connection,
// ec2/vpc_route, ec2/vpc_security_group_ingress_rule, ec2/vpc_subnet, eks/access_entry, eks/cluster,
// eks/node_group, eks/pod_identity_association, route53/record. The others are from memory
// and were not checked. What deletes first:
// https://github.com/pulumi/pulumi-aws/blob/v6.83.0/provider/resources.go
var awsTypes = map[string]awsType{
	// ec2: vpc_.go vpc_subnet.go vpc_internet_gateway.go ec2_eip.go vpc_nat_gateway.go vpc_route_table.go
	// vpc_route.go vpc_route_table_association.go vpc_dhcp_options.go vpc_dhcp_options_association.go
	"aws:ec2/vpc:Vpc": {
		id: "vpc-{hex}", forceNew: []string{"cidrBlock", "ipv4IpamPoolId", "ipv4NetmaskLength"},
		outputs: map[string]any{
			"arn": arnEC2 + "vpc/{id}", "ownerId": account, "mainRouteTableId": "rtb-{hex}", "defaultRouteTableId": "rtb-{hex}",
			"defaultSecurityGroupId": "sg-{hex}", "defaultNetworkAclId": "acl-{hex}", "dhcpOptionsId": "dopt-{hex}",
			"enableDnsSupport": true, "instanceTenancy": "default",
		},
	},
	"aws:ec2/subnet:Subnet": {
		id:       "subnet-{hex}",
		forceNew: []string{"availabilityZone", "availabilityZoneId", "cidrBlock", "ipv6Native", "outpostArn", "vpcId"},
		outputs:  map[string]any{"arn": arnEC2 + "subnet/{id}", "ownerId": account, "availabilityZoneId": "use1-az1"},
	},
	"aws:ec2/internetGateway:InternetGateway": {
		id: "igw-{hex}", outputs: map[string]any{"arn": arnEC2 + "internet-gateway/{id}", "ownerId": account},
	},
	"aws:ec2/eip:Eip": {
		id: "eipalloc-{hex}", forceNew: []string{"address", "domain", "ipamPoolId", "networkBorderGroup", "publicIpv4Pool"},
		outputs: map[string]any{"allocationId": "{id}", "publicIp": "198.51.100.1", "arn": arnEC2 + "elastic-ip/{id}"},
	},
	"aws:ec2/natGateway:NatGateway": {
		id: "nat-{hex}", forceNew: []string{"allocationId", "connectivityType", "privateIp", "secondaryPrivateIpAddressCount", "subnetId"},
		outputs: map[string]any{"publicIp": "198.51.100.1", "privateIp": "10.0.0.10", "networkInterfaceId": "eni-{hex}", "connectivityType": "public"},
	},
	"aws:ec2/routeTable:RouteTable": {
		id: "rtb-{hex}", forceNew: []string{"vpcId"}, outputs: map[string]any{"arn": arnEC2 + "route-table/{id}", "ownerId": account},
	},
	"aws:ec2/route:Route": {
		id: "r-{routeTableId}{hex}", forceNew: []string{"destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId", "routeTableId"},
		oneOf: [][]string{
			{"destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"},
			{"carrierGatewayId", "coreNetworkArn", "egressOnlyGatewayId", "gatewayId", "localGatewayId", "natGatewayId", "networkInterfaceId", "transitGatewayId", "vpcEndpointId", "vpcPeeringConnectionId"},
		},
		outputs: map[string]any{"origin": "CreateRoute", "state": "active"},
	},
	"aws:ec2/routeTableAssociation:RouteTableAssociation": {id: "rtbassoc-{hex}", forceNew: []string{"gatewayId", "subnetId"}},
	"aws:ec2/vpcDhcpOptions:VpcDhcpOptions": {
		id: "dopt-{hex}", forceNew: []string{"*"}, outputs: map[string]any{"arn": arnEC2 + "dhcp-options/{id}", "ownerId": account},
	},
	"aws:ec2/vpcDhcpOptionsAssociation:VpcDhcpOptionsAssociation": {id: "{dhcpOptionsId}-{vpcId}", forceNew: []string{"vpcId"}},
	"aws:ec2/vpcPeeringConnection:VpcPeeringConnection": {
		id: "pcx-{hex}", forceNew: []string{"peerOwnerId", "peerRegion", "peerVpcId", "vpcId"},
		outputs: map[string]any{"acceptStatus": "pending-acceptance"},
	},
	"aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter": {
		id: "{vpcPeeringConnectionId}", forceNew: []string{"vpcPeeringConnectionId"}, outputs: map[string]any{"acceptStatus": "active"},
	},
	"aws:ec2/peeringConnectionOptions:PeeringConnectionOptions": {id: "{vpcPeeringConnectionId}", forceNew: []string{"vpcPeeringConnectionId"}},
	"aws:ec2/vpcEndpoint:VpcEndpoint":                           {id: "vpce-{hex}", forceNew: []string{"serviceName", "serviceRegion", "vpcEndpointType", "vpcId"}},
	"aws:ec2/launchTemplate:LaunchTemplate": {
		id: "lt-{hex}", autoName: "name", forceNew: []string{"name", "namePrefix"},
		outputs: map[string]any{"arn": arnEC2 + "launch-template/{id}", "latestVersion": 1, "defaultVersion": 1},
	},
	"aws:ec2/securityGroup:SecurityGroup": {
		id: "sg-{hex}", autoName: "name", forceNew: []string{"description", "name", "namePrefix", "vpcId"},
		outputs: map[string]any{"arn": arnEC2 + "security-group/{id}", "ownerId": account, "description": "Managed by Pulumi"},
	},
	"aws:ec2/securityGroupRule:SecurityGroupRule": {
		id: "sgrule-{hex}", deleteFirst: true, forceNew: []string{"*"}, inPlace: []string{"description"}, outputs: map[string]any{"securityGroupRuleId": "sgr-{hex}"},
	},
	"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {
		oneOf: [][]string{{"cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"}}, fixedChoice: true,
		id: "sgr-{hex}", forceNew: []string{"securityGroupId"}, outputs: map[string]any{"securityGroupRuleId": "{id}", "arn": arnEC2 + "security-group-rule/{id}"},
	},
	"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {
		oneOf: [][]string{{"cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"}}, fixedChoice: true,
		id: "sgr-{hex}", forceNew: []string{"securityGroupId"}, outputs: map[string]any{"securityGroupRuleId": "{id}", "arn": arnEC2 + "security-group-rule/{id}"},
	},
	"aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {id: "sg-{hex}", forceNew: []string{"vpcId"}},
	"aws:ec2/placementGroup:PlacementGroup":             {id: "{name}", autoName: "name", forceNew: []string{"*"}},
	"aws:ec2/tag:Tag":                                   {id: "{resourceId},{key}", forceNew: []string{"key", "resourceId"}},

	// iam: role.go role_policy_attachment.go policy.go role_policy.go instance_profile.go openid_connect_provider.go
	"aws:iam/role:Role": {
		id: "{name}", autoName: "name", forceNew: []string{"name", "namePrefix", "path"},
		outputs: map[string]any{"arn": arnIAM + "role/{name}", "uniqueId": "AROA{hex}", "createDate": "2026-01-01T00:00:00Z"},
	},
	"aws:iam/rolePolicyAttachment:RolePolicyAttachment": {id: "{role}-{hex}", deleteFirst: true, forceNew: []string{"policyArn", "role"}},
	"aws:iam/policy:Policy": {
		id: arnIAM + "policy/{name}", autoName: "name", forceNew: []string{"description", "name", "namePrefix", "path"},
		outputs: map[string]any{"arn": "{id}", "policyId": "ANPA{hex}"},
	},
	"aws:iam/rolePolicy:RolePolicy": {id: "{role}:{name}", autoName: "name", forceNew: []string{"name", "namePrefix", "role"}},
	"aws:iam/instanceProfile:InstanceProfile": {
		id: "{name}", autoName: "name", forceNew: []string{"name", "namePrefix", "path"}, outputs: map[string]any{"arn": arnIAM + "instance-profile/{name}"},
	},
	"aws:iam/openIdConnectProvider:OpenIdConnectProvider": {
		id: arnIAM + "oidc-provider/{hex}", forceNew: []string{"url"}, outputs: map[string]any{"arn": "{id}"},
	},

	// eks: cluster.go node_group.go addon.go access_entry.go access_policy_association.go pod_identity_association.go
	"aws:eks/cluster:Cluster": {
		id: "{name}", autoName: "name",
		forceNew: []string{"bootstrapSelfManagedAddons", "accessConfig.bootstrapClusterCreatorAdminPermissions",
			"kubernetesNetworkConfig.ipFamily", "kubernetesNetworkConfig.serviceIpv4Cidr", "name", "outpostConfig", "remoteNetworkConfig", "roleArn"},
		outputs: map[string]any{
			"arn": arnEKS + "cluster/{name}", "endpoint": "https://{hex}.gr7.{region}.eks.amazonaws.com", "status": "ACTIVE",
			"platformVersion": "eks.1", "version": "1.35", "createdAt": "2026-01-01T00:00:00Z",
			"certificateAuthority": map[string]any{"data": "Y2VydGlmaWNhdGU="},
			"vpcConfig":            map[string]any{"clusterSecurityGroupId": "sg-{hex}", "vpcId": "vpc-{hex}"},
			"identities": []any{map[string]any{"oidcs": []any{map[string]any{
				"issuer": "https://oidc.eks.{region}.amazonaws.com/id/{hex}",
			}}}},
		},
	},
	"aws:eks/nodeGroup:NodeGroup": {
		id: "{clusterName}:{nodeGroupName}", autoName: "nodeGroupName",
		forceNew: []string{"amiType", "capacityType", "clusterName", "diskSize", "instanceTypes", "launchTemplate.id", "launchTemplate.name",
			"nodeGroupName", "nodeGroupNamePrefix", "nodeRoleArn", "remoteAccess", "subnetIds"},
		outputs: map[string]any{
			"arn": arnEKS + "nodegroup/{clusterName}/{nodeGroupName}/{hex}", "status": "ACTIVE",
			"resources": []any{map[string]any{"autoscalingGroups": []any{map[string]any{"name": "eks-{nodeGroupName}-{hex}"}}}},
		},
	},
	"aws:eks/addon:Addon": {
		id: "{clusterName}:{addonName}", forceNew: []string{"addonName", "clusterName"},
		outputs: map[string]any{"arn": arnEKS + "addon/{clusterName}/{addonName}/{hex}", "addonVersion": "v1.0.0-eksbuild.1"},
	},
	"aws:eks/accessEntry:AccessEntry": {
		id: "{clusterName}:{principalArn}", forceNew: []string{"clusterName", "principalArn", "type"},
		outputs: map[string]any{"accessEntryArn": arnEKS + "access-entry/{clusterName}/{hex}"},
	},
	"aws:eks/accessPolicyAssociation:AccessPolicyAssociation": {id: "{clusterName}#{principalArn}#{policyArn}", forceNew: []string{"*"}},
	"aws:eks/podIdentityAssociation:PodIdentityAssociation": {
		id: "a-{hex}", forceNew: []string{"clusterName", "namespace", "serviceAccount"},
		outputs: map[string]any{"associationId": "{id}", "associationArn": arnEKS + "podidentityassociation/{clusterName}/{id}"},
	},

	// route53: zone.go record.go zone_association.go vpc_association_authorization.go
	"aws:route53/zone:Zone": {
		id: "Z{hex}", forceNew: []string{"delegationSetId", "name"},
		outputs: map[string]any{"zoneId": "{id}", "arn": "arn:aws:route53:::hostedzone/{id}", "nameServers": []any{"ns-1.awsdns-00.com"}, "comment": "Managed by Pulumi"},
	},
	"aws:route53/record:Record": {
		id: "{zoneId}_{name}_{type}", forceNew: []string{"name", "zoneId"}, outputs: map[string]any{"fqdn": "{name}"},
	},
	"aws:route53/zoneAssociation:ZoneAssociation":                         {id: "{zoneId}:{vpcId}:{vpcRegion}", forceNew: []string{"*"}},
	"aws:route53/vpcAssociationAuthorization:VpcAssociationAuthorization": {id: "{zoneId}:{vpcId}", forceNew: []string{"*"}},

	// ecr: repository.go; logs: group.go; kms: key.go alias.go; autoscaling: tag.go
	"aws:ecr/repository:Repository": {
		id: "{name}", autoName: "name", forceNew: []string{"encryptionConfigurations", "name"},
		outputs: map[string]any{
			"arn": "arn:aws:ecr:{region}:{account}:repository/{name}", "registryId": account,
			"repositoryUrl": "{account}.dkr.ecr.{region}.amazonaws.com/{name}",
		},
	},
	"aws:ecr/lifecyclePolicy:LifecyclePolicy": {id: "{repository}", deleteFirst: true, forceNew: []string{"repository"}},
	"aws:kms/key:Key": {
		id: "{hex}", forceNew: []string{"customKeyStoreId", "customerMasterKeySpec", "keyUsage", "multiRegion", "xksKeyId"},
		outputs: map[string]any{"keyId": "{id}", "arn": "arn:aws:kms:{region}:{account}:key/{id}"},
	},
	"aws:kms/alias:Alias":     {id: "{name}", autoName: "name", forceNew: []string{"name", "namePrefix"}},
	"aws:autoscaling/tag:Tag": {id: "{autoscalingGroupName},{hex}", forceNew: []string{"autoscalingGroupName", "tag.key"}},
}
