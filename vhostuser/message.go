package vhostuser

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the size of a message's header in bytes: "A vhost-user message consists of 3 header
// fields and a payload." All numbers are in the machine's native byte order.
const HeaderSize = 12

// MaxPayload is the largest payload, in bytes, that a Conn receives. The largest one in the
// specification is that of GET_SHMEM_CONFIG.
const MaxPayload = 4096

// MaxFDs is the largest number of file descriptors with a message: one for each region of
// SET_MEM_TABLE.
const MaxFDs = maxTableRegions

// Header is the beginning of every message.
type Header struct {
	Request Request
	Flags   Flags
	Size    uint32 // of the payload, in bytes
}

// Flags of a message.
type Flags uint32

// "Lower 2 bits are the version (currently 0x01). Bit 2 is the reply flag - needs to be sent on
// each reply from the back-end. Bit 3 is the need_reply flag."
const (
	FlagVersion     Flags = 0x1
	FlagVersionMask Flags = 0x3
	FlagReply       Flags = 0x4
	FlagNeedReply   Flags = 0x8
)

func decodeHeader(b []byte) Header {
	return Header{
		Request: Request(binary.NativeEndian.Uint32(b[0:])),
		Flags:   Flags(binary.NativeEndian.Uint32(b[4:])),
		Size:    binary.NativeEndian.Uint32(b[8:]),
	}
}

func appendHeader(b []byte, h Header) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Request))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Flags))
	return binary.NativeEndian.AppendUint32(b, h.Size)
}

// Request is the type of a message from the front-end.
type Request uint32

// Front-end message types (VHOST_USER_*).
const (
	GetFeatures           Request = 1
	SetFeatures           Request = 2
	SetOwner              Request = 3
	ResetOwner            Request = 4
	SetMemTable           Request = 5
	SetLogBase            Request = 6
	SetLogFD              Request = 7
	SetVringNum           Request = 8
	SetVringAddr          Request = 9
	SetVringBase          Request = 10
	GetVringBase          Request = 11
	SetVringKick          Request = 12
	SetVringCall          Request = 13
	SetVringErr           Request = 14
	GetProtocolFeatures   Request = 15
	SetProtocolFeatures   Request = 16
	GetQueueNum           Request = 17
	SetVringEnable        Request = 18
	SendRARP              Request = 19
	NetSetMTU             Request = 20
	SetBackendReqFD       Request = 21
	IOTLBMsg              Request = 22
	SetVringEndian        Request = 23
	GetConfig             Request = 24
	SetConfig             Request = 25
	CreateCryptoSession   Request = 26
	CloseCryptoSession    Request = 27
	PostcopyAdvise        Request = 28
	PostcopyListen        Request = 29
	PostcopyEnd           Request = 30
	GetInflightFD         Request = 31
	SetInflightFD         Request = 32
	GPUSetSocket          Request = 33
	ResetDevice           Request = 34
	VringKick             Request = 35
	GetMaxMemSlots        Request = 36
	AddMemReg             Request = 37
	RemMemReg             Request = 38
	SetStatus             Request = 39
	GetStatus             Request = 40
	GetSharedObject       Request = 41
	SetDeviceStateFD      Request = 42
	CheckDeviceState      Request = 43
	GetShmemConfig        Request = 44
	GetVringBaseSkipDrain Request = 45
)

// String returns the specification's name without VHOST_USER_.
func (r Request) String() string {
	if s := r.spec(); s != nil {
		return s.name
	}
	return fmt.Sprintf("message %d", uint32(r))
}

// spec returns the description of a request, or nil.
func (r Request) spec() *messageSpec {
	if uint64(r) < uint64(len(messages)) && messages[r].name != "" {
		return &messages[r]
	}
	return nil
}

// A messageSpec describes a message according to the specification.
type messageSpec struct {
	name     string
	min, max uint32 // payload, in bytes
	fds      fdCount
	gate     int // protocol feature that must be negotiated for it; or ungated, gateIOMMU
	reply    replyKind
}

