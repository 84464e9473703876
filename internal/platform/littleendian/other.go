//go:build !(amd64 || arm64 || loong64 || mips64le || ppc64le || riscv64)

package littleendian

const _ int = "vswitchd needs a little-endian 64-bit machine, such as GOARCH=amd64"
