package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// cloud is what the doubles remember beside the state.
type cloud struct {
	making  sync.Mutex // held from when a name is looked for until it is taken
	mu      sync.Mutex
	made    map[resource.URN]int    // how often a resource was made
	fails   map[string]*bool        // ordered failures by "type name": true for one to become ready
	unready map[resource.URN]bool   // objects that did not become ready
	live    map[string]resource.URN // what has a name that is used once, by objectKey
}

func newCloud() *cloud {
	return &cloud{
		made: map[resource.URN]int{}, fails: map[string]*bool{}, unready: map[resource.URN]bool{}, live: map[string]resource.URN{},
	}
}

func (c *cloud) failNext(key string, initOnly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails[key] = &initOnly
}

// takeFailure returns whether the resource was ordered to fail, once.
func (c *cloud) takeFailure(urn resource.URN, initOnly bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(urn.Type()) + " " + urn.Name()
	if kind := c.fails[key]; kind == nil || *kind != initOnly {
		return false
	}
	delete(c.fails, key)
	return true
}

// id returns n hexadecimal digits, the same in every run of a test, new with every creation.
func (c *cloud) id(urn resource.URN, n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made[urn]++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", urn, c.made[urn]))
	return hex.EncodeToString(sum[:])[:n]
}

// settled notes whether the object became ready.
func (c *cloud) settled(urn resource.URN, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ready {
		delete(c.unready, urn)
	} else {
		c.unready[urn] = true
	}
}

// failed says whether the object did not become ready.
func (c *cloud) failed(urn resource.URN) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unready[urn]
}

// keep notes that the object is there.
func (c *cloud) keep(key string, urn resource.URN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[key] = urn
}

// deleted forgets the object.
func (c *cloud) deleted(cluster string, urn resource.URN, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := objectKey(cluster, urn, id)
	if c.live[key] == urn {
		delete(c.live, key)
	}
}

// kind is what a double knows about one package.
type kind interface {
	// check completes and judges the inputs. It is not given unknown provider configuration.
	check(d *double, req plugin.CheckRequest) (resource.PropertyMap, []plugin.CheckFailure)
	// forceNew says whether the provider can change the property at path only by replacement.
	forceNew(d *double, req plugin.DiffRequest, path string) bool
	// outdated returns what else forces a replacement, although no input changed.
	outdated(d *double, req plugin.DiffRequest) []string
	// deleteFirst says whether the old resource must go before its replacement can be made.
	deleteFirst(req plugin.DiffRequest) bool
	// refuse says why the service would not make (old is nil) or change the resource.
	refuse(d *double, urn resource.URN, old, inputs resource.PropertyMap) error
	// create returns the id and the outputs beyond the inputs. In a preview the outputs count as
	// unknown, and the id is ignored.
	create(d *double, urn resource.URN, inputs resource.PropertyMap) (string, resource.PropertyMap)
	// updated corrects the outputs of an update.
	updated(req plugin.UpdateRequest, outputs resource.PropertyMap)
	// configDiff says whether a change of the provider's configuration makes another provider of it.
	configDiff(req plugin.DiffConfigRequest) (replaces []string)
}

// double stands for one configured instance of a provider.
type double struct {
	plugin.UnimplementedProvider
	s      *Stack
	pkg    tokens.Package
	kind   kind
	config resource.PropertyMap
}

// Pkg implements plugin.Provider, like all that follow.
func (d *double) Pkg() tokens.Package { return d.pkg }

// Close has nothing to close.
func (d *double) Close() error { return nil }

// SignalCancellation has nothing to cancel.
func (d *double) SignalCancellation(context.Context) error { return nil }

// GetPluginInfo says what the double is.
func (d *double) GetPluginInfo(context.Context) (workspace.PluginInfo, error) {
	return workspace.PluginInfo{Name: string(d.pkg)}, nil
}

// Handshake has nothing to agree on.
func (d *double) Handshake(context.Context, plugin.ProviderHandshakeRequest) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{}, nil
}

// CheckConfig accepts what the SDK's types let through.
func (d *double) CheckConfig(_ context.Context, req plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	return plugin.CheckConfigResponse{Properties: req.News}, nil
}

// DiffConfig compares the configuration.
func (d *double) DiffConfig(_ context.Context, req plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	replaces := d.kind.configDiff(req)
	return diff(req.OldInputs, req.NewInputs, func(path string) bool { return matches(replaces, path) }, nil, false), nil
}

// Configure keeps the configuration.
func (d *double) Configure(_ context.Context, req plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	d.config = req.Inputs
	return plugin.ConfigureResponse{}, nil
}

// setting returns a setting of the provider as text; the SDK passes what is not a string as JSON.
func (d *double) setting(key resource.PropertyKey) string {
	v := d.config[key]
	if v.IsSecret() {
		v = v.SecretValue().Element
	}
	switch {
	case v.IsString():
		return v.StringValue()
	case v.IsBool():
		return fmt.Sprint(v.BoolValue())
	}
	return ""
}

