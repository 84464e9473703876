// Package sessionfuzz turns bytes into a vhost-user front-end's behaviour, for fuzzing
// back-ends: whole sessions against a device that runs, with messages in any order,
// other file descriptors than belong there, hostile rings, and memory that comes, goes
// and shrinks.
//
//	fe, backend, err := vhostusertest.Pair()
//	go vhostuser.Serve(ctx, backend, dev, vhostuser.Options{})
//	a, err := sessionfuzz.New(fe, input, sessionfuzz.Config{...})
//	a.Run()
//	fe.CloseWrite()	// Serve must return now, and nothing of the session be left
//	a.Close()
//
// An input is a sequence of acts, each an [Op] and an argument, some with more bytes
// behind. Arguments have few distinct meanings, so that acts often fit together, and
// most inputs come far.
//
// This package's own fuzz target has vswitchd's network device as the device, and two
// other guests whose frames must go on passing.
package sessionfuzz
