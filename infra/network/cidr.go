package network

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// ParseCIDR reads an IPv4 network in canonical form from one of the private ranges of RFC 1918. key
// is the configuration key that an error names.
func ParseCIDR(key, value string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s: %q is no network: write it like 10.10.0.0/16", key, value)
	case !p.Addr().Is4():
		return p, fmt.Errorf("%s: %s is not IPv4: write it like 10.10.0.0/16", key, value)
	case p.Masked() != p:
		return p, fmt.Errorf("%s: %s has bits behind its prefix: write %s", key, value, p.Masked())
	case !private(p):
		return p, fmt.Errorf("%s: %s is not inside a private range: use one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", key, value)
	}
	return p, nil
}

func private(p netip.Prefix) bool {
	for _, r := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} { // RFC 1918
		within := netip.MustParsePrefix(r)
		if within.Contains(p.Addr()) && within.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

// Limits of a VPC's and of a subnet's CIDR.
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
const (
	widestVPC      = 16
	widestBlock    = 18 // three of them, two zones' and the public one, are the least that a VPC holds
	narrowestBlock = 25 // its eighth, a public subnet, is then a /28, the smallest that AWS takes
)

// publicBits is how much longer a public subnet's prefix is than a private one's: only the NAT
// gateway and load balancers live there, so all public subnets share one block.
const publicBits = 3

// maxZones is how many public subnets one block holds.
const maxZones = 1 << publicBits

// plan is what follows from the arguments: the networks of the subnets, by zone.
type plan struct {
	private, public []netip.Prefix
}

// layout cuts vpc into one private block for each zone, and the last block into the public subnets.
// A zone's place decides its networks, so zones are only ever appended.
func layout(vpc netip.Prefix, prefix, zones int) plan {
	var p plan
	blocks := 1 << (prefix - vpc.Bits())
	shared := block(vpc, prefix, blocks-1)
	for zone := range zones {
		p.private = append(p.private, block(vpc, prefix, zone))
		p.public = append(p.public, block(shared, prefix+publicBits, zone))
	}
	return p
}

// block returns the n-th network of the given prefix length within p.
func block(p netip.Prefix, bits, n int) netip.Prefix {
	a := p.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(n) << (32 - bits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits)
}

// unsupported are zones in which EKS places no control plane.
// https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
var unsupported = []string{"use1-az3", "usw1-az2", "cac1-az3"}

var (
	regionForm   = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	zoneIDForm   = regexp.MustCompile(`^[a-z]+[0-9]-az[0-9]$`)
	zoneNameForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$`)
)

// isZoneID tells use1-az1, the same zone for everybody, from us-east-1a, which each account numbers
// for itself.
func isZoneID(zone string) bool { return zoneIDForm.MatchString(zone) }

// Validate reports every mistake in a at once; each names the key, the value and what would be right.
func (a *Args) Validate() error {
	_, err := a.plan()
	return err
}

// plan lays the subnets out, or reports every mistake at once.
func (a *Args) plan() (plan, error) {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	if !regionForm.MatchString(a.Region) {
		fail("aws:region: %q is no region: write it like eu-west-1", a.Region)
	}
	errs = append(errs, a.validateZones()...)

	prefixFits := a.PrivatePrefix >= widestBlock && a.PrivatePrefix <= narrowestBlock
	if !prefixFits {
		fail("subnetPrefix: %d: use %d to %d; 19 gives each private subnet 8187 addresses", a.PrivatePrefix, widestBlock, narrowestBlock)
	}
	vpc, err := ParseCIDR("vpcCidr", a.CIDR)
	errs = append(errs, err)
	if err == nil && vpc.Bits() < widestVPC {
		fail("vpcCidr: %s is too large: a VPC has at most a /%d", a.CIDR, widestVPC)
		err = errors.New("too large")
	}
	if err == nil && prefixFits {
		need := a.PrivatePrefix
		for 1<<(a.PrivatePrefix-need) < len(a.Zones)+1 {
			need--
		}
		switch {
		case need < widestVPC:
			fail("subnetPrefix: %d: no VPC holds that for %d zones: use a larger number, or fewer zones", a.PrivatePrefix, len(a.Zones))
		case vpc.Bits() > need:
			fail("vpcCidr: %s is too small for %d zones: each needs a /%d, and one more holds the public subnets: use a /%d or larger", a.CIDR, len(a.Zones), a.PrivatePrefix, need)
		}
	}
	if a.PeerCIDR != "" {
		peer, peerErr := ParseCIDR("peerCidr", a.PeerCIDR)
		errs = append(errs, peerErr)
		if err == nil && peerErr == nil && vpc.Overlaps(peer) {
			fail("vpcCidr: %s overlaps with peerCidr %s: peered VPCs need networks apart, such as 10.10.0.0/16 and 10.20.0.0/16", a.CIDR, a.PeerCIDR)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return plan{}, err
	}
	return layout(vpc, a.PrivatePrefix, len(a.Zones)), nil
}

func (a *Args) validateZones() []error {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	if n := len(a.Zones); n < 2 || n > maxZones-1 {
		fail("zones: %d zones: use 2 to %d; EKS asks for subnets in two zones, also where the nodes live in one (nodeZones)", n, maxZones-1)
	}
	var ids int
	for i, zone := range a.Zones {
		switch {
		case slices.Contains(unsupported, zone):
			fail("zones: %s: EKS has no control plane there and would refuse its subnet: use another zone", zone)
		case isZoneID(zone):
			ids++
		case !zoneNameForm.MatchString(zone):
			fail("zones: %q is no zone: write its id, like use1-az1 (aws ec2 describe-availability-zones shows them), or its name, like us-east-1a", zone)
		case !strings.HasPrefix(zone, a.Region):
			fail("zones: %s is not in region %s", zone, a.Region)
		}
		if slices.Contains(a.Zones[:i], zone) {
			fail("zones: %s twice", zone)
		}
	}
	if ids > 0 && ids < len(a.Zones) {
		fail("zones: %s mixes ids and names, so it cannot be told whether two are the same: use ids only, or names only", strings.Join(a.Zones, ", "))
	}
	if len(a.NodeZones) == 0 && len(a.Zones) > 0 {
		fail("nodeZones: none: name at least one of zones; one avoids the cost of traffic between zones")
	}
	for i, zone := range a.NodeZones {
		if !slices.Contains(a.Zones, zone) {
			fail("nodeZones: %s is not among zones %s", zone, strings.Join(a.Zones, ", "))
		}
		if slices.Contains(a.NodeZones[:i], zone) {
			fail("nodeZones: %s twice", zone)
		}
	}
	return errs
}
