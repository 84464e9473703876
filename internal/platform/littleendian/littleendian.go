// Package littleendian is empty for machines that are little-endian and have 64-bit words, and does
// not compile for any other. Package virtqueue imports it for that alone: the package maps
// structures of the virtio specification, which are little-endian, as Go values, and would compile
// for a big-endian machine and misread every ring.
package littleendian
