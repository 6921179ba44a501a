package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// project is the namespace of the configuration's keys: the project's name in Pulumi.yaml.
const project = "kafka-mirror-tester"

// settings is what the checks need of a stack's configuration. The program checks the rest; the keys
// are those of stacks/settings.go.
type settings struct {
	stack  string
	config map[string]string // all of it, by full name

	region    string
	aws       bool // the cluster is made on AWS
	nodes     int
	types     []string // instance types, the first that can be had
	spot      bool
	zones     []string // with subnets
	nodeZones []string
	version   string // of Kubernetes
	nodeImage string
	release   string            // of the nodes' image
	versions  map[string]string // of add-ons, by their keys
	vpc, peer string            // CIDRs
	images    map[string]string
}

// readSettings reads what the program's own check would not miss quietly: a mistake is an error here too.
func readSettings(stack string, config map[string]string) (*settings, error) {
	s := &settings{stack: stack, config: config, region: config["aws:region"]}
	get := func(key string) string { return config[project+":"+key] }
	var errs []error
	object := func(key string, into any) {
		if text := get(key); text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s is not of the right form", key, text))
			}
		}
	}
	s.aws = get("kubeconfig") == ""
	s.spot = get("nodeCapacity") == "SPOT"
	s.nodeImage, s.release = get("nodeImage"), get("nodeRelease")
	s.version, s.vpc, s.peer = get("kubernetesVersion"), get("vpcCidr"), get("peerCidr")
	object("nodeTypes", &s.types)
	object("zones", &s.zones)
	object("nodeZones", &s.nodeZones)
	object("versions", &s.versions)
	object("images", &s.images)
	var err error
	if s.nodes, err = strconv.Atoi(cmp.Or(get("nodes"), "0")); err != nil {
		errs = append(errs, fmt.Errorf("nodes: %q is no whole number", get("nodes")))
	}
	if len(s.nodeZones) == 0 && len(s.zones) > 0 {
		s.nodeZones = s.zones[:1]
	}
	if s.aws && s.region == "" {
		errs = append(errs, fmt.Errorf("aws:region: missing: pulumi config set --stack %s aws:region us-east-1", stack))
	}
	return s, errors.Join(errs...)
}

// checkPeers checks that each stack's network is what the other takes it for, and that they do not
// overlap: a peering between such networks is refused by AWS, after both have been made.
func checkPeers(all []*settings) finding {
	var on []*settings
	for _, s := range all {
		if s.aws {
			on = append(on, s)
		}
	}
	if len(on) != 2 {
		return ok("nothing to compare with %d stacks on AWS", len(on))
	}
	a, b := on[0], on[1]
	var networks [2]netip.Prefix
	for i, s := range on {
		var err error
		if networks[i], err = netip.ParsePrefix(s.vpc); err != nil {
			return fail("use a private network such as 10.10.0.0/16", "%s: vpcCidr: %v", s.stack, err)
		}
	}
	if networks[0].Overlaps(networks[1]) {
		return fail("set vpcCidr of one of them to another private network, and peerCidr of the other to the same",
			"the networks overlap: %s has %s, %s has %s", a.stack, a.vpc, b.stack, b.vpc)
	}
	for _, pair := range [][2]*settings{{a, b}, {b, a}} {
		if us, them := pair[0], pair[1]; us.peer != them.vpc {
			return fail(fmt.Sprintf("pulumi config set --stack %s peerCidr %s", us.stack, them.vpc),
				"%s takes the other's network for %q (peerCidr), and it is %s", us.stack, us.peer, them.vpc)
		}
	}
	return ok("%s and %s", a.vpc, b.vpc)
}
