package main

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"testing"
)

// serveHere answers one sender, and returns its address.
func serveHere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			err = answer(conn.(*net.TCPConn))
		}
		done <- err
	}()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

func TestSend(t *testing.T) {
	for _, o := range []order{
		{Bytes: 3<<20 + 1, Datagrams: 100, Size: 1399, batch: 1},
		{Bytes: 1, Datagrams: 100, Size: 600, batch: 33},
		{Datagrams: 1, Size: 9000, batch: 1},
	} {
		r, err := send(serveHere(t), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Bytes != o.Bytes || r.Datagrams != o.Datagrams || r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
}

func TestAlteredStream(t *testing.T) {
	stream := make([]byte, 100001)
	newNoise(streamSeed).fill(stream)
	var res result
	if err := takeStream(bytes.NewReader(stream), len(stream), &res); err != nil || res.Bytes != len(stream) {
		t.Fatalf("%+v, %v", res, err)
	}
	stream[99999] ^= 1
	res = result{}
	err := takeStream(bytes.NewReader(stream), len(stream), &res)
	if err == nil || !strings.Contains(err.Error(), "byte 99999") || res.Bytes != 99999 {
		t.Errorf("%+v, %v", res, err)
	}
	res = result{}
	if err := takeStream(bytes.NewReader(stream[:50000]), len(stream), &res); err == nil {
		t.Errorf("half a stream: %+v", res)
	}
}

func TestAlteredDatagram(t *testing.T) {
	d, want := make([]byte, 1001), make([]byte, 1001)
	fillDatagram(d, 77)
	if i, err := checkDatagram(d, want); err != nil || i != 77 {
		t.Fatal(i, err)
	}
	for _, at := range []int{7, 8, 500, 1000} {
		d[at] ^= 0x80
		if i, err := checkDatagram(d, want); err == nil && i == 77 {
			t.Errorf("byte %d was altered, and nobody has noticed", at)
		}
		d[at] ^= 0x80
	}
	if _, err := checkDatagram(d[:1000], want); err == nil {
		t.Error("a datagram was cut, and nobody has noticed")
	}
}

func TestDatagramsOfAGroup(t *testing.T) {
	d, want := make([]byte, 100), make([]byte, 100)
	j := Joined{Last: -1}
	for _, i := range []int{3, 4, 6, 5, 6} {
		fillDatagram(d, i)
		if j.add(d, want) {
			t.Errorf("datagram %d is taken for the end", i)
		}
	}
	d[50] ^= 1
	j.add(d, want)
	fillDatagram(d, lastDatagram)
	if !j.add(d, want) {
		t.Error("the end is not noticed")
	}
	if j != (Joined{Datagrams: 3, First: 3, Last: 6, Others: 3}) {
		t.Errorf("%+v", j)
	}
}
