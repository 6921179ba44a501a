// Package report shows a verdict to people: as an HTML page and as a summary
// for a terminal.
package report

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// How much the page shows. All of it is in the document, and the page says
// what it leaves out.
const (
	maxReasons    = 10  // without unfolding
	maxMore       = 200 // unfolded
	maxEvents     = 100
	maxFindings   = 200
	maxTopics     = 100
	maxPartitions = 100 // of a topic
	maxRows       = 600 // partitions or streams, over all topics
	maxOutageRows = 40
	maxEntries    = 300 // producers, phases, recoveries, settings
	maxText       = 2000
)

//go:embed page.html page.css page.js comparison.html comparison.css
var files embed.FS

// HTML writes the document as one page that needs nothing else: styles, script
// and charts are inside, and its content security policy forbids every
// request. Whatever the document's size, the page stays within a few MB; it
// says where it leaves something out.
func HTML(w io.Writer, d *verdict.Document) error {
	css, err := files.ReadFile("page.css")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	js, err := files.ReadFile("page.js")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	t, err := template.New("page.html").ParseFS(files, "page.html")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	p := newPage(d)
	p.CSS, p.JS = template.CSS(css), template.JS(js)
	// Only this one script may run, whatever might get into the page.
	hash := sha256.Sum256(js)
	p.Policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
	out := bufio.NewWriter(w)
	if err := t.Execute(out, p); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// unix returns the time of Unix seconds, in UTC.
func unix(seconds float64) time.Time {
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)).UTC()
}

// clock writes the time of day of Unix microseconds, to the millisecond.
func clock(us int64) string { return time.UnixMicro(us).UTC().Format("15:04:05.000") }

// date writes Unix microseconds in full, to the second.
func date(us int64) string {
	if us == 0 {
		return "–"
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05")
}

// clip shortens text that would drown the page.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:cut], len(s)-cut)
}
