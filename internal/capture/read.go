package capture

import vswitch "vswitchd/switch"

// read copies the beginning of a frame to dst, and returns the number of bytes. It is less than
// len(dst), which is at most the frame's length, if memory of the frame has vanished.
func read(dst []byte, f *vswitch.Frame) (n int) {
	n = copy(dst, f.Head)
	if n == len(dst) {
		return n
	}
	return readBody(dst, n, f.Body)
}

// readBody copies pieces to dst[n:]. A piece of which a part is missing does not count.
func readBody(dst []byte, n int, pieces [][]byte) (done int) {
	defer func() {
		r := recover()
		if _, fault := r.(interface{ Addr() uintptr }); r != nil && !fault {
			panic(r) // a bug in vswitchd
		}
	}()
	done = n
	for _, p := range pieces {
		if done == len(dst) {
			break
		}
		done += copy(dst[done:], p)
	}
	return done
}
