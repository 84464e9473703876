package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

// ErrNoDaemon says that no process serves the control API on the socket.
var ErrNoDaemon = errors.New("vswitchd is not running")

// Client sends requests to the control API.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the vswitchd that serves the socket.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http = http.Client{
		Timeout: 15 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}},
	}
	return c
}

// maxAnswer limits the size of an answer, in bytes: a full FDB of a million entries fits.
const maxAnswer = 256 << 20

// Get requests a path, with its query, and returns the JSON value as the server wrote it: it may
// have fields that this client does not know.
func (c *Client) Get(ctx context.Context, path string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// Post posts an empty request to a path and returns the answer; see Get.
func (c *Client) Post(ctx context.Context, path string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodPost, path, nil)
}

// Delete sends a request to delete what a path names, and returns the answer; see Get.
func (c *Client) Delete(ctx context.Context, path string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodDelete, path, nil)
}

// Patch sends a change, encoded in JSON, to a path and returns the answer; see Get.
func (c *Client) Patch(ctx context.Context, path string, change any) (json.RawMessage, error) {
	return c.do(ctx, http.MethodPatch, path, change)
}

// EditConfig edits the configuration that runs, if its revision is the given one or that is "", and
// returns the answer; see Get. With try nothing is changed.
func (c *Client) EditConfig(ctx context.Context, patch tomldoc.Patch, revision string, try bool) (json.RawMessage, error) {
	path, header := "/v1/config", http.Header{}
	if try {
		path += "?dry_run=true"
	}
	if revision != "" {
		header.Set("If-Match", strconv.Quote(revision))
	}
	return c.send(ctx, http.MethodPatch, path, header, append(tomldoc.Patch{}, patch...))
}

// CheckConfig checks the text of a configuration file and returns the answer; see Get.
func (c *Client) CheckConfig(ctx context.Context, text string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodPost, "/v1/config/check", ConfigText{text})
}

// do sends a request, with a body unless it is nil.
func (c *Client) do(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	return c.send(ctx, method, path, http.Header{}, body)
}

// send sends a request with a header, and with a body unless it is nil.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body any) (json.RawMessage, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://vswitchd"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header = header
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.dialError(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of vswitchd: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, answerError(resp.StatusCode, answer)
	}
	if !json.Valid(answer) {
		return nil, fmt.Errorf("%s does not answer in JSON: is it vswitchd's control socket?", c.socket)
	}
	return bytes.TrimSpace(answer), nil
}

// dialError distinguishes a daemon that is not running from one that cannot be reached.
func (c *Client) dialError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket %s", ErrNoDaemon, c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens on %s", ErrNoDaemon, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied", c.socket)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("asking vswitchd on %s: no answer within %v", c.socket, c.http.Timeout)
	}
	return fmt.Errorf("asking vswitchd on %s: %w", c.socket, usage.Reason(err))
}

// answerError converts an answer to an error, with one line for each of the answer's.
func answerError(status int, body []byte) error {
	var e ErrorBody
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		return fmt.Errorf("vswitchd answers with status %d %s", status, http.StatusText(status))
	}
	return errors.New(strings.Join(append([]string{e.Error}, e.Details...), "\n"))
}
