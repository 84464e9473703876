package peer

import (
	"errors"
	"os"

	"vswitchd/bench/load"
)

// inKernel is what back-ends have in common that consist of the kernel's devices. There is no
// process: what is the back-end's work is done by a thread of this process that writes and reads
// frames, and by the kernel on its behalf.
type inKernel struct{ thread int }

// Connect implements BackEnd: there is nothing to connect to.
func (inKernel) Connect(int, load.Config) (*load.Port, error) {
	return nil, errors.New("tap devices speak no vhost-user")
}

// Socket implements BackEnd: there is none.
func (inKernel) Socket(int) (path string, listens bool) { return "", false }

// PID implements BackEnd: the thread is one of ours.
func (inKernel) PID() int { return os.Getpid() }

// Work implements BackEnd.
func (k *inKernel) Work() (Work, error) {
	c, err := ThreadClock(os.Getpid(), k.thread)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ran, _ := c.Read()
	return Work{k.thread: ran}, nil
}

// Usage implements BackEnd.
func (k *inKernel) Usage() (Usage, error) {
	w, err := k.Work()
	return Usage{w[k.thread].Seconds(), 1}, err
}

// Busy implements BackEnd.
func (k *inKernel) Busy() (Usage, error) { return k.Usage() }

// Drops implements BackEnd: nobody counts all of them in one place.
func (inKernel) Drops() (uint64, error) { return 0, nil }
