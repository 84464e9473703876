package control

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"vswitchd/internal/tomldoc"
)

// The part of the API that is about the configuration.

func (s *Server) getConfig(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return s.config.Config(), nil
}

func (s *Server) patchConfig(r *http.Request) (any, error) {
	q, err := query(r, "dry_run")
	if err != nil {
		return nil, err
	}
	try := q.Get("dry_run") == "true"
	if q.Has("dry_run") && !try && q.Get("dry_run") != "false" {
		return nil, &statusError{http.StatusBadRequest, fmt.Sprintf("dry_run is %q, must be true or false", q.Get("dry_run"))}
	}
	revision, err := ifMatch(r)
	if err != nil {
		return nil, err
	}
	var patch tomldoc.Patch
	if err := body(r, &patch); err != nil {
		return nil, err
	}
	change, err := s.config.Edit(patch, revision, try)
	if errors.Is(err, ErrRevision) {
		return nil, &statusError{http.StatusPreconditionFailed, err.Error()}
	}
	return changed(change, err, "change refused, nothing has changed")
}

// ifMatch returns the revision in the header If-Match, "" if any will do.
func ifMatch(r *http.Request) (string, error) {
	tag := r.Header.Get("If-Match")
	if tag == "" || tag == "*" {
		return "", nil
	}
	revision, begins := strings.CutPrefix(tag, `"`)
	revision, ends := strings.CutSuffix(revision, `"`)
	if !begins || !ends || revision == "" {
		return "", &statusError{http.StatusBadRequest, "If-Match is not one revision in quotes, or *"}
	}
	return revision, nil
}

// ConfigText is the body of POST /v1/config/check.
type ConfigText struct {
	Text string `json:"text"`
}

func (s *Server) postConfigCheck(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	var b ConfigText
	if err := limitedBody(r, &b, maxFile); err != nil {
		return nil, err
	}
	change, err := s.config.TryFile(b.Text)
	return changed(change, err, "a reload with this file would be refused")
}

func (s *Server) postReload(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	change, err := s.config.Reload()
	return changed(change, err, "reload refused, nothing has changed")
}

// changed returns the answer to a change of the configuration.
func changed(c ConfigChange, err error, refused string) (any, error) {
	if err != nil {
		return nil, &refusal{refused, splitLines(err.Error())}
	}
	return c, nil
}