// An fdCount is the number of file descriptors that come with a message.
type fdCount uint8

const (
	noFDs        fdCount = iota
	oneFD                // exactly one
	oneFDAtMost          // one or none
	fdUnlessNoFD         // one, or none if vringNoFD is set in the payload
	fdPerRegion          // as many as the payload has regions
)

// A replyKind says when a request is answered.
type replyKind uint8

const (
	// onDemand: only with REPLY_ACK and need_reply, by a u64: "zero on success or non-zero on
	// failure".
	onDemand replyKind = iota

	// always: by a payload that is specific to the message.
	always
)

const (
	// ungated is for messages that need no protocol feature.
	ungated = -1

	// gateIOMMU: "This request should be send only when VIRTIO_F_IOMMU_PLATFORM feature has
	// been successfully negotiated", which is never offered.
	gateIOMMU = -2
)

// messages is the specification's list of front-end message types. Session.handle implements them;
// a message in this list is not necessarily implemented.
//
//	message: name, payload from and to (bytes), file descriptors, gating protocol feature, replies
var messages = [...]messageSpec{
	GetFeatures:           {"GET_FEATURES", 0, 0, noFDs, ungated, always},
	SetFeatures:           {"SET_FEATURES", 8, 8, noFDs, ungated, onDemand},
	SetOwner:              {"SET_OWNER", 0, 0, noFDs, ungated, onDemand},
	ResetOwner:            {"RESET_OWNER", 0, 0, noFDs, ungated, onDemand},
	SetMemTable:           {"SET_MEM_TABLE", 8, 264, fdPerRegion, ungated, onDemand},
	SetLogBase:            {"SET_LOG_BASE", 16, 16, oneFD, ProtocolFeatureLogShmFD, always},
	SetLogFD:              {"SET_LOG_FD", 0, 8, oneFDAtMost, ungated, onDemand},
	SetVringNum:           {"SET_VRING_NUM", 8, 8, noFDs, ungated, onDemand},
	SetVringAddr:          {"SET_VRING_ADDR", 40, 40, noFDs, ungated, onDemand},
	SetVringBase:          {"SET_VRING_BASE", 8, 8, noFDs, ungated, onDemand},
	GetVringBase:          {"GET_VRING_BASE", 8, 8, noFDs, ungated, always},
	SetVringKick:          {"SET_VRING_KICK", 8, 8, fdUnlessNoFD, ungated, onDemand},
	SetVringCall:          {"SET_VRING_CALL", 8, 8, fdUnlessNoFD, ungated, onDemand},
	SetVringErr:           {"SET_VRING_ERR", 8, 8, fdUnlessNoFD, ungated, onDemand},
	GetProtocolFeatures:   {"GET_PROTOCOL_FEATURES", 0, 0, noFDs, ungated, always},
	SetProtocolFeatures:   {"SET_PROTOCOL_FEATURES", 8, 8, noFDs, ungated, onDemand},
	GetQueueNum:           {"GET_QUEUE_NUM", 0, 0, noFDs, ProtocolFeatureMQ, always},
	SetVringEnable:        {"SET_VRING_ENABLE", 8, 8, noFDs, ungated, onDemand},
	SendRARP:              {"SEND_RARP", 8, 8, noFDs, ProtocolFeatureRARP, onDemand},
	NetSetMTU:             {"NET_SET_MTU", 8, 8, noFDs, ProtocolFeatureNetMTU, onDemand},
	SetBackendReqFD:       {"SET_BACKEND_REQ_FD", 0, 8, oneFD, ProtocolFeatureBackendReq, onDemand},
	IOTLBMsg:              {"IOTLB_MSG", 26, 32, noFDs, gateIOMMU, always},
	SetVringEndian:        {"SET_VRING_ENDIAN", 8, 8, noFDs, ProtocolFeatureCrossEndian, onDemand},
	GetConfig:             {"GET_CONFIG", 12, 268, noFDs, ProtocolFeatureConfig, always},
	SetConfig:             {"SET_CONFIG", 12, 268, noFDs, ProtocolFeatureConfig, onDemand},
	CreateCryptoSession:   {"CREATE_CRYPTO_SESSION", 0, MaxPayload, noFDs, ProtocolFeatureCryptoSession, always},
	CloseCryptoSession:    {"CLOSE_CRYPTO_SESSION", 8, 8, noFDs, ProtocolFeatureCryptoSession, onDemand},
	PostcopyAdvise:        {"POSTCOPY_ADVISE", 0, 0, noFDs, ProtocolFeaturePagefault, always},
	PostcopyListen:        {"POSTCOPY_LISTEN", 0, 0, noFDs, ProtocolFeaturePagefault, onDemand},
	PostcopyEnd:           {"POSTCOPY_END", 0, 0, noFDs, ProtocolFeaturePagefault, always},
	GetInflightFD:         {"GET_INFLIGHT_FD", 20, 24, noFDs, ProtocolFeatureInflightShmFD, always},
	SetInflightFD:         {"SET_INFLIGHT_FD", 20, 24, oneFD, ProtocolFeatureInflightShmFD, onDemand},
	GPUSetSocket:          {"GPU_SET_SOCKET", 0, 0, oneFD, ungated, onDemand},
	ResetDevice:           {"RESET_DEVICE", 0, 0, noFDs, ProtocolFeatureResetDevice, onDemand},
	VringKick:             {"VRING_KICK", 8, 8, noFDs, ProtocolFeatureInbandNotifications, onDemand},
	GetMaxMemSlots:        {"GET_MAX_MEM_SLOTS", 0, 0, noFDs, ProtocolFeatureConfigureMemSlots, always},
	AddMemReg:             {"ADD_MEM_REG", 40, 40, oneFD, ProtocolFeatureConfigureMemSlots, onDemand},
	RemMemReg:             {"REM_MEM_REG", 40, 40, oneFDAtMost, ProtocolFeatureConfigureMemSlots, onDemand},
	SetStatus:             {"SET_STATUS", 8, 8, noFDs, ProtocolFeatureStatus, onDemand},
	GetStatus:             {"GET_STATUS", 0, 0, noFDs, ProtocolFeatureStatus, always},
	GetSharedObject:       {"GET_SHARED_OBJECT", 16, 16, noFDs, ProtocolFeatureSharedObject, always},
	SetDeviceStateFD:      {"SET_DEVICE_STATE_FD", 8, 8, oneFD, ProtocolFeatureDeviceState, always},
	CheckDeviceState:      {"CHECK_DEVICE_STATE", 0, 0, noFDs, ProtocolFeatureDeviceState, always},
	GetShmemConfig:        {"GET_SHMEM_CONFIG", 0, 0, noFDs, ProtocolFeatureShmem, always},
	GetVringBaseSkipDrain: {"GET_VRING_BASE_SKIP_DRAIN", 8, 8, noFDs, ProtocolFeatureGetVringBaseSkipDrain, always},
}

