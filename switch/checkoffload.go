package vswitch

// checkOffload reports whether what f.Offload asks for agrees with f.Head.
func checkOffload(f *Frame) bool {
	return f.Offload == Offload{}
}
