package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/doctor"
	"vswitchd/internal/layout"
	"vswitchd/internal/version"
)

// errFindings makes vswitchctl exit with exitFindings.
var errFindings = errors.New("there are errors or warnings")

// doctor is the command that says what is wrong. Package doctor decides that; this file collects
// what it looks at, and prints what it finds.
func (c *client) doctor() *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "doctor [PORT]",
		Short: "Say what is wrong with the switch, or with one port, and what to do",
		Long: "Says why a port is silent, frames are lost or the switch is slow: each finding with its evidence and with advice.\n" +
			"The switch is looked at twice, for rates. With the name of a port, only that port and the switch as a whole are\n" +
			"examined, and it counts that nobody uses the port.\n\n" +
			"The exit code is 0 if there is nothing but notes, and 4 if there are errors or warnings.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < 100*time.Millisecond || interval > time.Minute {
				return errors.New("--interval must be from 100ms to 1m")
			}
			only := ""
			if len(args) == 1 {
				only = args[0]
			}
			return c.examine(examination{cmd, control.NewClient(c.socket)}, only, interval)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "`time` between the two looks")
	return cmd
}

// examine makes the examination and prints its report.
func (c *client) examine(e examination, only string, interval time.Duration) error {
	if only != "" {
		if err := e.get("/v1/ports/"+url.PathEscape(only), new(control.PortDetail)); err != nil {
			return failure{err}
		}
	}
	d := doctor.Case{Client: version.String()}
	began := time.Now()
	if err := e.sample(&d.Before); err != nil {
		return failure{err}
	}
	select {
	case <-e.cmd.Context().Done():
		return failure{e.cmd.Context().Err()}
	case <-time.After(interval):
	}
	d.Interval = time.Since(began)
	if err := e.sample(&d.After); err != nil {
		return failure{err}
	}
	socket, err := e.configuration(&d.Config)
	if err != nil {
		return failure{err}
	}
	d.Host = observe("/proc", c.socket, d.After.Ports, socket == c.socket)

	report := doctor.Examine(&d, only)
	body, err := json.Marshal(report)
	if err := show(c, body, err, printReport); err != nil {
		return err
	}
	if report.Grave() {
		return errFindings
	}
	return nil
}

// An examination requests what a doctor.Case has.
type examination struct {
	cmd    *cobra.Command
	client *control.Client
}

// get requests a path and decodes the answer.
func (e examination) get(path string, answer any) error {
	body, err := e.client.Get(e.cmd.Context(), path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("cannot read the answer of vswitchd to GET %s: %w", path, err)
	}
	return nil
}

func (e examination) sample(s *doctor.Sample) error {
	if err := e.get("/v1/switch", &s.Switch); err != nil {
		return err
	}
	for _, p := range s.Switch.Ports {
		var d control.PortDetail
		if err := e.get("/v1/ports/"+url.PathEscape(p.Name), &d); err != nil {
			return err
		}
		s.Ports = append(s.Ports, d)
	}
	return nil
}

// defaultSocket is where vswitchd serves the control API if it is not told otherwise.
const defaultSocket = "/run/vswitchd/control.sock"

// configuration fills in what doctor.Configuration has, and returns the path of the control socket
// as vswitchd has it.
func (e examination) configuration(c *doctor.Configuration) (socket string, err error) {
	var info struct {
		Document struct {
			Switch  struct{ Poll string }
			Control struct{ Socket string }
		}
		File        struct{ Path, Error string }
		Differences []json.RawMessage
	}
	if err := e.get("/v1/config", &info); err != nil {
		return "", err
	}
	*c = doctor.Configuration{Poll: info.Document.Switch.Poll, FilePath: info.File.Path, FileError: info.File.Error, Unsaved: len(info.Differences)}
	return cmp.Or(info.Document.Control.Socket, defaultSocket), nil
}

func printReport(w *layout.Page, r doctor.Report) {
	for _, f := range r.Findings {
		printFinding(w, &f)
	}
	took := time.Duration(r.SampledS * 1e9).Round(100 * time.Millisecond)
	summary := fmt.Sprintf("%s in %s, by %d checks in %v", findingCount(r.Findings), plural(r.Ports, "port"), r.Checks, took)
	fmt.Fprintln(w, strings.Join(layout.Fold(summary, w.Width), "\n"))
}

func printFinding(w *layout.Page, f *doctor.Finding) {
	where := ""
	if f.Port != "" {
		where = "port " + f.Port + ": "
	}
	tone := map[doctor.Severity]layout.Tone{doctor.Error: layout.Bad, doctor.Warning: layout.Doubt}[f.Severity]
	fmt.Fprintf(w, "%s: %s\n", w.Styled(tone, string(f.Severity)), strings.Join(layout.Fold(where+f.Problem+" ("+f.ID+")", w.Width-len(f.Severity)-2), "\n  "))
	var evidence []string
	for _, e := range f.Evidence {
		if text := fmt.Sprint(e.Value); text != "" {
			evidence = append(evidence, strings.ReplaceAll(e.Key, "_", " ")+" "+text)
		}
	}
	hang(w, "seen", strings.Join(evidence, ", "))
	for _, a := range f.Advice {
		hang(w, "try", a)
	}
	fmt.Fprintln(w)
}

// hang prints a text, if there is one, with its further lines below the first one.
func hang(w *layout.Page, label, text string) {
	if text == "" {
		return
	}
	const indent = 8
	for i, line := range layout.Fold(text, w.Width-indent) {
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(w, "  %-*s%s\n", indent-2, label, line)
	}
}

// findingCount counts findings by severity: "1 error, 2 notes".
func findingCount(findings []doctor.Finding) string {
	var parts []string
	for _, s := range []doctor.Severity{doctor.Error, doctor.Warning, doctor.Note} {
		n := 0
		for _, f := range findings {
			if f.Severity == s {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, plural(n, string(s)))
		}
	}
	if len(parts) == 0 {
		return "nothing found"
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
