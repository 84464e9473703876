// Package guest is the kind of port that guests have: a socket that front-ends connect to, one
// after the other, and the network device that they find there (package netport).
//
// A port outlives its front-ends: what it is set to changes under the one that is connected, or for
// the next one. What a front-end does wrong costs it the connection, and after a while the port's
// patience (haste.go, penalty.go); what is likely wrong with it is guessed (hint.go).
package guest
