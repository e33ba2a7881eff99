#!/bin/bash
# A machine that updates itself: it boots, takes a new page beneath its running web server, takes a new base by a soft
# reboot, gets a release that is broken on purpose, and comes back from that by itself.
#
# usage: demo/machine.sh        as root; `make demo-machine` builds layerset first
#   LAYERSET=path    the program (default target/release/layerset)
#   DEMO_WORK=dir    where everything goes (default ./demo-machine-work; must not exist, or be of an earlier demo)
#   DEMO_KEEP=1      keep that directory
#
# The machine is emulated in software, so it needs no KVM. It reaches nothing but this host's loopback.
set -euo pipefail
# What is compared and parsed must not depend on who runs it.
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
layerset=$(realpath -- "${LAYERSET:-${CARGO_TARGET_DIR:-$top/target}/release/layerset}")
work=$(realpath -m -- "${DEMO_WORK:-demo-machine-work}")
mark=$work/.layerset-demo
machine= server= watcher=   # processes: the virtual machine, the remote, who fetches the page
page= shell=                # ports of loopback that lead to ports 80 and 22 of the machine

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '%s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
run() {
    printf '$ layerset %s\n' "${*//"$work/"/}"
    "$layerset" --repo "$work/repo" "$@"
}
# Runs a command on the machine.
on_machine() {
    printf 'machine# %s\n' "$*"
    quietly "$@"
}
quietly() {
    ssh -q -i key -p "$shell" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20 \
        -o BatchMode=yes root@127.0.0.1 "$@"
}
console() { tail -n 40 console.log >&2; }

# Starts the machine. QEMU chooses no ports by itself, and somebody else may have ours.
start_machine() {
    local tries=20 keys
    keys=$(base64 -w 0 <key.pub)
    while :; do
        page=$((20000 + RANDOM % 20000)) shell=$((page + 1))
        setsid qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -m 1536 -smp 2 \
            -nodefaults -no-user-config -display none -serial file:console.log -device virtio-rng-pci \
            -device i6300esb -action watchdog=reset \
            -drive file=machine.qcow2,if=virtio,format=qcow2,cache=unsafe \
            -smbios "type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root=$keys" \
            -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$page-:80,hostfwd=tcp:127.0.0.1:$shell-:22" \
            -device virtio-net-pci,netdev=n0,romfile= </dev/null >qemu.log 2>&1 &
        machine=$!
        sleep 1
        kill -0 "$machine" 2>/dev/null && break
        ((tries--)) || { cat qemu.log >&2; fail "the virtual machine does not start"; }
    done
    say "\$ qemu-system-x86_64 -m 1536 -drive file=machine.qcow2,if=virtio,format=qcow2 …"
}

fetch() { curl -q -fsS --noproxy '*' --max-time 5 "http://127.0.0.1:$page/" 2>/dev/null; }

# Waits until the page says $1, and shows it.
expect_page() {
    local found end=$((SECONDS + 900))
    until found=$(fetch) && grep -q "Hello from version $1<" <<<"$found"; do
        kill -0 "$machine" 2>/dev/null || { console; fail "the virtual machine ended"; }
        [ $SECONDS -lt $end ] || { console; fail "the page of version $1 did not come within 15 minutes"; }
        sleep 1
    done
    say "$found" | sed -n 's/^<\(h1\|p\)>\(.*\)<.*/  | \2/p'
}

# Waits until the machine has come up, all of it, and has been settled.
expect_settled() {
    local end=$((SECONDS + 900))
    until quietly 'test -e /run/layerset/settled && systemctl is-system-running --quiet' 2>/dev/null; do
        kill -0 "$machine" 2>/dev/null || { console; fail "the virtual machine ended"; }
        [ $SECONDS -lt $end ] || { console; fail "the machine did not come up within 15 minutes"; }
        sleep 2
    done
}

# Fetches the page again and again; `watched` says how long it was away at most.
watch() {
    (
        last=${EPOCHREALTIME/./}
        while :; do
            if fetch >/dev/null; then
                now=${EPOCHREALTIME/./}
                printf '%d\n' $(((now - last) / 1000)) >>gaps
                last=$now
            fi
            sleep 0.1
        done
    ) &
    watcher=$!
}
watched() {
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    watcher=
    say "The page was away for $(sort -n gaps | tail -n 1) ms at most."
    rm -f gaps
}

