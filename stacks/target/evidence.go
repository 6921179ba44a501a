package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Evidence leaves the updates that were made, both stacks' states and outputs without their secrets, the
// configuration that they had, and what the clusters tell.
func (t *Target) Evidence(ctx context.Context, dir string) error {
	errs := []error{writeJSON(filepath.Join(dir, "updates.json"), t.updates)}
	for _, s := range t.sides() {
		if s.stack == nil {
			continue
		}
		state, err := s.stack.Export(ctx)
		if err == nil {
			var content any
			if err = json.Unmarshal(state.Deployment, &content); err == nil {
				err = writeJSON(filepath.Join(dir, s.side+"-state.json"), without(content))
			}
		}
		errs = append(errs, onStack(s, "state", err))
		all, err := s.stack.Outputs(ctx)
		outputs := map[string]any{}
		for key, o := range all {
			if outputs[key] = o.Value; o.Secret {
				outputs[key] = hidden
			}
		}
		if err == nil {
			err = writeJSON(filepath.Join(dir, s.side+"-outputs.json"), outputs)
		}
		errs = append(errs, onStack(s, "outputs", err))
		config := map[string]string{}
		for key, v := range s.file.now() {
			config[key] = v.text
		}
		errs = append(errs, writeJSON(filepath.Join(dir, s.side+"-config.json"), config))
	}
	if t.reach != nil {
		errs = append(errs, t.reach.Evidence(ctx, dir))
	}
	return errors.Join(errs...)
}

func onStack(s *stackSide, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s of the stack %s: %w", what, s.name, err)
}

const hidden = "[secret]"

// Marks by which Pulumi tells a secret in a state from other objects: sdk/go/common/resource/sig.
const (
	signature       = "4dabf18193072939515e22adb298388d"
	secretSignature = "1b47061264138c4ac30d75fd1eb44270"
)

// without returns a state without its secrets, encrypted ones too, and without what encrypts them.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v[signature] == secretSignature {
			return hidden
		}
		for key := range v {
			if key == "secrets_providers" {
				delete(v, key)
				continue
			}
			v[key] = without(v[key])
		}
	case []any:
		for i := range v {
			v[i] = without(v[i])
		}
	}
	return v
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
