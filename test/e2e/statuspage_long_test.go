//go:build e2e && long

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

var screenshots = flag.String("screenshots", "", "write pictures of the status page to this `directory`")

// A browser shows the status page of a switch, and remembers what is not as it should be.
type browser struct {
	*testing.T
	ctx    context.Context
	origin string

	mu       sync.Mutex
	mistakes []string // of the page: errors, and requests to elsewhere
}

// browse opens the status page at an address.
func browse(t *testing.T, address string) *browser {
	t.Helper()
	program, err := vm.Tool("chromium")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.NoSandbox,
		chromedp.Env("XDG_CACHE_HOME="+dir), chromedp.WindowSize(1280, 900))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	b := &browser{T: t, origin: "http://" + address + "/"}
	var done context.CancelFunc
	b.ctx, done = chromedp.NewContext(allocator)
	t.Cleanup(done)
	if err := chromedp.Listen(b.ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	call(b, log.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	call(b, runtime.Enable, cdp.Empty{})
	b.do(chromedp.Navigate(b.origin))
	b.until("the page is live", `document.getElementById("link").textContent === "Live"`)
	return b
}

func (b *browser) listen(event any) {
	mistake := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		mistake = fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *runtime.EventConsoleAPICalled:
		mistake = fmt.Sprintf("console: %s %v", e.Type, e.Args)
	case *log.EventEntryAdded:
		mistake = fmt.Sprintf("log: %s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.origin) {
			mistake = "request to " + e.Request.URL
		}
		if e.Request.Method != "GET" {
			mistake = e.Request.Method + " " + e.Request.URL
		}
	}
	if mistake != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.mistakes = append(b.mistakes, mistake)
	}
}

// do does something in the page.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	result(b, chromedp.Steps(actions...))
}

// result returns the result of an action.
func result[T any](b *browser, action chromedp.Action[T]) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// call executes a command of the browser's protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.Fatal(err)
	}
}

// value returns the value of an expression in the page.
func value[T any](b *browser, expression string) T {
	b.Helper()
	return result(b, chromedp.Evaluate[T](expression))
}

// until waits for a condition, an expression, in the page.
func (b *browser) until(what, condition string) {
	b.Helper()
	swtest.Until(b, what, func() bool { return value[bool](b, condition) })
}

