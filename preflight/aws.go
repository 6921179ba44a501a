package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	quotatypes "github.com/aws/aws-sdk-go-v2/service/servicequotas/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The tag that the stacks put on everything of theirs.
const (
	ownTag   = "Project"
	ownValue = project
)

// explain tells a user of AWS's and the network's errors what they mean for them.
func explain(what string, err error) finding {
	code := ""
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var network net.Error
	switch {
	case errors.Is(err, errNoCredentials):
		return fail("log in, such as by `aws sso login`, or name the profile in AWS_PROFILE; `aws configure list` says what there is", "%s: %v", what, err)
	case strings.HasPrefix(code, "ExpiredToken") || code == "RequestExpired":
		return fail("get new ones, such as by `aws sso login`", "%s: the credentials have expired", what)
	case code == "InvalidClientTokenId" || code == "UnrecognizedClientException" || code == "AuthFailure" || code == "SignatureDoesNotMatch":
		return fail("see `aws configure list`; is the region enabled in this account?", "%s: AWS does not accept these credentials (%s)", what, code)
	case strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation":
		return fail("have it allowed; `preflight --help` lists what is needed", "%s: these credentials may not do it: %s", what, api.ErrorMessage())
	case code != "":
		return fail("", "%s: %s: %s", what, code, api.ErrorMessage())
	case errors.Is(err, errNoAnswer) || errors.As(err, &network):
		return fail("is the network up, and AWS reachable from here? A proxy is taken from HTTPS_PROXY", "%s: %v", what, err)
	}
	return fail("", "%s: %v", what, err)
}

// account is who we are on AWS, and for how long.
type account struct {
	id, arn string
	expires *time.Time // nil: not known, or never
	forever bool       // long-lived keys
}

var errNoCredentials = errors.New("no credentials found, in the environment or by the profile")

// configure reads AWS's configuration for a region, by the SDK's usual rules.
func configure(ctx context.Context, region string) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithLogger(logging.Nop{})) // its warnings come as errors too
}

// login asks AWS who we are.
func (p *preflight) login(ctx context.Context, region string) (*account, error) {
	cfg, err := configure(ctx, region)
	if err != nil {
		return nil, err
	}
	keys, err := within(ctx, p.deadline, cfg.Credentials.Retrieve)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCredentials, err)
	}
	me, err := within(ctx, p.deadline, func(ctx context.Context) (*sts.GetCallerIdentityOutput, error) {
		return sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	})
	if err != nil {
		return nil, err
	}
	a := &account{id: aws.ToString(me.Account), arn: aws.ToString(me.Arn), forever: keys.SessionToken == ""}
	if keys.CanExpire {
		a.expires = &keys.Expires
	}
	return a, nil
}

// leastTime is how long credentials should live on: an `up` of both regions takes about an hour.
const leastTime = 2 * time.Hour

func (a *account) expiry() finding {
	who := fmt.Sprintf("%s in account %s", a.arn, a.id)
	switch {
	case a.expires != nil && time.Until(*a.expires) < leastTime:
		return warn("get new ones before a long `pulumi up`, such as by `aws sso login`: it stops in the middle where they end",
			"%s, only until %s", who, a.expires.Local().Format("15:04"))
	case a.expires != nil:
		return ok("%s, until %s", who, a.expires.Local().Format(time.DateTime))
	case !a.forever:
		return warn("an `up` of both regions takes about an hour, and stops in the middle where they end", "%s; when these temporary credentials end is not known", who)
	}
	return ok("%s", who)
}

// region asks AWS about the region of a stack.
type region struct {
	*settings
	deadline time.Duration
	ec2      *ec2.Client
	eks      *eks.Client
	quotas   *servicequotas.Client
	ssm      *ssm.Client
}

func (p *preflight) region(ctx context.Context, s *settings) (*region, error) {
	cfg, err := configure(ctx, s.region)
	if err != nil {
		return nil, err
	}
	return &region{s, p.deadline, ec2.NewFromConfig(cfg), eks.NewFromConfig(cfg), servicequotas.NewFromConfig(cfg), ssm.NewFromConfig(cfg)}, nil
}

