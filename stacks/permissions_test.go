package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

const permissionsFile = "../docs/permissions.md"

// permission is one statement of a policy, or a managed policy, or a rule of Kubernetes' RBAC.
type permission struct {
	stack, who string
	actions    []string
	resources  []string
	managed    string // the ARN of a policy of AWS's
}

// unbounded are the permissions that are not bounded to named resources, each with its reason. Everything else
// must be.
var unbounded = map[string]string{
	"route53:ListHostedZones on *":     "AWS cannot bound it; ExternalDNS finds its zone by it, and may change that one alone",
	"get on chaos-mesh.org/*":          ofLiveMap,
	"list on chaos-mesh.org/*":         ofLiveMap,
	"watch on chaos-mesh.org/*":        ofLiveMap,
	"get on monitoring.coreos.com/*":   ofLiveMap,
	"list on monitoring.coreos.com/*":  ofLiveMap,
	"watch on monitoring.coreos.com/*": ofLiveMap,
}

const ofLiveMap = "the live map shows every kind of them, and may change none"

// managedPolicies are the policies of AWS's own that may be attached, each with its reason.
var managedPolicies = map[string]string{
	"arn:aws:iam::aws:policy/AmazonEKSClusterPolicy":                     "EKS's control plane: the least that AWS documents for it",
	"arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy":                  "a node joins its cluster by it",
	"arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy":                       "the VPC CNI on a node gives pods their addresses",
	"arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly":         "a node pulls images, and pushes none",
	"arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy": "those whom adminArns names, in this cluster alone",
}

// oneOrMany takes one or many: policies have either.
func oneOrMany(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
	}
	return out
}

// statements reads a policy document.
func statements(text string) ([]permission, error) {
	var doc struct{ Statement []map[string]any }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("policy %s: %w", text, err)
	}
	var out []permission
	for _, s := range doc.Statement {
		if s["Effect"] != "Allow" {
			continue
		}
		for _, negated := range []string{"NotAction", "NotResource", "NotPrincipal"} {
			if s[negated] != nil {
				return nil, fmt.Errorf("policy %s: %s allows all but what it names", text, negated)
			}
		}
		p := permission{actions: oneOrMany(s["Action"]), resources: oneOrMany(s["Resource"])}
		if principal, ok := s["Principal"].(map[string]any); ok {
			for kind, who := range principal {
				for _, w := range oneOrMany(who) {
					p.resources = append(p.resources, "for "+kind+" "+w)
				}
			}
		} else if s["Principal"] != nil {
			p.resources = append(p.resources, fmt.Sprintf("for %v", s["Principal"]))
		}
		out = append(out, p)
	}
	return out, nil
}

// tooMuch says what of a permission is not the least.
func (p permission) tooMuch() (out []string) {
	if p.managed != "" {
		if managedPolicies[p.managed] == "" {
			out = append(out, fmt.Sprintf("%s: %s has the managed policy %s, which is not among those that are known and needed", p.stack, p.who, p.managed))
		}
		return out
	}
	for _, action := range p.actions {
		if strings.Contains(action, "*") {
			out = append(out, fmt.Sprintf("%s: %s may do %s: name each action", p.stack, p.who, action))
		}
		for _, r := range p.resources {
			bounded := !strings.HasSuffix(r, "*") && r != "for AWS *" && r != "for *"
			if !bounded && unbounded[action+" on "+r] == "" {
				out = append(out, fmt.Sprintf("%s: %s may do %s on %s: name the resource, or say in unbounded why it cannot be named", p.stack, p.who, action, r))
			}
		}
	}
	if len(p.resources) == 0 {
		out = append(out, fmt.Sprintf("%s: %s may do %s on what is not said", p.stack, p.who, strings.Join(p.actions, ", ")))
	}
	return out
}

