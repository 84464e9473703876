package top

import (
	"context"
	"time"

	"vswitchd/internal/control"
)

// Config says what is shown.
type Config struct {
	// Read reads the counters of the switch. It fails while no vswitchd is running.
	Read func(context.Context) (*control.SwitchInfo, error)

	Interval time.Duration // between two readings
	Count    int           // of intervals; 0: no limit
	Order    Order         // of the ports
	Filter   string        // what the names of the ports contain, in any case of letters
}
