// Package littleendian is empty for little-endian machines with 64-bit words and does not compile
// for any other. Package virtqueue imports it only for this check: virtqueue accesses the
// little-endian structures of the virtio specification directly as Go values. On a big-endian
// machine virtqueue would otherwise compile and misread every ring.
package littleendian