// Check completes the inputs.
func (d *double) Check(_ context.Context, req plugin.CheckRequest) (plugin.CheckResponse, error) {
	inputs, failures := d.kind.check(d, req)
	return plugin.CheckResponse{Properties: inputs, Failures: failures}, nil
}

// Diff compares inputs with inputs; what is not known yet counts as changed.
func (d *double) Diff(_ context.Context, req plugin.DiffRequest) (plugin.DiffResult, error) {
	return diff(req.OldInputs, req.NewInputs, func(path string) bool { return d.kind.forceNew(d, req, path) },
		d.kind.outdated(d, req), d.kind.deleteFirst(req)), nil
}

func diff(old, new resource.PropertyMap, forceNew func(path string) bool, outdated []string, deleteFirst bool) plugin.DiffResult {
	paths := plugin.NewDetailedDiffFromObjectDiff(reveal(old).Diff(reveal(new)), true)
	replace := false
	for path, kind := range paths {
		if forceNew(path) {
			replace = true
			paths[path] = plugin.PropertyDiff{Kind: kind.Kind.AsReplace(), InputDiff: true}
		}
	}
	for _, path := range outdated {
		replace = true
		paths[path] = plugin.PropertyDiff{Kind: plugin.DiffUpdateReplace}
	}
	if len(paths) == 0 {
		return plugin.DiffResult{Changes: plugin.DiffNone}
	}
	return plugin.DiffResult{Changes: plugin.DiffSome, DetailedDiff: paths, DeleteBeforeReplace: replace && deleteFirst}
}

// reveal returns m with secrets in plain, so that what differs is found within them.
func reveal(m resource.PropertyMap) resource.PropertyMap {
	out := make(resource.PropertyMap, len(m))
	for k, v := range m {
		out[k] = revealed(v)
	}
	return out
}

func revealed(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret():
		return revealed(v.SecretValue().Element)
	case v.IsObject():
		return resource.NewProperty(reveal(v.ObjectValue()))
	case v.IsArray():
		out := make([]resource.PropertyValue, len(v.ArrayValue()))
		for i, e := range v.ArrayValue() {
			out[i] = revealed(e)
		}
		return resource.NewProperty(out)
	}
	return v
}

// Create makes the resource.
func (d *double) Create(_ context.Context, req plugin.CreateRequest) (plugin.CreateResponse, error) {
	if !req.Preview && d.s.cloud.takeFailure(req.URN, false) {
		return plugin.CreateResponse{Status: resource.StatusOK}, errors.New("this create was ordered to fail")
	}
	d.s.cloud.making.Lock()
	defer d.s.cloud.making.Unlock()
	if err := d.kind.refuse(d, req.URN, nil, req.Properties); err != nil {
		return plugin.CreateResponse{Status: resource.StatusOK}, err
	}
	id, computed := d.kind.create(d, req.URN, req.Properties)
	if req.Preview {
		return plugin.CreateResponse{Properties: overlay(req.Properties, unknown(computed)), Status: resource.StatusOK}, nil
	}
	d.s.cloud.keep(objectKey(d.cluster(), req.URN, id), req.URN)
	return plugin.CreateResponse{ID: resource.ID(id), Properties: overlay(req.Properties, computed), Status: resource.StatusOK}, nil
}

// Update changes the resource: what the provider had added to the inputs stays.
func (d *double) Update(_ context.Context, req plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	if err := d.kind.refuse(d, req.URN, req.OldInputs, req.NewInputs); err != nil {
		return plugin.UpdateResponse{Status: resource.StatusOK}, err
	}
	outputs := overlay(req.NewInputs, without(req.OldOutputs, req.OldInputs))
	d.kind.updated(req, outputs)
	return plugin.UpdateResponse{Properties: outputs, Status: resource.StatusOK}, nil
}

// overlay returns inputs with what computed has beyond them, at any depth of objects.
func overlay(inputs, computed resource.PropertyMap) resource.PropertyMap {
	out := inputs.Copy()
	for k, v := range computed {
		given, ok := out[k]
		switch {
		case !ok || given.IsNull():
			out[k] = v
		case given.IsObject() && v.IsObject():
			out[k] = resource.NewProperty(overlay(given.ObjectValue(), v.ObjectValue()))
		}
	}
	return out
}

// without returns what outputs have beyond inputs, at any depth of objects.
func without(outputs, inputs resource.PropertyMap) resource.PropertyMap {
	out := resource.PropertyMap{}
	for k, v := range outputs {
		given, ok := inputs[k]
		switch {
		case !ok || given.IsNull():
			out[k] = v
		case given.IsObject() && v.IsObject():
			if rest := without(v.ObjectValue(), given.ObjectValue()); len(rest) > 0 {
				out[k] = resource.NewProperty(rest)
			}
		}
	}
	return out
}

// unknown returns m with every leaf unknown.
func unknown(m resource.PropertyMap) resource.PropertyMap {
	out := make(resource.PropertyMap, len(m))
	for k, v := range m {
		if v.IsObject() && len(v.ObjectValue()) > 0 {
			out[k] = resource.NewProperty(unknown(v.ObjectValue()))
		} else {
			out[k] = resource.MakeComputed(resource.NewProperty(""))
		}
	}
	return out
}

