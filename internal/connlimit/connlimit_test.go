package connlimit

import (
	"io"
	"net"
	"path/filepath"
	"testing"
)

func TestOldestConnectionMakesRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, 3)
	defer l.Close()
	var clients, servers []net.Conn
	connect := func() {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		clients, servers = append(clients, c), append(servers, s)
	}
	closed := func(i int) {
		t.Helper()
		if _, err := clients[i].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("client %d reads %v, want the end", i, err)
		}
	}
	open := func(i int) {
		t.Helper()
		if _, err := servers[i].Write([]byte("x")); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		if _, err := clients[i].Read(make([]byte, 1)); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	for range 5 {
		connect()
	}
	closed(0)
	closed(1)
	for i := 2; i < 5; i++ {
		open(i)
	}
	servers[3].Close()
	servers[3].Close()
	connect()
	for _, i := range []int{2, 4, 5} {
		open(i)
	}
	connect()
	closed(2)
	open(6)
}

// A connection that is exempt neither counts nor makes room.
func TestExemptConnectionsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, 2)
	defer l.Close()
	connect := func() (client, server net.Conn) {
		t.Helper()
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return client, server
	}
	exempt, server := connect()
	Exempt(server)
	first, _ := connect()
	connect()
	if _, err := server.Write([]byte("x")); err != nil {
		t.Errorf("the exempt connection: %v", err)
	}
	if _, err := exempt.Read(make([]byte, 1)); err != nil {
		t.Errorf("the exempt connection: %v", err)
	}
	connect()
	if _, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the oldest of three reads %v, want the end", err)
	}
	Exempt(exempt) // not of such a listener
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}
