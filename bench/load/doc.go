// Package load is a load generator for vhost-user network back-ends: front-ends whose guests send
// and receive as fast as the back-end lets them.
//
// It is made for finding out how much a back-end can do, so it has to cost less than any back-end
// does. What a driver usually does for each frame is done once here, in advance: descriptor i of a
// ring always names buffer i, entry i of the available ring is i, and the buffers of a transmitq
// hold complete frames. To send or to take n frames is then to advance an index by n (split rings;
// in a packed ring one word has to be written for each buffer, because the device has overwritten
// it). This relies on back-ends that use buffers in the order in which they were made available, as
// all switches do. One that does not is noticed, and refused with [ErrOrder].
//
//	a, err := load.Dial("/run/vswitchd/a.sock", cfg) // or Accept, from a back-end that connects
//	b, err := load.Dial("/run/vswitchd/b.sock", cfg)
//	g, err := load.NewGenerator([]*load.Port{a, b}, load.Traffic{Size: 64, Flows: 1024, Both: true})
//	err = g.Announce()                        // every address is learned
//	c, err := g.Check(100_000)                // numbered frames, each looked at
//	r, err := g.Saturate(time.Second, 2*time.Second)
//
// A [Line] is traffic between one guest and a network interface behind the back-end's uplink. The
// guest may be at a tap device as well.
//
// # What is counted
//
// A frame counts as sent when the back-end has returned its buffer, and as received when it has
// filled one. Check numbers all frames and compares every byte of all that arrives. The other modes
// leave the frames in memory as they are, look at one received frame in a thousand, and scratch it
// out afterwards, so that a frame that was never written cannot pass for one that was.
//
// # What it does not know
//
// It speaks vhost-user and knows nothing of the back-end's kind. Package peer starts back-ends;
// bench/generate and bench/compare have the commands.
//
// # Concurrency
//
// A Generator and its ports belong to one goroutine. It never waits for anything in its loop, and
// should be locked to a thread on a processor that runs nothing else.
package load
