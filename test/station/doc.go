// Package station is a guest that checks its traffic: a front-end with one queue pair and a MAC
// address, which sends numbered requests to other stations, answers theirs, and stops at the first
// frame that is lost, altered, out of order or not for it. It is for tests of the whole switch; it
// knows its sockets and nothing else of it.
//
//	a, err := station.Connect(socketA, station.Config{MAC: station.Addr(1)})
//	b, err := station.Connect(socketB, station.Config{MAC: station.Addr(2)})
//	a.Talk(b.MAC(), 16)
//	a.Start()
//	b.Start()
//	err = a.Drain()
//
// # The closed loop
//
// Each flow of requests has a window: no more of its requests are unanswered at any time. As long
// as the windows of all who talk to a station fit into its ring of receive buffers together, a
// switch has no reason to drop a frame, however slow the machine is. So none may be missing.
//
// # Frames
//
// The header of a request says who sent it, to whom, and its number; a checksum covers all of it,
// and the rest is noise of a length that varies. An answer is the request with its MAC addresses
// swapped and is otherwise the same, so that a program that swaps addresses (testpmd's macswap) is
// a good peer, too.
package station
