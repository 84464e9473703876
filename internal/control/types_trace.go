package control

// TraceRequest is the body of POST /v1/trace.
type TraceRequest struct {
	Port  string `json:"port"`
	Frame string `json:"frame"` // in hexadecimal digits, from the destination address on, without FCS
}

// Trace answers POST /v1/trace.
type Trace struct {
	Port  string          `json:"port"`
	Frame string          `json:"frame"`
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
