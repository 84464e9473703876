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

// supportedProtocolFeatures are those that this package implements. The others, and
// why: docs/vhost-user.md.
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

// Options change how a session is run. The zero value is good.
type Options struct {
	// Logger gets every message at level Trace and what was refused at level
	// Warn. nil: nothing is logged.
	Logger hclog.Logger

	// Account limits what the front-end may take of what the process has. nil: nothing does.
	Account *Account

	// Pace limits how fast the front-end's messages are taken. nil: nothing does.
	Pace *Pace

	// WatchHugePages makes an access to an absent huge page of the front-end's memory a fault,
	// instead of having the thread wait for the kernel to clear the page. The device is to ask
	// Session.Absent about faults. Where the kernel does not support that, nothing is different.
	WatchHugePages bool

	// Begun is called with the session before it receives its first message. nil: nobody wants
	// to know.
	Begun func(*Session)
}

// Session is one front-end's connection, from its first message to its last. It
// is made by Serve; a device gets it in [Device.Attach].
//
// Locking: everything belongs to the goroutine that runs Serve. Others may read
// state, which is why that goroutine holds mu while it writes to it; it reads
// without. No call of the device is made with mu held.
type Session struct {
	conn *Conn
	dev  Device
	hooks
	log     hclog.Logger
	account *Account
	paceOf  *Pace                   // nil: messages are taken as they come
	slowed  bool                    // a message has had to wait
	end     context.CancelCauseFunc // ends the session
	ending  func() bool             // tells whether that has happened

	mu      sync.Mutex
	state   State
	offered offer
	course  Course
	calls   calls

	configOwed bool // the front-end has to be told of a change when a ring starts

	maps   []mapping          // parallel to state.Regions
	queues []*virtqueue.Queue // parallel to state.Vrings; nil unless the device has it
	relays []*relay           // parallel to state.Vrings; nil unless signals are in-band

	// channel is for requests to the front-end; nil: there is none. Only the
	// session's goroutine stores it.
	channel atomic.Pointer[channel]

	dirty  *virtqueue.DirtyLog // the log of dirty pages; nil: none was given
	logMap mapping             // its memory

	inflightMap mapping // of state.Inflight

	watchHugePages bool
	fault          *userfault // by which huge pages are watched; nil: none are

	// memory is the table of maps, and lent is the other memory of the
	// front-end's that queues use. Other goroutines load them to learn whose a
	// faulting address is. Never nil.
	memory atomic.Pointer[virtqueue.Memory]
	lent   atomic.Pointer[[][]byte]

	providers atomic.Pointer[[]*pageProvider] // of maps; never nil
}

