package kubetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Client speaks to an API server as its administrator. It may be used by several goroutines.
type Client struct {
	server, token string
	http          *http.Client

	mu        sync.Mutex
	resources map[string]map[string]apiResource // apiVersion to kind
	warnings  []string
}

type apiResource struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

func newClient(server, token, authority string) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("the API server's certificate is none")
	}
	return &Client{
		server: server, token: token,
		http:      &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}},
		resources: map[string]map[string]apiResource{},
	}, nil
}

// StatusError is an API server's refusal.
type StatusError struct {
	Code            int
	Reason, Message string
}

// Error is what the API server said.
func (e *StatusError) Error() string { return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Message) }

// IsCode says whether err is a refusal with an HTTP status, such as 404.
func IsCode(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// raw does a request and returns the answer's body.
func (c *Client) raw(ctx context.Context, method, path string, query url.Values, contentType string, body []byte, headers ...string) ([]byte, error) {
	target := c.server + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if w := resp.Header.Values("Warning"); len(w) > 0 {
		c.mu.Lock()
		for _, w := range w {
			_, w, _ = strings.Cut(w, `"`) // 299 - "what is wrong"
			c.warnings = append(c.warnings, method+" "+path+": "+strings.TrimSuffix(w, `"`))
		}
		c.mu.Unlock()
	}
	if resp.StatusCode >= 300 {
		status := &StatusError{Code: resp.StatusCode, Message: string(text)}
		var said struct{ Reason, Message string }
		if json.Unmarshal(text, &said) == nil && said.Message != "" {
			status.Reason, status.Message = said.Reason, said.Message
		}
		return nil, fmt.Errorf("%s %s: %w", method, path, status)
	}
	return text, nil
}

// Warnings returns what the API server has warned of since the last call.
func (c *Client) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.warnings
	c.warnings = nil
	return w
}

func (c *Client) object(ctx context.Context, method, path string, query url.Values, contentType string, body any, headers ...string) (Object, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	answer, err := c.raw(ctx, method, path, query, contentType, text, headers...)
	if err != nil {
		return nil, err
	}
	var o Object
	decoder := json.NewDecoder(bytes.NewReader(answer))
	if err := decoder.Decode(&o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return o, nil
}

func groupPath(apiVersion string) string {
	if strings.Contains(apiVersion, "/") {
		return "/apis/" + apiVersion
	}
	return "/api/" + apiVersion
}

// resource asks the API server what a kind is called in its paths.
func (c *Client) resource(ctx context.Context, apiVersion, kind string) (apiResource, error) {
	c.mu.Lock()
	r, known := c.resources[apiVersion][kind]
	c.mu.Unlock()
	if known {
		return r, nil
	}
	text, err := c.raw(ctx, http.MethodGet, groupPath(apiVersion), nil, "", nil)
	if err != nil {
		return apiResource{}, fmt.Errorf("%s %s: %w", apiVersion, kind, err)
	}
	var list struct{ Resources []apiResource }
	if err := json.Unmarshal(text, &list); err != nil {
		return apiResource{}, fmt.Errorf("resources of %s: %w", apiVersion, err)
	}
	kinds := map[string]apiResource{}
	for _, r := range list.Resources {
		if !strings.Contains(r.Name, "/") {
			kinds[r.Kind] = r
		}
	}
	c.mu.Lock()
	c.resources[apiVersion] = kinds
	c.mu.Unlock()
	if r, known = kinds[kind]; !known {
		return r, fmt.Errorf("the API server has no %s in %s", kind, apiVersion)
	}
	return r, nil
}

// path returns the path of a kind's objects, or with a name of one.
func (c *Client) path(ctx context.Context, apiVersion, kind, namespace, name string) (string, error) {
	r, err := c.resource(ctx, apiVersion, kind)
	if err != nil {
		return "", err
	}
	if name != "" && namespace == "" {
		namespace = "default"
	}
	path := groupPath(apiVersion)
	if r.Namespaced && namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/" + r.Name
	if name != "" {
		path += "/" + name
	}
	return path, nil
}

// Get returns an object.
func (c *Client) Get(ctx context.Context, apiVersion, kind, namespace, name string) (Object, error) {
	path, err := c.path(ctx, apiVersion, kind, namespace, name)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, http.MethodGet, path, nil, "", nil)
}

// List returns all objects of a kind; of all namespaces where namespace is empty. The selector is of labels.
func (c *Client) List(ctx context.Context, apiVersion, kind, namespace, selector string) ([]Object, error) {
	path, err := c.path(ctx, apiVersion, kind, namespace, "")
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	text, err := c.raw(ctx, http.MethodGet, path, query, "", nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []Object }
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	return list.Items, nil
}