// BackendRequest is the type of a message to the front-end, on the channel of SET_BACKEND_REQ_FD.
type BackendRequest uint32

// Back-end message types (VHOST_USER_BACKEND_*).
const (
	BackendIOTLBMsg             BackendRequest = 1
	BackendConfigChangeMsg      BackendRequest = 2
	BackendVringHostNotifierMsg BackendRequest = 3
	BackendVringCall            BackendRequest = 4
	BackendVringErr             BackendRequest = 5
	BackendSharedObjectAdd      BackendRequest = 6
	BackendSharedObjectRemove   BackendRequest = 7
	BackendSharedObjectLookup   BackendRequest = 8
	BackendShmemMap             BackendRequest = 9
	BackendShmemUnmap           BackendRequest = 10
)

// String returns the specification's name without VHOST_USER_.
func (r BackendRequest) String() string {
	if uint64(r) < uint64(len(backendMessages)) && backendMessages[r].name != "" {
		return backendMessages[r].name
	}
	return fmt.Sprintf("back-end message %d", uint32(r))
}

// backendMessages is the specification's list of back-end message types, in the format of messages.
// Every one is answered if it asks for that by need_reply; some always are. channel.next chooses
// those that are sent.
//
//	message: name, payload (bytes), file descriptors, gating protocol feature, replies
var backendMessages = [...]messageSpec{
	BackendIOTLBMsg:             {"BACKEND_IOTLB_MSG", 26, 32, noFDs, gateIOMMU, onDemand},
	BackendConfigChangeMsg:      {"BACKEND_CONFIG_CHANGE_MSG", 0, 0, noFDs, ProtocolFeatureConfig, onDemand},
	BackendVringHostNotifierMsg: {"BACKEND_VRING_HOST_NOTIFIER_MSG", 24, 24, fdUnlessNoFD, ProtocolFeatureHostNotifier, onDemand},
	BackendVringCall:            {"BACKEND_VRING_CALL", 8, 8, noFDs, ProtocolFeatureInbandNotifications, onDemand},
	BackendVringErr:             {"BACKEND_VRING_ERR", 8, 8, noFDs, ProtocolFeatureInbandNotifications, onDemand},
	BackendSharedObjectAdd:      {"BACKEND_SHARED_OBJECT_ADD", 16, 16, noFDs, ProtocolFeatureSharedObject, onDemand},
	BackendSharedObjectRemove:   {"BACKEND_SHARED_OBJECT_REMOVE", 16, 16, noFDs, ProtocolFeatureSharedObject, onDemand},
	BackendSharedObjectLookup:   {"BACKEND_SHARED_OBJECT_LOOKUP", 16, 16, noFDs, ProtocolFeatureSharedObject, always},
	BackendShmemMap:             {"BACKEND_SHMEM_MAP", 40, 40, oneFD, ProtocolFeatureShmem, onDemand},
	BackendShmemUnmap:           {"BACKEND_SHMEM_UNMAP", 40, 40, noFDs, ProtocolFeatureShmem, onDemand},
}

