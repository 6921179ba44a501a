package connect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

func TestValidateReportsEveryMistake(t *testing.T) {
	for _, test := range []struct {
		name   string
		config connect.Config
		want   []string
	}{
		{"nothing", connect.Config{}, []string{"no bootstrap servers"}},
		{
			"addresses",
			connect.Config{BootstrapServers: []string{"kafka", "http://kafka:9092", ":9092", "kafka:0", "kafka:http", "::1:9092"}},
			[]string{`"kafka" is not host:port`, `"http://kafka:9092": write host:port without a scheme`, `":9092" has no host`,
				`port "0"`, `port "http"`, `"::1:9092" is not`},
		},
		{
			"TLS",
			connect.Config{BootstrapServers: []string{"k:1"}, TLSCAFile: "ca", TLSCertFile: "cert", TLSServerName: "name"},
			[]string{`CA file "ca"`, `certificate file "cert"`, `server name "name"`, "add --tls", "both --tls-cert-file and --tls-key-file"},
		},
		{"mechanism", connect.Config{BootstrapServers: []string{"k:1"}, SASLMechanism: "gssapi"}, []string{`"gssapi"`, "SCRAM-SHA-512"}},
		{"no mechanism", connect.Config{BootstrapServers: []string{"k:1"}, SASLUser: "alice"}, []string{"without a mechanism"}},
		{"no user", connect.Config{BootstrapServers: []string{"k:1"}, SASLMechanism: "PLAIN"}, []string{"--sasl-user", "one password"}},
		{
			"two passwords",
			connect.Config{BootstrapServers: []string{"k:1"}, SASLMechanism: "PLAIN", SASLUser: "a", SASLPasswordFile: "f", SASLPassword: "p"},
			[]string{"one password"},
		},
	} {
		t.Run(test.name, func(t *testing.T) { wantError(t, test.config.Validate(), test.want...) })
	}
	good := connect.Config{BootstrapServers: []string{"kafka-0:9092", "[::1]:9092", "127.0.0.1:65535"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestOptionsNameTheFileThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	gone, empty, text := filepath.Join(dir, "gone"), filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	write(t, empty, []byte("\n"))
	write(t, text, []byte("no certificate"))
	for _, test := range []struct {
		config connect.Config
		want   []string
	}{
		{connect.Config{TLS: true, TLSCAFile: gone}, []string{"CA file", gone}},
		{connect.Config{TLS: true, TLSCAFile: text}, []string{"CA file", text, "no certificate"}},
		{connect.Config{TLS: true, TLSCertFile: text, TLSKeyFile: gone}, []string{"certificate file", gone}},
		{connect.Config{SASLMechanism: "PLAIN", SASLPasswordFile: gone}, []string{"password file", gone}},
		{connect.Config{SASLMechanism: "PLAIN", SASLPasswordFile: empty}, []string{"password file", empty, "is empty"}},
	} {
		_, err := test.config.Options()
		wantError(t, err, test.want...)
	}
}

func TestSecretIsNotSeen(t *testing.T) {
	c := connect.Config{SASLPassword: "hush"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("settings", "config", c, "password", c.SASLPassword)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(asJSON), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.SASLPassword, c.SASLPassword)} {
		if strings.Contains(shown, "hush") {
			t.Errorf("the password is in %s", shown)
		}
	}
}

func TestLoggerLowersDetail(t *testing.T) {
	var out bytes.Buffer
	info := connect.Logger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	if info.Level() != kgo.LogLevelWarn {
		t.Errorf("at level info the client tells %v", info.Level())
	}
	info.Log(kgo.LogLevelInfo, "joined the group")
	info.Log(kgo.LogLevelWarn, "broker gone", "broker", 3)
	if got := out.String(); strings.Contains(got, "joined") || !strings.Contains(got, `level=WARN msg="broker gone" broker=3`) {
		t.Errorf("logged %q", got)
	}
	debug := connect.Logger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if debug.Level() != kgo.LogLevelInfo {
		t.Errorf("at level debug the client tells %v", debug.Level())
	}
}