// Serve runs a session on a connected socket until it ends, and returns why:
//
//   - ErrDisconnected: the front-end closed the connection between two messages, or
//     ErrDied, if a ring was started and enabled then,
//   - a *ProtocolError: it sent what cannot be accepted,
//   - ErrTruncated and ErrMalformed, wrapped: it sent what is no message,
//   - what was passed to Session.Fail,
//   - context.Cause(ctx): ctx was done.
//
// It is never nil. When Serve returns, all rings of dev are stopped, all that
// the front-end sent is closed and unmapped, and so is conn, which belongs to
// the session from the start, except for what cannot be closed without waiting
// for the front-end (ErrHung). Another session may then be started with the
// same dev.
func Serve(ctx context.Context, conn *net.UnixConn, dev Device, opts Options) (err error) {
	vrings := dev.MaxVrings()
	if vrings < 1 || vrings > vringIndexMask+1 {
		panic(fmt.Sprintf("vhostuser: device with %d vrings", vrings))
	}
	c := NewConn(conn)
	if opts.Account != nil {
		c.hanging = &opts.Account.hanging
	}
	if err := opts.Account.begin(); err != nil {
		_ = conn.Close()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	defer opts.Account.end()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &Session{
		conn:    c,
		dev:     dev,
		hooks:   hooksOf(dev),
		log:     opts.Logger,
		account: opts.Account,
		paceOf:  opts.Pace,
		end:     end,

		watchHugePages: opts.WatchHugePages,

		ending: func() bool { return ctx.Err() != nil },
		state:  newState(vrings),
		queues: make([]*virtqueue.Queue, vrings),
		relays: make([]*relay, vrings),

		calls:  calls{next: -1},
		course: Course{since: time.Now()},
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.memory.Store(emptyMemory())
	s.lent.Store(new([][]byte))
	s.providers.Store(new([]*pageProvider))

	// A deadline in the past wakes the goroutine out of Recv and Send.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	go s.watch(ended)
	defer func() { err = s.verdict(err, s.teardown()) }()

	dev.Attach(s)
	s.noteOffer()
	if opts.Begun != nil {
		opts.Begun(s)
	}
	for {
		err := s.serveOne(ctx)
		if cause := context.Cause(ctx); cause != nil {
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

// started tells whether a ring is started.
func (s *Session) started() bool {
	return slices.ContainsFunc(s.state.Vrings, func(v Vring) bool { return v.Started })
}

// Fail ends the session for the given reason, which Serve is going to return.
// It may be called from any goroutine and does not wait: rings are stopped and
// memory is unmapped some time later. Only the first reason counts.
func (s *Session) Fail(reason error) { s.end(reason) }

// Contains tells whether addr is in memory that this session's front-end gave, so that
// a fault can be blamed on it. It may be called from any goroutine.
func (s *Session) Contains(addr uintptr) bool {
	if s.memory.Load().Contains(addr) {
		return true
	}
	return slices.ContainsFunc(*s.lent.Load(), func(mem []byte) bool { return virtqueue.Contains(mem, addr) })
}

// lend makes Contains know the given mappings besides guest memory and that of
// descriptors in flight.
func (s *Session) lend(maps ...mapping) {
	lent := [][]byte{}
	for _, m := range append(maps, s.inflightMap) {
		lent = append(lent, m.mem)
	}
	s.lent.Store(&lent)
}

// quiesced calls f while the device keeps away from its queues and their memory.
func (s *Session) quiesced(f func()) {
	if !s.running() {
		f()
		return
	}
	resume := s.dev.Quiesce()
	f()
	resume()
}

// Snapshot returns a copy of the state as it is now. It may be called from
// any goroutine.
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

// serveOne receives a message and does what it says. An error ends the session.
func (s *Session) serveOne(ctx context.Context) error {
	m, err := s.conn.Recv()
	if err != nil {
		return err
	}
	s.noteMessage(m.Request)
	if err = s.pace(ctx, m); err == nil {
		err = s.answer(m)
	}
	// First, as the front-end may have been told that the message did no harm.
	return cmp.Or(s.conn.discard(m), err)
}

// answer does what a message says, and tells the front-end if it wants to know.
func (s *Session) answer(m *Message) error {
	s.log.Trace("received", "message", m.Request, "flags", m.Flags, "size", m.Size, "fds", len(m.FDs))

	r, err := s.handle(m)
	s.noteOutcome(m.Request, err)
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

// wantsAck tells whether the front-end waits for the outcome of a message that
// has no reply of its own. What it is about to do with REPLY_ACK once it has
// sent SET_PROTOCOL_FEATURES counts, not whether it asked for it by
// GET_PROTOCOL_FEATURES before.
func (s *Session) wantsAck(m *Message) bool {
	if m.Flags&FlagNeedReply == 0 || !s.negotiated(ProtocolFeatureReplyAck) {
		return false
	}
	spec := m.Request.spec()
	return spec == nil || spec.reply == onDemand
}

// negotiated tells whether the front-end has acknowledged a protocol feature.
func (s *Session) negotiated(feature int) bool {
	return s.state.ProtocolFeatures&(1<<feature) != 0
}

// allowed checks what the specification says about when a message may be sent.
func (s *Session) allowed(m *Message) error {
	if m.Flags&FlagReply != 0 {
		return fmt.Errorf("%w: a reply to nothing", ErrMalformed)
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
		// "This request should be sent only when VHOST_USER_PROTOCOL_F_MQ is set in
		// queried protocol features": what was offered counts here.
		return nil
	default:
		return fmt.Errorf("%w: %s", ErrNotNegotiated, protocolFeatureNames[gate])
	}
}

var (
	// errNotImplemented is for messages that have no feature to negotiate and that
	// a front-end of this kind of device does not send.
	errNotImplemented = fmt.Errorf("%w: not implemented", ErrRefused)

	// errClose is for what must end the session although the front-end could be
	// told.
	errClose = fmt.Errorf("%w, and the connection with it", ErrRefused)
)

// A reply is the answer to a message that has one of its own; without a payload:
// there is none. The file descriptors are closed when it has been sent.
type reply struct {
	payload []byte
	fds     []int
}

func replyU64(v uint64) reply { return reply{payload: AppendU64(nil, v)} }

// handle does what a message says and returns its reply, if it has one of its own.
// An error has changed nothing, except that a ring which could not be started
// again is stopped.
func (s *Session) handle(m *Message) (reply, error) {
	if err := s.allowed(m); err != nil {
		return reply{}, err
	}
	if err := s.vet(m); err != nil {
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
	return reply{}, s.do(m)
}

// vet verifies that the files that come with a message, to be mapped, are in file systems in which
// no call waits for the peer. (Other file descriptors are checked for what they are, by calls that
// do not look behind them.)
func (s *Session) vet(m *Message) error {
	switch m.Request {
	case SetMemTable, AddMemReg, RemMemReg, SetLogBase, SetInflightFD:
		for _, fd := range m.FDs {
			if err := s.conn.hanging.checkLocal(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// do does what a message says that has no reply of its own.
func (s *Session) do(m *Message) error {
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

// verdict returns why a session has ended that ended for err. A front-end that jammed an
// eventfd does not get away with something harmless.
func (s *Session) verdict(err error, jammed bool) error {
	if jammed && !errors.Is(err, ErrJammed) {
		return fmt.Errorf("%w (%v)", ErrJammed, err)
	}
	return err
}

// teardown gives up everything: first the device lets go of the rings, then
// their file descriptors and the memory can go. It reports whether an eventfd was
// jammed.
func (s *Session) teardown() (jammed bool) {
	s.look() // a worker may be blocked, for which the device would wait
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
	s.lent.Store(new([][]byte))
	s.providers.Store(new([]*pageProvider))
	for _, m := range append(s.maps, s.logMap, s.inflightMap) {
		m.unmap()
	}
	if s.fault != nil {
		s.fault.close()
	}
	s.look()
	old := s.state
	var replaced []int
	s.update(func(st *State) {
		*st = newState(len(st.Vrings)) // first: others use what is in it
		jammed, replaced, s.calls.old = s.calls.jammed, s.calls.old, nil
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
	// In the queues of these sockets there may be anything.
	if err := s.conn.hanging.try(func() {
		closeFDs(sockets)
		_ = s.conn.Close()
	}); err != nil {
		s.log.Warn("closing the connection takes long", "reason", err)
	}
	return jammed
}