// regionCheck is a check of a region.
type regionCheck struct {
	name string
	run  func(*region, context.Context) finding
}

func regionChecks() []regionCheck {
	return []regionCheck{
		{"zones", (*region).checkZones},
		{"instance types", (*region).checkTypes},
		{"vCPU quota", (*region).checkCPUs},
		{"elastic IP quota", (*region).checkAddresses},
		{"VPC quota", (*region).checkVPCs},
		{"Kubernetes version", (*region).checkVersion},
		{"pinned versions", (*region).checkPins},
	}
}

// refused are the zones in which EKS makes no control plane.
// https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
var refused = [...]string{"use1-az3", "usw1-az2", "cac1-az3"}

func (r *region) checkZones(ctx context.Context) finding {
	out, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeAvailabilityZonesOutput, error) {
		return r.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	})
	if err != nil {
		return explain("list the zones of "+r.region, err)
	}
	var usable []string
	found := map[string]ec2types.AvailabilityZone{}
	for _, z := range out.AvailabilityZones {
		found[aws.ToString(z.ZoneName)], found[aws.ToString(z.ZoneId)] = z, z
		if z.State == ec2types.AvailabilityZoneStateAvailable && !slices.Contains(refused[:], aws.ToString(z.ZoneId)) {
			usable = append(usable, aws.ToString(z.ZoneName))
		}
	}
	var said []string
	for _, zone := range r.zones {
		z, there := found[zone]
		id := aws.ToString(z.ZoneId)
		switch {
		case !there:
			said = append(said, fmt.Sprintf("%s has no zone %s", r.region, zone))
		case z.State != ec2types.AvailabilityZoneStateAvailable:
			said = append(said, fmt.Sprintf("%s is %s", zone, z.State))
		case slices.Contains(refused[:], id):
			said = append(said, fmt.Sprintf("%s is %s in this account, where EKS makes no control plane", zone, id))
		}
	}
	if len(said) > 0 {
		return fail("set zones (and nodeZones) of the stack "+r.stack+" to some of "+strings.Join(usable, ", "), "%s", strings.Join(said, "; "))
	}
	return ok("%s", strings.Join(r.zones, ", "))
}

func (r *region) checkTypes(ctx context.Context) finding {
	if len(r.nodeZones) == 0 || len(r.types) == 0 {
		return fail("", "zones or nodeTypes are missing")
	}
	kind := ec2types.LocationTypeAvailabilityZone
	if !strings.HasPrefix(r.nodeZones[0], r.region) { // use1-az1 and not us-east-1a
		kind = ec2types.LocationTypeAvailabilityZoneId
	}
	out, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
		return r.ec2.DescribeInstanceTypeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
			LocationType: kind,
			Filters: []ec2types.Filter{
				{Name: aws.String("instance-type"), Values: r.types},
				{Name: aws.String("location"), Values: r.nodeZones},
			},
		})
	})
	if err != nil {
		return explain("ask where instance types are offered", err)
	}
	offered := map[string][]string{} // zone -> types
	for _, o := range out.InstanceTypeOfferings {
		zone := aws.ToString(o.Location)
		offered[zone] = append(offered[zone], string(o.InstanceType))
	}
	var none, some []string
	for _, zone := range r.nodeZones {
		switch {
		case len(offered[zone]) == 0:
			none = append(none, zone)
		case len(offered[zone]) < len(r.types):
			some = append(some, fmt.Sprintf("%s offers only %s", zone, strings.Join(offered[zone], ", ")))
		}
	}
	const todo = "set nodeTypes, or nodeZones, of the stack "
	switch {
	case len(none) > 0:
		return fail(todo+r.stack, "none of %s is offered in %s", strings.Join(r.types, ", "), strings.Join(none, ", "))
	case len(some) > 0:
		return warn(todo+r.stack, "of %s %s", strings.Join(r.types, ", "), strings.Join(some, "; "))
	}
	return ok("%s in %s", strings.Join(r.types, ", "), strings.Join(r.nodeZones, ", "))
}

// Quotas. https://docs.aws.amazon.com/general/latest/gr/ec2-service.html and vpc-service.html
type quota struct{ service, code, title string }

