// Package capture stores frames that pass the switch, or are dropped in it, and writes them as
// pcapng for tcpdump and Wireshark.
//
// A Capture is a [vswitch.Tap]: workers copy frames into its ring, which has a fixed size, without
// locks and without waiting. One goroutine writes the frames to the client ([Capture.Run]). If the
// client reads too slowly, the ring is full, and further frames are lost and counted. A [Pool]
// bounds how many captures there are, and how much memory they have together.
//
// Frames may lie in the memory of a guest, which may vanish or be changed while a frame is copied.
// A fault costs the capture the rest of the frame, and the guest and the other ports nothing.
// Filters run on a private copy.
package capture
