package vhostuser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/virtqueue"
)

// supportedProtocolFeatures are those that this package implements. docs/vhost-user.md lists the
// others, with reasons.
const supportedProtocolFeatures = 1<<ProtocolFeatureMQ |
	1<<ProtocolFeatureLogShmFD |
	1<<ProtocolFeatureRARP |
	1<<ProtocolFeatureReplyAck |
	1<<ProtocolFeatureNetMTU |
	1<<ProtocolFeatureBackendReq |
	1<<ProtocolFeatureConfig |
	1<<ProtocolFeatureInflightShmFD |
	1<<ProtocolFeatureResetDevice |
	1<<ProtocolFeatureInbandNotifications |
	1<<ProtocolFeatureConfigureMemSlots |
	1<<ProtocolFeatureStatus

// Options change how a session is run. The zero value is usable.
type Options struct {
	// Logger receives every message at level Trace and every refusal at level Warn. nil:
	// nothing is logged.
	Logger hclog.Logger

	// Account limits the front-end's use of the process's resources. nil: no limits.
	Account *Account

	// Pace limits the rate at which the front-end's messages are processed. nil: no limit.
	Pace *Pace

	// WatchHugePages turns an access to an absent huge page of the front-end's memory into a
	// fault, instead of making the thread wait while the kernel clears the page. The device
	// has to ask Session.Absent about faults. If the kernel does not support this, the option has
	// no effect.
	WatchHugePages bool

	// Begun is called with the session before it receives its first message. nil: not called.
	Begun func(*Session)

	// Gate is left while the session waits for a message; the caller of Serve has it, before and
	// after. nil: there is none.
	Gate Gate
}

// Session is one front-end's connection, from its first message to its last. Serve makes it and
// passes it to the device in [Device.Attach].
//
// Locking: everything belongs to the goroutine that runs Serve. Other goroutines may read state, so
// that goroutine holds mu while it writes to state, and reads state without mu. The device is never
// called with mu held.
type Session struct {
	conn *Conn
	dev  Device
	hooks
	log     hclog.Logger
	account *Account
	limiter *Pace                   // nil: no limit
	slowed  bool                    // a message has been delayed
	life    context.Context         // done when the session has to end
	end     context.CancelCauseFunc // ends life
	ending  func() bool             // reports whether the session is ending

	mu       sync.Mutex
	state    State
	offered  offer
	progress Progress
	callFDs  callFDs

	configPending bool // CONFIG_CHANGE_MSG is to be sent when a ring starts

	maps   []mapping          // parallel to state.Regions
	queues []*virtqueue.Queue // parallel to state.Vrings; nil: the device does not have the ring
	relays []*relay           // parallel to state.Vrings; nil: signals are not relayed

	// channel is for requests to the front-end; nil: there is none. Only the session's
	// goroutine stores it.
	channel atomic.Pointer[channel]

	dirty  *virtqueue.DirtyLog // the log of dirty pages; nil: no memory for it was set
	logMap mapping             // its memory

	inflightMap mapping // of state.Inflight

	watchHugePages bool
	pages          *pageService // provides absent huge pages; nil: none are watched

	// memory is the table of maps, and otherMemory the other memory of the front-end's that
	// queues use. Other goroutines load them to attribute the address of a fault. Never nil.
	memory      atomic.Pointer[virtqueue.Memory]
	otherMemory atomic.Pointer[[][]byte]

	watched atomic.Pointer[[]*watchedPages] // huge pages of maps; never nil
}

// Serve runs a session on a connected socket until it ends, and returns the reason:
//
//   - ErrDisconnected: the front-end closed the connection between two messages, or ErrDied, if a
//     ring was started and enabled then,
//   - a *ProtocolError: the front-end sent a message that cannot be accepted,
//   - ErrTruncated and ErrMalformed, wrapped: the front-end sent something that is not a message,
//   - the reason that was passed to Session.Fail,
//   - context.Cause(ctx): ctx was done.
//
// The error is never nil. Serve takes ownership of conn. When it returns, all rings of dev are
// stopped, everything that the front-end sent is closed and unmapped, and conn is closed, except
// for file descriptors that cannot be closed without waiting for the front-end (ErrHung). Another
// session may then be started with the same dev.
func Serve(ctx context.Context, conn *net.UnixConn, dev Device, opts Options) error {
	s, err := newSession(conn, dev, opts)
	if err != nil {
		return err
	}
	return s.serve(ctx, opts.Begun, nil)
}