// Delete deletes the resource.
func (d *double) Delete(_ context.Context, req plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	d.s.cloud.deleted(d.cluster(), req.URN, string(req.ID))
	return plugin.DeleteResponse{Status: resource.StatusOK}, nil
}

// Read returns the resource as it was left.
func (d *double) Read(_ context.Context, req plugin.ReadRequest) (plugin.ReadResponse, error) {
	return plugin.ReadResponse{
		ReadResult: plugin.ReadResult{ID: req.ID, Inputs: req.Inputs, Outputs: req.State},
		Status:     resource.StatusOK,
	}, nil
}

// Invoke refuses: a program that asks AWS or a cluster for what its configuration should say cannot be
// repeated.
func (d *double) Invoke(_ context.Context, req plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	return plugin.InvokeResponse{}, fmt.Errorf("%s: the double of %s answers no functions", req.Tok, d.pkg)
}

// plugins is the engine's host of plugins: it starts doubles for the engine, of whatever version the
// program asks for, and stops them after the operation.
type plugins struct {
	plugin.Host // the language runtime and the log
	s           *Stack

	mu      sync.Mutex
	closers []func()
}

var kinds = map[string]kind{"aws": awsKind{}, "kubernetes": kubernetesKind{}, "eks": eksKind{}}

// Provider implements plugin.Host.
func (p *plugins) Provider(descriptor workspace.PackageDescriptor) (plugin.Provider, error) {
	kind, ok := kinds[descriptor.Name]
	if !ok {
		return nil, fmt.Errorf("there is no double of the provider %s", descriptor.Name)
	}
	return p.start(&double{s: p.s, pkg: tokens.Package(descriptor.Name), kind: kind})
}

// CloseProvider implements plugin.Host; Close stops them all.
func (p *plugins) CloseProvider(plugin.Provider) error { return nil }

// start serves the double over gRPC, as a plugin is, so that the engine's own client for plugins is
// between the engine and the double.
func (p *plugins) start(d *double) (plugin.Provider, error) {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	pulumirpc.RegisterResourceProviderServer(server, &service{ResourceProviderServer: plugin.NewProviderServer(d), double: d})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Stop
	}()
	conn, err := grpc.NewClient("passthrough:///"+string(d.pkg),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		rpcutil.GrpcChannelOptions())
	if err != nil {
		server.Stop()
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, func() {
		_ = conn.Close()
		server.Stop()
		<-done
	})
	return plugin.NewProviderWithClient(nil, d.pkg, pulumirpc.NewResourceProviderClient(conn), false), nil
}

// service is the engine's own server for providers, put right where it loses something.
type service struct {
	pulumirpc.ResourceProviderServer
	double *double
}

// Diff adds what the server forgets: that there is a detailed diff, and that a deletion can force a
// replacement.
func (s *service) Diff(ctx context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	resp, err := s.ResourceProviderServer.Diff(ctx, req)
	return detailed(resp), err
}

// Create adds the failure to become ready, which the engine's server cannot express.
func (s *service) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	resp, err := s.ResourceProviderServer.Create(ctx, req)
	if err != nil || req.Preview {
		return resp, err
	}
	s.double.s.cloud.settled(resource.URN(req.Urn), true)
	if s.double.s.cloud.takeFailure(resource.URN(req.Urn), true) {
		return nil, s.notReady(req.Urn, resp.Id, resp.Properties)
	}
	return resp, nil
}

// Update is as Create.
func (s *service) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	resp, err := s.ResourceProviderServer.Update(ctx, req)
	if err != nil || req.Preview {
		return resp, err
	}
	s.double.s.cloud.settled(resource.URN(req.Urn), true)
	if s.double.s.cloud.takeFailure(resource.URN(req.Urn), true) {
		return nil, s.notReady(req.Urn, req.Id, resp.Properties)
	}
	return resp, nil
}

func (s *service) notReady(urn, id string, properties *structpb.Struct) error {
	s.double.s.cloud.settled(resource.URN(urn), false)
	const reason = "this resource was ordered not to become ready"
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, reason),
		&pulumirpc.ErrorResourceInitFailed{Id: id, Properties: properties, Reasons: []string{reason}})
}

// DiffConfig is as Diff.
func (s *service) DiffConfig(ctx context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	resp, err := s.ResourceProviderServer.DiffConfig(ctx, req)
	return detailed(resp), err
}

func detailed(resp *pulumirpc.DiffResponse) *pulumirpc.DiffResponse {
	if resp == nil || len(resp.DetailedDiff) == 0 {
		return resp
	}
	resp.HasDetailedDiff = true
	for _, path := range resp.Replaces {
		if d := resp.DetailedDiff[path]; d != nil && d.Kind == pulumirpc.PropertyDiff_DELETE {
			d.Kind = pulumirpc.PropertyDiff_DELETE_REPLACE
		}
	}
	return resp
}

// Close stops every double and the host.
func (p *plugins) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.closers {
		c()
	}
	p.closers = nil
	return p.Host.Close()
}
