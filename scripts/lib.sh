# Functions shared by the scripts in this folder. Bash scripts source this file.
# shellcheck shell=bash
#
# All scripts follow these rules: a tool that is present is used as it is; a missing Debian package
# is installed from the machine's own package sources; software that must be newer than the
# machine's release is downloaded with a private apt (see private_apt below) and unpacked in build/,
# never installed.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
APT=$BUILD/apt
LAB=$BUILD/lab
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 1; }

# during TEXT COMMAND ARGUMENT...: runs a command that may take long, and says so: on a terminal in
# one line that counts the seconds and is replaced, elsewhere in one line. A function that is run
# this way does not end at the first error, whatever set -e says.
during() {
	local text=$1 began=$SECONDS watcher='' code=0
	shift
	if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then
		count_seconds "$text" 9>&- &
		watcher=$!
	else
		say "$text"
	fi
	"$@" || code=$?
	if [ -n "$watcher" ]; then
		kill $watcher
		wait $watcher 2>/dev/null || true
		printf '\r\033[K' >&2
		say "$text: $((SECONDS - began)) s"
	fi
	return $code
}

# count_seconds TEXT: counts seconds behind a text until it is killed, or this script has ended.
count_seconds() {
	local began=$SECONDS width
	width=$(tput cols 2>/dev/null || echo 80)
	while kill -0 $$ 2>/dev/null; do
		printf '\r\033[K%s' "$(say "$1" 2>&1 | cut -c "1-$((width - 10))") $((SECONDS - began)) s" >&2
		sleep 1
	done
}

# announce TEXT: says once what this script is about to do, and how long that takes.
announce() {
	[ -z "${ANNOUNCED:-}" ] || return 0
	ANNOUNCED=yes
	say "$ABOUT"
}
# What announce says.
ABOUT='getting what is missing'

have() { command -v "$1" >/dev/null 2>&1; }

# Go treats a folder with a go.mod as another module, so that ./... excludes the files unpacked in
# build/.
mkdir -p "$BUILD"
[ -e "$BUILD/go.mod" ] || echo 'module build' >"$BUILD/go.mod"

# lock prevents two runs in one checkout from unpacking into the same folders at the same time.
lock() {
	exec 9>"$BUILD/.lock"
	flock 9
}

# apt_install PACKAGE...: installs packages from the machine's own sources, as root. The package
# lists are updated only if the packages cannot be installed without an update.
apt_install() {
	[ "$(id -u)" = 0 ] || die "must be root to install: $*"
	have apt-get || die "not a Debian machine; please install the equivalent of: $*"
	announce
	during "installing $*" install_packages "$@"
}

# install_packages PACKAGE...: is the part of apt_install that takes long.
install_packages() {
	local log=$BUILD/apt-install.log opts=(-y -q --no-install-recommends -o DPkg::Lock::Timeout=300)
	apt-get install "${opts[@]}" "$@" >"$log" 2>&1 && return
	apt-get update -q >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed"; }
	apt-get install "${opts[@]}" "$@" >"$log" 2>&1 || { cat "$log" >&2; die "cannot install $*"; }
}

