// Package sessionfuzz turns bytes into a vhost-user front-end's behaviour, for fuzzing back-ends:
// whole sessions against a running device, with messages in any order, the wrong file descriptors,
// hostile rings, and memory that is added, removed and truncated.
//
//	fe, backend, err := vhostusertest.Pair()
//	go vhostuser.Serve(ctx, backend, dev, vhostuser.Options{})
//	a, err := sessionfuzz.New(fe, input, sessionfuzz.Config{...})
//	a.Run()
//	fe.CloseWrite()	// Serve must return now, and leave no resources of the session behind
//	a.Close()
//
// An input is a sequence of acts, each an [Op] and an argument, some followed by more bytes.
// Arguments have few distinct meanings, so that acts often fit together, and most inputs get far.
//
// The package's fuzz target runs vswitchd's network device, and two other guests whose frames must
// continue to pass.
package sessionfuzz
