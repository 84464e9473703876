package vswitch_test

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Two ports, and a frame from one to the other. The frames of a real port's driver refer to a
// guest's memory or to a socket's ring.
func Example() {
	s := vswitch.New(vswitch.Config{})
	defer s.Close()

	attach := func(name string) (*vswitch.Attachment, *vswitchtest.Recorder) {
		port := &vswitchtest.Recorder{}
		a, err := s.Attach(vswitch.DefaultPortConfig(name), port)
		if err != nil {
			panic(err)
		}
		a.SetUp(true)
		return a, port
	}
	vm1, _ := attach("vm1")
	_, port2 := attach("vm2")

	in := vm1.NewInlet() // one for each queue of vm1
	defer in.Close()
	frame := vswitchtest.Ether(vswitchtest.Broadcast, vswitchtest.Station(1), []byte("hello"))
	in.Deliver([]vswitch.Frame{vswitchtest.Frame(frame)})

	for _, f := range port2.Take() {
		fmt.Printf("vm2 got %q\n", f.Bytes[14:])
	}
	for _, e := range s.FDB("", vswitch.AnyVLAN) {
		fmt.Println(e.MAC, "is behind", e.Port)
	}
	// Output:
	// vm2 got "hello"
	// 52:54:00:00:00:01 is behind vm1
}
