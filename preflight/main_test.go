package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tools that preflight runs are this test binary under their names.
func TestMain(m *testing.M) {
	tools := map[string]func(dir string, args []string) error{
		"pulumi": fakePulumi, "go": fakeGo, "stacks": fakeProgram,
		"kubectl": says("kubectl"), "aws": says("aws"),
	}
	if tool := tools[filepath.Base(os.Args[0])]; tool != nil {
		if err := tool(os.Getenv("FAKE_TOOLS"), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// says is a tool that prints its version: what stands in the file of its name.
func says(name string) func(string, []string) error {
	return func(dir string, _ []string) error {
		text, err := os.ReadFile(filepath.Join(dir, name))
		fmt.Print(string(text))
		return err
	}
}

func fakeGo(dir string, args []string) error {
	if args[0] == "version" {
		return says("go")(dir, nil)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return os.Symlink(self, args[slices.Index(args, "-o")+1])
}

// fakeProgram checks a configuration as stacks -check does.
func fakeProgram(_ string, args []string) error {
	var config map[string]string
	if err := json.Unmarshal([]byte(os.Getenv("PULUMI_CONFIG")), &config); err != nil || !slices.Equal(args, []string{"-check"}) {
		return fmt.Errorf("%v: %w", args, err)
	}
	if config["kafka-mirror-tester:brokers"] == "0" || config["kafka-mirror-tester:grafanaPassword"] != secret {
		return errors.New("brokers: 0: use 1 to 450\ngrafanaPassword: missing")
	}
	if config["kafka-mirror-tester:nodeRelease"] == "" {
		return errors.New("nodeRelease: missing: run make versions")
	}
	return nil
}

// fakePulumi keeps stacks' configuration in files and writes down its arguments. Its shapes are those
// of the CLI at v3.200.0.
func fakePulumi(dir string, args []string) error {
	record, err := os.OpenFile(filepath.Join(dir, "argv"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer record.Close()
	fmt.Fprintf(record, "%q\n", args)

	switch args[0] {
	case "version", "whoami":
		return says("pulumi-"+args[0])(dir, nil)
	case "config":
	default:
		return fmt.Errorf("unknown command %q", args)
	}
	stack := args[slices.Index(args, "--stack")+1]
	file := filepath.Join(dir, stack+".json")
	config := map[string]value{}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("error: no stack named '%s' found", stack)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	if args[1] == "set-all" {
		if err := fakeSetAll(dir, args[2:], config); err != nil {
			return err
		}
		if text, err = json.Marshal(config); err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o600)
	}
	if args[1] == "set" {
		key := "kafka-mirror-tester:" + args[5] // set --stack NAME --secret KEY
		if _, err := os.Stat(filepath.Join(dir, "full")); err == nil && args[5] == keyKey {
			return errors.New("error: no space left on device")
		}
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		config[key] = value{strings.TrimSuffix(string(input), "\n"), args[4] == "--secret"}
		if text, err = json.Marshal(config); err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o600)
	}
	out := map[string]map[string]any{}
	for key, v := range config {
		out[key] = map[string]any{"secret": v.Secret}
		if !v.Secret || slices.Contains(args, "--show-secrets=true") {
			out[key]["value"] = v.Value
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// fakeSetAll takes --stack NAME --path --plaintext KEY=VALUE..., as the CLI does.
func fakeSetAll(dir string, args []string, config map[string]value) error {
	if _, err := os.Stat(filepath.Join(dir, "full")); err == nil {
		return errors.New("error: no space left on device")
	}
	flags := flag.NewFlagSet("set-all", flag.ContinueOnError)
	flags.String("stack", "", "")
	path, _ := flags.Bool("path", false, ""), flags.Bool("non-interactive", false, "")
	flags.Func("plaintext", "", func(pair string) error {
		key, text, _ := strings.Cut(pair, "=")
		object, field, nested := strings.Cut(key, ".")
		key = project + ":" + object
		if nested && *path {
			fields := map[string]string{}
			if old := config[key].Value; old != "" {
				if err := json.Unmarshal([]byte(old), &fields); err != nil {
					return err
				}
			}
			fields[field] = text
			merged, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			text = string(merged)
		}
		config[key] = value{text, false}
		return nil
	})
	return flags.Parse(args)
}

// world is all that preflight looks at, in good order: a test breaks something.
type world struct {
	t     *testing.T
	tools string // directory of the tools and of what they say

	mu     sync.Mutex
	quotas map[string]string // region/code -> value; absent: the default, 5
	zones  map[string]string // name -> id
	types  map[string]int    // offered instance type -> vCPUs
	images map[string]bool   // region/repository/digest
	// What the region us-east-1 has; eu-west-1 has the same, its images a day later.
	releases map[string]string   // Kubernetes version/architecture -> recommended release, without its day
	addOns   map[string][]string // Kubernetes version/add-on -> versions, the default with a star
	// answer, if set, answers a call (service, action) instead.
	answer func(w http.ResponseWriter, service, action string) bool
	calls  []string
}

const account1 = "123456789012"

func digest(n int) string { return fmt.Sprintf("sha256:%064d", n) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, tools: t.TempDir(),
		quotas:   map[string]string{"us-east-1/L-1216C47A": "200", "eu-west-1/L-1216C47A": "200"},
		zones:    map[string]string{"us-east-1a": "use1-az1", "us-east-1b": "use1-az2", "us-east-1c": "use1-az3", "eu-west-1a": "euw1-az1", "eu-west-1b": "euw1-az2"},
		types:    map[string]int{"m6i.xlarge": 4, "m5.xlarge": 4},
		images:   map[string]bool{},
		releases: map[string]string{"1.35/x86_64": "1.35.0-202601", "1.35/arm64": "1.35.0-202602"},
		addOns: map[string][]string{
			"1.35/vpc-cni": {"v1.21.1-eksbuild.1", "v1.20.9-eksbuild.2", "v1.20.4-eksbuild.2*"}, "1.35/kube-proxy": {"v1.35.0-eksbuild.2*"},
			"1.35/coredns": {"v1.13.1-eksbuild.1*"}, "1.35/eks-pod-identity-agent": {"v1.3.10-eksbuild.1*"},
		},
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"pulumi", "go", "kubectl", "aws"} {
		if err := os.Symlink(self, filepath.Join(w.tools, tool)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/sh", filepath.Join(w.tools, "sh")); err != nil { // runs credential_process
		t.Fatal(err)
	}
	said := filepath.Join(w.tools, "said")
	if err := os.Mkdir(said, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", w.tools)
	t.Setenv("FAKE_TOOLS", said)
	w.say("go", "go version go1.26.0 linux/amd64\n")
	w.say("pulumi-version", "v3.205.1\n")
	w.say("pulumi-whoami", `{"user": "me", "url": "https://app.pulumi.com/me"}`)
	w.say("kubectl", `{"clientVersion": {"gitVersion": "v1.35.1"}}`)
	w.say("aws", "aws-cli/2.31.0 Python/3.13.7 Linux/6.18 exe/x86_64\n")
	for i, stack := range []string{"us-east-1", "eu-west-1"} {
		reference := account1 + ".dkr.ecr." + stack + ".amazonaws.com/kafka-mirror-tester/kafka@" + digest(1)
		w.images[stack+"/kafka-mirror-tester/kafka/"+digest(1)] = true
		w.configure(stack, "aws:region", stack)
		for key, v := range map[string]string{
			"nodes": "40", "brokers": "30", "kubeconfig": "", "kubernetesVersion": "1.35", "nodeCapacity": "ON_DEMAND",
			"nodeTypes": `["m6i.xlarge","m5.xlarge"]`, "zones": `["` + stack + `a","` + stack + `b"]`, "nodeZones": "[]",
			"vpcCidr": fmt.Sprintf("10.%d.0.0/16", 10+10*i), "peerCidr": fmt.Sprintf("10.%d.0.0/16", 20-10*i),
			"images": `{"kafka":"` + reference + `"}`, "nodeImage": "AL2023_x86_64_STANDARD", "nodeRelease": "1.35.0-20251213",
			"versions": `{"vpcCni":"v1.20.4-eksbuild.2","kubeProxy":"v1.35.0-eksbuild.2","coreDns":"v1.13.1-eksbuild.1","podIdentityAgent":"v1.3.10-eksbuild.1","kubernetesPlugin":"4.26.0"}`,
		} {
			w.configure(stack, project+":"+key, v)
		}
		w.secret(stack, keyGrafanaPassword, "hidden")
	}
	double := httptest.NewServer(w)
	t.Cleanup(double.Close)
	t.Setenv("AWS_ENDPOINT_URL", double.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return w
}

func (w *world) say(tool, text string) { w.write(tool, []byte(text)) }

func (w *world) write(file string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.tools, "said", file), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stack(name string) map[string]value {
	w.t.Helper()
	config := map[string]value{}
	text, err := os.ReadFile(filepath.Join(w.tools, "said", name+".json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return config
}

func (w *world) put(stack, key string, v value) {
	w.t.Helper()
	config := w.stack(stack)
	config[key] = v
	text, err := json.Marshal(config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(stack+".json", text)
}

func (w *world) configure(stack, key, v string) { w.t.Helper(); w.put(stack, key, value{v, false}) }

func (w *world) secret(stack, key, v string) {
	w.t.Helper()
	w.put(stack, project+":"+key, value{v, true})
}

// ServeHTTP answers as AWS does, to the real SDK, in shapes taken from the API references' examples:
// AWS cannot be reached here.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	scope := strings.Split(r.Header.Get("Authorization"), "/") // Credential=id/20260101/us-east-1/ec2/aws4_request
	region, service := scope[2], scope[3]
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	if _, target, found := strings.Cut(r.Header.Get("X-Amz-Target"), "."); found {
		action = target
	}
	w.calls = append(w.calls, service+" "+action)
	if w.answer != nil && w.answer(rw, service, action) {
		return
	}
	var in map[string]any
	if strings.Contains(r.Header.Get("Content-Type"), "json") {
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewDecoder(r.Body).Decode(&in)
	}
	switch action {
	case "GetCallerIdentity":
		fmt.Fprintf(rw, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::%s:user/me</Arn><UserId>AIDA</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, account1, account1)
	case "DescribeAvailabilityZones":
		var items string
		for _, name := range slices.Sorted(maps.Keys(w.zones)) {
			if strings.HasPrefix(name, region) {
				items += fmt.Sprintf(`<item><zoneName>%s</zoneName><zoneId>%s</zoneId><zoneState>available</zoneState><regionName>%s</regionName></item>`, name, w.zones[name], region)
			}
		}
		fmt.Fprintf(rw, `<DescribeAvailabilityZonesResponse><availabilityZoneInfo>%s</availabilityZoneInfo></DescribeAvailabilityZonesResponse>`, items)
	case "DescribeInstanceTypeOfferings":
		var items string
		for i := 1; r.Form.Get(fmt.Sprintf("Filter.1.Value.%d", i)) != ""; i++ {
			for j := 1; r.Form.Get(fmt.Sprintf("Filter.2.Value.%d", j)) != ""; j++ {
				if t := r.Form.Get(fmt.Sprintf("Filter.1.Value.%d", i)); w.types[t] > 0 {
					items += fmt.Sprintf(`<item><instanceType>%s</instanceType><locationType>%s</locationType><location>%s</location></item>`, t, r.Form.Get("LocationType"), r.Form.Get(fmt.Sprintf("Filter.2.Value.%d", j)))
				}
			}
		}
		fmt.Fprintf(rw, `<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet>%s</instanceTypeOfferingSet></DescribeInstanceTypeOfferingsResponse>`, items)
	case "DescribeInstanceTypes":
		var items string
		for _, t := range slices.Sorted(maps.Keys(w.types)) {
			items += fmt.Sprintf(`<item><instanceType>%s</instanceType><vCpuInfo><defaultVCpus>%d</defaultVCpus></vCpuInfo></item>`, t, w.types[t])
		}
		fmt.Fprintf(rw, `<DescribeInstanceTypesResponse><instanceTypeSet>%s</instanceTypeSet></DescribeInstanceTypesResponse>`, items)
	case "DescribeInstances": // 8 vCPUs of others, 4 of ours, 4 spot, 8 of a family with another quota
		instance := func(kind, lifecycle string, cores int, tag string) string {
			return fmt.Sprintf(`<item><instancesSet><item><instanceType>%s</instanceType>%s<cpuOptions><coreCount>%d</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions><tagSet><item><key>Project</key><value>%s</value></item></tagSet></item></instancesSet></item>`, kind, lifecycle, cores, tag)
		}
		fmt.Fprintf(rw, `<DescribeInstancesResponse><reservationSet>%s%s%s%s</reservationSet></DescribeInstancesResponse>`,
			instance("c5.2xlarge", "", 4, "other"), instance("m6i.xlarge", "", 2, project),
			instance("m5.xlarge", "<instanceLifecycle>spot</instanceLifecycle>", 2, "other"), instance("g5.2xlarge", "", 4, "other"))
	case "DescribeAddresses":
		fmt.Fprint(rw, `<DescribeAddressesResponse><addressesSet><item><publicIp>203.0.113.1</publicIp></item><item><publicIp>203.0.113.2</publicIp><tagSet><item><key>Project</key><value>kafka-mirror-tester</value></item></tagSet></item></addressesSet></DescribeAddressesResponse>`)
	case "DescribeVpcs":
		fmt.Fprint(rw, `<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>`)
	case "GetServiceQuota", "GetAWSDefaultServiceQuota":
		quota := w.quotas[region+"/"+fmt.Sprint(in["QuotaCode"])]
		if action == "GetAWSDefaultServiceQuota" {
			quota = "5"
		}
		if quota == "" {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"__type":"NoSuchResourceException","Message":"no such quota"}`)
			return
		}
		fmt.Fprintf(rw, `{"Quota":{"QuotaCode":%q,"Value":%s}}`, in["QuotaCode"], quota)
	case "DescribeImages":
		d := in["imageIds"].([]any)[0].(map[string]any)["imageDigest"].(string)
		if !w.images[region+"/"+in["repositoryName"].(string)+"/"+d] {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"__type":"ImageNotFoundException","message":"not there"}`)
			return
		}
		fmt.Fprintf(rw, `{"imageDetails":[{"imageDigest":%q}]}`, d)
	case "GetParameter":
		m := parameterName.FindStringSubmatch(fmt.Sprint(in["Name"]))
		if m == nil || w.releases[m[1]+"/"+m[2]] == "" {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"__type":"ParameterNotFound"}`)
			return
		}
		day := map[string]string{"us-east-1": "10", "eu-west-1": "11"}[region]
		fmt.Fprintf(rw, `{"Parameter":{"Name":%q,"Type":"String","Value":%q,"Version":1,"DataType":"text"}}`, in["Name"], w.releases[m[1]+"/"+m[2]]+day)
	case "": // EKS has REST
		w.describeAddOn(rw, r.URL.Query())
	default:
		rw.WriteHeader(http.StatusNotImplemented)
	}
}

// https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html
var parameterName = regexp.MustCompile(`^/aws/service/eks/optimized-ami/([0-9.]+)/amazon-linux-2023/(x86_64|arm64)/standard/recommended/release_version$`)

// describeAddOn answers with one version of the add-on a page. Each is the default of another
// Kubernetes version too.
func (w *world) describeAddOn(rw http.ResponseWriter, query url.Values) {
	kubernetes, name := query.Get("kubernetesVersion"), query.Get("addonName")
	versions := w.addOns[kubernetes+"/"+name]
	page, _ := strconv.Atoi(query.Get("nextToken")) // none: 0
	if page >= len(versions) {
		fmt.Fprint(rw, `{"addons":[]}`)
		return
	}
	version, isDefault := strings.CutSuffix(versions[page], "*")
	next := "null"
	if page++; page < len(versions) {
		next = fmt.Sprintf("%q", strconv.Itoa(page))
	}
	fmt.Fprintf(rw, `{"addons":[{"addonName":%q,"type":"networking","addonVersions":[{"addonVersion":%q,"architecture":["amd64","arm64"],
		"compatibilities":[{"clusterVersion":"1.34","platformVersions":["*"],"defaultVersion":true},{"clusterVersion":%q,"platformVersions":["*"],"defaultVersion":%t}]}]}],"nextToken":%s}`,
		name, version, kubernetes, isDefault, next)
}

// preflight runs the command.
func (w *world) preflight(args ...string) (string, error) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(context.Background(), args, os.Environ(), &stdout, &stderr)
	w.t.Logf("preflight %s\n%s%s%v", strings.Join(args, " "), &stdout, &stderr, err)
	return stdout.String() + stderr.String(), err
}

func TestAllIsWell(t *testing.T) {
	w := newWorld(t)
	out, err := w.preflight()
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "✓ ") && !strings.Contains(line, "warnings 0, failed 0, not made 0") && line != "\n" {
			t.Errorf("all is well, and it says %q", line)
		}
	}
	for _, want := range []string{
		"pulumi: v3.205.1", "aws: 2.31.0", "https://app.pulumi.com/me, as me", "user/me in account " + account1, "10.10.0.0/16 and 10.20.0.0/16",
		"us-east-1: vCPU quota: 160 vCPUs (40 nodes of 4) needed, 8 used by others, 200 allowed",
		"eu-west-1: elastic IP quota: 1 (of the NAT gateway) needed, 1 used by others, 5 allowed",
		"eu-west-1: VPC quota: 1 needed, 1 used by others, 5 allowed", "eu-west-1: images: 1 in their registries", "us-east-1: configuration: is valid",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// Each thing that is wrong is found by its check, which says what to do, and nothing else fails.
func TestWhatIsWrongIsFoundAndAllOthersAreChecked(t *testing.T) {
	refuse := func(service, action, code string) func(*world) {
		return func(w *world) {
			w.answer = func(rw http.ResponseWriter, s, a string) bool {
				if s != service || a != action {
					return false
				}
				rw.WriteHeader(http.StatusForbidden)
				if service == "ec2" {
					fmt.Fprintf(rw, `<Response><Errors><Error><Code>%s</Code><Message>as AWS says it</Message></Error></Errors></Response>`, code)
				} else {
					fmt.Fprintf(rw, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>as AWS says it</Message></Error></ErrorResponse>`, code)
				}
				return true
			}
		}
	}
	set := func(stack, key, v string) func(*world) {
		return func(w *world) { w.configure(stack, project+":"+key, v) }
	}
	for name, test := range map[string]struct {
		broken func(*world)
		fails  string   // names of the checks that fail, a regular expression
		warns  string   // and of those that warn
		skips  string   // and of those that cannot be made
		says   []string // in the report
	}{
		"vCPU quota": {func(w *world) { w.quotas["eu-west-1/L-1216C47A"] = "160" }, "eu-west-1: vCPU quota", "", "",
			[]string{"160 vCPUs (40 nodes of 4) needed, 8 used by others, 160 allowed", "--region eu-west-1 --service-code ec2 --quota-code L-1216C47A --desired-value 168"}},
		"spot has a quota of its own": {func(w *world) {
			w.configure("us-east-1", project+":nodeCapacity", "SPOT")
			w.quotas["us-east-1/L-34B43A08"] = "164"
		}, "", "", "", []string{"us-east-1: vCPU quota: 160 vCPUs (40 nodes of 4) needed, 4 used by others, 164 allowed"}},
		"elastic IPs": {func(w *world) { w.quotas["us-east-1/L-0263D0A3"] = "1" }, "us-east-1: elastic IP quota", "", "", []string{"L-0263D0A3 --desired-value 2"}},
		"VPCs":        {func(w *world) { w.quotas["us-east-1/L-F678F1CE"] = "1" }, "us-east-1: VPC quota", "", "", []string{"--service-code vpc"}},
		"type not offered": {set("us-east-1", "nodeTypes", `["m9.xlarge"]`), "us-east-1: (instance types|vCPU quota)", "", "",
			[]string{"none of m9.xlarge is offered in us-east-1a"}},
		"one type not offered":    {set("us-east-1", "nodeTypes", `["m6i.xlarge","m9.xlarge"]`), "", "us-east-1: instance types", "", []string{"us-east-1a offers only m6i.xlarge"}},
		"a family of other quota": {set("us-east-1", "nodeTypes", `["g5.xlarge"]`), "us-east-1: instance types", "us-east-1: vCPU quota", "", []string{"not of a standard family"}},
		"zone where EKS is not":   {set("us-east-1", "zones", `["us-east-1a","us-east-1c"]`), "us-east-1: zones", "", "", []string{"us-east-1c is use1-az3 in this account", "to some of us-east-1a, us-east-1b"}},
		"no such zone":            {set("us-east-1", "zones", `["us-east-1a","us-east-1x"]`), "us-east-1: zones", "", "", []string{"us-east-1 has no zone us-east-1x"}},
		"Kubernetes version":      {set("eu-west-1", "kubernetesVersion", "1.99"), "eu-west-1: Kubernetes version", "", "eu-west-1: pinned versions", []string{"EKS in eu-west-1 does not offer 1.99"}},
		"nothing is pinned": {func(w *world) {
			w.configure("eu-west-1", project+":nodeRelease", "")
			w.configure("eu-west-1", project+":versions", "{}")
		}, "eu-west-1: (pinned versions|configuration)", "", "", []string{
			"nodeRelease: missing\n      versions.vpcCni: missing\n      versions.kubeProxy: missing\n      versions.coreDns: missing\n      versions.podIdentityAgent: missing\n    → run make versions\n",
			"eu-west-1: configuration: nodeRelease: missing: run make versions\n    → run the make that it names",
		}},
		"pinned of another Kubernetes": {func(w *world) {
			w.configure("us-east-1", project+":nodeRelease", "1.34.2-20251213")
			w.configure("us-east-1", project+":versions", `{"vpcCni":"v1.20.4-eksbuild.2","kubeProxy":"v1.34.1-eksbuild.2","coreDns":"v1.13.1-eksbuild.1"}`)
		}, "us-east-1: pinned versions", "", "", []string{
			"versions.podIdentityAgent: missing\n      nodeRelease: 1.34.2-20251213 is no release for Kubernetes 1.35", "EKS in us-east-1 has no kube-proxy v1.34.1-eksbuild.2 for Kubernetes 1.35\n    → run make versions ARGS=--update",
		}},
		"a release that is none": {set("us-east-1", "nodeRelease", "latest"), "us-east-1: pinned versions", "", "", []string{"nodeRelease: latest is no release", "make versions"}},
		"an image is missing":    {func(w *world) { clear(w.images) }, ".*: images", "", "", []string{"images.kafka: " + account1 + ".dkr.ecr.eu-west-1", "there is no such image", "make images"}},
		"no images":              {set("eu-west-1", "images", "{}"), "eu-west-1: images", "", "", []string{"make images"}},
		"networks overlap": {func(w *world) {
			w.configure("eu-west-1", project+":vpcCidr", "10.10.128.0/17")
			w.configure("us-east-1", project+":peerCidr", "10.10.128.0/17")
		}, "networks", "", "", []string{"us-east-1 has 10.10.0.0/16, eu-west-1 has 10.10.128.0/17"}},
		"the peer is another": {set("us-east-1", "peerCidr", "10.30.0.0/16"), "networks", "", "", []string{"pulumi config set --stack us-east-1 peerCidr 10.20.0.0/16"}},
		"configuration": {set("us-east-1", "brokers", "0"), "us-east-1: configuration", "", "",
			[]string{"brokers: 0: use 1 to 450\n      grafanaPassword: missing", "pulumi config set --stack us-east-1"}},
		"secret is missing": {func(w *world) { w.put("us-east-1", project+":"+keyGrafanaPassword, value{}) }, "us-east-1: configuration", "", "", nil},
		"no region":         {func(w *world) { w.configure("us-east-1", "aws:region", "") }, "stack us-east-1", "", "networks|us-east-1: .*", []string{"pulumi config set --stack us-east-1 aws:region"}},
		"no stack": {func(w *world) { os.Remove(filepath.Join(w.tools, "said", "us-east-1.json")) }, "stack us-east-1", "", "networks|us-east-1: .*",
			[]string{"no stack named 'us-east-1' found", "pulumi stack init us-east-1"}},
		"state on this machine":   {func(w *world) { w.say("pulumi-whoami", `{"user":"me","url":"file:///home/me"}`) }, "", "Pulumi's state", "", []string{"on this machine only, in file:///home/me"}},
		"old pulumi":              {func(w *world) { w.say("pulumi-version", "v3.199.0\n") }, "pulumi", "", "", []string{"v3.199.0, and the program's SDK needs at least 3.200"}},
		"old AWS CLI":             {func(w *world) { w.say("aws", "aws-cli/1.45.11 Python/3.11.7\n") }, "aws", "", "", []string{"1.45.11", "needs at least 2.0"}},
		"no AWS CLI":              {func(w *world) { os.Remove(filepath.Join(w.tools, "aws")) }, "aws", "", "", []string{"is not on PATH"}},
		"credentials expired":     {refuse("sts", "GetCallerIdentity", "ExpiredToken"), "AWS credentials", "", ".*-1: (zones|instance types|.* quota|Kubernetes version|pinned versions|images)", []string{"have expired", "aws sso login"}},
		"credentials not known":   {refuse("sts", "GetCallerIdentity", "InvalidClientTokenId"), "AWS credentials", "", ".*-1: (zones|instance types|.* quota|Kubernetes version|pinned versions|images)", []string{"does not accept"}},
		"credentials without end": {func(w *world) { w.t.Setenv("AWS_SESSION_TOKEN", "x") }, "", "AWS credentials", "", []string{"is not known"}},
		"credentials end soon": {func(w *world) {
			w.credentials(time.Now().Add(30 * time.Minute))
		}, "", "AWS credentials", "", []string{"only until"}},
		"credentials last":    {func(w *world) { w.credentials(time.Now().Add(8 * time.Hour)) }, "", "", "", []string{"user/me in account " + account1 + ", until "}},
		"no credentials":      {func(w *world) { w.t.Setenv("AWS_ACCESS_KEY_ID", "") }, "AWS credentials", "", ".*-1: (zones|instance types|.* quota|Kubernetes version|pinned versions|images)", []string{"no credentials found", "aws sso login"}},
		"not allowed":         {refuse("ec2", "DescribeAddresses", "UnauthorizedOperation"), ".*-1: elastic IP quota", "", "", []string{"may not do it", "preflight --help"}},
		"an existing cluster": {func(w *world) { w.secret("us-east-1", "kubeconfig", "yaml") }, "", "", "", []string{"stack us-east-1: an existing cluster", "us-east-1: zones: not needed", "eu-west-1: zones: eu-west-1a"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.broken(w)
			out, err := w.preflight()
			if (err != nil) != (test.fails != "") {
				t.Errorf("error %v", err)
			}
			wanted := map[string]string{"✓": ".*", "✗": test.fails, "!": test.warns, "–": test.skips}
			marked := map[string]int{}
			lines := reportLine.FindAllStringSubmatch(out, -1)
			for _, line := range lines {
				marked[line[1]]++
				if !regexp.MustCompile("^(" + wanted[line[1]] + ")$").MatchString(line[2]) {
					t.Errorf("unexpected: %s", line[0])
				}
			}
			for mark, want := range wanted {
				if want != "" && marked[mark] == 0 {
					t.Errorf("no check is marked %s, want %s", mark, want)
				}
			}
			if len(lines) != 28 {
				t.Errorf("%d checks were reported, want all 28", len(lines))
			}
			for _, want := range test.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if strings.Contains(out, "hidden") {
				t.Error("a secret is printed")
			}
		})
	}
}

// reportLine is a check's line in the report: mark and name.
var reportLine = regexp.MustCompile(`(?m)^([✓!✗–]) ((?:[a-z]+-[a-z]+-1: )?[A-Za-z][^:\n]*): .*$`)

// credentials come from a process that says when they end, as SSO's do.
func (w *world) credentials(end time.Time) {
	w.t.Helper()
	w.write("credentials", fmt.Appendf(nil, `{"Version":1,"AccessKeyId":"id","SecretAccessKey":"key","SessionToken":"t","Expiration":%q}`, end.UTC().Format(time.RFC3339)))
	w.write("config", []byte("[default]\ncredential_process = /bin/cat "+filepath.Join(w.tools, "said", "credentials")+"\n"))
	w.t.Setenv("AWS_ACCESS_KEY_ID", "")
	w.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	w.t.Setenv("AWS_CONFIG_FILE", filepath.Join(w.tools, "said", "config"))
}

// https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
func TestOnlyStandardFamiliesAreUnderTheStandardQuota(t *testing.T) {
	for want, types := range map[bool]string{
		true:  "m6i.xlarge c7gn.large im4gn.large is4gen.large d3en.xlarge i3.large r8g.large t3a.nano z1d.large h1.2xlarge a1.large",
		false: "g5.xlarge p4d.24xlarge inf2.xlarge trn1.2xlarge hpc6a.48xlarge dl1.24xlarge x2idn.metal u-6tb1.metal mac2.metal vt1.3xlarge f1.2xlarge",
	} {
		for name := range strings.FieldsSeq(types) {
			if standard(name) != want {
				t.Errorf("%s: %t", name, !want)
			}
		}
	}
}

// Whether credentials are needed cannot be said where no stack can be read.
func TestWithoutStacksNothingIsSaidOfCredentials(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"us-east-1", "eu-west-1"} {
		if err := os.Remove(filepath.Join(w.tools, "said", name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.preflight()
	if want := "– AWS credentials: not checked: no stack that can be read"; err == nil || !strings.Contains(out, want) {
		t.Errorf("error %v; it does not say %q", err, want)
	}
}

func TestWithoutANetworkItSaysSoAndEnds(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		gone := httptest.NewServer(nil)
		t.Setenv("AWS_ENDPOINT_URL", gone.URL)
		gone.Close()
		out, err := w.preflight()
		if err == nil || !strings.Contains(out, "✗ AWS credentials") || !strings.Contains(out, "is the network up") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		newWorld(t)
		ended := make(chan struct{})
		silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
		t.Cleanup(silent.Close)
		t.Cleanup(func() { close(ended) })
		t.Setenv("AWS_ENDPOINT_URL", silent.URL)
		var out bytes.Buffer
		p := preflight{stacks: []string{"us-east-1"}, env: os.Environ(), stdout: &out, deadline: 3 * time.Second}
		err := p.run(context.Background())
		t.Log(out.String())
		if err == nil || !strings.Contains(out.String(), "no answer within 3s") || !strings.Contains(out.String(), "is the network up") {
			t.Errorf("error %v", err)
		}
	})
}

func TestSecretsAreMadeOnceTheSameForBothAndNeverShown(t *testing.T) {
	w := newWorld(t)
	for _, stack := range []string{"us-east-1", "eu-west-1"} {
		w.put(stack, project+":"+keyGrafanaPassword, value{})
	}
	keys := []string{keyAuthority, keyCertificate, keyKey, keyPassword, keyGrafanaPassword}
	snapshot := func() map[string]string {
		t.Helper()
		got := map[string]string{}
		for _, key := range keys {
			a, b := w.stack("us-east-1")[project+":"+key], w.stack("eu-west-1")[project+":"+key]
			if a != b || !a.Secret || a.Value == "" {
				t.Fatalf("%s: %v and %v", key, a, b)
			}
			got[key] = a.Value
		}
		return got
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := w.preflight(append([]string{"secrets"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var said strings.Builder
	said.WriteString(must())
	first := snapshot()
	usable(t, first)

	said.WriteString(must())
	if again := snapshot(); !maps.Equal(again, first) {
		t.Error("a second run replaced secrets")
	}

	// A stack that lacks some gets those of the other.
	w.put("us-east-1", project+":"+keyKey, value{})
	w.put("us-east-1", project+":"+keyPassword, value{})
	said.WriteString(must())
	if again := snapshot(); !maps.Equal(again, first) {
		t.Error("a stack was not completed from the other")
	}

	// What neither has in full, or both have differently, is not replaced.
	w.secret("eu-west-1", keyPassword, "another password")
	if out, err := w.preflight("secrets"); err == nil || !strings.Contains(err.Error(), "kafkaPassword") || !strings.Contains(err.Error(), "--rotate") {
		t.Errorf("%s, %v", out, err)
	} else {
		said.WriteString(out + err.Error())
	}
	if got := w.stack("eu-west-1")[project+":"+keyPassword].Value; got != "another password" {
		t.Error("a secret that differs was replaced")
	}

	said.WriteString(must("--rotate"))
	second := snapshot()
	usable(t, second)
	for _, key := range keys {
		if first[key] == second[key] {
			t.Errorf("--rotate kept %s", key)
		}
	}

	argv, err := os.ReadFile(filepath.Join(w.tools, "said", "argv"))
	if err != nil || !strings.Contains(string(argv), keyKey) {
		t.Fatal("nothing is recorded", err)
	}
	for _, secrets := range []map[string]string{first, second, {"other": "another password"}} {
		for key, v := range secrets {
			for line := range strings.Lines(v) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "--") && strings.Contains(string(argv)+said.String(), line) {
					t.Errorf("%s is in arguments or output", key)
				}
			}
		}
	}
}

// Clients ask for kafka.DOMAIN, whatever the stacks' domain is.
func TestTheCertificateIsForTheStacksDomain(t *testing.T) {
	for want, test := range map[string]struct {
		domain string
		args   []string
	}{
		"kafka.kmt.internal":    {},
		"kafka.mirror.internal": {domain: "mirror.internal"},
		"other.example":         {domain: "mirror.internal", args: []string{"--dns-name", "other.example"}},
	} {
		t.Run(want, func(t *testing.T) {
			w := newWorld(t)
			for _, stack := range []string{"us-east-1", "eu-west-1"} {
				w.configure(stack, project+":domain", test.domain)
			}
			if _, err := w.preflight(append([]string{"secrets"}, test.args...)...); err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode([]byte(w.stack("us-east-1")[project+":"+keyCertificate].Value))
			if block == nil {
				t.Fatal("no certificate")
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.DNSNames, []string{want}) {
				t.Errorf("the certificate is for %q", c.DNSNames)
			}
		})
	}
}

// usable checks what Kafka and its clients do with the secrets: a server with the certificate is
// trusted by a client that knows the authority and asks for the name, and by no other.
func usable(t *testing.T, s map[string]string) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(s[keyCertificate]), []byte(s[keyKey]))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(s[keyKey]))
	if block == nil || block.Type != "PRIVATE KEY" {
		t.Fatal("the key is no private key in PEM")
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Errorf("the key is not in PKCS #8, which is all that Kafka reads: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s[keyAuthority])) {
		t.Fatal("no authority")
	}
	for name, want := range map[string]bool{"kafka.kmt.internal": true, "other.kmt.internal": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: time.Now().AddDate(0, 11, 0)})
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s[keyPassword]) != 43 || len(s[keyGrafanaPassword]) != 43 {
		t.Errorf("passwords have %d and %d characters, want 43: 32 bytes", len(s[keyPassword]), len(s[keyGrafanaPassword]))
	}
}

func TestSecretsOfARunThatWasCutShortAreNotReplacedUnasked(t *testing.T) {
	w := newWorld(t)
	w.say("full", "")
	if _, err := w.preflight("secrets"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
	left := w.stack("us-east-1")[project+":"+keyAuthority].Value
	os.Remove(filepath.Join(w.tools, "said", "full"))
	_, err := w.preflight("secrets")
	if now := w.stack("us-east-1")[project+":"+keyAuthority].Value; err == nil || !strings.Contains(err.Error(), "--rotate") || left == "" || now != left {
		t.Errorf("%v; was replaced: %t", err, now != left)
	}
	if _, err := w.preflight("secrets", "--rotate"); err != nil {
		t.Error(err)
	}
}
