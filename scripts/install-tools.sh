#!/bin/bash
# Installs the tools for building vswitchd: Go. With the argument race, it also installs gcc, which
# go test -race needs. Does nothing for tools that are already present.
#
# The machine's Go only has to be new enough to download the version that go.mod requires. If there
# is none, Debian's newest Go is unpacked in build/go.

. "$(dirname "$0")/lib.sh"

ABOUT='getting Go; takes about two minutes'

# Go 1.21 was the first version that can download other versions.
go_ok() {
	have go && [[ $(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

PATH=$BUILD/go/bin:$PATH:/usr/local/go/bin

if [ "${1:-}" = race ]; then
	have gcc && [ -e /usr/include/stdlib.h ] || apt_install gcc libc6-dev
fi

go_ok && exit 0

lock
[ -e /etc/ssl/certs/ca-certificates.crt ] || apt_install ca-certificates
private_apt
package=$(private_packages '^golang-1\.[0-9]+-go$' | sort -V | tail -n 1)
[ -n "$package" ] || die "Debian has no Go here; please install Go 1.21 or newer"
unpack "$BUILD/go-debian" "$package"
version=${package#golang-} version=${version%-go} # its folder is go-VERSION
mkdir -p "$BUILD/go/bin"
for tool in go gofmt; do
	ln -sf "../../go-debian/usr/lib/go-$version/bin/$tool" "$BUILD/go/bin/$tool"
done
hash -r
go_ok || die "the Go unpacked in build/go does not run"
