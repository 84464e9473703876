//go:build !race

package virtqueue_test

// looks is the number of times that a test looks at memory that another goroutine changes: enough
// to catch a second load in nearly every run.
const looks = 4_000_000
