//go:build !race

package virtqueue_test

// looks is how often a test looks at what another goroutine changes: often enough to catch a second
// load in nearly every run.
const looks = 4_000_000
