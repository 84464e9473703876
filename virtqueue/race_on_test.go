//go:build race

package virtqueue_test

// looks is smaller under the race detector, which slows the loops down many times, mostly in code
// that is not under test.
const looks = 100_000
