//go:build race

package virtqueue_test

// looks is smaller under the race detector, which makes them many times slower, and other code of
// the loops than the one that matters.
const looks = 100_000
