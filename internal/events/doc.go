// Package events distributes what happens in a switch to the listeners of the control API. Nobody
// who publishes an event waits for a listener: each has a queue of bounded length, and what finds
// the queue full is lost for that listener and counted.
//
// The package knows the form of events, not where these come from. internal/daemon publishes them,
// and gives package control the listeners.
package events
