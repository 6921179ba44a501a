// Package remote plays scenarios on a target that is another process, such as one whose libraries the
// load tools are better off without. It and the process speak JSON, a message a line, over the process's
// standard input and output: a call names a method of scenario.Target, and its answer comes when it is done.
package remote

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// request is a call, or with Cancel the wish that the call of this number ends.
type request struct {
	ID      int               `json:"id"`
	Method  string            `json:"method,omitempty"`
	Configs []scenario.Config `json:"configs,omitempty"`
	Event   *verdict.Event    `json:"event,omitempty"`
	Text    string            `json:"text,omitempty"` // a feature or a directory
	Cancel  bool              `json:"cancel,omitempty"`
}

// answer is what came of a call, or with Say a line for people.
type answer struct {
	ID       int               `json:"id,omitempty"`
	Say      string            `json:"say,omitempty"`
	Error    string            `json:"error,omitempty"`
	Cannot   bool              `json:"cannot,omitempty"` // the error wraps scenario.ErrCannotPlay
	Document *verdict.Document `json:"document,omitempty"`
	Versions map[string]string `json:"versions,omitempty"`
	Text     string            `json:"text,omitempty"`
}

// problem is an error of the other process.
type problem struct {
	text   string
	cannot bool
}

func (p *problem) Error() string { return p.text }

// Is says that it is scenario.ErrCannotPlay where it was there.
func (p *problem) Is(err error) bool { return p.cannot && err == scenario.ErrCannotPlay }

func (a *answer) fail(err error) {
	if err != nil {
		a.Error, a.Cannot = err.Error(), errors.Is(err, scenario.ErrCannotPlay)
	}
}

func (a *answer) err() error {
	if a.Error == "" {
		return nil
	}
	return &problem{a.Error, a.Cannot}
}

func read(line []byte, into any) error {
	if err := json.Unmarshal(line, into); err != nil {
		return fmt.Errorf("message of the target's process: %w", err)
	}
	return nil
}