// permissions returns what the resources of a stack may do.
func permissions(stack string, resources []enginetest.Resource) (out []permission, err error) {
	add := func(who, text string) error {
		found, err := statements(text)
		for _, p := range found {
			p.stack, p.who = stack, who
			out = append(out, p)
		}
		return err
	}
	for _, r := range resources {
		text := func(key string) string { s, _ := r.Inputs[key].(string); return s }
		switch {
		case r.Type == "aws:iam/role:Role":
			err = add("role "+r.Name+" is assumed", text("assumeRolePolicy"))
			if r.Inputs["inlinePolicies"] != nil || r.Inputs["managedPolicyArns"] != nil {
				err = fmt.Errorf("role %s has policies of its own: attach them, so that they are seen", r.Name)
			}
		case r.Type == "aws:iam/rolePolicy:RolePolicy", r.Type == "aws:iam/policy:Policy":
			err = add("role "+r.Name, text("policy"))
		case r.Type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
			out = append(out, permission{stack: stack, who: "attachment " + r.Name, managed: text("policyArn")})
		case r.Type == "aws:eks/accessPolicyAssociation:AccessPolicyAssociation":
			out = append(out, permission{stack: stack, who: "access " + r.Name, managed: text("policyArn")})
		case strings.HasPrefix(r.Type, "aws:iam/") && r.Type != "aws:iam/openIdConnectProvider:OpenIdConnectProvider":
			err = fmt.Errorf("%s %s: this test does not know what it permits", r.Type, r.Name)
		case strings.HasPrefix(r.Type, "kubernetes:rbac.authorization.k8s.io/") && (strings.HasSuffix(r.Type, ":Role") || strings.HasSuffix(r.Type, ":ClusterRole")):
			_, kind, _ := strings.Cut(strings.TrimPrefix(r.Type, "kubernetes:"), ":")
			rules, _ := r.Inputs["rules"].([]any)
			for _, rule := range rules {
				rule := rule.(map[string]any)
				p := permission{stack: stack, who: "Kubernetes " + kind + " " + r.Name, actions: oneOrMany(rule["verbs"])}
				for _, group := range oneOrMany(rule["apiGroups"]) {
					for _, res := range oneOrMany(rule["resources"]) {
						p.resources = append(p.resources, strings.TrimPrefix(group+"/"+res, "/"))
					}
				}
				p.resources = append(p.resources, oneOrMany(rule["nonResourceURLs"])...)
				out = append(out, p)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b permission) int { return strings.Compare(a.who+a.managed, b.who+b.managed) })
	return out, nil
}

// Whatever the stacks make may do no more than what is listed, and each unbounded permission has its reason.
func TestPermissionsAreTheLeastAndListed(t *testing.T) {
	p := newPair(t, map[string]string{"adminArns": `["arn:aws:iam::123456789012:role/admin"]`})
	p.up()
	needed := map[string]bool{}
	var doc strings.Builder
	doc.WriteString(`# What the stacks may do

Every IAM role that the program makes, who may assume it and what it allows, and every rule of its roles in Kubernetes (those of Helm charts
are the charts' own). Written by ` + "`go test ./stacks -run TestPermissions -update`" + `, and compared by every ` + "`make test`" + `, which refuses actions
with a ` + "`*`" + `, resources that are not named, and managed policies that are not explained below.

Who runs ` + "`pulumi up`" + ` must be able to make all of it: VPC, EC2, EKS, IAM roles, Route 53, and ECR for the images, in both regions. No policy for
that is given here, since none could be tried.
`)
	for _, side := range []struct {
		name  string
		stack *enginetest.Stack
	}{{"us-east-1, the source", p.source}, {"eu-west-1, the destination", p.destination}} {
		all, err := permissions(side.name, side.stack.Resources())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) < 5 {
			t.Errorf("%s: %d permissions: the test does not see them", side.name, len(all))
		}
		fmt.Fprintf(&doc, "\n## %s\n\n| who | what | on |\n|---|---|---|\n", side.name)
		for _, x := range all {
			for _, complaint := range x.tooMuch() {
				t.Error(complaint)
			}
			what, on := strings.Join(x.actions, ", "), strings.Join(x.resources, ", ")
			if x.managed != "" {
				what, on = "all of "+x.managed, managedPolicies[x.managed]
			}
			needed[x.managed] = true
			for _, action := range x.actions {
				for _, r := range x.resources {
					needed[action+" on "+r] = true
					if reason := unbounded[action+" on "+r]; reason != "" && !strings.Contains(on, reason) {
						on += ": " + reason
					}
				}
			}
			fmt.Fprintf(&doc, "| %s | %s | %s |\n", x.who, what, strings.ReplaceAll(on, "|", `\|`))
		}
	}
	for _, list := range []map[string]string{unbounded, managedPolicies} {
		for permission := range list {
			if !needed[permission] {
				t.Errorf("%s is allowed, and nothing has it: take it out of the list", permission)
			}
		}
	}
	if *update {
		if err := os.WriteFile(permissionsFile, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(permissionsFile)
	if err != nil {
		t.Fatal(err)
	}
	if doc.String() != string(want) {
		t.Errorf("%s is not what the stacks may do; look at the difference, and then run go test ./stacks -run TestPermissions -update:\n%s", permissionsFile, firstDifference(string(want), doc.String()))
	}
}

// What must not be permitted is found.
func TestPermissionsThatAreTooMuchAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ policy, want string }{
		"any action":      {`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/c"}]}`, "name each action"},
		"any resource":    {`{"Statement":[{"Effect":"Allow","Action":["ec2:RunInstances"],"Resource":"*"}]}`, "name the resource"},
		"any of a kind":   {`{"Statement":[{"Effect":"Allow","Action":["route53:ListHostedZones"],"Resource":["arn:aws:route53:::hostedzone/*"]}]}`, "name the resource"},
		"anybody":         {`{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}]}`, "name the resource"},
		"any account":     {`{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}`, "name the resource"},
		"nothing said":    {`{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}`, "on what is not said"},
		"all but":         {`{"Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}`, "NotAction"},
		"no document":     {`{`, "unexpected end"},
		"a service alone": {`{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`, ""},
		"bounded":         {`{"Statement":[{"Effect":"Allow","Action":["a:B"],"Resource":"arn:aws:x:::y/z"},{"Effect":"Deny","Action":"*","Resource":"*"}]}`, ""},
	} {
		all, err := permissions("s", []enginetest.Resource{{Type: "aws:iam/rolePolicy:RolePolicy", Name: "r", Inputs: map[string]any{"policy": test.policy}}})
		complaints := fmt.Sprint(err)
		for _, p := range all {
			complaints += strings.Join(p.tooMuch(), "\n")
		}
		if test.want == "" && complaints != "<nil>" || !strings.Contains(complaints, test.want) {
			t.Errorf("%s: %s, want %q", name, complaints, test.want)
		}
	}
	admin := enginetest.Resource{Type: "aws:iam/rolePolicyAttachment:RolePolicyAttachment", Name: "r", Inputs: map[string]any{"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}}
	if all, err := permissions("s", []enginetest.Resource{admin}); err != nil || len(all) != 1 || len(all[0].tooMuch()) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := permissions("s", []enginetest.Resource{{Type: "aws:iam/userPolicy:UserPolicy"}}); err == nil {
		t.Error("a policy that the test does not know is passed over")
	}
}
