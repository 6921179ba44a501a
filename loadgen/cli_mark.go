package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func markCommand(a *app) *cobra.Command {
	event := verdict.Event{Kind: "mark", Side: "shared"}
	auditor := "http://127.0.0.1:8002"
	cmd := a.command(&cobra.Command{
		Use:   "mark TEXT",
		Short: "Tell the auditor what you have just done to the clusters",
		Long: `Note in the report, at the present time, what was done to the clusters by hand, so
that outages and latencies can be told apart by it.`,
		Example: `  loadgen mark "broker 3 killed" --auditor http://127.0.0.1:8002
  loadgen mark "link cut" --kind cut --side source --auditor http://127.0.0.1:8002`,
	}, func(ctx context.Context) error {
		event.Time = time.Now().UnixMicro()
		return postEvent(ctx, auditor, event)
	}, validation(func() error {
		var errs []error
		if event.Kind == "" {
			errs = append(errs, errors.New("--kind is empty: use a word such as mark"))
		}
		switch event.Side {
		case "source", "destination", "shared":
		default:
			errs = append(errs, fmt.Errorf("--side %q: use source, destination or shared", event.Side))
		}
		if u, err := url.Parse(auditor); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("--auditor %q: use the address of an auditor, such as http://127.0.0.1:8002", connect.Shown(auditor)))
		}
		return errors.Join(errs...)
	}))
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return errors.New(`a text is missing, or there are several: put it in quotation marks, such as "broker 3 killed"`)
		}
		event.Detail = args[0]
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&auditor, "auditor", auditor, "URL of the auditor, which loadgen lab prints and loadgen audit has as its --metrics-address")
	f.StringVar(&event.Kind, "kind", event.Kind, "kind of the event, a word")
	f.StringVar(&event.Side, "side", event.Side, "side that it happened on: source, destination or shared")
	completeWith(cmd, "side", "source", "destination", "shared")
	return cmd
}

// postEvent tells an auditor of an event.
func postEvent(ctx context.Context, auditor string, event verdict.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	to, err := url.JoinPath(auditor, "events")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no auditor answers: check --auditor, and that the test still runs: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %s", to, resp.Status, bytes.TrimSpace(said))
	}
	return err
}
