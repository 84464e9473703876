package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"vswitchd/internal/control"
	"vswitchd/internal/doctor"
	"vswitchd/internal/layout"
)

// printers are the functions that print answers, with the longest values that there can be.
var printers = map[string]func(*layout.Page){
	"printSwitch":        func(w *layout.Page) { printSwitch(w, longest[control.SwitchInfo]()) },
	"printPorts":         func(w *layout.Page) { printPorts(w, longest[[]control.PortInfo]()) },
	"printPort":          func(w *layout.Page) { printPort(w, longest[control.PortDetail]()) },
	"printVLANs":         func(w *layout.Page) { printVLANs(w, longest[[]control.PortInfo]()) },
	"printStats":         func(w *layout.Page) { printStats(w, longest[[]control.PortStats]()) },
	"printFDB":           func(w *layout.Page) { printFDB(w, longest[[]control.FDBEntry]()) },
	"printFDBEvents":     func(w *layout.Page) { printFDBEvents(w, longest[control.SwitchInfo]()) },
	"printMDB":           func(w *layout.Page) { printMDB(w, longest[control.MDB]()) },
	"printNeighbors":     func(w *layout.Page) { printNeighbors(w, longest[[]control.Neighbor]()) },
	"printMirrors":       func(w *layout.Page) { printMirrors(w, longest[[]control.Mirror]()) },
	"printFilters":       func(w *layout.Page) { printFilters(w, longest[[]control.Filter]()) },
	"printFilter":        func(w *layout.Page) { printFilter(w, longest[control.Filter]()) },
	"printSets":          func(w *layout.Page) { printSets(w, longest[[]control.Set]()) },
	"printSet":           func(w *layout.Page) { printSet(w, longest[control.Set]()) },
	"printCaptures":      func(w *layout.Page) { printCaptures(w, longest[[]control.Capture]()) },
	"printTrace":         func(w *layout.Page) { printTrace(w, longest[control.Trace]()) },
	"printReport":        printLongReport,
	"printFinding":       isPart,
	"printRemoved":       isText,
	"printDifferences":   printLongestDifferences,
	"printVersions":      isText,
	"printUpgraded":      isText,
	"printChange":        isText,
	"printSaved":         isText,
	"printCounters":      isPart,
	"printSession":       isPart,
	"printRings":         isPart,
	"printRingStates":    isPart,
	"printIndices":       isPart,
	"printNotifications": isPart,
	"printRegions":       isPart,
	"printBits":          isPart,
}

func isText(*layout.Page) {} // no table
func isPart(*layout.Page) {} // of what another function prints

func printLongReport(w *layout.Page) {
	long := strings.Repeat("a-long-word ", 30) + "ends"
	printReport(w, doctor.Report{Ports: 1 << 30, Checks: 1000, SampledS: 59.9, Findings: []doctor.Finding{
		{ID: "an-identifier", Severity: doctor.Warning, Port: "abcdefghijklmno", Problem: long, Evidence: control.Settings{{Key: "a_key", Value: long}}, Advice: []string{long, long}},
	}})
}

func printLongestDifferences(w *layout.Page) {
	var info control.ConfigInfo
	long := strings.Repeat("a-long-word ", 30)
	body := `{"file": {"path": "/f", "document": {"port": {"abcdefghijklmno": {"description": "` + long + `"}}}},
		"differences": [{"op": "replace", "path": "/port/abcdefghijklmno/description", "value": "` + strings.ReplaceAll(long, " ", "") + `"}]}`
	if err := json.Unmarshal([]byte(body), &info); err != nil {
		panic(err)
	}
	printDifferences(w, info)
}

// Every table fits the page, with the longest values that there can be, and each function that
// prints is among those that are tried.
func TestTablesFit(t *testing.T) {
	for _, name := range definedPrinters(t) {
		if printers[name] == nil {
			t.Errorf("%s is not tested", name)
		}
	}
	for name, printer := range printers {
		for _, width := range []int{80, 132, 40} {
			for _, colors := range []bool{false, true} {
				var out strings.Builder
				printer(&layout.Page{Writer: &out, Width: width, Colors: colors})
				if escapes := strings.Contains(out.String(), "\x1b"); escapes && !colors {
					t.Errorf("%s: there are colors", name)
				}
				for line := range strings.Lines(out.String()) {
					line = strings.TrimSuffix(line, "\n")
					if n := ansi.StringWidth(line); n > width {
						t.Errorf("%s: %d columns instead of %d: %s", name, n, width, line)
					}
					if width == 80 && strings.HasSuffix(ansi.Strip(line), " ") {
						t.Errorf("%s: blanks at the end of %q", name, line)
					}
				}
			}
		}
	}
}

// definedPrinters returns the names of the functions that print to a page.
func definedPrinters(t *testing.T) (names []string) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	definition := regexp.MustCompile(`(?m)^func (print\w+)\(w \*layout\.Page`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range definition.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	if len(names) < 20 {
		t.Errorf("only %v are found", names)
	}
	return names
}

// longest returns a value whose parts are as long as they can be.
func longest[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem(), "")
	return v
}

// longTexts are texts by the names of fields, or of types and fields.
var longTexts = map[string]string{
	"Socket": "/" + strings.Repeat("directory/", 9) + "abcdefghijklmno.s", "MAC": "52:54:00:00:00:01", "IP": longIP, "Group": longIP, "Source": longIP, "Querier": longIP,
	"Address": longIP, "State": "connecting", "Kind": "uplink", "Mode": "native-untagged", "Type": "configured", "Action": "accept", "Direction": "from-guest",
	"Format": "packed", "KickBy": "eventfd", "CallBy": "eventfd", "Suppression": "event-idx", "When": "at-event", "Stage": "neighbors", "Result": "count",
	"Frame": strings.Repeat("5254", 400), "Frames": strings.Repeat("52", 64), "Version": strings.Repeat("0123456789abcdef", 3), "Addresses": longIP, "Key": "ingress_policing_burst",
	"MDBEntry.Mode": "exclude", "MDBEntry.Type": "dynamic", "FDBEntry.Type": "blackhole", "Neighbor.Type": "configured", "Neighbor.State": "contested", "Capture.Direction": "both",
}

const longIP = "2001:db8:1234:5678:9abc:def0:1234:5678"

// fill sets a value, which is that of a field or the element of one.
func fill(v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), field)
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if longTexts[v.Type().Name()+"."+name] != "" {
				name = v.Type().Name() + "." + name
			}
			fill(v.Field(i), name)
		}
	case reflect.Slice:
		n := 40
		if v.Type().Elem().Kind() == reflect.Struct {
			n = 3
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range v.Len() {
			fill(v.Index(i), field)
			if e := v.Index(i); e.Kind() == reflect.Uint16 { // VLANs that do not follow each other
				e.SetUint(uint64(1000 + 2*i))
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, reason := range append(slices.Clone(eventOrder), "ingress-filter") {
			v.SetMapIndex(reflect.ValueOf(reason), reflect.ValueOf(uint64(1)<<63))
		}
	case reflect.String:
		if text := longTexts[field]; text != "" {
			v.SetString(text)
		} else {
			v.SetString("abcdefghijklmno")
		}
	case reflect.Bool:
		v.SetBool(field != "All" && field != "SelectAll") // which replace a list
	case reflect.Int, reflect.Int64:
		v.SetInt(1_000_000)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1<<v.Type().Bits() - 1)
		if field == "VLAN" || field == "Tag" || field == "OutputVLAN" {
			v.SetUint(4094)
		}
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Interface:
		v.Set(reflect.ValueOf(any(strings.Repeat("value ", 40) + "end")))
	}
}
