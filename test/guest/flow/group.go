package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// lastDatagram is the number of the datagram behind a stream to a group. All others have arrived
// before it, or do not arrive.
const lastDatagram = math.MaxInt64

// A Cast is what a sender has sent to a group.
type Cast struct {
	Datagrams int `json:"datagrams"` // with the numbers from 0 on
}

// A Joined is what a member of a group has received.
type Joined struct {
	Datagrams int `json:"datagrams"` // that came and are right
	First     int `json:"first"`     // the number of the first one
	Last      int `json:"last"`
	Others    int `json:"others"` // that came out of order, twice, or altered
}

// A group is a multicast group, and how an end of a stream takes part in it.
type group struct {
	addr   *net.UDPAddr
	ifi    *net.Interface
	source net.IP // of the stream, if the member wants no other one's
	size   int    // bytes in a datagram
	rate   int    // bytes per second
}

func runGroup(args []string) error {
	var g group
	var source, iface string
	flags := flag.NewFlagSet("flow "+args[0], flag.ContinueOnError)
	flags.StringVar(&iface, "interface", "eth0", "the interface")
	flags.IntVar(&g.size, "size", 1316, "bytes in a datagram")
	if args[0] == "cast" {
		flags.IntVar(&g.rate, "rate", 1<<18, "bytes per second")
	} else {
		flags.StringVar(&source, "source", "", "the only source to receive from")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 2 || g.size < datagramLen {
		return errUsage
	}
	var err error
	if g.addr, err = net.ResolveUDPAddr("udp", net.JoinHostPort(flags.Arg(0), flags.Arg(1))); err != nil {
		return err
	}
	if g.ifi, err = net.InterfaceByName(iface); err != nil {
		return fmt.Errorf("%s: %w", iface, err)
	}
	if source != "" {
		if g.source = net.ParseIP(source); g.source == nil {
			return fmt.Errorf("%s is no IP address", source)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var report any
	if args[0] == "cast" {
		report, err = g.cast(ctx)
	} else {
		report, err = g.receive(ctx)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// cast sends a stream to the group, after it has said so on the standard error. After a time in
// which it could not run, it goes on at its rate: receivers might not have room for more.
func (g *group) cast(ctx context.Context) (*Cast, error) {
	conn, err := net.ListenUDP(g.network(), nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if g.is4() {
		err = ipv4.NewPacketConn(conn).SetMulticastInterface(g.ifi)
	} else {
		err = ipv6.NewPacketConn(conn).SetMulticastInterface(g.ifi)
	}
	if err != nil {
		return nil, fmt.Errorf("send by %s: %w", g.ifi.Name, err)
	}
	tick := time.NewTicker(time.Duration(g.size) * time.Second / time.Duration(g.rate))
	defer tick.Stop()
	fmt.Fprintln(os.Stderr, "sending")
	datagram, sent := make([]byte, g.size), 0
	for {
		select {
		case <-ctx.Done():
			fillDatagram(datagram, lastDatagram)
			_, err := conn.WriteTo(datagram, g.addr)
			return &Cast{Datagrams: sent}, err
		case <-tick.C:
		}
		fillDatagram(datagram, sent)
		if _, err := conn.WriteTo(datagram, g.addr); err != nil {
			return nil, err
		}
		sent++
	}
}

// receive joins the group, says so on the standard error, and leaves the group at the end of the
// stream or of ctx.
func (g *group) receive(ctx context.Context) (*Joined, error) {
	conn, err := net.ListenUDP(g.network(), g.addr) // which binds to the port alone
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := setOption(conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) }); err != nil {
		return nil, err
	}
	if err := g.join(conn); err != nil {
		return nil, fmt.Errorf("join %v: %w", g.addr.IP, err)
	}
	fmt.Fprintln(os.Stderr, "joined")
	go func() {
		<-ctx.Done()
		conn.SetReadDeadline(time.Now())
	}()
	joined := &Joined{Last: -1}
	buf, want := make([]byte, 1<<16), make([]byte, g.size)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return joined, nil
		}
		if err != nil {
			return nil, err
		}
		if end := joined.add(buf[:n], want); end {
			return joined, nil
		}
	}
}

// join joins the group, for all sources or for one.
func (g *group) join(conn *net.UDPConn) error {
	to, from := &net.UDPAddr{IP: g.addr.IP}, &net.UDPAddr{IP: g.source}
	switch p4, p6 := ipv4.NewPacketConn(conn), ipv6.NewPacketConn(conn); {
	case g.is4() && g.source == nil:
		return p4.JoinGroup(g.ifi, to)
	case g.is4():
		return p4.JoinSourceSpecificGroup(g.ifi, to, from)
	case g.source == nil:
		return p6.JoinGroup(g.ifi, to)
	default:
		return p6.JoinSourceSpecificGroup(g.ifi, to, from)
	}
}

// add counts a datagram, and says whether it is the end of the stream. It uses want, which has the
// length that the datagram should have.
func (j *Joined) add(datagram, want []byte) (end bool) {
	i, err := checkDatagram(datagram, want)
	switch {
	case err == nil && i == lastDatagram:
		return true
	case err != nil || i <= j.Last:
		j.Others++
		return false
	case j.Datagrams == 0:
		j.First = i
	}
	j.Datagrams++
	j.Last = i
	return false
}

func (g *group) is4() bool { return g.addr.IP.To4() != nil }

func (g *group) network() string {
	if g.is4() {
		return "udp4"
	}
	return "udp6"
}