# private_apt sets up a separate apt below build/apt, whose only source is the entry from which
# this machine gets its Debian release, with the release's backports added. It has its own lists,
# cache and preferences, and runs none of the machine's hooks, so nothing outside build/ changes.
# Afterwards $SUITE is the release and $NEWEST the suite to prefer: the backports where they exist.
#
# private_apt ARCHITECTURE is the same for packages of another architecture, such as arm64, below
# build/apt-arm64. None of the machine's packages counts as installed then.
private_apt() {
	local architecture=${1:-} foreign=
	[ "$APT" != "$BUILD/apt${architecture:+-$architecture}" ] || [ -z "${NEWEST:-}" ] || return 0
	APT=$BUILD/apt${architecture:+-$architecture}
	[ -z "$architecture" ] || foreign="
		APT::Architecture \"$architecture\";
		APT::Architectures { \"$architecture\"; };
		Dir::State::status \"/dev/null\";"
	have apt-get || die "not a Debian machine: cannot download packages"
	SUITE=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
	NEWEST=$SUITE

	local entry file n
	entry=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT) $(CREATED_BY) $(SOURCESENTRY)' |
		awk -v suite="$SUITE" '$1 == suite && $2 == "main" && $3 == "Packages" && !seen { seen = 1; print $4 }')
	[ -n "$entry" ] || die "no apt source on this machine has the suite $SUITE"
	file=${entry%:*} n=${entry##*:}

	mkdir -p "$APT/lists/partial" "$APT/cache"
	cat >"$APT/apt.conf" <<-EOF
		#clear APT::Update;
		#clear DPkg::Pre-Install-Pkgs;
		#clear DPkg::Post-Invoke;
		#clear Acquire::IndexTargets::deb::DEP-11;
		#clear Acquire::IndexTargets::deb::DEP-11-icons;
		#clear APT::Architectures;$foreign
		Acquire::Languages "none";
		APT::Sandbox::User "root";
		APT::Get::List-Cleanup "false";
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$APT/sources.list.d";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::State::Lists "$APT/lists";
		Dir::Cache "$APT/cache";
		Dir::Cache::pkgcache "pkgcache.bin";
		Dir::Cache::srcpkgcache "srcpkgcache.bin";
		Debug::NoLocking "true";
	EOF

	announce
	private_sources "$file" "$n" "$SUITE $SUITE-backports"
	if during "reading Debian's lists of packages" private_update; then
		NEWEST=$SUITE-backports
		return
	fi
	say "no backports for $SUITE here, using the release alone"
	private_sources "$file" "$n" "$SUITE"
	private_update || { cat "$APT/update.log" >&2; die "apt-get update failed"; }
}

private_update() { apt-get -c "$APT/apt.conf" update -q --error-on=any >"$APT/update.log" 2>&1; }

# private_sources FILE N SUITES: copies entry N of a machine's source file (a stanza of a .sources
# file, a line of a .list file), keyring and options included, with the suites replaced.
private_sources() {
	local file=$1 n=$2 suites=$3 dir=$APT/sources.list.d
	rm -rf "$dir"
	mkdir -p "$dir"
	case $file in
	*.sources)
		grep -v '^#' "$file" | awk -v RS= -v n="$n" 'NR == n' | awk '
			/^[^ \t]/ { skip = tolower($1) ~ /^(types|suites|enabled|architectures):/ } # a field goes on in indented lines
			!skip' >"$dir/private.sources"
		printf 'Types: deb\nSuites: %s\n' "$suites" >>"$dir/private.sources"
		;;
	*)
		# deb [options] uri suite component...
		local suite
		for suite in $suites; do
			sed -nE "${n}s/^(deb(-src)?)([[:space:]]+\[[^]]*\])?([[:space:]]+[^[:space:]]+)[[:space:]]+[^[:space:]]+(.*)/deb\3\4 $suite\5/p" "$file"
		done >"$dir/private.list"
		;;
	esac
}

# private_packages REGEXP: prints the names of the private apt's packages that match.
private_packages() { apt-cache -c "$APT/apt.conf" pkgnames | grep -E "$1"; }

# private_version PACKAGE REGEXP: prints the newest version of the package that matches, if any.
private_version() {
	apt-cache -c "$APT/apt.conf" madison "$1" | awk -F ' *[|] *' -v want="$2" '$2 ~ want && !seen++ { print $2 }'
}

# private_depends SUITE PACKAGE REGEXP: prints the matching names among the dependencies of the
# suite's version of the package.
private_depends() {
	apt-cache -c "$APT/apt.conf" -o "APT::Default-Release=$1" depends "$2" |
		awk -v want="$3" '$1 == "Depends:" && $2 ~ want { print $2 }'
}

# unpack_only DIR PACKAGE...: downloads and unpacks the packages into DIR, without their
# dependencies.
unpack_only() {
	local dir=$1 tmp=$1.tmp
	shift
	announce
	rm -rf "$tmp"
	mkdir -p "$tmp/deb"
	during "getting $* for ${dir#"$ROOT"/}" download "$tmp/deb" "$@" || { cat "$APT/download.log" >&2; die "cannot download $*"; }
	unpack_debs "$tmp" "$dir"
}

# download DIR PACKAGE...: downloads packages, without their dependencies, into DIR.
download() { (cd "$1" && apt-get -c "$APT/apt.conf" -q download "${@:2}") >"$APT/download.log" 2>&1; }

