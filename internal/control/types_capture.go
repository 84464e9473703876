package control

import (
	"context"
	"io"
)

// CaptureRequest is the body of POST /v1/captures.
type CaptureRequest struct {
	Ports      List[string] `json:"ports"`
	All        bool         `json:"all"`         // all ports, later ones included
	Direction  string       `json:"direction"`   // "in", "out", or "both", which "" stands for
	Drops      bool         `json:"drops"`       // dropped frames, instead of those that pass
	Snaplen    int          `json:"snaplen"`     // bytes; 0: all
	Count      uint64       `json:"count"`       // frames after which it ends; 0: no limit
	DurationMS int64        `json:"duration_ms"` // after which it ends; 0: no limit
	Buffer     int          `json:"buffer"`      // bytes; 0: the default

	// Filter is a program of the classic BPF for Ethernet: its instructions, each as code, jt, jf
	// and k. Empty: all frames. FilterText is what it was compiled from.
	Filter     List[[4]uint32] `json:"filter"`
	FilterText string          `json:"filter_text"`
}

// Directions are the values of CaptureRequest.Direction.
var Directions = []string{"in", "out", "both"}

// Capture is an element of the answer to GET /v1/captures, and the answer to DELETE
// /v1/captures/ID.
type Capture struct {
	ID        int          `json:"id"`
	Ports     List[string] `json:"ports"` // without All
	All       bool         `json:"all"`
	Direction string       `json:"direction"`
	Drops     bool         `json:"drops"`
	Snaplen   int          `json:"snaplen"` // bytes
	Filter    string       `json:"filter"`  // CaptureRequest.FilterText
	Buffer    int          `json:"buffer"`  // bytes
	AgeS      int64        `json:"age_s"`   // whole seconds since it began
	Captured  uint64       `json:"captured"`
	Lost      uint64       `json:"lost"` // frames for which there was no room
}

// CaptureTotals are the captures since vswitchd started.
type CaptureTotals struct {
	Running  int    `json:"running"`
	Captured uint64 `json:"captured"` // frames
	Lost     uint64 `json:"lost"`     // frames for which there was no room
}

// A CaptureStream is a capture that has begun.
type CaptureStream interface {
	// Info describes the capture.
	Info() Capture

	// Run writes the capture as pcapng until ctx is done, or the capture ends. flush is called when
	// nothing more is left to be written for now. Run has to be called, and gives back what the
	// capture has reserved.
	Run(ctx context.Context, w io.Writer, flush func() error) error
}

// Header fields of the answer to POST /v1/captures. HeaderCaptured and HeaderLost are trailers.
const (
	HeaderCapture  = "Vswitchd-Capture"  // the id
	HeaderCaptured = "Vswitchd-Captured" // frames
	HeaderLost     = "Vswitchd-Lost"     // frames
)

// ContentTypePcapng is the type of the answer to POST /v1/captures.
const ContentTypePcapng = "application/x-pcapng"
