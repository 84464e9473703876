// Package linux is empty on Linux and does not compile anywhere else, so that a build for another
// system ends with one line that says why, instead of with an error for each use of epoll, eventfds
// or packet sockets. Packages that need Linux import it for that alone.
package linux
