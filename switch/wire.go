package vswitch

// What frames are on a wire. A GSO frame becomes segments there, each with a copy of the headers.
// Preamble, frame check sequence, padding and gaps between frames are not counted, as in RxBytes.

// wireBits returns the bits of a frame on a wire. Its offloads have passed checkOffload.
func wireBits(f *Frame) uint32 {
	if f.Offload.GSOType == GSONone {
		return uint32(f.Len) * 8
	}
	_, added := segments(f)
	return uint32(f.Len+added) * 8
}

// wireFrames returns the number of frames that a frame is on a wire. Its offloads have passed
// checkOffload.
func wireFrames(f *Frame) uint32 {
	if f.Offload.GSOType == GSONone {
		return 1
	}
	n, _ := segments(f)
	return uint32(n)
}

// segments returns the number of segments of a GSO frame, and the bytes by which all segments
// together are longer than the frame.
func segments(f *Frame) (n, added int) {
	head, size := int(f.Offload.HdrLen), int(f.Offload.GSOSize)
	perSegment := 0
	if f.Offload.GSOType == GSOUDP {
		if g, ok := parseGSO(f); ok {
			head, size = g.unfrag, g.size // the UDP header is in one fragment only
			if g.v6 {
				perSegment = fragmentLen
			}
		}
	}
	n = max((f.Len-head+size-1)/size, 1)
	return n, (n-1)*head + n*perSegment
}
