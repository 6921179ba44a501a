package replicators

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	requestTimeout = 10 * time.Second // of one request, besides the caller's own deadline
	answerLimit    = 8 << 20          // bytes of an answer that are read; the view of 10,000 partitions has about 1 MB
)

// APIError is a replicator's answer that it did not do what it was asked.
type APIError struct {
	Request string // method and URL, without a password
	Status  int    // HTTP status
	Message string // what it said, cut to a line
}

// Error describes e.
func (e *APIError) Error() string {
	return fmt.Sprintf("%s: HTTP %d: %s", e.Request, e.Status, e.Message)
}

// Passing says whether the same request may succeed later: the replicator could not be reached, or was
// not able to answer. A refusal is final.
func Passing(err error) bool {
	var answer *APIError
	if errors.As(err, &answer) {
		return answer.Status >= 500 || answer.Status == http.StatusTooManyRequests
	}
	var transport *url.Error
	return errors.As(err, &transport)
}

// rest is one replicator's REST API.
type rest struct {
	base   *url.URL
	http   *http.Client
	header http.Header
}

// newREST checks base, such as http://ureplicator:9000.
func newREST(base string) (*rest, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		if strings.Contains(base, "@") {
			base = "(with a user's name, and perhaps a password)" // not to be shown
		}
		return nil, fmt.Errorf("replicator's address %q: use http://HOST:PORT", base)
	}
	return &rest{base: u, http: &http.Client{Timeout: requestTimeout}, header: http.Header{}}, nil
}

// do sends body, if it is not nil, as JSON, and returns the answer. Any status but 2xx is an APIError.
func (r *rest) do(ctx context.Context, method string, body any, path ...string) ([]byte, error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	target := r.base.JoinPath(path...)
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return nil, fmt.Errorf("request %s %s: %w", method, target.Redacted(), err)
	}
	req.Header = r.header.Clone()
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err // says the method and the URL
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return nil, &url.Error{Op: method, URL: target.Redacted(), Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &APIError{Request: method + " " + target.Redacted(), Status: resp.StatusCode, Message: said(answer)}
	}
	return answer, nil
}

// get decodes the JSON answer to a GET into v.
func (r *rest) get(ctx context.Context, v any, path ...string) error {
	answer, err := r.do(ctx, http.MethodGet, nil, path...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s answered what is not the expected JSON, %q: %w", r.base.JoinPath(path...).Redacted(), said(answer), err)
	}
	return nil
}

// said returns an error answer's first line, or the message of a rest.li error, as a terminal can show it.
func said(answer []byte) string {
	var restli struct{ Message string }
	if json.Unmarshal(answer, &restli) == nil && restli.Message != "" {
		answer = []byte(restli.Message)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(answer)), "\n")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, line)
	if line == "" {
		return "no explanation"
	}
	return line
}

// Conflict says whether err is the answer that something of this name exists already.
func Conflict(err error) bool {
	var answer *APIError
	return errors.As(err, &answer) && answer.Status == http.StatusConflict
}

// missing says whether err is the answer that something does not exist.
func missing(err error) bool {
	var answer *APIError
	return errors.As(err, &answer) && answer.Status == http.StatusNotFound
}