# unpack_debs TMP DIR: unpacks the files in TMP/deb into TMP, which then replaces DIR.
unpack_debs() {
	local deb
	for deb in "$1"/deb/*.deb; do
		dpkg-deb -x "$deb" "$1"
	done
	rm -rf "$1/deb" "$2"
	mv "$1" "$2"
}

# unpack DIR PACKAGE[=VERSION]...: downloads the packages and those of their dependencies that the
# machine lacks, and unpacks them all into DIR.
unpack() {
	local dir=$1 tmp=$1.tmp
	shift
	announce
	rm -rf "$tmp"
	mkdir -p "$tmp/deb/partial"
	during "getting $* for ${dir#"$ROOT"/}" download_all "$tmp/deb" "$@" || { cat "$APT/download.log" >&2; die "cannot download $*"; }
	unpack_debs "$tmp" "$dir"
}

# download_all DIR PACKAGE...: downloads packages, with those of their dependencies that the machine
# lacks, into DIR.
download_all() {
	apt-get -c "$APT/apt.conf" -o "Dir::Cache::archives=$1" -q -y --no-install-recommends --allow-downgrades --reinstall \
		-t "$NEWEST" --download-only install "${@:2}" >"$APT/download.log" 2>&1
}

# wrap_dpdk FILE TREE PROGRAM DRIVER...: makes FILE run a DPDK program of an unpacked tree with that
# tree's libraries and drivers. TREE is relative to FILE's folder, PROGRAM to the tree.
#
# The drivers are preloaded, because DPDK refuses plugins (-d) if any directory in their path is
# world-writable, such as /tmp. A DPDK that is installed on the machine has a folder of plugins, and
# every DPDK of that version loads all of them; a driver that is loaded twice aborts the program.
# Therefore the program runs in a mount namespace in which that folder is empty.
wrap_dpdk() {
	local file=$1 tree=$2 program=$3
	shift 3
	cat >"$file.tmp" <<-EOF
		#!/bin/sh
		tree=\$(dirname "\$(readlink -f "\$0")")/$tree
		libraries=\$(echo "\$tree"/usr/lib/*-linux-gnu):\$(echo "\$tree"/lib/*-linux-gnu)
		drivers=
		for driver in $*; do
			drivers="\$drivers \$(echo "\$tree"/usr/lib/*-linux-gnu/librte_\$driver.so.[0-9][0-9])"
		done
		set -- env "LD_LIBRARY_PATH=\$libraries" "LD_PRELOAD=\$drivers \$LD_PRELOAD" "\$tree/$program" "\$@"
		for plugins in /usr/lib/*-linux-gnu/dpdk; do
			[ ! -d "\$plugins" ] || exec unshare --mount sh -c 'mount -t tmpfs -o ro none "\$0" && exec "\$@"' "\$plugins" "\$@"
		done
		exec "\$@"
	EOF
	chmod +x "$file.tmp"
	mv "$file.tmp" "$file"
}

# wrap NAME COMMAND ARGUMENT...: makes build/lab/NAME run a command of an unpacked tree with that
# tree's libraries. The command and the arguments may use $tree.
wrap() {
	local name=$1
	shift
	cat >"$LAB/$name" <<-EOF
		#!/bin/sh
		tree=\$(dirname "\$(readlink -f "\$0")")/tree/$name
		export LD_LIBRARY_PATH="\$(echo "\$tree"/usr/lib/*-linux-gnu):\$(echo "\$tree"/lib/*-linux-gnu)"
		exec $* "\$@"
	EOF
	chmod +x "$LAB/$name"
}

qemu_version() { "$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

# link_qemu NAME CPU PACKAGE PATTERN: makes build/lab/NAME run a QEMU for a CPU whose version
# matches: the machine's own if it does, else one from the private apt. Fails when there is none.
link_qemu() {
	local name=$1 program=qemu-system-$2 package=$3 pattern=$4 run=$LAB/$1 version
	[[ $(qemu_version "$run") =~ ^($pattern) ]] && return
	lock
	rm -f "$run"
	if [[ $(qemu_version "$program") =~ ^($pattern) ]]; then
		ln -s "$(command -v "$program")" "$run"
		return
	fi
	private_apt
	version=$(private_version "$package" "^([0-9]+:)?($pattern)")
	[ -n "$version" ] || return 1
	unpack "$LAB/tree/$name" "$package=$version" "qemu-system-common=$version"
	wrap "$name" '$tree/usr/bin/'"$program" -L '$tree/usr/share/qemu' -L '$tree/usr/share/seabios' -L '$tree/usr/lib/ipxe/qemu'
	[[ $(qemu_version "$run") =~ ^($pattern) ]] || die "the unpacked QEMU $version does not run: $("$run" --version 2>&1)"
}
