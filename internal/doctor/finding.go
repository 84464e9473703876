package doctor

import "vswitchd/internal/control"

// Severity says how much a finding matters.
type Severity string

// Values of Severity, the gravest first.
const (
	Error   Severity = "error"   // something does not work
	Warning Severity = "warning" // frames are lost, or will be, or something is slower than it could be
	Note    Severity = "note"    // worth knowing when something is wrong; may be as intended
)

// severities are all values of Severity, the gravest first.
var severities = []Severity{Error, Warning, Note}

// A Finding is the result of a check that has found something.
type Finding struct {
	ID       string               `json:"id"` // of the check
	Severity Severity             `json:"severity"`
	Port     string               `json:"port,omitempty"` // "": the switch as a whole
	Problem  string               `json:"problem"`        // one sentence without a full stop
	Evidence control.Settings     `json:"evidence"`       // figures, by name
	Advice   control.List[string] `json:"advice"`         // what to do, the most likely first
}

// A Report is what an examination has found.
type Report struct {
	SampledS float64               `json:"sampled_s"` // seconds between the two samples
	Ports    int                   `json:"ports"`     // that were examined
	Checks   int                   `json:"checks"`    // kinds of checks that were made
	Findings control.List[Finding] `json:"findings"`  // the gravest first
}

// Grave reports whether there is a finding other than notes.
func (r *Report) Grave() bool {
	for _, f := range r.Findings {
		if f.Severity != Note {
			return true
		}
	}
	return false
}

// finding returns a finding whose ID and port are filled in by Examine.
func finding(s Severity, problem string, evidence control.Settings, advice ...string) *Finding {
	return &Finding{Severity: s, Problem: problem, Evidence: evidence, Advice: advice}
}

// facts makes evidence of names and values by turns.
func facts(pairs ...any) (s control.Settings) {
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, control.Setting{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return s
}
