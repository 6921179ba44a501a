package cluster_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/cluster"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
)

const (
	nodeGroupType = "aws:eks/nodeGroup:NodeGroup"
	addOnType     = "aws:eks/addon:Addon"
	templateType  = "aws:ec2/launchTemplate:LaunchTemplate"
	controlType   = "aws:eks/cluster:Cluster"
	providerType  = "pulumi:providers:kubernetes"
)

func good() *cluster.Args {
	return &cluster.Args{
		KubernetesPlugin: "4.26.0",
		EKS: &cluster.EKS{
			Name:          "mirror-source",
			Region:        "us-east-1",
			Version:       "1.35",
			VpcID:         pulumi.String("vpc-1"),
			SubnetIDs:     pulumi.ToStringArray([]string{"subnet-1", "subnet-2"}),
			NodeSubnetIDs: pulumi.ToStringArray([]string{"subnet-1"}),
			ServiceCIDR:   "172.20.0.0/16",
			PodCIDRs:      []string{"10.10.0.0/16", "10.20.0.0/16"},
			APICIDRs:      []string{"203.0.113.7/32"},
			AdminARNs:     []string{"arn:aws:iam::123456789012:role/ops/admin"},
			MTU:           8500,
			AddOns: cluster.AddOns{
				VPCCNI: "v1.20.4-eksbuild.2", KubeProxy: "v1.35.0-eksbuild.2", CoreDNS: "v1.12.4-eksbuild.1", PodIdentityAgent: "v1.3.10-eksbuild.1",
			},
			Nodes: cluster.Nodes{
				Count:         40,
				InstanceTypes: []string{"m6i.xlarge", "m5.xlarge"},
				AMIType:       "AL2023_x86_64_STANDARD",
				Release:       "1.35.0-20260101",
				CapacityType:  "ON_DEMAND",
				Disk:          cluster.Disk{GiB: 200, IOPS: 3000, MiBps: 250},
			},
			Tags: map[string]string{"cost": "mirror"},
		},
	}
}

// stack runs a program with a network, the cluster of args on it, and something in the cluster. The
// test may change args between updates.
func stack(t *testing.T, args *cluster.Args) *enginetest.Stack {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		a := *args
		var opts []pulumi.ResourceOption
		if args.EKS != nil && args.EKS.SubnetIDs != nil {
			n, err := network.NewNetwork(ctx, "source", &network.Args{
				Region: "us-east-1", CIDR: "10.10.0.0/16", Zones: []string{"use1-az1", "use1-az2"}, NodeZones: []string{"use1-az1"},
				PrivatePrefix: 19, ClusterName: args.EKS.Name,
			})
			if err != nil {
				return err
			}
			eks := *args.EKS
			eks.VpcID = n.VpcID
			eks.SubnetIDs, eks.NodeSubnetIDs = n.PrivateSubnetIDs, n.NodeSubnetIDs
			a.EKS, opts = &eks, append(opts, pulumi.DependsOn([]pulumi.Resource{n}))
		}
		c, err := cluster.NewCluster(ctx, "source", &a, opts...)
		if err != nil {
			return err
		}
		_, err = corev1.NewNamespace(ctx, "kafka", &corev1.NamespaceArgs{
			Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String("kafka")},
		}, pulumi.Provider(c.Provider))
		if err != nil {
			return err
		}
		ctx.Export("kubeconfig", c.Kubeconfig)
		ctx.Export("name", c.Name)
		ctx.Export("nodeSecurityGroupId", c.NodeSecurityGroupID)
		ctx.Export("command", pulumi.String(c.Command))
		return nil
	})
	s.SetConfig("aws:region", "us-east-1")
	return s
}