// fieldManager is who owns the fields that are applied.
const fieldManager = "pulumi-kubernetes"

// Apply makes or changes an object by server-side apply. A field that the API does not know is refused,
// as is a conflict with another owner of a field.
func (c *Client) Apply(ctx context.Context, o Object) (Object, error) {
	path, err := c.pathOf(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, http.MethodPatch, path, url.Values{"fieldManager": {fieldManager}, "fieldValidation": {"Strict"}}, "application/apply-patch+yaml", o)
}

// ApplyYAML applies an object that is written as YAML.
func (c *Client) ApplyYAML(ctx context.Context, text []byte) (Object, error) {
	var o Object
	if err := yaml.Unmarshal(text, &o); err != nil {
		return nil, err
	}
	return c.Apply(ctx, o)
}

// Create posts an object, or the subresource of another, such as an eviction, at its path.
func (c *Client) Create(ctx context.Context, path string, o Object, headers ...string) (Object, error) {
	return c.object(ctx, http.MethodPost, path, url.Values{"fieldValidation": {"Strict"}}, "application/json", o, headers...)
}

// PatchStatus changes an object's status, as its controller would.
func (c *Client) PatchStatus(ctx context.Context, apiVersion, kind, namespace, name string, status Object) (Object, error) {
	path, err := c.path(ctx, apiVersion, kind, namespace, name)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, http.MethodPatch, path+"/status", nil, "application/strategic-merge-patch+json", Object{"status": status})
}

// Delete deletes an object, what it owns first, and does not wait.
func (c *Client) Delete(ctx context.Context, apiVersion, kind, namespace, name string) error {
	path, err := c.path(ctx, apiVersion, kind, namespace, name)
	if err != nil {
		return err
	}
	_, err = c.object(ctx, http.MethodDelete, path, nil, "application/json", Object{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"})
	return err
}

// as are the headers by which the administrator asks in a service account's name.
func (c *Client) as(user string) []string {
	groups := []string{"system:serviceaccounts", "system:authenticated"}
	if parts := strings.Split(user, ":"); len(parts) == 4 {
		groups = append(groups, "system:serviceaccounts:"+parts[2])
	}
	headers := []string{"Impersonate-User", user}
	for _, g := range groups {
		headers = append(headers, "Impersonate-Group", g)
	}
	return headers
}

// Rules returns what a service account may do in a namespace, as the API server tells the account itself.
func (c *Client) Rules(ctx context.Context, account, accountNamespace, namespace string) ([]Object, error) {
	review, err := c.Create(ctx, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
		Object{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": Object{"namespace": namespace}},
		c.as("system:serviceaccount:"+accountNamespace+":"+account)...)
	if err != nil {
		return nil, err
	}
	var out []Object
	for _, list := range []string{"resourceRules", "nonResourceRules"} {
		for _, r := range At[[]any](review, "status", list) {
			if rule, ok := r.(Object); ok {
				out = append(out, rule)
			}
		}
	}
	return out, nil
}

// May says whether a service account may do something: verb, group, resource, namespace.
func (c *Client) May(ctx context.Context, account, accountNamespace, verb, group, resource, namespace string) (bool, error) {
	user := "system:serviceaccount:" + accountNamespace + ":" + account
	resource, subresource, _ := strings.Cut(resource, "/")
	review, err := c.Create(ctx, "/apis/authorization.k8s.io/v1/subjectaccessreviews", Object{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": Object{
			"user": user, "groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + accountNamespace, "system:authenticated"},
			"resourceAttributes": Object{"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace},
		},
	})
	return At[bool](review, "status", "allowed"), err
}

func (c *Client) pathOf(ctx context.Context, o Object) (string, error) {
	id := IDOf(o)
	if id.Name == "" {
		return "", fmt.Errorf("%s without a name", id)
	}
	return c.path(ctx, id.APIVersion, id.Kind, id.Namespace, id.Name)
}

// Condition returns the status of one of an object's conditions, such as Ready, empty if it has none.
func Condition(o Object, kind string) string {
	for _, c := range At[[]any](o, "status", "conditions") {
		if At[string](c, "type") == kind {
			return At[string](c, "status")
		}
	}
	return ""
}

type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// Hopeless marks an error after which Wait does not try again.
func Hopeless(err error) error { return hopeless{err} }

// Wait calls ready until it returns nil, and gives up with its last error after limit.
func Wait(ctx context.Context, limit time.Duration, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // that a request was cut off at the end tells nothing
			last = err
		}
		if errors.As(err, &hopeless{}) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, last)
		}
	}
}
