package virtqueuetest

// Flags of a descriptor in a packed ring (virtio 1.2, section 2.8.1), besides those of both
// formats.
const (
	FlagAvail = 1 << 7
	FlagUsed  = 1 << 15
)

// Values of an event suppression structure of a packed ring (2.8.10). The place for EventDesc is in
// the lower 16 bits, its wrap counter in bit 15.
const (
	EventEnable  = 0 << 16
	EventDisable = 1 << 16
	EventDesc    = 2 << 16
)

// A PackedDesc is a descriptor of a packed ring.
type PackedDesc struct {
	Addr      uint64
	Len       uint32
	ID, Flags uint16
}

// SetPackedDesc writes the descriptor in place i of the ring.
func (d *Driver) SetPackedDesc(i int, desc PackedDesc) { d.packed.ring.store(i, desc) }

// PackedDesc reads the descriptor in place i of the ring.
func (d *Driver) PackedDesc(i int) PackedDesc { return d.packed.ring.load(i) }

// SetDriverEvent writes the driver event suppression structure.
func (d *Driver) SetDriverEvent(event uint32) { d.packed.ring.storeDriverEvent(event) }

// DeviceEvent reads the device event suppression structure.
func (d *Driver) DeviceEvent() uint32 { return d.packed.ring.loadDeviceEvent() }

// SetDeviceEvent writes the device event suppression structure, which is the device's.
func (d *Driver) SetDeviceEvent(event uint32) { d.packed.ring.storeDeviceEvent(event) }

// DriverEvent reads the driver event suppression structure.
func (d *Driver) DriverEvent() uint32 { return d.packed.ring.loadDriverEvent() }

// NextPlace returns the place at which the next descriptor is made available, with the wrap
// counter in bit 15.
func (d *Driver) NextPlace() uint16 { return d.packed.next.base() }

// UsedPlace returns the place at which the next used descriptor is looked for, with the wrap
// counter in bit 15.
func (d *Driver) UsedPlace() uint16 { return d.packed.used.base() }

// packed returns the descriptor in the packed format, without its link.
func (d Desc) packed() PackedDesc { return PackedDesc{Addr: d.Addr, Len: d.Len, Flags: d.Flags} }

// desc returns the descriptor as a Desc with the same 16 bytes in memory.
func (d PackedDesc) desc() Desc { return Desc{Addr: d.Addr, Len: d.Len, Flags: d.ID, Next: d.Flags} }

// Append appends the 16 bytes of the descriptor's format in memory.
func (d PackedDesc) Append(b []byte) []byte { return d.desc().Append(b) }
