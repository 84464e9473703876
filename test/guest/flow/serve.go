package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the server waits for a datagram before it takes those that are missing for
// lost.
const patience = 2 * time.Second

func serve(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := answer(conn.(*net.TCPConn)); err != nil {
				fmt.Println("flow:", err)
			}
		}()
	}
}

// answer serves one sender: it reads the order, opens a port for its datagrams and says which,
// takes these, then the stream, and says what has come.
func answer(conn *net.TCPConn) error {
	r := bufio.NewReaderSize(conn, 1<<16)
	var o order
	if err := decodeLine(r, &o); err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: conn.LocalAddr().(*net.TCPAddr).IP})
	if err != nil {
		return err
	}
	defer udp.Close()
	// All datagrams fit into the buffer, so that none is lost here because the machine is slow.
	// Without privileges it is as large as it may be.
	if setOption(udp, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) }) != nil {
		if err := udp.SetReadBuffer(64 << 20); err != nil {
			return err
		}
	}
	w := json.NewEncoder(conn)
	if err := w.Encode(udp.LocalAddr().(*net.UDPAddr).Port); err != nil {
		return err
	}
	var res result
	if err := takeDatagrams(udp, o, &res); err != nil {
		res.Error = err.Error()
	}
	if err := takeStream(r, o.Bytes, &res); err != nil {
		res.Error = err.Error()
	}
	return w.Encode(res)
}

func decodeLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

func takeDatagrams(udp *net.UDPConn, o order, res *result) error {
	seen := make([]bool, o.Datagrams)
	buf, want := make([]byte, 1<<16), make([]byte, o.Size)
	for res.Datagrams < o.Datagrams {
		if err := udp.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := udp.Read(buf)
		if err != nil {
			return fmt.Errorf("%d of %d datagrams have come: %w", res.Datagrams, o.Datagrams, err)
		}
		i, err := checkDatagram(buf[:n], want)
		switch {
		case err != nil:
			return err
		case i >= len(seen) || seen[i]:
			return fmt.Errorf("datagram %d is one too many", i)
		}
		seen[i] = true
		res.Datagrams++
	}
	return nil
}

func takeStream(r io.Reader, length int, res *result) error {
	noise := newNoise(streamSeed)
	got, want := make([]byte, 1<<15), make([]byte, 1<<15)
	for res.Bytes < length {
		part := got[:min(len(got), length-res.Bytes)]
		if _, err := io.ReadFull(r, part); err != nil {
			return fmt.Errorf("after %d bytes: %w", res.Bytes, err)
		}
		noise.fill(want[:len(part)])
		for i := range part {
			if part[i] != want[i] {
				return fmt.Errorf("byte %d of the stream is %#x, was %#x", res.Bytes, part[i], want[i])
			}
			res.Bytes++
		}
	}
	return nil
}
