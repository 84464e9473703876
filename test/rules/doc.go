// Package rules tests rules of this repository that no compiler checks: which package may import
// which, that documents refer only to existing files, and the maximum width of comments and prose.
//
// The tests read the sources directly instead of running the go command, so that go test records
// the files that a result depends on and invalidates the cached result when one of them changes.
package rules
