package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
)

var (
	nameForm     = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`) // https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
	versionForm  = regexp.MustCompile(`^1\.[0-9]{2}$`)
	releaseForm  = regexp.MustCompile(`^(1\.[0-9]{2})\.[0-9]+-[0-9]{8}$`)
	addOnForm    = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+$`)
	instanceForm = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9]+(-[a-z0-9]+)*$`)
	adminForm    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$`)
	pluginForm   = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.[0-9]+$`)
)

// The earliest plugin that heeds observedGeneration.
const pluginMajor, pluginMinor = 4, 26

func validatePlugin(version string) error {
	var major, minor int
	if m := pluginForm.FindStringSubmatch(version); m != nil {
		major, _ = strconv.Atoi(m[1]) // digits by the form; too many are 0 or the largest
		minor, _ = strconv.Atoi(m[2])
	}
	if major < pluginMajor || (major == pluginMajor && minor < pluginMinor) {
		return fmt.Errorf("versions.kubernetesPlugin: %q: use %d.%d.0 or later, written like that: earlier ones report a StatefulSet ready that is not", version, pluginMajor, pluginMinor)
	}
	return nil
}

func (e *EKS) validate() error {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	if !nameForm.MatchString(e.Name) {
		fail("cluster's name: %q: use a stack's name with which it has up to 100 letters, digits, - and _", e.Name)
	}
	if e.Region == "" {
		fail("aws:region: empty: name it, such as eu-west-1")
	}
	if !versionForm.MatchString(e.Version) {
		fail("kubernetesVersion: %q: write it like 1.35", e.Version)
	}
	errs = append(errs, e.validateServiceCIDR(), validateAPICIDRs(e.APICIDRs), validateAdmins(e.AdminARNs))
	errs = append(errs, e.AddOns.validate(), e.Nodes.validate(e.Version))
	if e.MTU < 1280 || e.MTU > 9001 {
		fail("mtu: %d: use 1280 to 9001; 8500 is the most that peering between regions carries", e.MTU)
	}
	return errors.Join(errs...)
}

// validateServiceCIDR refuses what could not be told from a pod's address, on either side: left to
// itself, EKS picks 10.100.0.0/16 or 172.20.0.0/16 and knows nothing of the peer.
func (e *EKS) validateServiceCIDR() error {
	services, err := network.ParseCIDR("serviceCidr", e.ServiceCIDR)
	if err != nil {
		return err
	}
	if bits := services.Bits(); bits < 12 || bits > 24 {
		return fmt.Errorf("serviceCidr: %s: EKS takes a /12 to a /24", services)
	}
	for _, cidr := range e.PodCIDRs {
		if pods, err := netip.ParsePrefix(cidr); err == nil && pods.Overlaps(services) {
			return fmt.Errorf("serviceCidr: %s overlaps with the VPC %s: use a network that neither VPC has, such as 172.20.0.0/16", services, cidr)
		}
	}
	return nil
}

// maxAPICIDRs is EKS's quota of public access ranges for each cluster.
// https://docs.aws.amazon.com/eks/latest/userguide/service-quotas.html
const maxAPICIDRs = 40

func validateAPICIDRs(cidrs []string) error {
	const hint = "name the networks that pulumi and kubectl are run from, such as 203.0.113.7/32 (curl https://checkip.amazonaws.com)"
	if len(cidrs) == 0 || len(cidrs) > maxAPICIDRs {
		return fmt.Errorf("apiCidrs: %d networks: use 1 to %d: %s", len(cidrs), maxAPICIDRs, hint)
	}
	var errs []error
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		switch {
		case err != nil || !p.Addr().Is4() || p.Masked() != p:
			errs = append(errs, fmt.Errorf("apiCidrs: %q is no IPv4 network: %s", cidr, hint))
		case p.Bits() < 8:
			errs = append(errs, fmt.Errorf("apiCidrs: %s opens the Kubernetes API to the world: %s", cidr, hint))
		case p.Addr().IsPrivate():
			errs = append(errs, fmt.Errorf("apiCidrs: %s is private, and EKS sees public addresses only: %s", cidr, hint))
		}
	}
	return errors.Join(errs...)
}

func validateAdmins(arns []string) error {
	var errs []error
	for i, arn := range arns {
		switch {
		case strings.Contains(arn, ":assumed-role/"):
			errs = append(errs, fmt.Errorf("adminArns: %q is a session: name the role itself, like arn:aws:iam::123456789012:role/NAME", arn))
		case !adminForm.MatchString(arn):
			errs = append(errs, fmt.Errorf("adminArns: %q: write it like arn:aws:iam::123456789012:role/NAME or user/NAME", arn))
		case slices.Contains(arns[:i], arn):
			errs = append(errs, fmt.Errorf("adminArns: %s twice", arn))
		}
	}
	return errors.Join(errs...)
}

func (a *AddOns) validate() error {
	var errs []error
	for _, addOn := range a.list() {
		if !addOnForm.MatchString(addOn.version) {
			errs = append(errs, fmt.Errorf("versions.%s: %q: run make versions, which asks AWS for the add-ons of this Kubernetes, or pin it, like v1.2.3-eksbuild.4 (aws eks describe-addon-versions --addon-name %s)", addOn.key, addOn.version, addOn.name))
		}
	}
	return errors.Join(errs...)
}

// amiTypes are those that the user data is written for: Amazon Linux 2023.
var amiTypes = []string{"AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD"}

func (n *Nodes) validate(version string) error {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	if n.Count < 1 {
		fail("nodes: %d: use 1 or more", n.Count)
	}
	if len(n.InstanceTypes) == 0 {
		fail("nodeTypes: none: name one, and more for when AWS has none left, all of one size and architecture, such as m6i.xlarge, m5.xlarge")
	}
	for i, t := range n.InstanceTypes {
		if !instanceForm.MatchString(t) {
			fail("nodeTypes: %q is no instance type: write it like m6i.xlarge", t)
		}
		if slices.Contains(n.InstanceTypes[:i], t) {
			fail("nodeTypes: %s twice", t)
		}
	}
	if !slices.Contains(amiTypes, n.AMIType) {
		fail("nodeImage: %q: use one of %s, to suit nodeTypes", n.AMIType, strings.Join(amiTypes, ", "))
	}
	if n.CapacityType != "ON_DEMAND" && n.CapacityType != "SPOT" {
		fail("nodeCapacity: %q: use ON_DEMAND, or SPOT if nodes may vanish during a test", n.CapacityType)
	}
	if m := releaseForm.FindStringSubmatch(n.Release); m == nil || m[1] != version {
		fail("nodeRelease: %q: run make versions, or pin a release of Kubernetes %s, like %s.0-20260101: without one AWS would replace all nodes when it publishes the next (aws ssm get-parameter --name /aws/service/eks/optimized-ami/%s/amazon-linux-2023/x86_64/standard/recommended/release_version)", n.Release, version, version, version)
	}
	errs = append(errs, n.Disk.validate())
	return errors.Join(errs...)
}

// validate checks what gp3 volumes can be.
// https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html#gp3-ebs-volume-type
func (d *Disk) validate() error {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	if d.GiB < 20 || d.GiB > 65536 {
		fail("nodeDisk: %dGiB: use 20, which the image takes, to 65536", d.GiB)
	}
	if most := min(80_000, max(3000, 500*d.GiB)); d.IOPS < 3000 || d.IOPS > most {
		fail("nodeDiskIops: %d: use 3000, which cost nothing, to %d, which %d GiB can have", d.IOPS, most, d.GiB)
	}
	if most := min(2000, max(3000, d.IOPS)/4); d.MiBps < 125 || d.MiBps > most {
		fail("nodeDiskThroughput: %d: use 125, which cost nothing, to %d, which %d IOPS can have", d.MiBps, most, d.IOPS)
	}
	return errors.Join(errs...)
}