// Message is a received message: header, payload and file descriptors.
type Message struct {
	Header
	Payload []byte // of length Size
	FDs     []int  // owned by the message until taken
}

// TakeFD transfers the ownership of the file descriptor at index i to the caller.
func (m *Message) TakeFD(i int) int {
	fd := m.FDs[i]
	m.FDs[i] = -1
	return fd
}

// Close closes the file descriptors that were not taken.
func (m *Message) Close() {
	closeFDs(m.FDs)
	m.FDs = m.FDs[:0]
}

// check verifies a message against the specification's list: that its type is known, its payload's
// size and the number of its file descriptors.
func (m *Message) check() error {
	s := m.Request.spec()
	if s == nil {
		return fmt.Errorf("%w", ErrUnknownMessage)
	}
	if m.Size < s.min || m.Size > s.max {
		return fmt.Errorf("%w: %d bytes of payload, want %s", ErrMalformed, m.Size, sizes(s))
	}
	least, most := 0, 0
	switch s.fds {
	case oneFD:
		least, most = 1, 1
	case oneFDAtMost:
		most = 1
	case fdUnlessNoFD:
		if DecodeU64(m.Payload)&vringNoFD == 0 {
			least, most = 1, 1
		}
	case fdPerRegion:
		n := int(min(binary.NativeEndian.Uint32(m.Payload), MaxFDs))
		least, most = n, n
	}
	if n := len(m.FDs); n < least || n > most {
		return fmt.Errorf("%w: %d file descriptors, want %d", ErrMalformed, n, most)
	}
	return nil
}

func sizes(s *messageSpec) string {
	if s.min == s.max {
		return fmt.Sprint(s.min)
	}
	return fmt.Sprintf("%d to %d", s.min, s.max)
}
