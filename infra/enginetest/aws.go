package enginetest

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

// awsKind is the double of pulumi-aws v6.
type awsKind struct{}

// account is the AWS account that everything belongs to.
const account = "123456789012"

func (awsKind) check(_ *double, req plugin.CheckRequest) (resource.PropertyMap, []plugin.CheckFailure) {
	if _, ok := awsTypes[string(req.Type)]; !ok {
		return req.News, []plugin.CheckFailure{{Reason: "the double does not know this type: add it to awsTypes, with what forces its replacement"}}
	}
	inputs := req.News.Copy()
	if key := resource.PropertyKey(awsTypes[string(req.Type)].autoName); key != "" && !inputs.HasValue(key) && !inputs.HasValue(key+"Prefix") {
		// An earlier automatic name is kept, else seven random digits follow the resource's name:
		// https://github.com/pulumi/pulumi-terraform-bridge/blob/master/pkg/tfbridge/names.go
		if old, ok := req.Olds[key]; ok {
			inputs[key] = old
		} else if name, err := resource.NewUniqueName(req.RandomSeed, req.Name+"-", 7, 0, nil); err == nil {
			inputs[key] = resource.NewProperty(name)
		}
	}
	var failures []plugin.CheckFailure
	for _, group := range awsTypes[string(req.Type)].oneOf {
		if g := given(inputs, group); g[0] == "" || len(g) > 1 {
			failures = append(failures, plugin.CheckFailure{
				Reason: fmt.Sprintf("exactly one of %s must be given, not %q", strings.Join(group, ", "), g),
			})
		}
	}
	return inputs, failures
}

func (awsKind) forceNew(_ *double, req plugin.DiffRequest, path string) bool {
	typ := awsTypes[string(req.Type)]
	if matches(typ.inPlace, path) || matches([]string{"tags", "tagsAll"}, path) {
		return false
	}
	for _, group := range typ.oneOf { // which of them is given cannot change
		if typ.fixedChoice && matches(group, path) && given(req.OldInputs, group)[0] != given(req.NewInputs, group)[0] {
			return true
		}
	}
	return matches(typ.forceNew, path)
}

func (awsKind) outdated(*double, plugin.DiffRequest) []string { return nil }

func (awsKind) configDiff(plugin.DiffConfigRequest) []string { return nil }

func (awsKind) refuse(*double, resource.URN, resource.PropertyMap, resource.PropertyMap) error {
	return nil
}

// updated gives a changed launch template its next version, as ec2_launch_template.go does: unknown
// before the update where anything but these properties changes, new where it is part of a version.
func (awsKind) updated(req plugin.UpdateRequest, outputs resource.PropertyMap) {
	if req.Type != "aws:ec2/launchTemplate:LaunchTemplate" {
		return
	}
	announced, made := false, false
	for _, k := range reveal(req.OldInputs).Diff(reveal(req.NewInputs)).ChangedKeys() {
		switch k {
		case "name", "namePrefix", "defaultVersion", "updateDefaultVersion":
		case "description":
			made = true
		case "tags":
			announced = true
		default:
			announced, made = true, true
		}
	}
	latest := outputs["latestVersion"]
	switch {
	case req.Preview && announced:
		latest = resource.MakeComputed(resource.NewProperty(""))
	case !req.Preview && made:
		latest = resource.NewProperty(latest.NumberValue() + 1)
	}
	outputs["latestVersion"] = latest
	if v := req.NewInputs["updateDefaultVersion"]; v.IsBool() && v.BoolValue() {
		outputs["defaultVersion"] = latest
	}
}

// deleteFirst says so for types whose old and new cannot be at once, and where the user chose the name:
// https://github.com/pulumi/pulumi-terraform-bridge/blob/master/pkg/tfbridge/schema.go, in
// nameRequiresDeleteBeforeReplace.
func (awsKind) deleteFirst(req plugin.DiffRequest) bool {
	typ := awsTypes[string(req.Type)]
	if typ.autoName == "" {
		return typ.deleteFirst
	}
	name := text(req.NewInputs[resource.PropertyKey(typ.autoName)])
	return typ.deleteFirst || name != "" && !isAutoName(req.Name, name)
}

// isAutoName says whether Pulumi made the name.
func isAutoName(resource, name string) bool {
	random, ok := strings.CutPrefix(name, resource+"-")
	return ok && len(random) == 7 && strings.Trim(random, "0123456789abcdef") == ""
}

// given returns which of the keys have a value, "" if none.
func given(inputs resource.PropertyMap, keys []string) []string {
	var out []string
	for _, k := range keys {
		if inputs.HasValue(resource.PropertyKey(k)) {
			out = append(out, k)
		}
	}
	if out == nil {
		return []string{""}
	}
	return out
}

func (awsKind) create(d *double, urn resource.URN, inputs resource.PropertyMap) (string, resource.PropertyMap) {
	typ := awsTypes[string(urn.Type())]
	region := d.region()
	var id string
	value := func(key string) string {
		switch key {
		case "id":
			return id
		case "hex":
			return d.s.cloud.id(urn, 17)
		case "region":
			return region
		case "account":
			return account
		}
		return text(inputs[resource.PropertyKey(key)])
	}
	id = fill(typ.id, value)
	out := map[string]any{"tagsAll": inputs["tags"].Mappable()}
	if out["tagsAll"] == nil {
		out["tagsAll"] = map[string]any{}
	}
	for k, v := range typ.outputs {
		out[k] = fillAll(v, value)
	}
	return id, resource.NewPropertyMapFromMap(out)
}

// region returns the region of an instance of the provider.
func (d *double) region() string {
	if r := d.setting("region"); r != "" {
		return r
	}
	return "us-east-1"
}

// fill replaces each {key} of the pattern by its value.
func fill(pattern string, value func(key string) string) string {
	for {
		before, rest, found := strings.Cut(pattern, "{")
		if !found {
			return pattern
		}
		key, after, _ := strings.Cut(rest, "}")
		pattern = before + value(key) + after
	}
}

func fillAll(v any, value func(key string) string) any {
	switch v := v.(type) {
	case string:
		return fill(v, value)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = fillAll(e, value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = fillAll(e, value)
		}
		return out
	}
	return v
}

// text returns the string in v, secret or not, "" if it is none or unknown.
func text(v resource.PropertyValue) string {
	if v.IsSecret() {
		v = v.SecretValue().Element
	}
	if v.IsString() {
		return v.StringValue()
	}
	return ""
}

// matches says whether path is one of the properties or within one; "*" is every property.
func matches(properties []string, path string) bool {
	for _, p := range properties {
		if p == "*" || p == path {
			return true
		}
		if rest, ok := strings.CutPrefix(path, p); ok && (rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
