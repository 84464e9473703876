// Package guest implements the port kind for guests: a socket to which front-ends connect, one at a
// time, and the network device that the port provides to them (package netport).
//
// A port outlives its front-ends. A change of the port's settings takes effect for the connected
// front-end or for the next one, depending on the setting. A front-end that violates the protocol
// is disconnected; after repeated failures the port also delays the next connection (backoff.go,
// penalty.go). hint.go derives a likely cause of failing front-ends for the operator.
package guest
