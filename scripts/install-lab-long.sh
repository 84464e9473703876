#!/bin/bash
# Installs the software that make e2e-long needs in addition to that of install-lab.sh: guests of
# other architectures, and network boot. Does nothing for software that is already present.
#
#   build/lab/qemu-aarch64, build/lab/qemu-s390x    run QEMU 10 or newer for those CPUs
#   build/kernel-arm64, build/kernel-s390x          a Debian kernel for each, unpacked
#   build/lab/tree/busybox-arm64, -s390x            a static busybox for each
#   build/lab/tree/netboot                          UEFI firmware and iPXE, unpacked
#   build/lab/chromium                              a browser without a window, for the status page
#   build/lab/tshark                                reads captures as Wireshark does
#   build/lab/tree/debian                           a Debian system with systemd, to boot in namespaces,
#                                                   with QEMU in the cache of its apt
#
# It also installs the tools that build and check a Debian package, and socat for the examples.

. "$(dirname "$0")/lib.sh"

ABOUT='getting what the long tests lack on this machine; all of it takes five to ten minutes'

# unpack_guest ARCHITECTURE KERNEL: unpacks the files from which test/guest/build-image makes a
# guest, from Debian's newest packages for the architecture.
unpack_guest() {
	local architecture=$1 kernel=$2 package
	compgen -G "$BUILD/kernel-$architecture/boot/vmlinuz-*" >/dev/null && [ -e "$LAB/tree/busybox-$architecture" ] && return
	lock
	private_apt "$architecture"
	package=$(private_depends "$NEWEST" "$kernel" '^linux-image-[0-9]')
	[ -n "$package" ] || die "Debian has no $kernel here"
	unpack_only "$LAB/tree/busybox-$architecture" busybox-static
	# Newer versions have the image and the modules in separate packages.
	unpack_only "$BUILD/kernel-$architecture" "$package" $(private_depends "$NEWEST" "$package" '^linux-(binary|modules)-[0-9]')
	[ -e "$BUILD/kernel-$architecture/lib/modules" ] || ln -s usr/lib "$BUILD/kernel-$architecture/lib"
	private_apt
}

# unpack_netboot: unpacks UEFI firmware, and iPXE as a UEFI program. QEMU itself contains iPXE for
# BIOS.
unpack_netboot() {
	[ ! -e "$LAB/tree/netboot" ] || return 0
	lock
	private_apt
	unpack_only "$LAB/tree/netboot" ovmf ipxe
}

# bootstrap_debian: makes a Debian system of the machine's release.
bootstrap_debian() {
	[ -d "$LAB/tree/debian" ] && return
	lock
	have debootstrap || apt_install debootstrap
	local suite mirror log=$BUILD/debootstrap.log
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
	mirror=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
		awk -v suite="$suite" '$1 == suite && $2 == "main" && $3 == "Packages" && !seen { seen = 1; print $4 }')
	say "making a Debian system in build/lab/tree/debian, which takes a minute or two"
	rm -rf "$LAB/tree/debian.tmp"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,procps,man-db "$suite" "$LAB/tree/debian.tmp" "$mirror" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "debootstrap failed"; }
	mv "$LAB/tree/debian.tmp" "$LAB/tree/debian"
}

# link_chromium: the browser with what it needs of libraries, and one family of fonts.
link_chromium() {
	local run=$LAB/chromium tree=$LAB/tree/chromium
	chromium_runs "$run" && return
	lock
	rm -f "$run"
	private_apt
	unpack "$tree" chromium-headless-shell fonts-dejavu-core
	cat >"$tree/fonts.conf" <<-'EOF'
		<?xml version="1.0"?>
		<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
		<fontconfig>
			<dir prefix="relative">usr/share/fonts</dir>
			<cachedir prefix="xdg">fontconfig</cachedir>
		</fontconfig>
	EOF
	wrap chromium env 'FONTCONFIG_FILE="$tree/fonts.conf"' \
		'LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$(echo "$tree"/usr/lib/*-linux-gnu/pulseaudio)"' \
		'"$tree/usr/lib/chromium/chromium-headless-shell"'
	chromium_runs "$run" || die "the unpacked Chromium does not run: $("$run" --version 2>&1)"
}

# link_tshark: Wireshark without a window, with its data.
link_tshark() {
	local run=$LAB/tshark tree=$LAB/tree/tshark
	tshark_runs "$run" && return
	lock
	rm -f "$run"
	private_apt
	unpack "$tree" tshark
	wrap tshark env '"WIRESHARK_DATA_DIR=$tree/usr/share/wireshark"' '"$tree/usr/bin/tshark"'
	tshark_runs "$run" || die "the unpacked tshark does not run: $("$run" --version 2>&1)"
}

tshark_runs() { [[ $("$1" --version 2>/dev/null) == *TShark* ]]; }

chromium_runs() { [[ $("$1" --version 2>/dev/null) == *Chrom* ]]; }

# fetch_debian_qemu: has the apt of the Debian system download QEMU. The system has no network when
# it runs.
fetch_debian_qemu() {
	local root=$LAB/tree/debian log=$BUILD/debian-apt.log
	compgen -G "$root/var/cache/apt/archives/qemu-system-x86_*.deb" >/dev/null && return
	lock
	say "downloading QEMU for the system in build/lab/tree/debian"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	{
		chroot "$root" apt-get update -q &&
			chroot "$root" apt-get install -q -y --no-install-recommends --download-only qemu-system-x86
	} >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "cannot download QEMU"; }
}

install_commands() {
	local absent=()
	have socat || absent+=(socat)
	have dh || absent+=(debhelper)
	have dpkg-buildpackage || absent+=(dpkg-dev)
	have lintian || absent+=(lintian)
	have systemd-analyze || absent+=(systemd)
	[ ${#absent[@]} = 0 ] || apt_install "${absent[@]}"
}

mkdir -p "$LAB/tree"
install_commands
bootstrap_debian
fetch_debian_qemu
link_chromium
link_tshark
link_qemu qemu-aarch64 aarch64 qemu-system-arm '1[0-9]\.|[2-9][0-9]\.' || die "no QEMU 10 or newer for aarch64 in Debian's sources"
link_qemu qemu-s390x s390x qemu-system-s390x '1[0-9]\.|[2-9][0-9]\.' || die "no QEMU 10 or newer for s390x in Debian's sources"
unpack_guest arm64 linux-image-cloud-arm64
unpack_guest s390x linux-image-s390x
unpack_netboot
