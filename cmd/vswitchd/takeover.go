package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/daemon"
	"vswitchd/internal/handover"
	"vswitchd/internal/unixsock"
	"vswitchd/internal/version"
)

// This file takes everything over from another vswitchd; handover.go is the other side.

// A heir takes over. It implements handover.New.
type heir struct {
	service
	takeover *daemon.Takeover
	frozen   int64 // when the old process stopped, by handover.Now
}

// takeOver is start for a process that takes over from the one that serves the control socket. If
// that fails, everything stays with the other process, and this one must close nothing in order.
func takeOver(ctx context.Context, opts *options, cfg *config.Config, _ *config.Running, log hclog.Logger, reloads <-chan os.Signal) error {
	uc, err := askToTakeOver(ctx, cfg.Control.Socket)
	if err != nil {
		return fmt.Errorf("taking over: %w", err)
	}
	h := &heir{service: service{opts: opts, log: log}}
	hello := handover.Hello{Schema: handover.Schema, Version: version.String(), Understood: daemon.Understood()}
	if err := handover.Take(uc, hello, h); err != nil {
		return fmt.Errorf("taking over: %w", err)
	}
	if h.d, err = h.takeover.Begin(); err != nil {
		return err
	}
	unixsock.Own(h.control.Listener)
	log.Info("taken over", "version", version.String(), "config", opts.file, "ports", len(h.cfg.Ports),
		"workers", h.cfg.Switch.Workers, "control", h.cfg.Control.Socket, "for", time.Duration(handover.Now()-h.frozen))
	notify(log, fmt.Sprintf("MAINPID=%d\n%s", os.Getpid(), sd.SdNotifyReady))
	return h.run(ctx, reloads)
}

// askToTakeOver connects to the running vswitchd, and switches the connection to the protocol of
// hand-overs.
func askToTakeOver(ctx context.Context, socket string) (*net.UnixConn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("no vswitchd serves the control socket %q: %w", socket, err)
	}
	if err := upgrade(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func upgrade(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, "http://vswitchd/v1/takeover", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", control.UpgradeTakeover)
	if err := r.Write(c); err != nil {
		return fmt.Errorf("asking the running vswitchd: %w", err)
	}
	// The running vswitchd sends nothing after its answer, so the buffer takes nothing else.
	answer, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return fmt.Errorf("asking the running vswitchd: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	var body control.ErrorBody
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if json.Unmarshal(text, &body) != nil || body.Error == "" {
		body.Error = answer.Status
	}
	return fmt.Errorf("the running vswitchd refuses: %s", strings.TrimSpace(body.Error))
}

// Prepare implements handover.New.
func (h *heir) Prepare(doc *handover.Document, r *handover.Reader) error {
	cfg, running, errs := daemon.Kinds().ParseRunning("running configuration", []byte(doc.Configuration), config.Flags{Accounts: h.opts.flags.Accounts})
	if len(errs) > 0 {
		return errs
	}
	h.cfg, h.running = cfg, running
	h.log.SetLevel(hclog.LevelFromString(cfg.Log.Level))
	var err error
	if h.takeover, err = daemon.BeginTakeover(cfg, h.log); err != nil {
		return err
	}
	return h.takeover.Prepare(doc, r)
}

// Adopt implements handover.New.
func (h *heir) Adopt(doc *handover.Document, r *handover.Reader) error {
	h.frozen = doc.Frozen
	for i := range doc.Parts {
		if p := &doc.Parts[i]; p.Kind == partListener {
			if err := h.adoptListener(p, r); err != nil {
				return fmt.Errorf("listener for %s: %w", p.Name, err)
			}
		}
	}
	return h.takeover.Adopt(doc, r)
}

// adoptListener makes a listener of what was handed over.
func (h *heir) adoptListener(p *handover.Part, r *handover.Reader) error {
	var st listenerPart
	if err := json.Unmarshal(p.State, &st); err != nil {
		return err
	}
	fd, err := r.Take(st.FD)
	if err != nil {
		return err
	}
	st.FD = fd
	var l net.Listener
	if p.Name == nameControl {
		l, err = control.Resume(st.Handle)
	} else {
		f := os.NewFile(uintptr(fd), "listener")
		l, err = net.FileListener(f) // duplicates the descriptor
		_ = f.Close()
	}
	if err != nil {
		return err
	}
	to := map[string]*optional{nameControl: &h.control, nameMetrics: &h.metrics, nameStatus: &h.status}[p.Name]
	if to == nil {
		return fmt.Errorf("%w: there is no such listener", handover.ErrNotUnderstood)
	}
	to.Listener = l
	return nil
}
