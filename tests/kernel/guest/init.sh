# Process 1 of the guest, first half: run by busybox on the machine's root, mounted read-only.
# Builds the guest's file tree, makes it the root and goes on with command.sh.
# $1 is the control folder, which is the machine's own and read-write in the guest.
PATH=/bin:/sbin
control=$1
bb=$control/busybox
. "$control/settings"           # share, modules

die() {
    $bb echo "guest: $*" >/dev/console
    $bb poweroff -f
    $bb sleep 30
}

# An overlay: the machine's files below, a tmpfs above.
$bb insmod "$modules/kernel/fs/overlayfs/overlay.ko"
w=$control/w
$bb mount -t tmpfs -o mode=755,size=75% guest "$w" || die "cannot mount a tmpfs"
$bb mkdir -p "$w/upper" "$w/work" "$w/root"
$bb mount -t overlay -o "lowerdir=/,upperdir=$w/upper,workdir=$w/work" overlay "$w/root" ||
    die "cannot mount the overlay"
r=$w/root

# What is the guest's own.
$bb mount -t proc proc "$r/proc"
$bb mount -t sysfs sys "$r/sys"
$bb mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup" || die "cannot mount cgroup v2"
$bb mount -t devtmpfs dev "$r/dev" || die "cannot mount devtmpfs"
$bb mkdir -p "$r/dev/pts" "$r/dev/shm" "$r/dev/mqueue" "$r/dev/net"
$bb mount -t devpts -o mode=620,ptmxmode=666 devpts "$r/dev/pts"
$bb mount -t tmpfs -o mode=1777 shm "$r/dev/shm"
$bb mount -t mqueue mqueue "$r/dev/mqueue"
$bb ln -sfn /proc/self/fd "$r/dev/fd"
for i in 0:stdin 1:stdout 2:stderr; do $bb ln -sfn "fd/${i%:*}" "$r/dev/${i#*:}"; done
$bb mount -t tmpfs -o mode=755 run "$r/run"
$bb mkdir -p "$r/run/netns" "$r/run/lock" "$r/run/guest"
# Docker keeps its layers on an overlay of its own: it cannot be on this one.
$bb mkdir -p "$r/var/lib/docker"
$bb mount -t tmpfs -o mode=711,size=75% docker "$r/var/lib/docker"

# What it shares with the machine, read-write.
$bb mount -t hostfs -o "$control" control "$r/run/guest" || die "cannot mount $control"
$bb mkdir -p "$r$share"
$bb mount -t hostfs -o "$share" share "$r$share" || die "cannot mount $share"

# The modules of this kernel, and a modprobe that loads them on demand.
$bb mkdir -p "$r/lib/modules/${modules##*/}"
$bb mount -o bind "$modules" "$r/lib/modules/${modules##*/}" || die "no kernel modules"
[ -e "$r/usr/sbin/modprobe" ] || $bb cp "$bb" "$r/usr/sbin/modprobe"

# This kernel has no nf_tables for IPv4, but the older iptables.
for i in iptables ip6tables; do
    for s in "" -save -restore; do
        [ -e "$r/usr/sbin/$i-legacy$s" ] &&
            $bb ln -sfn "/usr/sbin/$i-legacy$s" "$r/etc/alternatives/$i$s"
    done
done

$bb mkdir "$r/.old"
cd "$r" && $bb pivot_root . .old || die "cannot change the root"
cd / && exec $bb chroot / /run/guest/busybox sh /run/guest/command.sh </dev/null >/dev/null 2>&1
