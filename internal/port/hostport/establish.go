package hostport

import (
	"net"
	"net/netip"
	"slices"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
)

// A progress is what has been done to a port's interface, and how to take that back.
type progress struct {
	veth *veth
	undo []func() error
}

// takeBack undoes what has been done, the last first. What cannot be undone is logged.
func (p *progress) takeBack(log hclog.Logger) {
	for _, back := range slices.Backward(p.undo) {
		if err := back(); err != nil {
			log.Warn("taking a change of the interface back failed", "error", err)
		}
	}
}

// establish makes the interface of a port, or changes the one that is there: to all that will says,
// or, if was is not nil, where the two differ, so that a reload leaves alone what somebody has
// changed by hand. Addresses are only added. After an error, what has been done is to be taken
// back.
func (p *progress) establish(was, will *config.Port) error {
	v, err := find(will.Name)
	if err != nil && was != nil && alike(was, will) {
		return nil // renamed or moved by hand, which is no reason to refuse a reload about others
	}
	if err != nil {
		return err
	}
	made := v == nil
	if made {
		var mac net.HardwareAddr
		if len(will.MACs) > 0 {
			mac = will.MACs[0][:]
		}
		if v, err = newVeth(will.Name, of(will).MTU, mac); err != nil {
			return err
		}
		p.undo = append(p.undo, v.remove)
	}
	p.veth = v
	if made {
		was = nil
	} else if err := p.adjust(was, will); err != nil {
		return err
	}
	if was == nil {
		if err := v.seclude(); err != nil {
			return err
		}
		if err := v.setUp(); err != nil {
			return err
		}
	}
	return p.addAddresses(was, will)
}

// alike reports whether two configurations of a port want the same interface.
func alike(was, will *config.Port) bool {
	a, b := of(was), of(will)
	return a.MTU == b.MTU && slices.Equal(was.MACs, will.MACs) && slices.Equal(a.Addresses, b.Addresses)
}

// adjust gives an interface that was there its MTU and its MAC address.
func (p *progress) adjust(was, will *config.Port) error {
	v := p.veth
	if had, mtu := v.host.MTU, of(will).MTU; (was == nil || of(was).MTU != mtu) && (had != mtu || v.peer.MTU != mtu) {
		p.undo = append(p.undo, func() error { return v.setMTU(had) })
		if err := v.setMTU(mtu); err != nil {
			return err
		}
	}
	if had := v.mac(); len(will.MACs) > 0 && (was == nil || !slices.Equal(was.MACs, will.MACs)) && had != will.MACs[0] {
		p.undo = append(p.undo, func() error { return v.setMAC(had) })
		if err := v.setMAC(will.MACs[0]); err != nil {
			return err
		}
	}
	return nil
}

// addAddresses adds the addresses that will has and was has not.
func (p *progress) addAddresses(was, will *config.Port) error {
	for _, a := range of(will).Addresses {
		if was != nil && slices.Contains(of(was).Addresses, a) {
			continue
		}
		added, err := p.veth.addAddress(a)
		if err != nil {
			return err
		}
		if added {
			p.undo = append(p.undo, func() error { return p.veth.delAddress(a) })
		}
	}
	return nil
}

// dropAddresses removes the addresses that was has and will has not.
func (p *progress) dropAddresses(was, will *config.Port) error {
	old := slices.DeleteFunc(slices.Clone(of(was).Addresses), func(a netip.Prefix) bool { return slices.Contains(of(will).Addresses, a) })
	if len(old) == 0 {
		return nil
	}
	return p.veth.delAddresses(old)
}
