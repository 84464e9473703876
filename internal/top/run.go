package top

import (
	"context"
	"errors"
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
	p := tea.NewProgram(newModel(cfg, first, colors), tea.WithContext(ctx), tea.WithOutput(out))
	hangups := make(chan os.Signal, 1) // which tea does not handle, unlike SIGINT and SIGTERM
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-hangups:
			p.Quit()
		case <-done:
		}
	}()
	if _, err = p.Run(); errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}
