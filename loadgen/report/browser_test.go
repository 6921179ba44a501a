package report_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

var pictures = flag.String("pictures", "", "keep the screenshots in this directory")

// browser starts a headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("no Chromium on PATH, and the report is tested in one: `make setup` installs it (Debian's package chromium)")
	}
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its child processes outlive the browser for a moment, and write on: t.TempDir would fail.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			err := os.RemoveAll(profile)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("remove the browser's profile: %v", err)
				return
			}
		}
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile),
		chromedp.Flag("no-sandbox", os.Geteuid() == 0), // Chromium refuses its sandbox as root
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// watched collects what must not happen in a page.
type watched struct {
	mu       sync.Mutex
	problems []string
}

func (w *watched) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *watched) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.problems
	w.problems = nil
	return out
}

func watch(ctx context.Context, self string) *watched {
	w := &watched{}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			w.add("exception: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			w.add("console: %s", e.Type)
		case *log.EventEntryAdded:
			w.add("log: %s", e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if e.Request.URL != self && !strings.HasPrefix(e.Request.URL, "data:") {
				w.add("request: %s", e.Request.URL)
			}
		}
	})
	return w
}

// pale finds text with less contrast than WCAG AA asks for.
const pale = `(() => {
  const rgb = (s) => { const m = s.match(/[\d.]+/g).map(Number); return s.startsWith('color(') ? m.slice(0, 3).map((x) => x * 255).concat(m[3] ?? 1) : m.concat(m.length < 4 ? 1 : []); };
  const luminance = (c) => { const [r, g, b] = c.slice(0, 3).map((x) => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0, 1] : [255, 255, 255, 1]; };
  const out = new Set();
  for (const d of document.querySelectorAll('details')) d.open = true;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('svg, script, style')) continue;
    seen++;
    const style = getComputedStyle(e);
    const [a, b] = [luminance(rgb(style.color)), luminance(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) out.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2) + ': ' + walk.currentNode.data.trim().slice(0, 40));
  }
  for (const d of document.querySelectorAll('details')) d.open = false;
  return seen < 100 ? ['only ' + seen + ' texts were looked at'] : [...out];
})()`

