package human

import "testing"

func TestLinesCanBeShown(t *testing.T) {
	for text, want := range map[string]string{
		"":                "",
		`a "b" ä`:         `a "b" ä`,
		"a\x1b[2Jb \"c\"": `a\x1b[2Jb "c"`,
		"a\nb":            `a\nb`,
		"\xff":            `\xff`,
		"\u202e":          `\u202e`,
	} {
		if got := Line(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
	if got := Lines("a\n\x00\nb"); got != "a\n\\x00\nb" {
		t.Errorf("%q", got)
	}
}
