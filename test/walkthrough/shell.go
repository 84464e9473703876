package walkthrough

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"vswitchd/test/child"
)

// A Shell is a bash that runs one text after the other, as a person types them in: what a text
// leaves behind, such as variables, functions, the working directory and jobs, is there for the
// next. A Shell is used by one goroutine.
type Shell struct {
	process *child.Process
	texts   io.WriteCloser
	done    <-chan struct{} // one element for each text that has been run
	output  *os.File        // of everything that the shell has started
}

// loop reads texts, each ended by a zero byte, from descriptor 3. They are not on the standard
// input, which commands may read.
const loop = `set -e; while IFS= read -r -d "" -u 3 text; do eval "$text"; echo >&4; done`

// Start starts a shell by a command, which the function makes of a program and its arguments: so
// the command may set the environment, or enter namespaces. Standard input is empty. The command
// must hand descriptors 3 and 4 on.
func Start(command func(program string, args ...string) *exec.Cmd) (*Shell, error) {
	texts, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer texts.Close()
	answers, answer, err := os.Pipe()
	if err != nil {
		feed.Close()
		return nil, err
	}
	defer answer.Close()
	output, err := os.CreateTemp("", "walkthrough-")
	if err == nil {
		err = os.Remove(output.Name())
	}
	cmd := command("bash", "-c", loop)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{texts, answer}
	var process *child.Process
	if err == nil {
		process, err = child.Start(cmd, nil)
	}
	if err != nil {
		feed.Close()
		answers.Close()
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	done := make(chan struct{}, 1) // a Run may have given up
	go func() {
		defer answers.Close()
		for b := make([]byte, 1); ; {
			if _, err := answers.Read(b); err != nil {
				return
			}
			done <- struct{}{}
		}
	}()
	return &Shell{process: process, texts: feed, done: done, output: output}, nil
}

// Run runs a text and returns when it has ended; jobs in the background may go on. It returns what
// was printed meanwhile. The first command that fails ends the shell.
func (s *Shell) Run(ctx context.Context, text string) (output string, err error) {
	before := len(s.Output())
	if _, err := io.WriteString(s.texts, text+"\x00"); err != nil {
		return "", err
	}
	select {
	case <-s.done:
	case <-s.process.Exited():
		err = fmt.Errorf("a command has failed, and the shell ended: %v", s.process.State())
	case <-ctx.Done():
		err = ctx.Err()
	}
	return s.Output()[before:], err
}

// Output returns what the shell, and all that it has started, have printed since the start.
func (s *Shell) Output() string {
	var b bytes.Buffer
	_, _ = io.Copy(&b, io.NewSectionReader(s.output, 0, 1<<62))
	return b.String()
}

// Close kills the shell. What the shell has started is not killed.
func (s *Shell) Close() {
	s.process.Kill()
	s.texts.Close()
	s.output.Close()
}
