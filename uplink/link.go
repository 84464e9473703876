package uplink

import (
	"errors"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A link is what the kernel says of an interface.
type link struct {
	index   int
	name    string
	mac     net.HardwareAddr
	mtu     int
	admin   bool // set up
	carrier bool // and can pass frames
	ether   bool
	master  int // index of the bridge, bond or the like that it is in; 0: none
	parent  int // index of the other end of a veth pair; 0: there is none in this namespace
}

func (l *link) up() bool { return l.admin && l.carrier }

// findLink looks for the interface that has the configured name. If there is none, but the
// interface that the uplink has been on (index, 0 for none) is still there, that interface was
// renamed, and findLink returns it. A nil link and no error: there is none.
func findLink(name string, index int) (*link, error) {
	l, err := netlink.LinkByName(name)
	if notFound(err) && index != 0 {
		l, err = netlink.LinkByIndex(index)
	}
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := l.Attrs()
	parent := a.ParentIndex
	if a.NetNsID >= 0 {
		parent = 0
	}
	return &link{
		index:   a.Index,
		name:    a.Name,
		mac:     a.HardwareAddr,
		mtu:     a.MTU,
		admin:   a.RawFlags&unix.IFF_UP != 0,
		carrier: a.RawFlags&unix.IFF_RUNNING != 0,
		ether:   a.EncapType == "ether",
		master:  a.MasterIndex,
		parent:  parent,
	}, nil
}

func notFound(err error) bool {
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf)
}

// A linkWatch reports when any link's state may have changed. The report is only a hint: findLink
// reads the state, so that a lost or a duplicated message makes no difference.
type linkWatch struct {
	updates chan netlink.LinkUpdate
	done    chan struct{}
}

// watchLinks subscribes to the link messages of the process's network namespace.
func watchLinks() (*linkWatch, error) {
	w := &linkWatch{updates: make(chan netlink.LinkUpdate, 16), done: make(chan struct{})}
	if err := netlink.LinkSubscribe(w.updates, w.done); err != nil {
		return nil, err
	}
	return w, nil
}

// close ends the subscription and returns when its socket is no longer read.
func (w *linkWatch) close() {
	close(w.done)
	for range w.updates {
	}
}

// recheck is how often the interface is checked without a message: because the kernel drops
// messages when many come at once, and to retry what failed.
const recheck = 5 * time.Second

// watch is the control goroutine: it makes the uplink follow its interface until quit is closed.
func (u *Uplink) watch() {
	defer close(u.watchDone)
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	var w *linkWatch
	for {
		if w == nil {
			w = u.subscribe()
		}
		var updates chan netlink.LinkUpdate
		if w != nil {
			updates = w.updates
		}
		// After subscribing, and after each message: nothing is missed between.
		u.follow()
		select {
		case <-u.quit:
			if w != nil {
				w.close()
			}
			return
		case <-tick.C:
		case <-u.wake:
		case _, open := <-updates:
			if !open { // the kernel ran out of room for messages
				w.close()
				w = nil
				u.log.Debug("lost link messages, subscribing again")
			} else {
				drain(updates)
			}
		}
	}
}

// subscribe returns nil if the subscription fails; the next recheck tries again.
func (u *Uplink) subscribe() *linkWatch {
	w, err := watchLinks()
	if err != nil {
		u.log.Warn("cannot subscribe to link messages, looking at the interface now and then", "error", err)
		return nil
	}
	return w
}

// drain takes the other messages that are there, so that a burst of messages causes one check.
func drain(updates chan netlink.LinkUpdate) {
	for {
		select {
		case _, open := <-updates:
			if !open {
				return
			}
		default:
			return
		}
	}
}
