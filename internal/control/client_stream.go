package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// stream sends a request whose answer may take any time, and returns the answer if its status is no
// error. Its body has to be closed.
func (c *Client) stream(req *http.Request) (*http.Response, error) {
	client := c.http
	client.Timeout = 0
	resp, err := client.Do(req)
	if err != nil {
		return nil, c.dialError(err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of vswitchd: %w", err)
	}
	return nil, answerError(resp.StatusCode, answer)
}

// An EventReader reads the events that a Client listens to. It has to be closed.
type EventReader struct {
	body  io.Closer
	lines *bufio.Scanner
}

// maxEvent is the longest line of a stream of events, in bytes.
const maxEvent = 1 << 20

// Events listens to the events that a filter selects, until ctx is done. With snapshot, the stream
// begins with what is present.
func (c *Client) Events(ctx context.Context, f EventFilter, snapshot bool) (*EventReader, error) {
	q := make(url.Values)
	var kinds []string
	for _, k := range f.Kinds {
		kinds = append(kinds, string(k))
	}
	if kinds != nil {
		q.Set("kind", strings.Join(kinds, ","))
	}
	if f.Port != "" {
		q.Set("port", f.Port)
	}
	if snapshot {
		q.Set("snapshot", strconv.FormatBool(snapshot))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vswitchd/v1/events?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.stream(req)
	if err != nil {
		return nil, err
	}
	if resp.Header.Get("Content-Type") != ContentTypeEvents {
		resp.Body.Close()
		return nil, fmt.Errorf("%s does not answer with events: is it vswitchd's control socket?", c.socket)
	}
	return NewEventReader(resp.Body), nil
}

// NewEventReader returns a reader of the events in body, which the reader closes.
func NewEventReader(body io.ReadCloser) *EventReader {
	s := &EventReader{body: body, lines: bufio.NewScanner(body)}
	s.lines.Buffer(nil, maxEvent)
	return s
}

// Next waits for an event, and returns the JSON value as the server wrote it. The error is io.EOF
// when the stream has ended.
func (s *EventReader) Next() (json.RawMessage, error) {
	for s.lines.Scan() {
		if data, ok := bytes.CutPrefix(s.lines.Bytes(), []byte("data: ")); ok {
			return bytes.Clone(data), nil
		}
	}
	if err := s.lines.Err(); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return nil, io.EOF
}

// Close ends the stream.
func (s *EventReader) Close() { s.body.Close() }
