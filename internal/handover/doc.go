// Package handover is how one vswitchd passes everything to its successor: the documents that
// describe the state, the file descriptors that come with them, and the steps in which both
// processes agree. docs/upgrade.md describes it for operators.
//
// The package knows nothing of ports, guests or frames. A kind of port writes its part of a
// [Document] with a [Writer], and its counterpart in the other process reads the part with a
// [Reader]. The daemon collects the parts, and the program vswitchd goes through the steps.
//
// # Documents
//
// A document is JSON. The schema of a document is a number, and so is the oldest schema whose
// readers can go on from the document. A reader ignores fields that it does not know; what it must
// not ignore has a name in must_understand. So a document of an older or a newer version is either
// read with all its consequences, or refused before anything has changed hands.
//
// # Steps
//
// Each message has one sender, and the other side waits for it:
//
//	new  hello    which schemas it reads
//	old  offer    the configuration that runs, and what is going to be passed
//	new  ready    the configuration is valid here, and all that can be done before is done
//	old  state    everything has stopped; the state, with all file descriptors
//	new  taken    all of the state is understood, and memory is mapped; nothing was touched
//	old  go       the old process touches nothing any more
//	new  ack      the new process is going to touch things now
//
// Up to "go", the failure of either side makes the old process go on as if nothing had happened.
// After "go" the old process goes on only if the connection ends without an "ack".
package handover
