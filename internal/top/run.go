package top

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	tea "charm.land/bubbletea/v2"
)

// Run shows the rates on the terminal out until the user quits, the count of intervals is reached,
// or the process is told to end, and then restores the terminal.
func Run(ctx context.Context, cfg *Config, out *os.File, colors bool) error {
	first, err := cfg.Read(ctx)
	if err != nil {
		return err
	}
	// tea's own handler lacks SIGHUP, and begins some time after the terminal has been changed.
	p := tea.NewProgram(newModel(cfg, first, colors), tea.WithContext(ctx), tea.WithOutput(out), tea.WithoutSignalHandler())
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(ends)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ends:
			p.Quit()
		case <-done:
		}
	}()
	_, err = p.Run()
	return err
}
