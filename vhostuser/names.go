package vhostuser

import "fmt"

// FeatureProtocolFeatures is the virtio feature bit that vhost-user reserves for its own use
// (VHOST_USER_F_PROTOCOL_FEATURES): the session offers it, a driver never sees it.
const FeatureProtocolFeatures = 30

// FeatureLogAll asks to log all writes to guest memory (VHOST_F_LOG_ALL).
const FeatureLogAll = 26

// Protocol features, by bit number (VHOST_USER_PROTOCOL_F_*).
const (
	ProtocolFeatureMQ                    = 0
	ProtocolFeatureLogShmFD              = 1
	ProtocolFeatureRARP                  = 2
	ProtocolFeatureReplyAck              = 3
	ProtocolFeatureNetMTU                = 4
	ProtocolFeatureBackendReq            = 5
	ProtocolFeatureCrossEndian           = 6
	ProtocolFeatureCryptoSession         = 7
	ProtocolFeaturePagefault             = 8
	ProtocolFeatureConfig                = 9
	ProtocolFeatureBackendSendFD         = 10
	ProtocolFeatureHostNotifier          = 11
	ProtocolFeatureInflightShmFD         = 12
	ProtocolFeatureResetDevice           = 13
	ProtocolFeatureInbandNotifications   = 14
	ProtocolFeatureConfigureMemSlots     = 15
	ProtocolFeatureStatus                = 16
	ProtocolFeatureXenMmap               = 17
	ProtocolFeatureSharedObject          = 18
	ProtocolFeatureDeviceState           = 19
	ProtocolFeatureGetVringBaseInflight  = 20
	ProtocolFeatureGPAAddresses          = 21
	ProtocolFeatureShmem                 = 22
	ProtocolFeatureGetVringBaseSkipDrain = 23
)

var protocolFeatureNames = [...]string{
	ProtocolFeatureMQ:                    "MQ",
	ProtocolFeatureLogShmFD:              "LOG_SHMFD",
	ProtocolFeatureRARP:                  "RARP",
	ProtocolFeatureReplyAck:              "REPLY_ACK",
	ProtocolFeatureNetMTU:                "NET_MTU",
	ProtocolFeatureBackendReq:            "BACKEND_REQ",
	ProtocolFeatureCrossEndian:           "CROSS_ENDIAN",
	ProtocolFeatureCryptoSession:         "CRYPTO_SESSION",
	ProtocolFeaturePagefault:             "PAGEFAULT",
	ProtocolFeatureConfig:                "CONFIG",
	ProtocolFeatureBackendSendFD:         "BACKEND_SEND_FD",
	ProtocolFeatureHostNotifier:          "HOST_NOTIFIER",
	ProtocolFeatureInflightShmFD:         "INFLIGHT_SHMFD",
	ProtocolFeatureResetDevice:           "RESET_DEVICE",
	ProtocolFeatureInbandNotifications:   "INBAND_NOTIFICATIONS",
	ProtocolFeatureConfigureMemSlots:     "CONFIGURE_MEM_SLOTS",
	ProtocolFeatureStatus:                "STATUS",
	ProtocolFeatureXenMmap:               "XEN_MMAP",
	ProtocolFeatureSharedObject:          "SHARED_OBJECT",
	ProtocolFeatureDeviceState:           "DEVICE_STATE",
	ProtocolFeatureGetVringBaseInflight:  "GET_VRING_BASE_INFLIGHT",
	ProtocolFeatureGPAAddresses:          "GPA_ADDRESSES",
	ProtocolFeatureShmem:                 "SHMEM",
	ProtocolFeatureGetVringBaseSkipDrain: "GET_VRING_BASE_SKIP_DRAIN",
}

// featureNames are the names of the virtio feature bits that do not depend on the kind of device
// (virtio 1.2, sections 2.2 and 6), and of vhost's own.
var featureNames = map[int]string{
	24:                      "NOTIFY_ON_EMPTY",
	FeatureLogAll:           "LOG_ALL",
	27:                      "ANY_LAYOUT",
	28:                      "INDIRECT_DESC",
	29:                      "EVENT_IDX",
	FeatureProtocolFeatures: "PROTOCOL_FEATURES",
	32:                      "VERSION_1",
	33:                      "ACCESS_PLATFORM",
	34:                      "RING_PACKED",
	35:                      "IN_ORDER",
	36:                      "ORDER_PLATFORM",
	37:                      "SR_IOV",
	38:                      "NOTIFICATION_DATA",
	39:                      "NOTIF_CONFIG_DATA",
	40:                      "RING_RESET",
	41:                      "ADMIN_VQ",
}

// statusNames are the names of the bits of the device status (virtio 1.2, section 2.1).
var statusNames = map[int]string{
	0: "ACKNOWLEDGE",
	1: "DRIVER",
	2: "DRIVER_OK",
	3: "FEATURES_OK",
	6: "DEVICE_NEEDS_RESET",
	7: "FAILED",
}

// A Bit is the number of a bit that is set, and its name: "bit N" if it has none.
type Bit struct {
	Number int
	Name   string
}

// StatusBits returns the bits set in a device status, in order, without the prefix
// VIRTIO_CONFIG_S_.
func StatusBits(status uint8) []Bit {
	return bitsOf(uint64(status), func(bit int) string { return statusNames[bit] })
}

// ProtocolFeatureBits is ProtocolFeatureNames with the numbers.
func ProtocolFeatureBits(features uint64) []Bit { return bitsOf(features, protocolFeatureName) }

// FeatureBits is FeatureNames with the numbers.
func FeatureBits(features uint64, device func(bit int) string) []Bit {
	return bitsOf(features, featureName(device))
}

// ProtocolFeatureNames returns the names of the bits set in features, in order, without the prefix
// VHOST_USER_PROTOCOL_F_; a bit without a name appears as "bit N".
func ProtocolFeatureNames(features uint64) []string {
	return bitNames(features, protocolFeatureName)
}

func protocolFeatureName(bit int) string {
	if bit < len(protocolFeatureNames) {
		return protocolFeatureNames[bit]
	}
	return ""
}

// FeatureNames returns the names of the virtio feature bits set in features, in order, without the
// prefix VIRTIO_F_. device returns the names of the bits that belong to the kind of device, or "",
// and may be nil. A bit without a name appears as "bit N".
func FeatureNames(features uint64, device func(bit int) string) []string {
	return bitNames(features, featureName(device))
}

func featureName(device func(bit int) string) func(bit int) string {
	return func(bit int) string {
		if s := featureNames[bit]; s != "" || device == nil {
			return s
		}
		return device(bit)
	}
}

func bitNames(bits uint64, name func(bit int) string) []string {
	names := []string{}
	for _, b := range bitsOf(bits, name) {
		names = append(names, b.Name)
	}
	return names
}

func bitsOf(set uint64, name func(bit int) string) (bits []Bit) {
	for bit := range 64 {
		if set&(1<<bit) == 0 {
			continue
		}
		s := name(bit)
		if s == "" {
			s = fmt.Sprintf("bit %d", bit)
		}
		bits = append(bits, Bit{bit, s})
	}
	return bits
}
