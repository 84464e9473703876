package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timeLimit is for all that a sender does, however slow the machine.
const timeLimit = time.Minute

func send(addr string, o order) (*Report, error) {
	c, err := net.DialTimeout("tcp", addr, timeLimit)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		return nil, err
	}
	if o.rate > 0 {
		if err := setOption(conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, o.rate) }); err != nil {
			return nil, fmt.Errorf("limit the rate: %w", err)
		}
	}
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	var port int
	if err := decodeLine(r, &port); err != nil {
		return nil, err
	}
	if err := sendDatagrams(conn, port, o); err != nil {
		return nil, err
	}
	if err := sendStream(conn, o.Bytes); err != nil {
		return nil, err
	}
	report := &Report{Sent: o}
	if err := decodeLine(r, &report.result); err != nil {
		return nil, err
	}
	err = setOption(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			report.Retransmits, report.Segments = int(info.Total_retrans), int(info.Data_segs_out)
		}
		return err
	})
	return report, err
}

func setOption(conn syscall.Conn, set func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = set(int(fd)) }); err != nil {
		return err
	}
	return setErr
}

func sendStream(conn *net.TCPConn, length int) error {
	noise := newNoise(streamSeed)
	buf := make([]byte, 1<<16)
	for length > 0 {
		part := buf[:min(len(buf), length)]
		noise.fill(part)
		if _, err := conn.Write(part); err != nil {
			return err
		}
		length -= len(part)
	}
	return conn.CloseWrite()
}

// sendDatagrams sends datagrams to a port of the machine that conn is with.
func sendDatagrams(conn *net.TCPConn, port int, o order) error {
	to := *conn.RemoteAddr().(*net.TCPAddr)
	udp, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to.IP, Port: port, Zone: to.Zone})
	if err != nil {
		return err
	}
	defer udp.Close()
	if o.batch > 1 {
		if err := setOption(udp, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, o.Size) }); err != nil {
			return fmt.Errorf("leave datagrams uncut: %w", err)
		}
	}
	batch := make([]byte, o.batch*o.Size)
	began, sent := time.Now(), 0
	for i := 0; i < o.Datagrams; {
		n := min(o.batch, o.Datagrams-i)
		for k := range n {
			fillDatagram(batch[k*o.Size:(k+1)*o.Size], i+k)
		}
		if _, err := udp.Write(batch[:n*o.Size]); err != nil {
			return err
		}
		i += n
		sent += n * o.Size
		if o.rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / time.Duration(o.rate))))
		}
	}
	return nil
}