func TestInChromium(t *testing.T) {
	ctx := browser(t)
	screens := []struct {
		name          string
		width, height int64
		phone         bool
	}{{"desktop", 1280, 900, false}, {"phone", 390, 844, true}}
	for name, d := range documents() {
		file := filepath.Join(t.TempDir(), "report.html")
		if err := os.WriteFile(file, []byte(render(t, d)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{"light", "dark"} {
			for _, screen := range screens {
				// All four ways for one document; for the others two that differ in both.
				if name != "broken" && *pictures == "" && (scheme == "dark") != screen.phone {
					continue
				}
				t.Run(strings.ReplaceAll(name, " ", "-")+"-"+scheme+"-"+screen.name, func(t *testing.T) {
					tab, cancel := chromedp.NewContext(ctx)
					defer cancel()
					self := "file://" + file
					w := watch(tab, self)
					var top, bottom, wide float64
					var background, word string
					var faint []string
					var shot []byte
					err := chromedp.Run(tab,
						network.Enable(), log.Enable(), runtime.Enable(),
						emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
						emulation.SetDeviceMetricsOverride(screen.width, screen.height, 1, screen.phone),
						chromedp.Navigate(self),
						chromedp.WaitVisible("#verdict", chromedp.ByQuery),
						chromedp.Evaluate(`document.querySelector('#verdict .why').getBoundingClientRect().top`, &top),
						chromedp.Evaluate(`document.querySelector('#verdict .why').getBoundingClientRect().bottom`, &bottom),
						chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
						chromedp.Evaluate(`getComputedStyle(document.body).backgroundColor`, &background),
						chromedp.Evaluate(`document.querySelector('#word').innerText`, &word),
						chromedp.Evaluate(pale, &faint),
					)
					if err != nil {
						t.Fatal(err)
					}
					if top < 0 || bottom > float64(screen.height) {
						t.Errorf("the verdict is not on the first screen: from %.0f to %.0f of %d", top, bottom, screen.height)
					}
					if want := string(d.Verdict.Outcome); !strings.HasPrefix(strings.ToLower(word), want) {
						t.Errorf("the page says %q, want %q", word, want)
					}
					if wide > float64(screen.width) {
						t.Errorf("the page is %.0f px wide on a screen of %d", wide, screen.width)
					}
					var r, g, b int
					if _, err := fmt.Sscanf(background, "rgb(%d, %d, %d)", &r, &g, &b); err != nil || (r+g+b > 3*128) != (scheme == "light") {
						t.Errorf("the background is %s in %s", background, scheme)
					}
					for _, f := range faint {
						t.Errorf("too little contrast: %s", f)
					}
					if len(d.Timeline) > 0 {
						reading(t, tab, d)
					}
					for _, p := range w.take() {
						t.Error(p)
					}
					if *pictures == "" {
						return
					}
					if err := keep(d, file, filepath.Join(*pictures, strings.ReplaceAll(name, " ", "-"))); err != nil {
						t.Fatal(err)
					}
					// The first screen, and the whole page.
					base := filepath.Join(*pictures, strings.TrimPrefix(strings.ReplaceAll(t.Name(), "/", "-"), "TestInChromium-"))
					for suffix, action := range map[string]chromedp.Action{"-first.png": chromedp.CaptureScreenshot(&shot), ".png": whole(&shot)} {
						if err := chromedp.Run(tab, chromedp.Evaluate(`scrollTo({ top: 0, behavior: 'instant' })`, nil), action); err != nil {
							t.Fatal(err)
						}
						if err := os.WriteFile(base+suffix, shot, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// keep leaves the page and its document beside the pictures.
func keep(d *verdict.Document, html, base string) error {
	page, err := os.ReadFile(html)
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".html", page, 0o600); err != nil {
		return err
	}
	f, err := os.Create(base + ".json")
	if err != nil {
		return err
	}
	return errors.Join(d.Write(f), f.Close())
}

// reading moves the pointer to one second of a chart: all charts show the
// values of that second, and their summaries again when it leaves.
func reading(t *testing.T, tab context.Context, d *verdict.Document) {
	t.Helper()
	i := len(d.Timeline) / 3
	p := &d.Timeline[i]
	const legends = `[...document.querySelectorAll('.legend')].map((l) => l.innerText).join(' ').replace(/\s+/g, ' ')`
	var before, during, after, keys, times string
	var cursors, plots int
	err := chromedp.Run(tab,
		chromedp.Evaluate(legends, &before),
		chromedp.ScrollIntoView(".plot", chromedp.ByQuery),
		chromedp.ActionFunc(func(ctx context.Context) error {
			var box []float64
			if err := chromedp.Evaluate(`(() => { const b = document.querySelector('.plot').getBoundingClientRect(); return [b.left, b.width, b.top + b.height / 2]; })()`, &box).Do(ctx); err != nil {
				return err
			}
			return chromedp.MouseEvent("mouseMoved", box[0]+box[1]*(float64(i)+0.5)/float64(len(d.Timeline)), box[2]).Do(ctx)
		}),
		chromedp.Evaluate(legends, &during),
		chromedp.Evaluate(`[...document.querySelectorAll('.cursor')].filter((c) => !c.hidden).length`, &cursors),
		chromedp.Evaluate(`document.querySelector('.cursor').dataset.time`, &times),
		chromedp.Evaluate(`document.querySelectorAll('.plot').length`, &plots),
		chromedp.MouseEvent("mouseMoved", 1, 1),
		chromedp.Evaluate(legends, &after),
		chromedp.Focus(".plot", chromedp.ByQuery),
		chromedp.Evaluate(`document.querySelector('.plot').dispatchEvent(new KeyboardEvent('keydown', { key: 'End', cancelable: true })); document.querySelector('#reading').innerText`, &keys),
		chromedp.Evaluate(`document.activeElement.blur()`, nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"into the source " + human.Bytes(float64(p.SentBytes)) + "/s", "at the destination " + human.Rounded(float64(p.Received)) + "/s", "p50 " + human.Millis(p.P50),
		"max " + human.Millis(p.Max), "oldest pending record " + human.Seconds(p.RPOSeconds), "duplicates " + human.Count(p.Duplicates)} {
		if !strings.Contains(during, want) {
			t.Errorf("under the pointer there is no %q: %s", want, during)
		}
	}
	if want := time.Unix(p.Second, 0).UTC().Format("15:04:05"); !strings.HasPrefix(times, want) {
		t.Errorf("the pointer is at %s, and the page says %s", want, times)
	}
	if before == during || before != after || cursors != plots || plots < 5 {
		t.Errorf("legends are %q, then %q, then %q, with %d cursors in %d charts", before, during, after, cursors, plots)
	}
	if last := d.Timeline[len(d.Timeline)-1]; !strings.Contains(keys, "at the destination "+human.Bytes(float64(last.ReceivedBytes))+"/s") {
		t.Errorf("by keyboard one reads %q", keys)
	}
}

// whole takes a picture of all of the page.
func whole(shot *[]byte) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) (err error) {
		*shot, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).Do(ctx)
		return err
	})
}