# Changes file $1 by the expression $2 of sed, and publishes the image.
release() {
    local before=$work/before
    cp "$1" "$before"
    sed -i "$2" "$1"
    if diff -u --unified=0 "$before" "$1" >change; then fail "'$2' changes nothing in $1"; fi
    grep '^[-+][^-+]' change
    run build recipes/web-machine.toml
    run publish web-machine --to ./remote --channel stable --root root.json --keys keys
}

cleanup() {
    local status=$? process
    trap - EXIT INT TERM
    for process in $watcher $server $machine; do
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    if [ -n "${DEMO_KEEP:-}" ]; then
        say "kept in $work"
    elif [ -e "$mark" ]; then
        rm -rf --one-file-system -- "$work"
    fi
    exit "$status"
}

[ "$(id -u)" = 0 ] || fail "run it as root: it installs packages into layers"
[ -x "$layerset" ] || fail "there is no '$layerset': run 'make demo-machine', or set LAYERSET"
for tool in curl mmdebstrap qemu-system-x86_64 ssh ssh-keygen; do
    command -v "$tool" >/dev/null || fail "'$tool' is missing: run 'make deps'"
done
if [ -e "$work" ] && [ ! -e "$mark" ]; then
    fail "'$work' exists and is not of an earlier demo: remove it, or set DEMO_WORK"
fi
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf --one-file-system -- "$work"
mkdir -p "$work"
touch "$mark"
cp -a "$top/layers" "$top/recipes" "$work/"
cd "$work"
install -D --strip "$layerset" layers/layerset/files/usr/bin/layerset
ssh-keygen -q -t ed25519 -N '' -C demo -f key
# The layer lets nobody in as root. Here, whoever has the key of this demo is.
sed -i 's/^PermitRootLogin no$/PermitRootLogin prohibit-password/' layers/server/files/etc/ssh/sshd_config.d/50-layerset.conf
SECONDS=0
say "Working in $work"

heading "Build the machine: a base, a kernel, layerset itself, a server, a page"
run init
run lock recipes/web-machine.toml
run build recipes/web-machine.toml
run export disk web-machine -o machine.qcow2

heading "Publish it, signed, for all machines that follow the channel"
run trust init ./remote --root root.json --keys keys
run publish web-machine --to ./remote --channel stable --root root.json --keys keys
"$layerset" --repo "$work/repo" serve ./remote --listen 127.0.0.1:0 >served 2>serve.log &
server=$!
until [ -s served ]; do kill -0 "$server" || fail "the remote cannot be served: $(cat serve.log)"; sleep 0.1; done
remote=http://10.0.2.2:$(sed 's|/$||; s|.*:||' served)

heading "Boot it"
start_machine
expect_page 1
expect_settled
quietly 'mkdir -p /etc/layerset && cat >/etc/layerset/root.json' <root.json
quietly 'cat >/etc/layerset/trust.toml' <<TOML
[[remote]]
name = "main"
location = "$remote"
root = "root.json"
channels = ["images/web-machine/*"]
TOML
on_machine layerset deploy --channel web-machine/stable
on_machine layerset status

heading "A new page: it comes beneath the running web server"
nginx=$(quietly systemctl show -P MainPID nginx)
release layers/hello/files/usr/share/hello/page.html 's/version 1/version 2/'
on_machine layerset update --dry-run
watch
on_machine layerset update --when now
expect_page 2
watched
if [ "$(quietly systemctl show -P MainPID nginx)" = "$nginx" ]; then
    say "nginx is the same process as before."
else
    fail "nginx was restarted"
fi

heading "A new base: all services start anew, the kernel stays"
release layers/server/setup.sh '$a echo "Made of layers." >/etc/issue.net && printf "made of layers\\n" >/layers'
on_machine layerset update --dry-run
watch
on_machine layerset update --when now || true
sleep 5
expect_settled
watched
on_machine layerset status

heading "A release that is broken on purpose: nobody touches the machine"
release layers/hello/files/usr/lib/hello/hello "s/\"ok\\\\n\"/\"not well\\\\n\"/"
on_machine layerset update --when now || true
sleep 5
expect_settled
expect_page 2
on_machine layerset status
on_machine layerset update

heading "What happened"
on_machine layerset history

heading "Done in $SECONDS s"
