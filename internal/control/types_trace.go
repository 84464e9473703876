package control

// TraceRequest is the body of POST /v1/trace.
type TraceRequest struct {
	Port  string `json:"port"`
	Frame string `json:"frame"` // in hexadecimal digits, from the destination address on, without FCS
}

// NextRequest is the body of POST /v1/trace/next: Filter and FilterText are as for captures.
type NextRequest struct {
	Port   string          `json:"port"`
	Filter List[[4]uint32] `json:"filter"`
	WaitMS int64           `json:"wait_ms"` // at most MaxWaitMS
}

// MaxWaitMS is the longest time that a request waits for a frame, in milliseconds.
const MaxWaitMS = 5000

// Trace answers POST /v1/trace, and POST /v1/trace/next.
type Trace struct {
	Port  string          `json:"port"`
	Frame string          `json:"frame"` // "": no frame has come
	Steps List[TraceStep] `json:"steps"`
}

// TraceStep is what one stage, or a rule of a filter, does with a frame.
type TraceStep struct {
	Stage  string       `json:"stage"`
	Port   string       `json:"port"`
	Result string       `json:"result"` // "pass", "drop", "count", "send", "copy" or "reply"
	Reason string       `json:"reason,omitempty"`
	Filter string       `json:"filter,omitempty"`
	Rule   string       `json:"rule,omitempty"`
	Detail string       `json:"detail,omitempty"`
	Frames List[string] `json:"frames"` // that the port is sent, in hexadecimal digits
}
