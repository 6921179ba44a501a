package scenario

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr,omitempty"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		Time      string        `xml:"time,attr"`
		Failure   *junitProblem `xml:"failure,omitempty"`
		Error     *junitProblem `xml:"error,omitempty"`
		Skipped   *junitProblem `xml:"skipped,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes results as JUnit XML: a suite for each run, and in it a case for the run as a whole and
// one for each expectation. Broken is a failure, cannot say an error, not played is skipped.
func WriteJUnit(w io.Writer, results []*Result) error {
	all := junitSuites{Name: "kafka-mirror-tester scenarios"}
	for _, r := range results {
		s := junitSuite{Name: fmt.Sprintf("%s (%s, run %d)", r.Scenario, r.Replicator, r.Run), Time: fmt.Sprintf("%.3f", float64(r.Ended-r.Started)/1e6)}
		if r.Started > 0 {
			s.Timestamp = time.UnixMicro(r.Started).UTC().Format("2006-01-02T15:04:05")
		}
		class := r.Scenario + "." + r.Replicator
		add := func(name string, o verdict.Outcome, message, text, seconds string) {
			c := junitCase{Name: name, ClassName: class, Time: seconds}
			problem := &junitProblem{Message: xmlText(message), Text: xmlText(text)}
			s.Tests++
			switch o {
			case verdict.Broken:
				c.Failure = problem
				s.Failures++
			case verdict.CannotSay:
				c.Error = problem
				s.Errors++
			case NotPlayed:
				c.Skipped = problem
				s.Skipped++
			}
			s.Cases = append(s.Cases, c)
		}
		add("outcome", r.Outcome, string(r.Outcome), strings.Join(r.Reasons, "\n"), s.Time)
		if r.Outcome != NotPlayed {
			for _, e := range r.Expectations {
				add(e.Expectation, e.Outcome, "found "+e.Actual, e.Why, "0")
			}
		}
		all.Tests, all.Failures, all.Errors, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Skipped+s.Skipped
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	out := xml.NewEncoder(w)
	out.Indent("", " ")
	if err := out.Encode(all); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	return nil
}

// xmlText leaves out what XML 1.0 cannot say.
func xmlText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}
