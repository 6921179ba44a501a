package settings_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

func perSecond(n float64) units.Rate { return units.Rate{Kind: units.Records, PerSecond: n} }

func TestRead(t *testing.T) {
	for name, text := range map[string]string{
		"YAML":    "orders:\n  rate: 20k/s\n  size: 1kB\nclicks:\n\"*\":\n  rate: 100\n  producers: 10\n",
		"inline":  "orders: {rate: 20k/s, size: 1000}\nclicks: {}\n'*': {rate: 100/s, producers: 10}",
		"JSON":    `{"orders": {"rate": "20k/s", "size": "1kB"}, "clicks": {}, "*": {"rate": 100, "producers": 10}}`,
		"comment": "# load\norders: {rate: 20000, size: 1kB} # more\nclicks: {}\n'*': {rate: 100/s, producers: 10}",
	} {
		got, err := settings.Read([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		orders, all := got.Topics["orders"], got.Topics[settings.AllTopics]
		if orders.Rate == nil || *orders.Rate != perSecond(20_000) || orders.Size == nil || *orders.Size != 1000 ||
			all.Rate == nil || *all.Rate != perSecond(100) || all.Size != nil || got.Producers == nil || *got.Producers != 10 {
			t.Errorf("%s: %+v", name, got)
		}
		if names := got.Names(); !slices.Equal(names, []string{"clicks", "orders"}) {
			t.Errorf("%s: topics %q", name, names)
		}
	}
	if got, err := settings.Read(nil); err != nil || len(got.Topics) != 0 || got.Producers != nil {
		t.Errorf("an empty file: %v, %v", got, err)
	}
	if got, err := settings.Read([]byte(`{"*": {"until": "2026-12-24T18:00:00Z"}}`)); err != nil || !got.Until.Equal(time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)) {
		t.Errorf("until: %v, %v", got, err)
	}
	for text, says := range map[string]string{
		"orders: {until: 2026-12-24T18:00:00Z}": `"*": {until: 2026-12-24T18:00:00Z}`,
		"'*': {until: tomorrow}":                "tomorrow",
		"orders: {rat: 1}":                      "rat",
		"orders: 5":                             "orders: {rate: 20k/s",
		"orders: {rate: 0}":                     `"0"`,
		"orders: {rate: -5/s}":                  `"-5/s"`,
		"orders: {size: 1kb}":                   `"1kb"`,
		"- orders":                              "list of topics",
		"orders: {rate: 1}\norders: {}":         "already defined",
		"{":                                     "settings",
		"orders: {producers: 3}":                `"*": {producers: 3}`,
		"'*': {producers: -1}":                  "-1 producers",
		"a/b: {}":                               `"a/b"`,
		"kmt-ledger-source: {}":                 "where ledgers are kept",
	} {
		if _, err := settings.Read([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %s", text, err, says)
		}
	}
}
