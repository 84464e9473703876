package metrics

import (
	"strconv"
	"strings"

	"vswitchd/internal/control"
)

// prefix is what all names of metrics begin with.
const prefix = "vswitchd_"

// text is an answer in Prometheus' text format, version 0.0.4, that is being written.
type text struct {
	buf  []byte
	name string // of the family whose samples are written
}

// begin begins the samples of a family.
func (t *text) begin(f *family) {
	t.name = prefix + f.name
	t.add("# HELP ", t.name, " ", f.help, "\n# TYPE ", t.name, " ", f.kind, "\n")
}

func (t *text) add(parts ...string) {
	for _, p := range parts {
		t.buf = append(t.buf, p...)
	}
}

// count writes a sample that is a whole number. Labels are names, sorted, each followed by its
// value.
func (t *text) count(n uint64, labels ...string) {
	t.labelled("", labels)
	t.buf = append(strconv.AppendUint(t.buf, n, 10), '\n')
}

// number is count for any number.
func (t *text) number(v float64, labels ...string) {
	t.labelled("", labels)
	t.buf = append(strconv.AppendFloat(t.buf, v, 'g', -1, 64), '\n')
}

// flag writes 1 or 0.
func (t *text) flag(on bool, labels ...string) {
	n := uint64(0)
	if on {
		n = 1
	}
	t.count(n, labels...)
}

// histogram writes the samples of a histogram.
func (t *text) histogram(h *control.Histogram, label, value string) {
	var sum uint64
	for i, n := range h.Counts {
		sum += n
		bound := "+Inf"
		if i < len(h.Bounds) {
			bound = strconv.FormatFloat(h.Bounds[i], 'g', -1, 64)
		}
		t.labelled("_bucket", []string{label, value, "le", bound})
		t.buf = append(strconv.AppendUint(t.buf, sum, 10), '\n')
	}
	t.labelled("_sum", []string{label, value})
	t.buf = append(strconv.AppendFloat(t.buf, h.Sum, 'g', -1, 64), '\n')
	t.labelled("_count", []string{label, value})
	t.buf = append(strconv.AppendUint(t.buf, sum, 10), '\n')
}

// labelled writes what stands before a value.
func (t *text) labelled(suffix string, labels []string) {
	b := append(append(t.buf, t.name...), suffix...)
	for i := 0; i < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b = append(append(b, sep), labels[i]...)
		b = append(append(b, `="`...), escape(labels[i+1])...)
		b = append(b, '"')
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	t.buf = append(b, ' ')
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// escape returns the value of a label as it is written between quotes.
func escape(value string) string {
	for i := range len(value) { // faster than strings.ContainsAny for the names that there are
		if c := value[i]; c == '\\' || c == '"' || c == '\n' {
			return escaper.Replace(value)
		}
	}
	return value
}
