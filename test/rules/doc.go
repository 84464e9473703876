// Package rules has tests of rules for this repository that no compiler knows: which package may
// import which, that documents name what is there, and how wide lines of comments and prose are.
//
// They read the sources instead of asking the go command, so that go test knows which files a
// result hangs on and runs them again when one of these changes.
package rules
