package enginetest

import (
	"context"
	"encoding/json"

	"github.com/pulumi/pulumi/pkg/v3/resource/stack"
	"github.com/pulumi/pulumi/pkg/v3/secrets/b64"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// Export returns the state as `pulumi stack export` writes it; secrets are marked, and only encoded.
func (s *Stack) Export() []byte {
	s.t.Helper()
	if s.snapshot == nil {
		s.t.Fatalf("%s has no state to export", s.fullName())
	}
	snapshot := *s.snapshot
	snapshot.SecretsManager = b64.NewBase64SecretsManager()
	deployment, err := stack.SerializeDeployment(context.Background(), &snapshot, false)
	if err != nil {
		s.t.Fatalf("export the state of %s: %v", s.fullName(), err)
	}
	text, err := json.Marshal(deployment)
	if err == nil {
		text, err = json.MarshalIndent(apitype.UntypedDeployment{Version: apitype.DeploymentSchemaVersionCurrent, Deployment: text}, "", " ")
	}
	if err != nil {
		s.t.Fatalf("export the state of %s: %v", s.fullName(), err)
	}
	return text
}

// Import makes a state that was exported the stack's own, as `pulumi stack import` does, and takes what it
// tells of to be there.
func (s *Stack) Import(data []byte) {
	s.t.Helper()
	var deployment apitype.UntypedDeployment
	if err := json.Unmarshal(data, &deployment); err != nil {
		s.t.Fatalf("import a state into %s: %v", s.fullName(), err)
	}
	snapshot, err := stack.DeserializeUntypedDeployment(context.Background(), &deployment, b64.Base64SecretsProvider)
	if err != nil {
		s.t.Fatalf("import a state into %s: %v", s.fullName(), err)
	}
	snapshot.SecretsManager = nil
	s.snapshot = snapshot
	for _, r := range snapshot.Resources {
		s.cloud.made[r.URN] = 1
	}
}
