package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Names of outputs that a stack reads: the destination those of the source, and each its own.
const (
	outRole          = "role"
	outConfig        = "config"        // the side of the test, JSON
	outFaultBaseline = "faultBaseline" // fault.run before which nothing is broken
	outBootstrap     = "bootstrap"
	outZookeeper     = "zookeeper"
	outPrometheus    = "prometheus"
	outHourlyUSD     = "hourlyUSD"
	outRegion        = "region"
	outVpcID         = "vpcId"
	outVpcCidr       = "vpcCidr"
	outRouteTables   = "routeTableIds"
	outSecurityGroup = "nodeSecurityGroupId"
	outZoneID        = "zoneId"
)

// exportedConfig is what is in the output config.
type exportedConfig struct {
	Shared scenario.Shared `json:"shared"`
	// Cluster is this stack's own; Source is set at the source only.
	Cluster scenario.Cluster `json:"cluster"`
	Source  *scenario.Source `json:"source,omitempty"`
}

// outputs reads the outputs that a stack had after its last update.
type outputs struct {
	ref  *pulumi.StackReference
	name string
}

// referTo reads the outputs of a stack, given as STACK or ORGANIZATION/PROJECT/STACK.
func referTo(ctx *pulumi.Context, stack string) (*outputs, error) {
	stack = qualified(ctx, stack)
	ref, err := pulumi.NewStackReference(ctx, stack, nil)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", stack, err)
	}
	return &outputs{ref, stack}, nil
}

// qualified is a stack's name with organization and project: those of this one, where it has none.
func qualified(ctx *pulumi.Context, stack string) string {
	if strings.Contains(stack, "/") {
		return stack
	}
	return fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), stack)
}

// get returns an output, or nil if the stack has none of that name.
func (o *outputs) get(name string) (any, error) {
	details, err := o.ref.GetOutputDetails(name)
	if err != nil {
		return nil, fmt.Errorf("stack %s: output %s: %w", o.name, name, err)
	}
	return details.Value, nil
}

// config reads the output config; nil if there is none yet.
func (o *outputs) config() (*exportedConfig, error) {
	value, err := o.get(outConfig)
	if err != nil || value == nil {
		return nil, err
	}
	text, _ := value.(string)
	var c exportedConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("stack %s: output %s is not this program's: %w", o.name, outConfig, err)
	}
	return &c, nil
}

func (o *outputs) string(name string) pulumi.StringOutput {
	return o.ref.GetStringOutput(pulumi.String(name))
}

// before is what this stack was after its last update. Outputs are written when an update has ended
// well, so a first update that failed is still the first.
type before struct {
	config        *exportedConfig // nil on the first update
	faultBaseline int
}

// lookBack reads what the stack was. A stack can read itself: a reference is answered from the
// state that the last update left.
func lookBack(ctx *pulumi.Context) (*before, error) {
	own, err := referTo(ctx, ctx.Stack())
	if err != nil {
		return nil, err
	}
	b := &before{}
	if b.config, err = own.config(); err != nil || b.config == nil {
		return b, err
	}
	value, err := own.get(outFaultBaseline)
	if err != nil {
		return nil, err
	}
	if run, ok := value.(float64); ok {
		b.faultBaseline = int(run)
	}
	return b, nil
}

// source reads what the source's stack says of itself, into s.
func (s *Stack) readSource(peer *outputs) error {
	role, err := peer.get(outRole)
	if err != nil {
		return err
	}
	switch role {
	case source:
	case nil:
		return fmt.Errorf("peerStack: %s has no outputs yet: run pulumi up --stack %s first", s.PeerStack, s.PeerStack)
	default:
		return fmt.Errorf("peerStack: %s has the role %v: name the source's stack", s.PeerStack, role)
	}
	c, err := peer.config()
	if err != nil {
		return err
	}
	if c == nil || c.Source == nil {
		return fmt.Errorf("peerStack: %s has no output %s: update it with this version first: pulumi up --stack %s", s.PeerStack, outConfig, s.PeerStack)
	}
	s.Source = *c.Source
	var errs []error
	for _, d := range []struct {
		key         string
		here, there any
	}{
		{"testId", s.TestID, c.Shared.TestID},
		{"topicPattern", s.TopicPattern, c.Shared.TopicPattern},
		{"secure", s.Secure, c.Shared.Secure},
	} {
		if d.here != d.there {
			errs = append(errs, fmt.Errorf("%s: %v here, and %v in %s: both sides must have the same", d.key, d.here, d.there, s.PeerStack))
		}
	}
	return errors.Join(append(errs, s.ValidateTogether())...)
}