// enter replaces the value of an element, as the person does who causes an event there.
func (b *browser) enter(id, event, text string) {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{
		const e = document.getElementById(%q);
		e.value = %q;
		e.dispatchEvent(new Event(%q));
	}`, id, text, event)))
}

// text returns the text of the first element that a selector selects.
func (b *browser) text(selector string) string {
	b.Helper()
	return value[string](b, fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// look requires that the page fits the width of the window, and takes a picture if that is wanted.
func (b *browser) look(name string) {
	b.Helper()
	if wide := value[[]string](b, `[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.matches(".skip")
		&& e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.tagName + "." + e.className + " " + e.textContent.slice(0, 30))`); len(wide) > 0 {
		b.Errorf("%s: wider than the window: %q", name, wide)
	}
	if *screenshots == "" {
		return
	}
	picture := result(b, chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), picture, 0o644); err != nil {
		b.Error(err)
	}
}

// size sets the size of the window, and whether colors are dark.
func (b *browser) size(width, height int64, dark bool) {
	b.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.do(chromedp.EmulateViewport(width, height))
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// end requires that the page has made no mistake.
func (b *browser) end() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.mistakes {
		b.Errorf("the page: %s", m)
	}
}

// talking connects two guests that talk to each other.
func talking(t *testing.T, s *swtest.Switch, names ...string) {
	t.Helper()
	for i, name := range names {
		g, err := station.Connect(s.Socket(name), station.Config{MAC: station.Addr(byte(i + 1))})
		if err != nil {
			t.Fatal(err)
		}
		s.WaitState(t, name, control.StateRunning)
		g.Talk(station.Addr(byte(2-i)), 16)
		g.Start()
		t.Cleanup(func() { _ = g.Die() })
	}
}

// The status page shows what happens, and can be used by keyboard, in a browser of today.
func TestStatusPage(t *testing.T) {
	address := swtest.FreeAddress(t)
	s := swtest.StartWith(t, nil, `loop_detection = false
[port.a]
egress_rate = "40G"
[port.b]
[port.late]
[uplink.lan]
interface = "none0"
[[fdb]]
mac = "52:54:00:00:99:01"
port = "late"
vlan = 7
`, "--status", address)
	talking(t, s, "a", "b")
	b := browse(t, address)

	// Numbers move.
	b.until("frames are counted", `parseInt(document.getElementById("total-frames").textContent) > 0`)
	const sparkline = `(document.querySelector("[data-port=a] polyline").getAttribute("points") ?? "").split(" ").length`
	b.until("there is a sparkline", sparkline+" >= 3")
	before := value[int](b, sparkline)
	b.until("the sparkline grows", fmt.Sprintf("%s > %d", sparkline, before))
	if got := b.text("[data-port=a] .state"); got != "running" {
		t.Errorf("port a is %q", got)
	}
	if got := b.text("[data-port=lan] .state"); got != "waiting" {
		t.Errorf("port lan is %q", got)
	}
	b.until("a worker's load is shown", `parseFloat(document.querySelector("[data-fact=busy]").textContent) > 0`)
	b.until("drops are shown, of frames that were sent before b was there", `document.querySelector("#drop-table tbody").textContent.includes("no-destination")`)

	// Keyboard: to the filter, from there to the one port that is left, and into its details.
	// As by a real key, which enters a character only if the page has not dealt with the key.
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/"})
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: "/", Code: "Slash"})
	if got := value[string](b, "document.activeElement.id"); got != "filter" {
		t.Errorf("/ goes to %q", got)
	}
	b.do(chromedp.KeyEvent("lat"))
	b.until("one port is left", `document.querySelectorAll(".port").length === 1`)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab))
	if got := value[string](b, "document.activeElement.textContent"); got != "late" {
		t.Errorf("Tab goes to %q", got)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("details are open", `!document.getElementById("detail-late").hidden`)
	if got := b.text("#detail-late"); !strings.Contains(got, "1 static") {
		t.Errorf("the details are %q", got)
	}
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("details are closed", `document.getElementById("detail-late").hidden`)
	b.enter("filter", "input", "")
	b.until("all ports are back", `document.querySelectorAll(".port").length === 4`)

	// The FDB.
	b.do(chromedp.SendKeys(chromedp.CSS("#search"), "99:01"))
	b.until("the entry is found", `document.querySelectorAll("#fdb-table tbody tr").length === 1`)
	if got := b.text("#fdb-table tbody"); !strings.Contains(got, "52:54:00:00:99:01") || !strings.Contains(got, "late") {
		t.Errorf("found %q", got)
	}
	b.enter("search", "input", "no such thing")
	b.until("nothing is found", `document.getElementById("fdb-table").hidden && document.getElementById("found").textContent.startsWith("0 of")`)
	b.enter("search", "input", "vlan 7")
	b.until("the VLAN is found", `document.querySelectorAll("#fdb-table tbody tr").length === 1`)

	// Events.
	g, err := station.Connect(s.Socket("late"), station.Config{MAC: station.Addr(3)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Die()
	g.Start()
	b.until("events come", `[...document.querySelectorAll("#event-list li")].some((e) => e.textContent.includes("late"))`)
	b.until("the port runs", `document.querySelector("[data-port=late] .state").textContent === "running"`)

	b.do(chromedp.Click(chromedp.CSS("[data-port=a] .name")))
	b.size(1280, 900, false)
	b.look("desktop")
	b.size(1280, 900, true)
	b.look("desktop-dark")
	b.size(360, 740, false)
	b.look("phone")
	b.size(360, 740, true)
	b.look("phone-dark")
	b.end()
}

// The status page shows 256 ports, and says when vswitchd does not answer any more.
func TestStatusPageWithManyPorts(t *testing.T) {
	address := swtest.FreeAddress(t)
	config := "loop_detection = false\n[port.a]\n[port.b]\n"
	for i := range 254 {
		config += fmt.Sprintf("[port.guest-%d]\n", i)
	}
	s := swtest.StartWith(t, nil, config, "--status", address)
	talking(t, s, "a", "b")
	b := browse(t, address)
	b.until("all ports are there", `document.querySelectorAll(".port").length === 256`)
	b.enter("sort", "change", "traffic")
	b.until("the busy ports come first", `["a", "b"].includes(document.querySelector(".port").dataset.port)`)
	b.size(1280, 900, false)
	b.look("many")
	b.size(360, 740, true)
	b.look("many-phone")
	b.end()

	s.Kill()
	b.until("the page says that there is no answer", `document.getElementById("link").classList.contains("lost")`)
}
