package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// verdictSource says where a verdict is read from.
type verdictSource struct{ File, URL string }

// Validate reports every mistake.
func (s *verdictSource) Validate() error {
	if (s.File == "") == (s.URL == "") {
		return errors.New("give either --file, a verdict.json, or --url, a running auditor's address")
	}
	if s.URL != "" {
		if u, err := url.Parse(s.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("--url %q is not the address of an auditor, such as http://127.0.0.1:8002", connect.Shown(s.URL))
		}
	}
	return nil
}

// read returns the document, whole or not at all.
func (s *verdictSource) read(ctx context.Context) (*verdict.Document, error) {
	if s.File != "" {
		file, err := os.Open(s.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		doc, err := verdict.Read(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
		return doc, nil
	}
	where := strings.TrimSuffix(strings.TrimSuffix(s.URL, "/"), "/verdict") + "/verdict"
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the auditor: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, fmt.Errorf("%s answers %s (%s): is it an auditor?", where, resp.Status, strings.TrimSpace(string(text)))
	}
	doc, err := verdict.Read(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return doc, nil
}

func verdictCommand(a *app) *cobra.Command {
	var from verdictSource
	var asJSON, schema bool
	cmd := a.command(&cobra.Command{
		Use:   "verdict",
		Short: "Show a verdict, and exit by it",
		Example: `  loadgen verdict --file audit-report/verdict.json
  loadgen verdict --url http://127.0.0.1:8002
  loadgen verdict --file audit-report/verdict.json --json
  loadgen verdict --schema`,
	}, func(ctx context.Context) error {
		if schema {
			text, err := verdict.JSONSchema()
			if err == nil {
				_, err = a.stdout.Write(text)
			}
			return err
		}
		doc, err := from.read(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			err = doc.Write(a.stdout)
		} else {
			err = report.Summary(a.stdout, doc)
		}
		if err != nil {
			return err
		}
		return exitBy(doc)
	}, validation(func() error {
		if schema {
			return nil // nothing is read
		}
		return from.Validate()
	}))
	cmd.Flags().StringVar(&from.File, "file", "", "verdict.json of a test that has ended")
	cmd.Flags().StringVar(&from.URL, "url", "", "address of a running auditor")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of verdict.json instead")
	return cmd
}

// exitBy returns the error that gives the process the exit code of a verdict.
func exitBy(doc *verdict.Document) error {
	switch doc.Verdict.Outcome {
	case verdict.Holds:
		return nil
	case verdict.Broken:
		return verdictError(exitBroken)
	default:
		return verdictError(exitCannotSay)
	}
}

// expectations is a flag that may be repeated.
type expectations []verdict.Expectation

// Set adds the expectations in text, separated by commas.
func (e *expectations) Set(text string) error {
	for one := range strings.SplitSeq(text, ",") {
		parsed, err := verdict.ParseExpectation(one)
		if err != nil {
			return err
		}
		*e = append(*e, parsed)
	}
	return nil
}

func (e *expectations) String() string { return strings.Join(e.texts(), ",") }

// Type names the type in a flag's help.
func (e *expectations) Type() string { return "expectations" }

func (e *expectations) texts() []string {
	var texts []string
	for _, one := range *e {
		texts = append(texts, one.String())
	}
	return texts
}

func expectFlag(cmd *cobra.Command, e *expectations) {
	cmd.Flags().Var(e, "expect", "what must hold beside the defaults, such as 'duplicates<=0' or 'latency.p99<=5s'; may be repeated")
}