var (
	onDemand  = quota{"ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"}
	spot      = quota{"ec2", "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"}
	addresses = quota{"ec2", "L-0263D0A3", "EC2-VPC Elastic IPs"}
	vpcs      = quota{"vpc", "L-F678F1CE", "VPCs per Region"}
)

// limit returns what the account may have in the region.
func (r *region) limit(ctx context.Context, q quota) (int, error) {
	out, err := within(ctx, r.deadline, func(ctx context.Context) (*servicequotas.GetServiceQuotaOutput, error) {
		return r.quotas.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	})
	var none *quotatypes.NoSuchResourceException
	if errors.As(err, &none) { // nobody has asked for more than the default
		d, err := within(ctx, r.deadline, func(ctx context.Context) (*servicequotas.GetAWSDefaultServiceQuotaOutput, error) {
			return r.quotas.GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
		})
		if err != nil {
			return 0, err
		}
		out = &servicequotas.GetServiceQuotaOutput{Quota: d.Quota}
	} else if err != nil {
		return 0, err
	}
	if out.Quota == nil || out.Quota.Value == nil {
		return 0, fmt.Errorf("the quota %s %s has no value", q.service, q.code)
	}
	return int(*out.Quota.Value), nil
}

// compare says whether what is needed fits beside what others use.
func (r *region) compare(ctx context.Context, q quota, need int, what string, used func(context.Context) (int, error)) finding {
	limit, err := r.limit(ctx, q)
	if err != nil {
		return explain("read the quota "+q.title, err)
	}
	others, err := used(ctx)
	if err != nil {
		return explain("count what is in use of the quota "+q.title, err)
	}
	says := fmt.Sprintf("%s needed, %d used by others, %d allowed", what, others, limit)
	if need+others > limit {
		return fail(fmt.Sprintf("ask for at least %d, which takes minutes to days:\naws service-quotas request-service-quota-increase --region %s --service-code %s --quota-code %s --desired-value %d\n(%s)",
			need+others, r.region, q.service, q.code, need+others, q.title), "%s", says)
	}
	return ok("%s", says)
}

func (r *region) checkCPUs(ctx context.Context) finding {
	for _, t := range r.types {
		if !standard(t) {
			return warn("compare the quota of its family yourself", "%s is not of a standard family, whose quota is checked here", t)
		}
	}
	var types []ec2types.InstanceType
	for _, t := range r.types {
		types = append(types, ec2types.InstanceType(t))
	}
	out, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeInstanceTypesOutput, error) {
		return r.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: types})
	})
	if err != nil {
		return explain("look up the instance types "+strings.Join(r.types, ", "), err)
	}
	most := 0 // which of the types will be had is not known
	for _, t := range out.InstanceTypes {
		if t.VCpuInfo != nil {
			most = max(most, int(aws.ToInt32(t.VCpuInfo.DefaultVCpus)))
		}
	}
	if most == 0 {
		return fail("set nodeTypes of the stack "+r.stack, "AWS says nothing of the instance types %s", strings.Join(r.types, ", "))
	}
	q := onDemand
	if r.spot {
		q = spot
	}
	return r.compare(ctx, q, r.nodes*most, fmt.Sprintf("%d vCPUs (%d nodes of %d)", r.nodes*most, r.nodes, most), r.usedCPUs)
}

// standard says whether the quotas for standard instances hold for a type.
func standard(instanceType string) bool {
	family, _, _ := strings.Cut(instanceType, ".")
	letters := strings.TrimRight(family[:max(0, strings.IndexAny(family+"0", "0123456789"))], "-")
	for _, other := range []string{"inf", "hpc", "dl", "trn", "mac", "vt"} {
		if letters == other {
			return false
		}
	}
	return letters != "" && strings.Contains("acdhimrtz", letters[:1])
}

// own says whether something is a test's.
func own(tags []ec2types.Tag) bool {
	return slices.ContainsFunc(tags, func(t ec2types.Tag) bool { return aws.ToString(t.Key) == ownTag && aws.ToString(t.Value) == ownValue })
}

