package virtqueue

// What this package needs of the machine, and says so if that is missing.
import (
	_ "vswitchd/internal/platform/linux"        // eventfds, and memory that another process truncates
	_ "vswitchd/internal/platform/littleendian" // rings are mapped as they are
)
