package control

import (
	"fmt"
	"net/http"
	"slices"

	"vswitchd/internal/nearest"
)

// The part of the API that is about statistics.

func (s *Server) getStats(r *http.Request) (any, error) {
	stats, err := s.stats(r)
	return List[PortStats](stats), err
}

func (s *Server) getPortStats(r *http.Request) (any, error) {
	stats, err := s.stats(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	i := slices.IndexFunc(stats, func(p PortStats) bool { return p.Name == name })
	if i < 0 {
		return nil, s.noPort(name)
	}
	return stats[i], nil
}

// stats returns the statistics of all ports, since when the request asks for.
func (s *Server) stats(r *http.Request) ([]PortStats, error) {
	q, err := query(r, "since")
	if err != nil {
		return nil, err
	}
	switch since := q.Get("since"); since {
	case "", "start":
		return s.backend.Stats(), nil
	case "reset":
		return s.backend.StatsSinceReset(), nil
	default:
		return nil, &statusError{http.StatusBadRequest,
			fmt.Sprintf("since is %q, must be start or reset%s", since, nearest.Hint(since, []string{"start", "reset"}))}
	}
}

// deleteStats resets the statistics of the port in the path, or of all ports.
func (s *Server) deleteStats(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if name != "" {
		if _, err := s.port(name); err != nil {
			return nil, err
		}
	}
	n, err := s.backend.ResetStats(name)
	return StatsReset{Ports: n}, err
}
