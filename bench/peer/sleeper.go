package peer

import "vswitchd/bench/load"

// A Sleeper takes the place of a back-end that does nothing but sleep and be woken.
type Sleeper struct {
	inKernel
	*load.Sleeper
}

// StartSleeper starts the thread that sleeps, on the processor of back-ends.
func StartSleeper(l *Lab, _ Options) (BackEnd, error) {
	s, err := load.NewSleeper(func() error { return Pin(l.CPU) })
	if err != nil {
		return nil, err
	}
	return &Sleeper{inKernel{s.Thread()}, s}, nil
}

// Name implements BackEnd.
func (*Sleeper) Name() string { return "eventfd and epoll" }

// Stop implements BackEnd.
func (s *Sleeper) Stop() { _ = s.Close() }
