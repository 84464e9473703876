package virtqueue_test

import (
	"bytes"
	"fmt"
	"log"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// shout is a device that answers each request with the same text in capitals.
type shout struct {
	queue *virtqueue.Queue
	batch *virtqueue.Batch
}

// poll serves the available chains. It returns false when there are no more and the driver is going
// to kick: then the caller may sleep.
func (s *shout) poll() (more bool, err error) {
	s.batch.Reset()
	n, err := s.queue.Pop(s.batch, 64)
	if err != nil {
		return false, err // the driver broke the ring: stop serving it
	}
	for _, c := range s.batch.Chains {
		// An invalid chain has no pieces and completes with length 0, like any other that
		// cannot be answered.
		s.queue.Complete(&c, uint32(answer(c)))
	}
	s.queue.Flush()
	return n > 0 || s.queue.Arm(), nil
}

// answer copies the readable bytes, in capitals, to the writable pieces. Either may be in
// pieces of any size.
func answer(c virtqueue.Chain) (written int) {
	// A private copy, which the driver cannot change.
	text := bytes.ToUpper(bytes.Join(c.Readable, nil))
	for _, w := range c.Writable {
		written += copy(w, text[written:])
	}
	return written
}

// A device that serves one queue. The driver here is a test double in the same memory; package
// vhostuser connects a Queue to a real driver.
func Example() {
	driver, err := virtqueuetest.NewLocal(256, 1<<virtqueue.FeatureEventIdx, 1<<16)
	if err != nil {
		log.Fatal(err)
	}
	queue, err := virtqueue.New(driver.Memory(), driver.Config())
	if err != nil {
		log.Fatal(err)
	}
	device := &shout{queue, virtqueue.NewBatch(64)}

	// The driver asks.
	question, reply := driver.Alloc(12), driver.Alloc(100)
	copy(driver.Bytes(question), "how are you?")
	if _, err := driver.AddChain([]virtqueuetest.Buf{question}, []virtqueuetest.Buf{reply}); err != nil {
		log.Fatal(err)
	}
	driver.Publish() // and would kick an eventfd if that returns true

	// The device answers, and goes to sleep.
	for more := true; more; {
		if more, err = device.poll(); err != nil {
			log.Fatal(err)
		}
	}

	// The driver takes its answer.
	head, n, _ := driver.PollUsed()
	fmt.Printf("%s\n", driver.Bytes(reply)[:n])
	driver.Release(head)
	// Output: HOW ARE YOU?
}
