package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"vswitchd/internal/nearest"
)

// The part of the API that is about filters and sets.

func (s *Server) getFilters(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return List[Filter](s.backend.Filters()), nil
}

func (s *Server) getFilter(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	name, names := r.PathValue("name"), []string(nil)
	for _, f := range s.backend.Filters() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return nil, fmt.Errorf("%w: %q%s", ErrNoFilter, name, nearest.Hint(name, names))
}

func (s *Server) getSets(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return List[Set](s.backend.Sets()), nil
}

func (s *Server) getSet(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	for _, set := range s.backend.Sets() {
		if set.Name == name {
			return set, nil
		}
	}
	return nil, s.noSet(name)
}

// noSet returns the error about a set that is not there.
func (s *Server) noSet(name string) error {
	var names []string
	for _, set := range s.backend.Sets() {
		names = append(names, set.Name)
	}
	return fmt.Errorf("%w: %q%s", ErrNoSet, name, nearest.Hint(name, names))
}

func (s *Server) putSet(r *http.Request) (any, error) {
	var e SetEntries
	if err := body(r, &e); err != nil {
		return nil, err
	}
	return s.changeSet(r, SetChange{Replace: &e})
}

func (s *Server) patchSet(r *http.Request) (any, error) {
	var c SetChange
	if err := body(r, &c); err != nil {
		return nil, err
	}
	return s.changeSet(r, c)
}

func (s *Server) changeSet(r *http.Request, c SetChange) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	set, err := s.backend.ChangeSet(name, c)
	switch {
	case err == nil:
		return set, nil
	case errors.Is(err, ErrNoSet):
		return nil, s.noSet(name)
	case errors.Is(err, ErrMalformed):
		return nil, err
	}
	return nil, &refusal{"change refused, nothing has changed", splitLines(err.Error())}
}

// maxBody limits the size of a request's body, in bytes, and maxFile that of one with a file.
const (
	maxBody = 4 << 20
	maxFile = 20 << 20
)

// body decodes the body of a request. Unknown fields are refused: if they were ignored, a misspelt
// field would empty a set.
func body(r *http.Request, v any) error { return limitedBody(r, v, maxBody) }

// limitedBody is body with another limit.
func limitedBody(r *http.Request, v any, most int64) error {
	d := json.NewDecoder(io.LimitReader(r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &statusError{http.StatusBadRequest, "the body is not as it should be: " + err.Error()}
	}
	if _, err := d.Token(); err != io.EOF {
		return &statusError{http.StatusBadRequest, "the body is more than one JSON value, or too long"}
	}
	return nil
}
