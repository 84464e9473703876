package capture

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	vswitch "vswitchd/switch"
)

// A file is a capture as pcapng: an interface for each port, and with each frame its direction as
// epb_flags and what else is known of it as comments. Inbound is what the switch receives from the
// port.
type file struct {
	*pcapgo.NgWriter
	interfaces int // that have been written
	frame      []byte
	comments   [3]string
}

// newFile writes the beginning of a file.
func newFile(w io.Writer, c *Capture) (*file, error) {
	f := &file{}
	ports := c.byID()
	var err error
	f.NgWriter, err = pcapgo.NewNgWriterInterface(w, f.describe(c, ports[0]), pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Application: "vswitchd", OS: runtime.GOOS, Hardware: runtime.GOARCH},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the capture: %w", err)
	}
	f.interfaces = 1
	return f, f.announce(c, len(ports)-1)
}

func (f *file) describe(c *Capture, p *portCount) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name: p.name, LinkType: layers.LinkTypeEthernet, SnapLength: uint32(c.cfg.Snaplen), Filter: c.cfg.Text, OS: runtime.GOOS,
	}
}

// announce writes the interfaces up to a number.
func (f *file) announce(c *Capture, id int) error {
	if id < f.interfaces {
		return nil
	}
	for _, p := range c.byID()[f.interfaces : id+1] {
		if _, err := f.AddInterface(f.describe(c, p)); err != nil {
			return fmt.Errorf("writing the capture: %w", err)
		}
		f.interfaces++
	}
	return nil
}

// write writes a frame.
func (f *file) write(c *Capture, e *record) error {
	if err := f.announce(c, e.port.id); err != nil {
		return err
	}
	f.frame = c.ring.contents(f.frame[:0], e)
	info := gopacket.CaptureInfo{
		Timestamp: time.Unix(0, e.time), CaptureLength: len(f.frame), Length: int(e.length), InterfaceIndex: e.port.id,
	}
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if e.out {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	if err := f.WritePacketWithOptions(info, f.frame, pcapgo.NgPacketOptions{Flags: &flags, Comments: f.comment(e)}); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	return nil
}

// comment returns the comments about a frame.
func (f *file) comment(e *record) []string {
	list := f.comments[:0]
	if e.drop {
		list = append(list, dropComment(e))
	}
	if e.offload != (vswitch.Offload{}) {
		list = append(list, offloadComment(&e.offload))
	}
	if e.partial {
		list = append(list, "the rest of the frame could not be read from the guest's memory")
	}
	return list
}

// dropComment says why a frame is dropped.
func dropComment(e *record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "dropped: %s, stage %s", e.reason, e.stage)
	if e.rule != "" {
		fmt.Fprintf(&b, ", filter %s, rule %s", e.filter, e.rule)
	}
	if e.from != "" {
		fmt.Fprintf(&b, ", from %s", e.from)
	}
	return b.String()
}

var gsoNames = map[uint8]string{
	vswitch.GSOTCPv4: "tcpv4", vswitch.GSOUDP: "udp", vswitch.GSOTCPv6: "tcpv6", vswitch.GSOUDPL4: "udp_l4",
}

// offloadComment says what the frame's sender has left to be done, in the words of virtio-net's
// header.
func offloadComment(o *vswitch.Offload) string {
	var list []string
	if o.Flags&vswitch.HdrNeedsCsum != 0 {
		list = append(list, fmt.Sprintf("needs_csum start %d offset %d", o.CsumStart, o.CsumOffset))
	}
	if o.Flags&vswitch.HdrDataValid != 0 {
		list = append(list, "data_valid")
	}
	if o.GSOType != vswitch.GSONone {
		name := gsoNames[o.GSOType&^vswitch.GSOECN]
		if o.GSOType&vswitch.GSOECN != 0 {
			name += " ecn"
		}
		list = append(list, fmt.Sprintf("gso %s size %d headers %d", name, o.GSOSize, o.HdrLen))
	}
	return "virtio-net: " + strings.Join(list, ", ")
}

// statistics writes the end of a file: how many frames of each port there were, and how many of
// them were lost.
func (f *file) statistics(c *Capture) error {
	ports := c.byID()
	if err := f.announce(c, len(ports)-1); err != nil {
		return err
	}
	now := time.Now()
	for _, p := range ports {
		s := pcapgo.NgInterfaceStatistics{
			LastUpdate: now, StartTime: c.started, EndTime: now, PacketsReceived: p.received.Load(), PacketsDropped: p.lost.Load(),
		}
		if err := f.WriteInterfaceStats(p.id, s); err != nil {
			return fmt.Errorf("writing the capture: %w", err)
		}
	}
	return nil
}
