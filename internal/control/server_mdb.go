package control

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// Requests about the multicast database.

func (s *Server) getMDB(r *http.Request) (any, error) {
	vlan, err := onlyVLAN(r)
	if err != nil {
		return nil, err
	}
	return s.backend.MDB(vlan), nil
}

func (s *Server) postMDB(r *http.Request) (any, error) { return s.changeMember(r, s.backend.AddMember) }

func (s *Server) deleteMDB(r *http.Request) (any, error) {
	return s.changeMember(r, s.backend.DeleteMember)
}

func (s *Server) changeMember(r *http.Request, do func(Member) (MDBEntry, error)) (any, error) {
	q, err := query(r, "group", "source", "port", "vlan")
	if err != nil {
		return nil, err
	}
	m, err := memberOf(q)
	if err != nil {
		return nil, err
	}
	if _, err := s.port(m.Port); err != nil {
		return nil, err
	}
	e, err := do(m)
	return e, refused(err)
}

// memberOf returns the static member that a query describes.
func memberOf(q url.Values) (m Member, err error) {
	if m.Group, err = addressOf(q, "group"); err != nil {
		return m, err
	}
	if q.Has("source") {
		if m.Source, err = addressOf(q, "source"); err != nil {
			return m, err
		}
	}
	if m.Port = q.Get("port"); m.Port == "" {
		return m, &statusError{http.StatusBadRequest, "port is missing"}
	}
	m.VLAN, err = vlanOf(q)
	return m, err
}

func addressOf(q url.Values, name string) (netip.Addr, error) {
	a, err := netip.ParseAddr(q.Get(name))
	if err != nil {
		return a, &statusError{http.StatusBadRequest, fmt.Sprintf("%s is %q, must be an IP address", name, q.Get(name))}
	}
	return a, nil
}
