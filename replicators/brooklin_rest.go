package replicators

import (
	"context"
	"net/http"
)

// BrooklinClient asks a Brooklin server. Any server will do.
// https://github.com/linkedin/brooklin, datastream-server-restli/.../dms/DatastreamResources.java
type BrooklinClient struct{ rest *rest }

// NewBrooklinClient returns a client for the servers at url, such as http://brooklin:32311.
func NewBrooklinClient(url string) (*BrooklinClient, error) {
	r, err := newREST(url)
	if err != nil {
		return nil, err
	}
	r.header.Set("X-RestLi-Protocol-Version", "2.0.0")
	return &BrooklinClient{rest: r}, nil
}

// Datastream returns the named datastream, and whether it exists.
func (c *BrooklinClient) Datastream(ctx context.Context, name string) (Datastream, bool, error) {
	var d Datastream
	if err := c.rest.get(ctx, &d, "datastream", name); err != nil {
		if missing(err) {
			return Datastream{}, false, nil
		}
		return Datastream{}, false, err
	}
	return d, true, nil
}

// Create makes a datastream. One of this name that exists is an error, an APIError with status 409.
func (c *BrooklinClient) Create(ctx context.Context, d Datastream) error {
	_, err := c.rest.do(ctx, http.MethodPost, d, "datastream")
	return err
}

// Delete begins to delete a datastream; it is gone when Datastream no longer finds it. Its consumer
// group keeps its offsets: one of the same name goes on where it ended. One that does not exist is no
// error.
func (c *BrooklinClient) Delete(ctx context.Context, name string) error {
	_, err := c.rest.do(ctx, http.MethodDelete, nil, "datastream", name)
	if missing(err) {
		return nil
	}
	return err
}
