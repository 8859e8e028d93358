# Process 1 of the guest, second half: on the overlay. Runs the command and powers off.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
bb=/run/guest/busybox
cd /
$bb umount -l /.old && $bb rmdir /.old
$bb hostname guest
$bb echo /sbin/modprobe >/proc/sys/kernel/modprobe

# What a network emulator wants; other modules load when asked for.
for m in sch_netem sch_htb sch_tbf sch_ingress cls_u32 cls_bpf cls_matchall act_mirred \
    ifb veth bridge vxlan macvlan dummy tun; do
    $bb modprobe $m
done
[ -e /dev/net/tun ] || { $bb mkdir -p /dev/net; $bb mknod /dev/net/tun c 10 200; }
$bb ifconfig lo 127.0.0.1 netmask 255.0.0.0 up

# Two serial lines carry the command's output, unchanged, to the machine.
out=/dev/ttyS0
err=/dev/ttyS1
$bb stty -F $out raw -echo
$bb stty -F $err raw -echo
$bb mkfifo /run/guest.out /run/guest.err
$bb cat /run/guest.out >$out &
out_pid=$!
$bb cat /run/guest.err >$err &
err_pid=$!

$bb cut -d' ' -f1 /proc/uptime >/run/guest/booted
$bb setsid /bin/sh /run/guest/run </dev/null >/run/guest.out 2>/run/guest.err
status=$?

# What the command left in the background may hold the pipes: wait two seconds, not more.
i=0
while [ $i -lt 20 ] && { $bb kill -0 $out_pid || $bb kill -0 $err_pid; }; do
    $bb sleep 0.1
    i=$((i + 1))
done
# The status has to be on the machine before the guest goes.
$bb echo $status >/run/guest/status.new && $bb mv /run/guest/status.new /run/guest/status
$bb sync
$bb poweroff -f
$bb sleep 30
