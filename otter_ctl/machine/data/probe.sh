# Says what this machine is, a line KEY=VALUE each. Changes nothing.
say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"; }
first() { head -n 1 2>/dev/null; }
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin; export PATH
say user "$(id -un)"
say uid "$(id -u)"
say groups "$(id -Gn)"
say hostname "$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)"
say system "$(uname -s)"
say arch "$(uname -m)"
say bits "$(getconf LONG_BIT 2>/dev/null)" # of its programs: their kernel may have 64 all the same
say kernel "$(uname -r)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
[ -r /etc/os-release ] && say os "$(. /etc/os-release; echo "$ID ${VERSION_ID:-}")"
say cpus "$(nproc 2>/dev/null)"
say memory_kib "$(awk '/^MemTotal/ {print $2}' /proc/meminfo)"
for there in /opt/otter /opt /; do [ -d $there ] && break; done
say free_kib "$(df -Pk $there 2>/dev/null | awk 'NR == 2 {print $4}')"
[ -d /run/systemd/system ] && say systemd yes
if [ "$(id -u)" = 0 ]; then say root root
elif command -v sudo >/dev/null; then if sudo -k -n true 2>/dev/null; then say root sudo; else say root password; fi
else say root none; fi
for python in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3 /opt/python*/bin/python3 /opt/otter/python/*/bin/python3.1[0-9]; do
    path=$(command -v "$python" 2>/dev/null) || continue
    say python "$path $("$path" -c 'import sys, sysconfig, importlib.util as u
print("%d.%d.%d" % sys.version_info[:3], sysconfig.get_platform(), "venv" if u.find_spec("venv") else "-")' 2>/dev/null)"
done
say tun "$([ -c /dev/net/tun ] && echo yes)"
say cgroup "$([ -f /sys/fs/cgroup/cgroup.controllers ] && echo v2 || { [ -d /sys/fs/cgroup/cpu ] && echo v1; })"
say controllers "$(cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || awk '$4 == 1 {print $1}' /proc/cgroups 2>/dev/null)"
have() { # NAME MODULE COMMAND…: tried in a namespace of its own where that may be, else looked up
    name=$1; module=$2; shift 2
    if [ "$(id -u)" = 0 ] && command -v unshare >/dev/null && command -v "$1" >/dev/null; then
        if unshare -n "$@" >/dev/null 2>&1; then say "$name" yes; else say "$name" no; fi
    elif grep -qs "^$module " /proc/modules || modprobe -n "$module" 2>/dev/null; then say "$name" yes
    else say "$name" unknown; fi
}
have vxlan vxlan ip link add v type vxlan id 1 dstport 4789 dev lo
have htb sch_htb tc qdisc add dev lo root handle 1: htb
have netem sch_netem tc qdisc add dev lo root netem delay 1ms
have nftables nf_tables nft add table ip otter
for tool in ip tc nft docker unshare apt-get; do command -v $tool >/dev/null && say tool "$tool"; done
if command -v docker >/dev/null; then
    say docker "$(docker version -f '{{.Server.Version}}' 2>&1 | tail -n 1)"
    docker info >/dev/null 2>&1 && say docker_usable yes
    say docker_arch "$(docker version -f '{{.Server.Arch}}' 2>/dev/null)"
    say container "$(docker inspect -f '{{index .Config.Labels "otter.release"}}' otter-agent 2>/dev/null)"
fi
[ -S /var/run/docker.sock ] && say docker_socket yes
say release "$(basename "$(readlink /opt/otter/current 2>/dev/null)" 2>/dev/null)"
say served "$(basename "$(readlink /opt/otter/served 2>/dev/null)" 2>/dev/null)"
{ [ -f /opt/otter/packages.before ] || grep -qs '^package ' /opt/otter/receipt; } && say installed yes
[ -S /run/otter/agent.sock ] && say socket yes
say accelerators "$(ls -d /dev/nvidia[0-9]* /dev/nvhost-gpu /dev/nvgpu/igpu[0-9]* /dev/dri/renderD* /dev/kfd 2>/dev/null)"
for wheel in /opt/otter/wheels/*.whl; do [ -f "$wheel" ] && say wheel "$(basename "$wheel")"; done
say end yes
