// Package mistakestest keeps docs/mistakes.md: what each bad input is answered with. Each package whose tests have such a
// table has a section of it. It supports tests and is imported by no other code.
package mistakestest

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Row is a bad input and the message that it gets.
type Row struct{ Input, Message string }

// Section compares the section of the file with rows, or writes it, if update.
func Section(t testing.TB, file, title, hint string, rows []Row, update bool) {
	t.Helper()
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Input, b.Input) })
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- %s -->\n## %s\n\n%s\n\n| input | message |\n|---|---|\n", title, title, hint)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", cell(r.Input), cell(r.Message))
	}
	fmt.Fprintf(&b, "<!-- end of %s -->\n", title)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`(?s)<!-- ` + regexp.QuoteMeta(title) + ` -->\n.*<!-- end of ` + regexp.QuoteMeta(title) + ` -->\n`)
	if update {
		if place.Match(text) {
			text = place.ReplaceAllLiteral(text, []byte(b.String()))
		} else {
			text = append(text, "\n"+b.String()...)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if found := place.Find(text); string(found) != b.String() {
		t.Errorf("%s: the section %q is not what is answered; look at the difference, and then run this test with -update. It must be:\n%s", file, title, b.String())
	}
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>", "<", "&lt;", "*", `\*`).Replace(strings.TrimSpace(text))
}
