package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// Orders is a directory in which a test tells plugins what to do, since they live in processes of their
// own: each order is a file.
type Orders string

// Fail makes the next create or update of a resource fail.
func (o Orders) Fail(typ, name string) error { return o.write("fail", typ, name) }

// Hold makes the next create or update of a resource last until it is cancelled. When it has begun, the
// file held appears.
func (o Orders) Hold(typ, name string) (held string, err error) {
	return o.path("held", typ, name), o.write("hold", typ, name)
}

func (o Orders) path(what, typ, name string) string {
	return filepath.Join(string(o), what+" "+strings.NewReplacer("/", "_", ":", "_").Replace(typ+" "+name))
}

func (o Orders) write(what, typ, name string) error {
	return os.WriteFile(o.path(what, typ, name), nil, 0o600)
}

// take says whether there was such an order, which is for one time.
func (o Orders) take(what, typ, name string) bool {
	return o != "" && os.Remove(o.path(what, typ, name)) == nil
}

// ServePlugin serves the double of a provider as a plugin of the real CLI: it writes its port to out, as
// plugins do, and returns when ctx ends, for the process to end. A plugin does not know what another process has made, so that names
// which are used once are not watched over.
func ServePlugin(ctx context.Context, pkg string, orders Orders, out io.Writer) error {
	kind, ok := kinds[pkg]
	if !ok {
		return fmt.Errorf("there is no double of the provider %s", pkg)
	}
	d := &double{s: &Stack{cloud: newCloud()}, pkg: tokens.Package(pkg), kind: kind}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterResourceProviderServer(server, &ordered{
				service: service{ResourceProviderServer: plugin.NewProviderServer(d), double: d}, orders: orders, cancelled: make(chan struct{}),
			})
			return nil
		},
		Options: []grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20)},
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%d\n", handle.Port); err != nil {
		return err
	}
	select {
	case <-ctx.Done(): // the process ends, and with it whatever still runs
		return nil
	case err := <-handle.Done:
		return err
	}
}

// ordered is a service that follows orders.
type ordered struct {
	service
	orders    Orders
	once      sync.Once
	cancelled chan struct{}
}

// Create follows orders first, and so does Update.
func (s *ordered) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	if !req.Preview {
		if err := s.follow(ctx, req.Type, req.Name); err != nil {
			return nil, err
		}
	}
	return s.service.Create(ctx, req)
}

// Update is as Create.
func (s *ordered) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	if !req.Preview {
		if err := s.follow(ctx, req.Type, req.Name); err != nil {
			return nil, err
		}
	}
	return s.service.Update(ctx, req)
}

func (s *ordered) follow(ctx context.Context, typ, name string) error {
	if s.orders.take("fail", typ, name) {
		return errors.New("this resource was ordered to fail")
	}
	if !s.orders.take("hold", typ, name) {
		return nil
	}
	if err := s.orders.write("held", typ, name); err != nil {
		return err
	}
	select {
	case <-s.cancelled: // what is in flight is completed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// GetPluginInfo answers for the engine's server, which cannot do without a version.
func (s *ordered) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "999.0.0"}, nil
}

// Cancel is what the CLI sends when it has been interrupted.
func (s *ordered) Cancel(ctx context.Context, req *emptypb.Empty) (*emptypb.Empty, error) {
	s.once.Do(func() { close(s.cancelled) })
	return s.ResourceProviderServer.Cancel(ctx, req)
}
