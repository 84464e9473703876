package control

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/httpserve"
)

// The part of the API that is about another process that takes over.

// UpgradeTakeover is the protocol to which a connection is switched for a hand-over: that of
// package handover.
const UpgradeTakeover = "vswitchd-takeover"

// HandOver makes the server pass connections to f by which another process wants to take over. f
// owns the connection, and is called by several goroutines if there are several. HandOver is called
// before Serve.
func (s *Server) HandOver(f func(*net.UnixConn)) { s.handOver = f }

// HoldChanges makes requests that would change something wait until release is called. It waits
// until those in progress are answered, for as long as wait says.
func (s *Server) HoldChanges(wait time.Duration) (release func(), err error) {
	for end := time.Now().Add(wait); !s.changes.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return nil, errors.New("a request to the control API takes long")
		}
	}
	return s.changes.Unlock, nil
}

func (s *Server) getState(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return s.backend.State()
}

// postTakeover switches the connection to the protocol of hand-overs.
func (s *Server) postTakeover(w http.ResponseWriter, r *http.Request) {
	if err := s.mayTakeOver(r); err != nil {
		s.answer(w, r, nil, err)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	// The peer sends nothing before it has read the answer, so nothing of its has been read.
	uc, ok := httpserve.Own(c).(*net.UnixConn)
	if ok {
		err = uc.SetDeadline(time.Now().Add(5 * time.Second))
	}
	if ok && err == nil {
		_, err = fmt.Fprintf(uc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", UpgradeTakeover)
	}
	if !ok || err != nil {
		_ = c.Close()
		return
	}
	s.handOver(uc)
}

// mayTakeOver returns why a request to take over is refused. The peer gets the memory of all
// guests, so that the right to use the socket is not enough.
func (s *Server) mayTakeOver(r *http.Request) error {
	if r.Header.Get("Upgrade") != UpgradeTakeover {
		return &statusError{http.StatusUpgradeRequired, "the connection has to be upgraded to " + UpgradeTakeover}
	}
	if s.handOver == nil {
		return &statusError{http.StatusConflict, "this vswitchd cannot be taken over"}
	}
	uc, ok := httpserve.Conn(r).(*net.UnixConn)
	if !ok {
		return &statusError{http.StatusForbidden, "not by a unix socket"}
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, cerr); err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return &statusError{http.StatusForbidden, "only root and the user of vswitchd may take over"}
	}
	return nil
}
