package control

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vswitchd/internal/nearest"
)

// Requests about the FDB.

func (s *Server) getFDB(r *http.Request) (any, error) {
	q, err := query(r, "port", "vlan")
	if err != nil {
		return nil, err
	}
	filter, err := s.fdbFilter(q)
	if err != nil {
		return nil, err
	}
	entries := s.backend.FDB(filter)
	slices.SortFunc(entries, func(a, b FDBEntry) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.MAC, b.MAC))
	})
	return List[FDBEntry](entries), nil
}

// fdbFilter returns the filter in the parameters port and vlan of a query.
func (s *Server) fdbFilter(q url.Values) (f FDBFilter, err error) {
	f.Port = q.Get("port")
	if f.Port != "" {
		if _, err := s.port(f.Port); err != nil {
			return f, err
		}
	}
	f.VLAN, err = vlanOf(q)
	return f, err
}

func (s *Server) postFDB(r *http.Request) (any, error) {
	q, err := query(r, "mac", "port", "vlan", "type")
	if err != nil {
		return nil, err
	}
	a := FDBAddition{Port: q.Get("port"), Type: cmp.Or(q.Get("type"), "static")}
	if a.MAC, err = parseMAC(q.Get("mac")); err != nil {
		return nil, err
	}
	if a.VLAN, err = vlanOf(q); err != nil {
		return nil, err
	}
	hole := a.Type == "blackhole"
	switch err := checkType(a.Type); {
	case err != nil:
		return nil, err
	case hole && a.Port != "":
		return nil, &statusError{http.StatusBadRequest, "a blackhole has no port"}
	case !hole && a.Port == "":
		return nil, &statusError{http.StatusBadRequest, "port is missing"}
	case !hole:
		if _, err := s.port(a.Port); err != nil {
			return nil, err
		}
	}
	e, err := s.backend.AddFDB(a)
	return e, refused(err)
}

func (s *Server) deleteFDBEntry(r *http.Request) (any, error) {
	q, err := query(r, "vlan")
	if err != nil {
		return nil, err
	}
	mac, err := parseMAC(r.PathValue("mac"))
	if err != nil {
		return nil, err
	}
	vlan, err := vlanOf(q)
	if err != nil {
		return nil, err
	}
	return FDBRemoved{1}, refused(s.backend.DeleteFDB(mac, vlan))
}

func (s *Server) deleteFDB(r *http.Request) (any, error) {
	q, err := query(r, "port", "vlan", "type")
	if err != nil {
		return nil, err
	}
	filter, err := s.fdbFilter(q)
	if err != nil {
		return nil, err
	}
	types := []string{"dynamic"}
	if t := q.Get("type"); t != "" {
		types = strings.Split(t, ",")
	}
	for _, t := range types {
		if err := checkType(t); err != nil {
			return nil, err
		}
	}
	n, err := s.backend.FlushFDB(filter, types)
	return FDBRemoved{n}, refused(err)
}

// parseMAC parses an address with colons or hyphens.
func parseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, &statusError{http.StatusBadRequest, fmt.Sprintf("%q is not a MAC address", s)}
	}
	return MAC(hw), nil
}

func checkType(t string) error {
	if slices.Contains(FDBTypes, t) {
		return nil
	}
	return &statusError{http.StatusBadRequest, fmt.Sprintf("type is %q, must be one of %s%s", t, strings.Join(FDBTypes, ", "), nearest.Hint(t, FDBTypes))}
}

// refused returns the error of a change that was refused, with the status that says so.
func refused(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoEntry) || errors.Is(err, ErrNoMember) || errors.Is(err, ErrMalformed) {
		return err
	}
	return &statusError{http.StatusConflict, err.Error()}
}