// same compares changes, in any order.
func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestWhatTheClusterIs(t *testing.T) {
	s := stack(t, good())
	up := s.Up()
	same(t, s.Up().Changes())
	same(t, s.Refresh().Changes())

	control := s.Resource(controlType, "source-eksCluster")
	for path, want := range map[string]any{
		"name":                                    "mirror-source",
		"version":                                 "1.35",
		"accessConfig.authenticationMode":         "API",
		"vpcConfig.endpointPrivateAccess":         true,
		"vpcConfig.endpointPublicAccess":          true,
		"kubernetesNetworkConfig.serviceIpv4Cidr": "172.20.0.0/16",
	} {
		if got := control.Get(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if got := fmt.Sprint(control.Get("vpcConfig.publicAccessCidrs")); got != "[203.0.113.7/32]" {
		t.Errorf("the API answers to %s", got)
	}
	if got := control.Get("vpcConfig.subnetIds").([]any); len(got) != 2 {
		t.Errorf("the control plane is in %v, and EKS wants two zones", got)
	}

	nodes := s.Resource(nodeGroupType, "source")
	if got := nodes.Get("subnetIds").([]any); len(got) != 1 || got[0] != s.Resource("aws:ec2/subnet:Subnet", "source-private-use1-az1").ID {
		t.Errorf("nodes live in %v", got)
	}
	if nodes.Get("releaseVersion") != "1.35.0-20260101" || fmt.Sprint(nodes.Get("instanceTypes")) != "[m6i.xlarge m5.xlarge]" {
		t.Errorf("nodes are %v", nodes.Inputs)
	}
	template := s.Resource(templateType, "source-node")
	for path, want := range map[string]any{
		"metadataOptions.httpTokens":                     "required",
		"metadataOptions.httpPutResponseHopLimit":        1, // pods do not get the node's role
		"blockDeviceMappings[0].ebs.volumeType":          "gp3",
		"blockDeviceMappings[0].ebs.throughput":          250,
		"blockDeviceMappings[0].ebs.encrypted":           "true",
		"tagSpecifications[0].tags.cost":                 "mirror",
		"imageId":                                        nil, // all of these are the node group's
		"instanceType":                                   nil,
		"vpcSecurityGroupIds":                            nil,
		"tagSpecifications[1].tags[\"cost\"]":            "mirror",
		"blockDeviceMappings[0].ebs.volumeSize":          200,
		"blockDeviceMappings[0].ebs.kmsKeyId":            nil,
		"blockDeviceMappings[0].deviceName":              "/dev/xvda",
		"blockDeviceMappings[0].ebs.iops":                3000,
		"tagSpecifications[0].resourceType":              "instance",
		"tagSpecifications[1].resourceType":              "volume",
		"updateDefaultVersion":                           true,
		"networkInterfaces":                              nil,
		"iamInstanceProfile":                             nil,
		"blockDeviceMappings[0].ebs.deleteOnTermination": "true",
	} {
		if got := template.Get(path); got != want {
			t.Errorf("launch template: %s: %v, want %v", path, got, want)
		}
	}

	var cni struct {
		EnableNetworkPolicy string            `json:"enableNetworkPolicy"`
		Env                 map[string]string `json:"env"`
	}
	text := s.Resource(addOnType, "source-vpc-cni").Get("configurationValues").(string)
	if err := json.Unmarshal([]byte(text), &cni); err != nil {
		t.Fatal(err)
	}
	if cni.EnableNetworkPolicy != "true" || cni.Env["AWS_VPC_K8S_CNI_EXTERNALSNAT"] != "true" || cni.Env["AWS_VPC_ENI_MTU"] != "8500" {
		t.Errorf("vpc-cni: %s", text)
	}

	// What there must be before a node can be ready, and what needs nodes.
	stages := [][][2]string{
		{{addOnType, "source-vpc-cni"}, {addOnType, "source-kube-proxy"}},
		{{nodeGroupType, "source"}},
		{{addOnType, "source-coredns"}, {addOnType, "source-eks-pod-identity-agent"}},
		{{providerType, "source"}},
		{{"kubernetes:core/v1:Namespace", "kafka"}},
	}
	for i := 1; i < len(stages); i++ {
		for _, early := range stages[i-1] {
			for _, late := range stages[i] {
				if a, b := up.Index(early[0], early[1]), up.Index(late[0], late[1]); a < 0 || a > b {
					t.Errorf("%q was made at %d, %q at %d", early, a, late, b)
				}
			}
		}
	}
	var addOns int
	for _, r := range s.Resources() {
		if r.Type != addOnType {
			continue
		}
		addOns++
		if version := r.Get("addonVersion"); version == nil {
			t.Errorf("%s is not pinned", r.Name)
		}
	}
	if addOns != 4 {
		t.Errorf("%d add-ons: pulumi-eks makes some besides ours", addOns)
	}

	if got := s.Resource(providerType, "source"); got.Get("version") != "4.26.0" || got.Get("enableConfigMapMutable") == nil {
		t.Errorf("the kubernetes provider is %v", got.Inputs)
	}
	if got := up.Outputs["nodeSecurityGroupId"]; got != control.Output("vpcConfig.clusterSecurityGroupId") || got == nil || got == "" {
		t.Errorf("nodes are in security group %v, the cluster's is %v", got, control.Output("vpcConfig.clusterSecurityGroupId"))
	}
	if up.Outputs["name"] != "mirror-source" || up.Outputs["command"] != "aws eks update-kubeconfig --region us-east-1 --name mirror-source --alias mirror-source" {
		t.Errorf("outputs %v", up.Outputs)
	}
}

// Nodes and control plane share the group that EKS makes, which lets in nothing from outside. Only the
// VPC's default group, emptied, is there besides; what may cross the ocean is the peering's.
func TestNothingIsOpened(t *testing.T) {
	s := stack(t, good())
	s.Up()
	for _, r := range s.Resources() {
		if strings.Contains(strings.ToLower(r.Type), "securitygroup") && r.Type != "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup" {
			t.Errorf("%s %s: %v", r.Type, r.Name, r.Inputs)
		}
	}
}

func TestAdmins(t *testing.T) {
	args := good()
	s := stack(t, args)
	s.Up()
	entries := func() map[any]enginetest.Resource {
		found := map[any]enginetest.Resource{}
		for _, r := range s.Resources() {
			if r.Type == "aws:eks/accessEntry:AccessEntry" {
				found[r.Get("principalArn")] = r
			}
		}
		return found
	}
	if len(entries()) != 1 || entries()[args.EKS.AdminARNs[0]].Type == "" {
		t.Errorf("entries %v", entries())
	}
	// One more in front: the other's entry stays what it is.
	before := args.EKS.AdminARNs[0]
	args.EKS.AdminARNs = []string{"arn:aws:iam::123456789012:user/rose", before}
	for _, change := range s.Up().Changes() {
		if !strings.HasPrefix(change, "create aws:eks/access") || !strings.Contains(change, "rose") {
			t.Errorf("change %q", change)
		}
	}
	if len(entries()) != 2 {
		t.Errorf("entries %v", entries())
	}
}

// A scenario's node count changes the node group in place, and nothing else.
func TestOneNodeMore(t *testing.T) {
	args := good()
	s := stack(t, args)
	s.Up()
	args.EKS.Nodes.Count = 41
	r := s.Up()
	same(t, r.Changes(), "update "+nodeGroupType+" source")
	if want := []string{"scalingConfig.desiredSize", "scalingConfig.maxSize", "scalingConfig.minSize"}; len(r.Steps) == 1 && !slices.Equal(r.Steps[0].Diff, want) {
		t.Errorf("it changes %q", r.Steps[0].Diff)
	}
}

func TestLargerDisk(t *testing.T) {
	args := good()
	s := stack(t, args)
	s.Up()
	args.EKS.Nodes.Disk.GiB = 300
	for _, step := range s.Up().Steps {
		if step.Op != "update" || (step.Type != templateType && step.Type != nodeGroupType) {
			t.Errorf("step %s", step)
		}
	}
}

func TestDestroyTakesTheNetworkLast(t *testing.T) {
	s := stack(t, good())
	s.Up()
	r := s.Destroy()
	if n := len(s.Resources()); n > 0 {
		t.Errorf("%d resources left", n)
	}
	order := [][2]string{
		{"kubernetes:core/v1:Namespace", "kafka"}, // stands for every release
		{addOnType, "source-coredns"},
		{nodeGroupType, "source"},
		{addOnType, "source-vpc-cni"},
		{controlType, "source-eksCluster"},
		{"aws:ec2/vpc:Vpc", "source"},
	}
	for i := 1; i < len(order); i++ {
		if a, b := r.Index(order[i-1][0], order[i-1][1]), r.Index(order[i][0], order[i][1]); a < 0 || b < 0 || a > b {
			t.Errorf("%q goes at %d, %q at %d", order[i-1], a, order[i], b)
		}
	}
	control := r.Index(controlType, "source-eksCluster")
	for _, way := range []struct{ typ, name string }{
		{"aws:ec2/route:Route", "source-private-nat"},
		{"aws:ec2/natGateway:NatGateway", "source"},
		{"aws:ec2/routeTableAssociation:RouteTableAssociation", "source-private-use1-az1"},
		{"aws:ec2/vpcDhcpOptionsAssociation:VpcDhcpOptionsAssociation", "source"},
		{"aws:ec2/vpcEndpoint:VpcEndpoint", "source-s3"},
	} {
		if i := r.Index(way.typ, way.name); i < control {
			t.Errorf("%s %s goes at %d, while the cluster is there until %d", way.typ, way.name, i, control)
		}
	}
}

// A create that fails in the middle is completed by the next update.
func TestFailedNodeGroup(t *testing.T) {
	s := stack(t, good())
	s.FailOnce(nodeGroupType, "source")
	if _, err := s.TryUp(); err == nil {
		t.Fatal("no error")
	}
	if r := s.Up(); r.Index(nodeGroupType, "source") < 0 || r.Index(controlType, "source-eksCluster") >= 0 {
		t.Errorf("the second up did %q", r.Changes())
	}
	same(t, s.Up().Changes())
}

func TestProfileReachesTheProvider(t *testing.T) {
	args := good()
	args.EKS.Profile = "talk"
	s := stack(t, args)
	up := s.Up()
	var config struct {
		Users []struct {
			User struct {
				Exec struct {
					Args []string
				}
			}
		}
	}
	text := s.Resource(providerType, "source").Get("kubeconfig").(string)
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got := strings.Join(config.Users[0].User.Exec.Args, " "); !strings.HasSuffix(got, "--profile talk") || !strings.Contains(got, "get-token") {
		t.Errorf("token by %q", got)
	}
	if got := up.Outputs["command"]; !strings.HasSuffix(got.(string), "--profile talk") {
		t.Errorf("command %q", got)
	}
}

func TestExistingClusterMakesNothingOfAWS(t *testing.T) {
	const kubeconfig = "apiVersion: v1\nusers: [{user: {token: hunter2}}]"
	s := stack(t, &cluster.Args{KubernetesPlugin: "4.26.0", Existing: &cluster.Existing{
		Kubeconfig: pulumi.ToSecret(pulumi.String(kubeconfig)).(pulumi.StringOutput),
	}})
	up := s.Up()
	same(t, s.Up().Changes())
	for _, r := range s.Resources() {
		if strings.HasPrefix(r.Type, "aws:") || strings.HasPrefix(r.Type, "eks:") {
			t.Errorf("%s %s was made", r.Type, r.Name)
		}
	}
	provider := s.Resource(providerType, "source")
	if provider.Get("context") != nil || provider.Get("version") != "4.26.0" {
		t.Errorf("the provider is %v", provider.Inputs)
	}
	if up.Outputs["name"] != "" || up.Outputs["command"] != "" || up.Outputs["nodeSecurityGroupId"] != "" {
		t.Errorf("outputs %v", up.Outputs)
	}
}

func TestKubeconfigStaysSecret(t *testing.T) {
	plain := stack(t, &cluster.Args{KubernetesPlugin: "4.26.0", Existing: &cluster.Existing{Kubeconfig: pulumi.String("token: hunter2")}})
	for name, s := range map[string]*enginetest.Stack{"existing": plain, "EKS": stack(t, good())} {
		t.Run(name, func(t *testing.T) {
			if got := s.Up().Outputs["kubeconfig"]; got != enginetest.Secret {
				t.Errorf("the output kubeconfig is %v", got)
			}
			if !slices.Contains(s.Resource(providerType, "source").SecretInputs, "kubeconfig") {
				t.Error("the provider's kubeconfig is no secret")
			}
			if strings.Contains(s.PlainText(), "hunter2") {
				t.Error("the kubeconfig can be read in the state")
			}
		})
	}
}

// userData returns the only script in the nodes' user data, as cloud-init would read it.
func userData(t *testing.T) string {
	t.Helper()
	s := stack(t, good())
	s.Up()
	raw, err := base64.StdEncoding.DecodeString(s.Resource(templateType, "source-node").Get("userData").(string))
	if err != nil {
		t.Fatal(err)
	}
	message, err := mail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("%s: %v", kind, err)
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	part, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); kind != "text/x-shellscript" {
		t.Errorf("the first part is %s", kind)
	}
	script, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the first part: %v", err)
	}
	return string(script)
}

