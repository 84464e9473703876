package virtqueue

// Requirements on the machine, which are reported at build time if they are not met.
import (
	_ "vswitchd/internal/platform/linux"        // eventfds, and memory that another process truncates
	_ "vswitchd/internal/platform/littleendian" // rings are mapped as they are
)
