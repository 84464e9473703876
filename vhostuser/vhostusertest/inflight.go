package vhostusertest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// Inflight is memory for descriptors in flight, which a front-end keeps for the next back-end. The
// caller has to close it.
type Inflight struct {
	vhostuser.Inflight
	FD    int
	Bytes []byte
}

// GetInflight asks the back-end for memory for descriptors in flight.
func (f *FrontEnd) GetInflight(queues, size int) (*Inflight, error) {
	ask := vhostuser.Inflight{NumQueues: uint16(queues), QueueSize: uint16(size)}
	if err := f.Send(vhostuser.GetInflightFD, 0, inflightPayload(ask)); err != nil {
		return nil, err
	}
	m, err := f.Recv()
	if err != nil {
		return nil, fmt.Errorf("waiting for the reply to GET_INFLIGHT_FD: %w", err)
	}
	defer m.Close()
	if m.Request != vhostuser.GetInflightFD || m.Size != 24 || len(m.FDs) != 1 {
		return nil, fmt.Errorf("reply to GET_INFLIGHT_FD is %+v with %d file descriptors", m.Header, len(m.FDs))
	}
	in := &Inflight{Inflight: vhostuser.DecodeInflight(m.Payload), FD: m.TakeFD(0)}
	in.Bytes, err = unix.Mmap(in.FD, int64(in.Offset), int(in.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return in, nil
}

// SetInflight passes memory for descriptors in flight to the back-end.
func (f *FrontEnd) SetInflight(in *Inflight) error {
	return f.Do(vhostuser.SetInflightFD, inflightPayload(in.Inflight), in.FD)
}

// inflightPayload returns the payload in the format of QEMU and DPDK: a C structure, with padding.
func inflightPayload(in vhostuser.Inflight) []byte {
	return append(in.AppendTo(nil), 0, 0, 0, 0)
}

// Close closes the memory's file. The back-end may still have it mapped.
func (in *Inflight) Close() {
	if in.Bytes != nil {
		_ = unix.Munmap(in.Bytes)
	}
	_ = unix.Close(in.FD)
}
