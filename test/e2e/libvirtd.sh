# Runs a libvirtd that has nothing to do with the machine's, if that has one:
#
#   unshare --mount --net --pid --fork --kill-child --mount-proc sh libvirtd.sh DIRECTORY
#
# It listens in DIRECTORY. Its configuration, its state and its domains are in the namespaces, and
# end with standard input. As on a Debian machine, QEMU is run by the user libvirt-qemu, who is in
# the groups kvm and libvirt-qemu.
#
# $BUILD is the folder that make lab fills, $KVM_GROUP the number of the group kvm.

set -eu
mount -t tmpfs none /run
# Without cgroups, since domains would go into those of the machine.
! mountpoint -q /sys/fs/cgroup || umount --recursive --lazy /sys/fs/cgroup
for dir in /etc /var; do
	mkdir -p "/run/layer$dir/upper" "/run/layer$dir/work"
	mount -t overlay none -o "lowerdir=$dir,upperdir=/run/layer$dir/upper,workdir=/run/layer$dir/work" "$dir"
done
sed -i '/^\(libvirt-qemu\|kvm\):/d' /etc/passwd /etc/group
echo "libvirt-qemu:x:64055:$KVM_GROUP::/var/lib/libvirt:/usr/sbin/nologin" >>/etc/passwd
printf 'kvm:x:%s:\nlibvirt-qemu:x:64055:libvirt-qemu\n' "$KVM_GROUP" >>/etc/group

# The lab where libvirt-qemu can read it, whoever may read the folders above it.
rm -rf /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mkdir -p /etc/libvirt /run/libvirt /var/cache/libvirt /var/log/libvirt /var/lib/libvirt/lab /var/lib/libvirt/guest
mount --bind "$BUILD/lab" /var/lib/libvirt/lab
mount --bind "$BUILD/guest" /var/lib/libvirt/guest
# libvirt asks QEMU for all that it has, and then QEMU loads all its modules. An unpacked QEMU also
# finds those of an installed one, and does not survive that.
for modules in "$BUILD"/lab/tree/qemu-10/usr/lib/*-linux-gnu/qemu; do
	installed=/${modules#"$BUILD/lab/tree/qemu-10/"}
	[ ! -d "$installed" ] || mount --bind "$modules" "$installed"
done
# Nobody tries KVM, which some machines have although guests hang under it.
if [ -e /dev/kvm ]; then
	touch /run/no-kvm
	chmod 0 /run/no-kvm
	mount --bind /run/no-kvm /dev/kvm
fi

cat >/etc/libvirt/libvirtd.conf <<END
unix_sock_dir = "$1"
unix_sock_group = "root"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:file:$1/libvirtd.log"
END
# No private /dev for each domain: a file hides /dev/kvm.
cat >/etc/libvirt/qemu.conf <<END
security_driver = "none"
stdio_handler = "file"
namespaces = []
END
libvirtd -f /etc/libvirt/libvirtd.conf -p /run/libvirtd.pid </dev/null >"$1/libvirtd.out" 2>&1 &
cat >/dev/null
