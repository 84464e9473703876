package uplink

import (
	"sync"

	"golang.org/x/sys/unix"

	"vswitchd/internal/mmsg"
	vswitch "vswitchd/switch"
)

// The transmit path. Hot: no allocation, one system call for each batch, and the kernel copies
// straight from the senders' memory.
//
// Locking: Transmit runs on several workers at once. Each takes a separate txBatch, and holds
// Uplink.sockMu for reading so that the socket is not closed (and its number reused) during a send;
// the control goroutine holds sockMu for writing to change the socket. The kernel needs no lock
// between sends on one socket.

const (
	// maxIovecs is the kernel's UIO_MAXIOV: more pieces than that in one message are refused with
	// EMSGSIZE.
	maxIovecs = 1024

	// batchIovecs is how many pieces one system call takes. Frames of a batch have three on average
	// or fewer; the largest single frame must fit.
	batchIovecs = 2 * maxIovecs
)

// A txBatch is what one sendmmsg needs.
type txBatch struct {
	hdrs [vswitch.MaxBatch]vnetHdr
	msgs [vswitch.MaxBatch]mmsg.Header
	iovs [batchIovecs]unix.Iovec
	used int // of iovs
}

// txBatches are the batches not in use: one for each worker that was ever inside Transmit at the
// same time as the others.
type txBatches struct {
	mu   sync.Mutex
	free []*txBatch
}

func (p *txBatches) get() *txBatch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return new(txBatch)
}

func (p *txBatches) put(b *txBatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, b)
}

// Transmit implements vswitch.Port.
func (u *Uplink) Transmit(frames []*vswitch.Frame) (sent int) {
	u.sockMu.RLock()
	defer u.sockMu.RUnlock()
	if u.sock == nil {
		vswitch.RefuseAll(frames, vswitch.DropDown)
		return 0
	}
	b := u.batches.get()
	var bytes int
	full := vswitch.MinFrameLen + int(u.mtu.Load())
	for len(frames) > 0 {
		n := b.fill(frames, full)
		if n == 0 {
			if u.transmitAlone(frames[0], full) {
				sent, bytes = sent+1, bytes+frames[0].Len
			}
			frames = frames[1:]
			continue
		}
		s, by := b.send(u.sock.out, frames[:n])
		sent, bytes = sent+s, bytes+by
		frames = frames[n:]
	}
	u.batches.put(b)
	u.cfg.Counters.TxFrames.Add(uint64(sent))
	u.cfg.Counters.TxBytes.Add(uint64(bytes))
	return sent
}

// transmitAlone sends a frame for which fill makes no message, or refuses it.
func (u *Uplink) transmitAlone(f *vswitch.Frame, full int) bool {
	if !needsRing(f, full) {
		f.Refuse(vswitch.DropTooBig) // too many pieces
		return false
	}
	if errno := u.sock.long.send(f); errno != 0 {
		reason, _ := refusal(errno)
		f.Refuse(reason)
		return false
	}
	return true
}

// fill makes messages of the frames that fit, from the first on, and returns how many these are: 0
// if the first has too many pieces for any message, or has to go through the ring. full is the
// length of a full frame without tags.
func (b *txBatch) fill(frames []*vswitch.Frame, full int) int {
	b.used = 0
	for i, f := range frames[:min(len(frames), vswitch.MaxBatch)] {
		from := b.used
		if from+2+len(f.Body) > len(b.iovs) || 2+len(f.Body) > maxIovecs ||
			f.Len > full && needsRing(f, full) {
			return i
		}
		b.hdrs[i].encode(f)
		b.push(b.hdrs[i][:])
		b.push(f.Head)
		for _, piece := range f.Body {
			b.push(piece)
		}
		b.msgs[i].SetIovecs(b.iovs[from:b.used])
	}
	return min(len(frames), vswitch.MaxBatch)
}

func (b *txBatch) push(piece []byte) {
	if len(piece) > 0 {
		b.iovs[b.used] = mmsg.Iovec(piece)
		b.used++
	}
}

// send sends frames, of which fill has made messages, and refuses those that the kernel refuses.
func (b *txBatch) send(fd int, frames []*vswitch.Frame) (sent, bytes int) {
	for i := 0; i < len(frames); {
		n, errno := mmsg.Send(fd, b.msgs[i:len(frames)])
		if errno == 0 {
			for _, f := range frames[i : i+n] {
				bytes += f.Len
			}
			sent += n
			i += n
			continue
		}
		if errno == unix.EINTR {
			continue
		}
		reason, all := refusal(errno)
		n = 1
		if all {
			n = len(frames) - i
		}
		vswitch.RefuseAll(frames[i:i+n], reason)
		i += n
	}
	// Guests' memory must not be pointed to once it may be unmapped.
	clear(b.iovs[:b.used])
	return sent, bytes
}

// refusal returns why the kernel did not take a frame, and whether the kernel would refuse all
// later frames as well.
func refusal(errno unix.Errno) (reason vswitch.DropReason, all bool) {
	switch errno {
	case unix.EAGAIN: // the socket's send buffer is full
		return vswitch.DropRingFull, true
	case unix.ENOBUFS, unix.ENOMEM: // the device's queue dropped it; or no memory for one of its size
		return vswitch.DropRingFull, false
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV: // link set down, interface gone
		return vswitch.DropDown, true
	case unix.EFAULT: // a guest's memory is gone
		return vswitch.DropFault, false
	case unix.EMSGSIZE: // longer than the MTU
		return vswitch.DropTooBig, false
	default: // EINVAL: an offload that contradicts the frame
		return vswitch.DropSendError, false
	}
}
