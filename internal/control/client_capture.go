package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// A CaptureAnswer is a capture that has begun. It is read as pcapng, and has to be closed.
type CaptureAnswer struct {
	ID int
	io.ReadCloser
	trailer http.Header // filled in when everything has been read
}

// Capture begins a capture, which ends when ctx is done, among other reasons.
func (c *Client) Capture(ctx context.Context, r CaptureRequest) (*CaptureAnswer, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://vswitchd/v1/captures", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.stream(req)
	if err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(resp.Header.Get(HeaderCapture))
	if err != nil || resp.Header.Get("Content-Type") != ContentTypePcapng {
		resp.Body.Close()
		return nil, fmt.Errorf("%s does not answer with a capture: is it vswitchd's control socket?", c.socket)
	}
	return &CaptureAnswer{ID: id, ReadCloser: resp.Body, trailer: resp.Trailer}, nil
}

// Trace asks what would happen to a frame, and returns the answer; see Get.
func (c *Client) Trace(ctx context.Context, r TraceRequest) (json.RawMessage, error) {
	return c.do(ctx, http.MethodPost, "/v1/trace", r)
}

// Next asks for the next frame from a port, and returns the answer; see Get.
func (c *Client) Next(ctx context.Context, r NextRequest) (json.RawMessage, error) {
	return c.do(ctx, http.MethodPost, "/v1/trace/next", r)
}

// Totals returns how many frames have been captured and lost, if everything has been read.
func (a *CaptureAnswer) Totals() (captured, lost uint64, ok bool) {
	captured, err1 := strconv.ParseUint(a.trailer.Get(HeaderCaptured), 10, 64)
	lost, err2 := strconv.ParseUint(a.trailer.Get(HeaderLost), 10, 64)
	return captured, lost, err1 == nil && err2 == nil
}
