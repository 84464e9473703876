package virtqueue_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
)

// The package documentation says what may touch guest memory: a fault there causes a panic with an
// address, or EFAULT, and does not end the process.
func TestFaultsThatCanBeHandled(t *testing.T) {
	for name, touch := range map[string]func(mem []byte){
		"copy from": func(mem []byte) { copy(make([]byte, len(mem)), mem) },
		"copy to":   func(mem []byte) { copy(mem, make([]byte, len(mem))) },
		"clear":     func(mem []byte) { clear(mem) },
		"load": func(mem []byte) {
			if binary.LittleEndian.Uint64(mem) == 1 {
				t.Error("there is nothing to load")
			}
		},
		"compare":  func(mem []byte) { bytes.Equal(mem, make([]byte, len(mem))) },
		"search":   func(mem []byte) { bytes.IndexByte(mem, 1) },
		"CRC-32":   func(mem []byte) { crc32.ChecksumIEEE(mem) },
		"CRC-32C":  func(mem []byte) { crc32.Checksum(mem, crc32.MakeTable(crc32.Castagnoli)) },
		"Adler-32": func(mem []byte) { adler32.Checksum(mem) },
		"SHA-256":  func(mem []byte) { sha256.Sum256(mem) },
		"Reader": func(mem []byte) {
			r := (&virtqueue.Chain{Readable: [][]byte{mem}}).Reader()
			_, _ = io.ReadAll(&r)
		},
		"Writer": func(mem []byte) {
			w := (&virtqueue.Chain{Writable: [][]byte{mem}}).Writer()
			_, _ = w.Write(make([]byte, len(mem)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fd, mem := memfd(t, 0x2000)
			if err := unix.Ftruncate(fd, 0); err != nil {
				t.Fatal(err)
			}
			m, err := virtqueue.NewMemory([]virtqueue.Region{{GuestAddr: 0, UserAddr: 0, Mem: mem}})
			if err != nil {
				t.Fatal(err)
			}
			if addr := fault(t, func() { touch(mem) }); !m.Contains(addr) {
				t.Fatalf("fault at %#x", addr)
			}
		})
	}
	t.Run("system call", func(t *testing.T) {
		fd, mem := memfd(t, 0x2000)
		if err := unix.Ftruncate(fd, 0); err != nil {
			t.Fatal(err)
		}
		zero, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(zero)
		if _, err := unix.Read(zero, mem); err != unix.EFAULT {
			t.Fatal(err)
		}
	})
}