// usedCPUs counts the vCPUs of others' running instances under the same quota.
func (r *region) usedCPUs(ctx context.Context) (int, error) {
	pages := ec2.NewDescribeInstancesPaginator(r.ec2, &ec2.DescribeInstancesInput{
		Filters:    []ec2types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}}},
		MaxResults: aws.Int32(1000),
	})
	used := 0
	for pages.HasMorePages() {
		page, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return 0, err
		}
		for _, reservation := range page.Reservations {
			for _, i := range reservation.Instances {
				isSpot := i.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot
				if own(i.Tags) || isSpot != r.spot || !standard(string(i.InstanceType)) || i.CpuOptions == nil {
					continue
				}
				used += int(aws.ToInt32(i.CpuOptions.CoreCount) * aws.ToInt32(i.CpuOptions.ThreadsPerCore))
			}
		}
	}
	return used, nil
}

func (r *region) checkAddresses(ctx context.Context) finding {
	return r.compare(ctx, addresses, 1, "1 (of the NAT gateway)", func(ctx context.Context) (int, error) {
		out, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeAddressesOutput, error) {
			return r.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
		})
		if err != nil {
			return 0, err
		}
		return count(out.Addresses, func(a ec2types.Address) bool { return !own(a.Tags) }), nil
	})
}

func (r *region) checkVPCs(ctx context.Context) finding {
	return r.compare(ctx, vpcs, 1, "1", func(ctx context.Context) (int, error) {
		used := 0
		for pages := ec2.NewDescribeVpcsPaginator(r.ec2, &ec2.DescribeVpcsInput{}); pages.HasMorePages(); {
			page, err := within(ctx, r.deadline, func(ctx context.Context) (*ec2.DescribeVpcsOutput, error) { return pages.NextPage(ctx) })
			if err != nil {
				return 0, err
			}
			used += count(page.Vpcs, func(v ec2types.Vpc) bool { return !own(v.Tags) })
		}
		return used, nil
	})
}

func count[T any](all []T, which func(T) bool) int {
	n := 0
	for _, x := range all {
		if which(x) {
			n++
		}
	}
	return n
}

// inECR is the form of a reference to an image in ECR by digest.
var inECR = regexp.MustCompile(`^([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^@:]+)(?::[^@]*)?@(sha256:[0-9a-f]{64})$`)

// images checks that each image of the configuration is in its registry.
func (p *preflight) images(ctx context.Context, s *settings) finding {
	const todo = "run make images"
	if len(s.images) == 0 {
		return fail(todo, "no images in the configuration")
	}
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(s.images)) {
		ref := s.images[key]
		is, err := within(ctx, p.deadline, func(ctx context.Context) (string, error) {
			if m := inECR.FindStringSubmatch(ref); m != nil {
				return p.imageInECR(ctx, m[1], m[2], m[3], m[4])
			}
			return imageInRegistry(ctx, ref)
		})
		if err != nil {
			return explain("look for images."+key+", "+ref, err)
		}
		if is != "" {
			missing = append(missing, fmt.Sprintf("images.%s: %s: %s", key, ref, is))
		}
	}
	if len(missing) > 0 {
		return fail(todo, "%s", strings.Join(missing, "\n"))
	}
	return ok("%d in their registries", len(s.images))
}

// imageInECR returns what is wrong, or nothing.
func (p *preflight) imageInECR(ctx context.Context, id, in, repository, digest string) (string, error) {
	cfg, err := configure(ctx, in)
	if err != nil {
		return "", err
	}
	_, err = ecr.NewFromConfig(cfg).DescribeImages(ctx, &ecr.DescribeImagesInput{
		RegistryId: &id, RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &digest}},
	})
	var noRepository *ecrtypes.RepositoryNotFoundException
	var noImage *ecrtypes.ImageNotFoundException
	switch {
	case errors.As(err, &noRepository):
		return "there is no such repository", nil
	case errors.As(err, &noImage):
		return "there is no such image", nil
	}
	return "", err
}

// imageInRegistry returns what is wrong, or nothing. What `docker login` has stored is used.
func imageInRegistry(ctx context.Context, ref string) (string, error) {
	digest, err := name.NewDigest(ref)
	if err != nil {
		return "is not NAME@sha256:DIGEST", nil
	}
	if _, err := remote.Head(digest, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err.Error(), nil
	}
	return "", nil
}