// The script is run with programs that only say what they were asked for.
func TestUserDataInstallsTheRunningKernelsModules(t *testing.T) {
	script := userData(t)
	if !strings.HasPrefix(script, "#!/bin/bash\n") {
		t.Fatalf("cloud-init runs scripts that begin with #!, not %.20q", script)
	}
	for _, c := range []struct {
		kernel, dnf string // dnf is a script
		want        []string
	}{
		{"6.1.148-173.267.amzn2023.x86_64", "true", []string{"kernel-modules-extra-6.1.148-173.267.amzn2023.x86_64", "modprobe sch_netem"}},
		{"6.12.40-64.114.amzn2023.x86_64", "true", []string{"kernel6.12-modules-extra-6.12.40-64.114.amzn2023.x86_64", "modprobe sch_netem"}},
		{"6.18.1-1.amzn2023.aarch64", "true", []string{"kernel6.18-modules-extra-6.18.1-1.amzn2023.aarch64", "modprobe sch_netem"}},
		// The image's own repository has gone on: the newest has it. Without any the node joins all the same.
		{"6.12.40-64.114.amzn2023.x86_64", `[[ "$*" == *--releasever=latest* ]]`, []string{"--releasever=latest kernel6.12-modules-extra-6.12.40"}},
		{"6.12.40-64.114.amzn2023.x86_64", "false", []string{"modprobe sch_netem"}},
	} {
		t.Run(c.kernel+" "+c.dnf, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"bin", "etc/modules-load.d", "etc/sysctl.d"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for name, does := range map[string]string{
				"uname": "echo " + c.kernel, "dnf": `echo "dnf $*" >> "$SAID"; ` + c.dnf, "sleep": "true", "timeout": `shift; "$@"`,
				"modprobe": `echo "modprobe $*" >> "$SAID"; false`, "sysctl": `echo "sysctl $*" >> "$SAID"`,
			} {
				if err := os.WriteFile(filepath.Join(root, "bin", name), []byte("#!/bin/bash\n"+does+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			said := filepath.Join(root, "said")
			cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "/etc/", root+"/etc/"))
			cmd.Env = []string{"PATH=" + filepath.Join(root, "bin") + ":/usr/bin:/bin", "SAID=" + said}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("a node would report a failed start: %v\n%s", err, out)
			}
			log, err := os.ReadFile(said)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(log), want) {
					t.Errorf("it did\n%s\nnot %q", log, want)
				}
			}
			if n := strings.Count(string(log), "dnf "); c.dnf == "true" && n != 1 {
				t.Errorf("%d installations", n)
			}
			settings, err := os.ReadFile(filepath.Join(root, "etc/sysctl.d/90-kafka-mirror-tester.conf"))
			if err != nil || !strings.Contains(string(settings), "tcp_rmem") {
				t.Errorf("settings %q: %v", settings, err)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*cluster.Args)
		want   []string // none: accepted
	}{
		{"good", func(*cluster.Args) {}, nil},
		{"single sign-on role", func(a *cluster.Args) {
			a.EKS.AdminARNs = []string{"arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0123456789abcdef"}
		}, nil},
		{"a later plugin", func(a *cluster.Args) { a.KubernetesPlugin = "5.0.1" }, nil},

		{"several at once", func(a *cluster.Args) {
			a.KubernetesPlugin, a.EKS.Version, a.EKS.Nodes.Count, a.EKS.APICIDRs = "4.25.0", "1.3", 0, nil
		}, []string{`versions.kubernetesPlugin: "4.25.0": use 4.26.0 or later`, `kubernetesVersion: "1.3"`, "nodes: 0: use 1 or more", "apiCidrs: 0 networks"}},
		{"neither", func(a *cluster.Args) { a.EKS = nil }, []string{"either an EKS cluster or an existing one"}},
		{"both", func(a *cluster.Args) { a.Existing = &cluster.Existing{Kubeconfig: pulumi.String("x")} }, []string{"not both"}},
		{"existing without kubeconfig", func(a *cluster.Args) { a.EKS, a.Existing = nil, &cluster.Existing{} }, []string{"kubeconfig: empty"}},
		{"open API", func(a *cluster.Args) { a.EKS.APICIDRs = []string{"0.0.0.0/0"} }, []string{"apiCidrs: 0.0.0.0/0 opens the Kubernetes API to the world"}},
		{"half-open API", func(a *cluster.Args) { a.EKS.APICIDRs = []string{"0.0.0.0/1", "128.0.0.0/1"} }, []string{"0.0.0.0/1 opens", "128.0.0.0/1 opens"}},
		{"private API", func(a *cluster.Args) { a.EKS.APICIDRs = []string{"192.168.1.0/24"} }, []string{"apiCidrs: 192.168.1.0/24 is private"}},
		{"address", func(a *cluster.Args) { a.EKS.APICIDRs = []string{"203.0.113.7"} }, []string{`apiCidrs: "203.0.113.7" is no IPv4 network`}},
		{"services in the VPC", func(a *cluster.Args) { a.EKS.ServiceCIDR = "10.10.0.0/20" }, []string{"serviceCidr: 10.10.0.0/20 overlaps with the VPC 10.10.0.0/16"}},
		{"services in the peer's VPC", func(a *cluster.Args) { a.EKS.ServiceCIDR = "10.20.0.0/20" }, []string{"overlaps with the VPC 10.20.0.0/16"}},
		{"few services", func(a *cluster.Args) { a.EKS.ServiceCIDR = "172.20.0.0/25" }, []string{"EKS takes a /12 to a /24"}},
		{"session", func(a *cluster.Args) { a.EKS.AdminARNs = []string{"arn:aws:sts::123456789012:assumed-role/admin/me"} }, []string{"adminArns", "is a session"}},
		{"root", func(a *cluster.Args) { a.EKS.AdminARNs = []string{"arn:aws:iam::123456789012:root"} }, []string{"adminArns", "role/NAME"}},
		{"twice", func(a *cluster.Args) { a.EKS.AdminARNs = append(a.EKS.AdminARNs, a.EKS.AdminARNs[0]) }, []string{"adminArns", "twice"}},
		{"MTU", func(a *cluster.Args) { a.EKS.MTU = 9216 }, []string{"mtu: 9216: use 1280 to 9001"}},
		{"add-on", func(a *cluster.Args) { a.EKS.AddOns.CoreDNS = "latest" }, []string{`versions.coreDns: "latest"`, "describe-addon-versions --addon-name coredns"}},
		{"no add-ons", func(a *cluster.Args) { a.EKS.AddOns = cluster.AddOns{} }, []string{`versions.vpcCni: "": run make versions`, "versions.kubeProxy", "versions.coreDns", "versions.podIdentityAgent"}},
		{"no instance type", func(a *cluster.Args) { a.EKS.Nodes.InstanceTypes = nil }, []string{"nodeTypes: none"}},
		{"instance type", func(a *cluster.Args) { a.EKS.Nodes.InstanceTypes = []string{"large", "m5.large", "m5.large"} }, []string{`nodeTypes: "large"`, "m5.large twice"}},
		{"image", func(a *cluster.Args) { a.EKS.Nodes.AMIType = "BOTTLEROCKET_x86_64" }, []string{`nodeImage: "BOTTLEROCKET_x86_64"`}},
		{"capacity", func(a *cluster.Args) { a.EKS.Nodes.CapacityType = "spot" }, []string{`nodeCapacity: "spot"`}},
		{"release not pinned", func(a *cluster.Args) { a.EKS.Nodes.Release = "" }, []string{`nodeRelease: ""`, "pin a release of Kubernetes 1.35"}},
		{"release of another version", func(a *cluster.Args) { a.EKS.Nodes.Release = "1.34.2-20260101" }, []string{`nodeRelease: "1.34.2-20260101"`}},
		{"disk", func(a *cluster.Args) { a.EKS.Nodes.Disk = cluster.Disk{GiB: 8, IOPS: 100, MiBps: 2000} }, []string{"nodeDisk: 8GiB", "nodeDiskIops: 100", "nodeDiskThroughput: 2000"}},
		{"throughput beyond IOPS", func(a *cluster.Args) { a.EKS.Nodes.Disk.MiBps = 800 }, []string{"nodeDiskThroughput: 800: use 125, which cost nothing, to 750"}},
		{"name", func(a *cluster.Args) { a.EKS.Name = "-x" }, []string{`cluster's name: "-x"`}},
		{"no subnets", func(a *cluster.Args) { a.EKS.SubnetIDs = nil }, []string{"no VPC or no subnets"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := good()
			c.change(args)
			s := stack(t, args)
			_, err := s.TryUp()
			if (err != nil) != (len(c.want) > 0) {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\nlacks %q", err, want)
				}
			}
		})
	}
}
