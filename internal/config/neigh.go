package config

import (
	"net/netip"
	"slices"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// A Neighbor is a configured neighbor. If the file does not name a VLAN, it is in every VLAN.
type Neighbor struct {
	vswitch.Neighbor

	where where
}

// Errorf returns an error about a key of this neighbor, or about the neighbor itself if key is
// empty.
func (n *Neighbor) Errorf(key, format string, args ...any) Error {
	return n.where.errorf(key, format, args...)
}

func (n *Neighbor) keys() []key.Key {
	return []key.Key{
		{Name: "ip", Value: key.IP(&n.IP, vswitch.CheckNeighborIP), Required: true, Example: `"10.0.0.1"`, Doc: "the IP address"},
		{Name: "mac", Value: key.MAC(&n.MAC), Required: true, Example: `"52:54:00:00:00:01"`, Doc: "the MAC address that has it"},
		{Name: "vlan", Value: key.Int(&n.VLAN, 0, 4095), Default: "all", Doc: "the VLAN in which it is"},
		{Name: "router", Value: key.Bool(&n.Router), Doc: "for IPv6: whether the station is a router"},
	}
}

func (p *parser) neighbor(t *table) {
	var n Neighbor
	n.where = t.where()
	t.read(n.keys(), nil)
	n.All = !n.where.has("vlan")
	p.cfg.Neighbors = append(p.cfg.Neighbors, n)
}

// checkNeighbors reports missing keys and addresses that are configured twice, and warns if no port
// uses the neighbors.
func (p *parser) checkNeighbors() {
	type place struct {
		ip   netip.Addr
		vlan uint16
		all  bool
	}
	first := map[place]*Neighbor{}
	for i := range p.cfg.Neighbors {
		n := &p.cfg.Neighbors[i]
		for _, k := range n.keys() {
			if k.Required && !n.where.has(k.Name) {
				p.errs = append(p.errs, n.Errorf(k.Name, "is missing"))
			}
		}
		if n.Router && n.IP.Is4() {
			p.errs = append(p.errs, n.Errorf("router", "belongs to IPv6 addresses, %v is none", n.IP))
		}
		at := place{n.IP, n.VLAN, n.All}
		if o := first[at]; o != nil && n.IP.IsValid() {
			p.errs = append(p.errs, n.Errorf("ip", "%v is there already, in %s", n.IP, o.where.path))
			continue
		}
		first[at] = n
	}
	uses := func(port *Port) bool { return port.NeighSuppress }
	if len(p.cfg.Neighbors) > 0 && !slices.ContainsFunc(p.cfg.Ports, uses) {
		p.cfg.Warnings = append(p.cfg.Warnings, p.cfg.Neighbors[0].Errorf("", "has no effect: no port has neigh_suppress"))
	}
}
