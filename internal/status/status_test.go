package status

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// answered is the API of the tests: it answers each request with its method and path.
var answered = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) })

// ask returns the answer to a request, which edit may change.
func ask(t *testing.T, h http.Handler, method, path string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:9748"
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, Config{API: answered, Logger: hclog.NewNullLogger()}) }()
	for path, want := range map[string]string{
		"/": "<title>vswitchd</title>", "/status.js": "EventSource", "/status.css": ":root", "/icon.svg": "<svg",
		"/v1/switch": "GET /v1/switch", "/v1/events": "GET /v1/events",
	} {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s, %v:\n%s", path, resp.Status, err, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Nothing but GET, and HEAD, reaches the API.
func TestOnlyReads(t *testing.T) {
	h := newHandler(Config{API: answered})
	for _, path := range []string{"/", "/v1/switch", "/v1/config", "/v1/reload", "/v1/events", "/other"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"} {
			if resp := ask(t, h, method, path, nil); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, resp.Status)
			}
		}
	}
	if resp := ask(t, h, "GET", "/other", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("GET /other: %s", resp.Status)
	}
}

// A name that somebody else can make point to this server is refused (DNS rebinding).
func TestHostsAreChecked(t *testing.T) {
	h := newHandler(Config{API: answered, Hosts: []string{"vswitch.example.org"}})
	for host, want := range map[string]int{
		"127.0.0.1:9748": 200, "127.0.0.1": 200, "[::1]:9748": 200, "[::1]": 200, "192.0.2.1:80": 200, "[fe80::1%25eth0]:80": 200,
		"localhost": 200, "localhost:9748": 200, "LocalHost:9748": 200,
		"vswitch.example.org": 200, "Vswitch.Example.org:9748": 200,
		"": 421, "evil.example": 421, "evil.example:9748": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"example.org": 421, "x.vswitch.example.org:9748": 421, "vswitch.example.org.": 421, ":9748": 421, "127.1": 421, "0x7f000001": 421,
	} {
		for _, path := range []string{"/", "/v1/switch", "/v1/events", "/status.js"} {
			if resp := ask(t, h, "GET", path, func(r *http.Request) { r.Host = host }); resp.StatusCode != want {
				t.Errorf("GET %s from host %q: %s, want %d", path, host, resp.Status, want)
			}
		}
	}
}

// What a page of another site asks for is refused, except for a link to the page.
func TestOtherSitesAreRefused(t *testing.T) {
	h := newHandler(Config{API: answered})
	for _, c := range []struct {
		path, site, mode string
		want             int
	}{
		{"/v1/switch", "", "", 200}, {"/v1/switch", "none", "navigate", 200}, {"/v1/switch", "same-origin", "cors", 200},
		{"/v1/switch", "cross-site", "no-cors", 403}, {"/v1/switch", "same-site", "cors", 403}, {"/v1/switch", "cross-site", "navigate", 403},
		{"/v1/events", "cross-site", "cors", 403}, {"/status.js", "cross-site", "no-cors", 403},
		{"/", "cross-site", "navigate", 200}, {"/", "cross-site", "no-cors", 403},
	} {
		resp := ask(t, h, "GET", c.path, func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", c.site)
			r.Header.Set("Sec-Fetch-Mode", c.mode)
		})
		if resp.StatusCode != c.want {
			t.Errorf("%+v: %s", c, resp.Status)
		}
	}
}

// Every answer forbids the browser to load anything from elsewhere, to run anything that is in the
// page itself, and to show the page inside another.
func TestPolicy(t *testing.T) {
	h := newHandler(Config{API: answered})
	for _, path := range []string{"/", "/status.js", "/v1/switch", "/other"} {
		header := ask(t, h, "GET", path, nil).Header
		csp := header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("GET %s: the policy %q lacks %s", path, csp, part)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("GET %s: %v", path, header)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("GET %s: %v", path, header)
		}
	}
}

// So many pages may listen to events, and no more.
func TestStreamsAreLimited(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := newHandler(Config{API: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})})
	ended := make(chan int)
	for range maxStreams {
		go func() { ended <- ask(t, h, "GET", events, nil).StatusCode }()
		<-entered
	}
	if resp := ask(t, h, "GET", events, nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more stream: %s", resp.Status)
	}
	close(release)
	for range maxStreams {
		if status := <-ended; status != http.StatusOK {
			t.Errorf("a stream ended with status %d", status)
		}
	}
	go func() { ended <- ask(t, h, "GET", events, nil).StatusCode }()
	<-entered
	if status := <-ended; status != http.StatusOK {
		t.Errorf("after the others have ended: status %d", status)
	}
}

var (
	elsewhere = regexp.MustCompile(`(?:https?:)?//[\w.-]+\.\w+`)
	inline    = regexp.MustCompile(`<script>|<style|\son\w+=|\sstyle=|javascript:|\.innerHTML|eval\(`)
	wantedID  = regexp.MustCompile(`\$\("([\w-]+)"\)`)
)

// The page names no other server, has no script or style in its text, which the policy forbids, and
// has each element that its script asks for.
func TestPageIsWhole(t *testing.T) {
	text := make(map[string]string)
	err := fs.WalkDir(page, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := page.ReadFile(path)
		text[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range text {
		for _, m := range elsewhere.FindAllString(content, -1) {
			if m != "http://www.w3.org" { // the name of SVG, which is not loaded
				t.Errorf("%s names %s", path, m)
			}
		}
		if m := inline.FindString(content); m != "" {
			t.Errorf("%s has %q", path, m)
		}
	}
	ids := wantedID.FindAllStringSubmatch(text["page/status.js"], -1)
	if len(ids) == 0 {
		t.Fatal("the script asks for no element")
	}
	for _, m := range ids {
		if !strings.Contains(text["page/index.html"], `id="`+m[1]+`"`) {
			t.Errorf("the page has no element %s", m[1])
		}
	}
}