// newSession makes a session that receives nothing yet. On an error it closes conn.
func newSession(conn *net.UnixConn, dev Device, opts Options) (*Session, error) {
	vrings := dev.MaxVrings()
	if vrings < 1 || vrings > vringIndexMask+1 {
		panic(fmt.Sprintf("vhostuser: device with %d vrings", vrings))
	}
	c := NewConn(conn)
	c.gate = opts.Gate
	if opts.Account != nil {
		c.blocking = &opts.Account.blocking
	}
	if err := opts.Account.begin(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	life, end := context.WithCancelCause(context.Background())
	s := &Session{
		conn:    c,
		dev:     dev,
		hooks:   hooksOf(dev),
		log:     opts.Logger,
		account: opts.Account,
		limiter: opts.Pace,
		life:    life,
		end:     end,

		watchHugePages: opts.WatchHugePages,

		ending: func() bool { return life.Err() != nil },
		state:  newState(vrings),
		queues: make([]*virtqueue.Queue, vrings),
		relays: make([]*relay, vrings),

		callFDs:  callFDs{next: -1},
		progress: Progress{since: time.Now()},
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.memory.Store(emptyMemory())
	s.otherMemory.Store(new([][]byte))
	s.watched.Store(new([]*watchedPages))
	return s, nil
}

// serve runs a session until it ends. begin, if there is one, is called before the first message
// is received; its error ends the session.
func (s *Session) serve(ctx context.Context, begun func(*Session), begin func() error) (err error) {
	defer s.account.end()
	defer s.end(nil)
	stopEnd := context.AfterFunc(ctx, func() { s.end(context.Cause(ctx)) })
	defer stopEnd()

	// A deadline in the past wakes the goroutine out of Recv and Send.
	stop := context.AfterFunc(s.life, func() { _ = s.conn.uc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	go s.watch(ended)
	defer func() { err = s.endReason(err, s.teardown()) }()

	s.dev.Attach(s)
	s.recordOffer()
	if begun != nil {
		begun(s)
	}
	if begin != nil {
		if err := begin(); err != nil {
			return err
		}
	}
	for {
		err := s.serveOne(s.life)
		if cause := context.Cause(s.life); cause != nil {
			return cause
		}
		if err == ErrDisconnected && s.inUse() >= 0 {
			return ErrDied
		}
		if err != nil {
			return err
		}
	}
}

// started reports whether any ring is started.
func (s *Session) started() bool {
	return slices.ContainsFunc(s.state.Vrings, func(v Vring) bool { return v.Started })
}

// Fail ends the session for the given reason, which Serve then returns. Fail may be called from any
// goroutine and does not wait: rings are stopped and memory is unmapped some time later. Only the
// first reason counts.
func (s *Session) Fail(reason error) { s.end(reason) }

// Contains reports whether addr is in memory of this session's front-end, so that a fault can be
// attributed to the front-end. It may be called from any goroutine.
func (s *Session) Contains(addr uintptr) bool {
	if s.memory.Load().Contains(addr) {
		return true
	}
	return slices.ContainsFunc(*s.otherMemory.Load(), func(mem []byte) bool { return virtqueue.Contains(mem, addr) })
}

// setOtherMemory makes Contains cover the given mappings, besides guest memory and that of
// descriptors in flight.
func (s *Session) setOtherMemory(maps ...mapping) {
	other := [][]byte{}
	for _, m := range append(maps, s.inflightMap) {
		other = append(other, m.mem)
	}
	s.otherMemory.Store(&other)
}

// quiesced calls f while the device is quiesced.
func (s *Session) quiesced(f func()) {
	if !s.running() {
		f()
		return
	}
	resume := s.dev.Quiesce()
	f()
	resume()
}

// Snapshot returns a copy of the current state. It may be called from any goroutine.
func (s *Session) Snapshot() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.clone()
}

// update changes the state.
func (s *Session) update(change func(st *State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// serveOne receives and processes one message. An error ends the session.
func (s *Session) serveOne(ctx context.Context) error {
	m, err := s.conn.Recv()
	if err != nil {
		return err
	}
	s.recordMessage(m.Request)
	if err = s.pace(ctx, m); err == nil {
		err = s.answer(m)
	}
	// An error of discard takes precedence: the front-end may have been sent a reply to the
	// message, so err may be nil.
	return cmp.Or(s.conn.discard(m), err)
}

// answer processes a message, and sends the reply if there is one.
func (s *Session) answer(m *Message) error {
	s.log.Trace("received", "message", m.Request, "flags", m.Flags, "size", m.Size, "fds", len(m.FDs))

	r, err := s.handle(m)
	s.recordOutcome(m.Request, err)
	switch {
	case errors.Is(err, ErrHung):
		return &ProtocolError{m.Request, err}
	case err == nil && r.payload != nil:
		defer closeFDs(r.fds)
		return s.conn.Send(m.Request, FlagReply, r.payload, r.fds...)
	case errors.Is(err, errClose):
		return &ProtocolError{m.Request, err}
	case s.wantsAck(m):
		// "The payload should be set to zero on success or non-zero on failure."
		var result uint64
		if err != nil {
			s.log.Warn("refused", "message", m.Request, "reason", err)
			result = 1
		}
		return s.conn.Send(m.Request, FlagReply, AppendU64(nil, result))
	case err != nil:
		return &ProtocolError{m.Request, err}
	}
	return nil
}

// wantsAck reports whether the front-end waits for the result of a message that has no reply of its
// own. REPLY_ACK counts as soon as SET_PROTOCOL_FEATURES has acknowledged it, whether or not
// GET_PROTOCOL_FEATURES was sent before.
func (s *Session) wantsAck(m *Message) bool {
	if m.Flags&FlagNeedReply == 0 || !s.negotiated(ProtocolFeatureReplyAck) {
		return false
	}
	spec := m.Request.spec()
	return spec == nil || spec.reply == onDemand
}

// negotiated reports whether the front-end has acknowledged a protocol feature.
func (s *Session) negotiated(feature int) bool {
	return s.state.ProtocolFeatures&(1<<feature) != 0
}

// allowed checks the specification's rules for when a message may be sent.
func (s *Session) allowed(m *Message) error {
	if m.Flags&FlagReply != 0 {
		return fmt.Errorf("%w: a reply without a request", ErrMalformed)
	}
	if err := m.check(); err != nil {
		return err
	}
	switch gate := m.Request.spec().gate; {
	case gate == ungated || gate >= 0 && s.negotiated(gate):
		return nil
	case gate == gateIOMMU:
		return fmt.Errorf("%w: ACCESS_PLATFORM", ErrNotNegotiated)
	case m.Request == GetQueueNum && s.protocolFeatures()&(1<<ProtocolFeatureMQ) != 0:
		// "This request should be sent only when VHOST_USER_PROTOCOL_F_MQ is set in queried
		// protocol features": the offered features count here, not the acknowledged ones.
		return nil
	default:
		return fmt.Errorf("%w: %s", ErrNotNegotiated, protocolFeatureNames[gate])
	}
}

var (
	// errNotImplemented is for messages that depend on no negotiable feature and that a
	// front-end of this kind of device does not send.
	errNotImplemented = fmt.Errorf("%w: not implemented", ErrRefused)

	// errClose is for errors that have to end the session even if the front-end asked for a
	// reply.
	errClose = fmt.Errorf("%w, and the connection with it", ErrRefused)
)

// A reply is the specific reply to a message; without a payload there is none. The file descriptors
// are closed when the reply has been sent.
type reply struct {
	payload []byte
	fds     []int
}

func replyU64(v uint64) reply { return reply{payload: AppendU64(nil, v)} }

// handle processes a message and returns its specific reply, if it has one. After an error nothing
// has changed, except that a ring which could not be restarted is stopped.
func (s *Session) handle(m *Message) (reply, error) {
	if err := s.allowed(m); err != nil {
		return reply{}, err
	}
	if err := s.checkFiles(m); err != nil {
		return reply{}, err
	}
	switch m.Request {
	case GetFeatures:
		return replyU64(s.features()), nil
	case GetProtocolFeatures:
		return replyU64(s.protocolFeatures()), nil
	case GetQueueNum:
		return replyU64(s.dev.QueueNum()), nil
	case GetMaxMemSlots:
		return replyU64(uint64(s.account.Slots())), nil
	case GetVringBase:
		return s.getVringBase(DecodeVringState(m.Payload))
	case GetConfig:
		return s.getConfig(m)
	case SetLogBase:
		return s.setLogBase(m)
	case GetInflightFD:
		return s.getInflightFD(m)
	case GetStatus:
		return replyU64(uint64(s.state.Status)), nil
	}
	return reply{}, s.execute(m)
}

// checkFiles verifies that the files that are to be mapped for a message are in file systems in
// which no call waits for the peer. (The kinds of other file descriptors are checked by calls that
// do not access the files behind them.)
func (s *Session) checkFiles(m *Message) error {
	switch m.Request {
	case SetMemTable, AddMemReg, RemMemReg, SetLogBase, SetInflightFD:
		for _, fd := range m.FDs {
			if err := s.conn.blocking.checkLocal(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// execute processes a message that has no specific reply.
func (s *Session) execute(m *Message) error {
	switch m.Request {
	case SetFeatures:
		return s.setFeatures(DecodeU64(m.Payload))
	case SetProtocolFeatures:
		return s.setProtocolFeatures(DecodeU64(m.Payload))
	case SetOwner:
		s.update(func(st *State) { st.Owned = true })
		return nil
	case ResetOwner:
		s.disableRings()
		return nil

	case SetMemTable:
		return s.setMemTable(m)
	case AddMemReg:
		return s.addMemReg(m)
	case RemMemReg:
		return s.remMemReg(m)

	case SetVringNum:
		return s.setVringNum(DecodeVringState(m.Payload))
	case SetVringAddr:
		return s.setVringAddr(decodeVringAddr(m.Payload))
	case SetVringBase:
		return s.setVringBase(DecodeVringState(m.Payload))
	case SetVringKick:
		return s.setVringKick(m)
	case SetVringCall:
		return s.setVringCall(m)
	case SetVringErr:
		return s.setVringErr(m)
	case SetVringEnable:
		return s.setVringEnable(DecodeVringState(m.Payload))
	case VringKick:
		return s.vringKick(DecodeVringState(m.Payload))

	case SendRARP:
		return s.sendRARP(m)
	case NetSetMTU:
		return s.setMTU(DecodeU64(m.Payload))
	case SetConfig:
		return s.setConfig(m)
	case SetStatus:
		return s.setStatus(DecodeU64(m.Payload))
	case ResetDevice:
		s.resetDevice()
		return nil
	case SetLogFD:
		return s.setLogFD(m)
	case SetInflightFD:
		return s.setInflightFD(m)
	case SetBackendReqFD:
		return s.setBackendReqFD(m)
	}
	return errNotImplemented
}

// endReason returns the reason for the end of a session that ended with err. A jammed eventfd takes
// precedence over any other reason.
func (s *Session) endReason(err error, jammed bool) error {
	if jammed && !errors.Is(err, ErrJammed) {
		return fmt.Errorf("%w (%v)", ErrJammed, err)
	}
	return err
}

// teardown releases everything: the device gives up its rings first, then file descriptors are
// closed and memory is unmapped. It reports whether an eventfd was jammed.
func (s *Session) teardown() (jammed bool) {
	s.checkCallFDs() // a worker may be blocked, for which the device would wait
	for i := range s.queues {
		s.stopRing(i)
	}
	for i := range s.relays {
		s.endRelay(i)
	}
	if c := s.channel.Swap(nil); c != nil {
		c.close()
	}
	s.memory.Store(emptyMemory())
	s.otherMemory.Store(new([][]byte))
	s.watched.Store(new([]*watchedPages))
	for _, m := range append(s.maps, s.logMap, s.inflightMap) {
		m.unmap()
	}
	if s.pages != nil {
		s.pages.close()
	}
	s.checkCallFDs()
	old := s.state
	var replaced []int
	s.update(func(st *State) {
		// Before anything is closed: others use the descriptors in the state.
		*st = newState(len(st.Vrings))
		jammed, replaced, s.callFDs.old = s.callFDs.jammed, s.callFDs.old, nil
	})
	closeFDs([]int{old.Log.FD, old.Log.EventFD, old.Inflight.FD})
	for _, r := range old.Regions {
		closeFD(r.FD)
	}
	sockets := []int{old.BackendFD}
	for _, v := range old.Vrings {
		closeFDs([]int{v.Kick, v.Call, v.Err})
		sockets = append(sockets, v.CallSocket)
	}
	closeFDs(replaced)
	// The queues of these sockets may contain anything, so that closing them may block.
	if err := s.conn.blocking.run(func() {
		closeFDs(sockets)
		_ = s.conn.Close()
	}); err != nil {
		s.log.Warn("closing the connection takes long", "reason", err)
	}
	return jammed
}
