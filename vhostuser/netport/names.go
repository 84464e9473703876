package netport

// featureNames are the names of the feature bits of a network device, without the prefix
// VIRTIO_NET_F_ (virtio 1.2, section 5.1.3).
var featureNames = map[int]string{
	featureCsum:              "CSUM",
	featureGuestCsum:         "GUEST_CSUM",
	featureCtrlGuestOffloads: "CTRL_GUEST_OFFLOADS",
	featureMTU:               "MTU",
	featureMAC:               "MAC",
	featureGuestTSO4:         "GUEST_TSO4",
	featureGuestTSO6:         "GUEST_TSO6",
	featureGuestECN:          "GUEST_ECN",
	featureGuestUFO:          "GUEST_UFO",
	featureHostTSO4:          "HOST_TSO4",
	featureHostTSO6:          "HOST_TSO6",
	featureHostECN:           "HOST_ECN",
	featureHostUFO:           "HOST_UFO",
	featureMrgRxbuf:          "MRG_RXBUF",
	featureStatus:            "STATUS",
	featureCtrlVQ:            "CTRL_VQ",
	featureCtrlRX:            "CTRL_RX",
	featureCtrlVLAN:          "CTRL_VLAN",
	featureCtrlRXExtra:       "CTRL_RX_EXTRA",
	21:                       "GUEST_ANNOUNCE",
	featureMQ:                "MQ",
	featureCtrlMACAddr:       "CTRL_MAC_ADDR",
	featureGuestUSO4:         "GUEST_USO4",
	featureGuestUSO6:         "GUEST_USO6",
	featureHostUSO:           "HOST_USO",
	57:                       "HASH_REPORT",
	59:                       "GUEST_HDRLEN",
	60:                       "RSS",
	61:                       "RSC_EXT",
	62:                       "STANDBY",
	63:                       "SPEED_DUPLEX",
}

// FeatureName returns the name of a feature bit of a network device, or "" if it has none.
func FeatureName(bit int) string { return featureNames[bit] }
