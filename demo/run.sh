#!/bin/bash
# The demo: builds an image of three layers, deploys it, serves it, publishes it for another machine, updates one layer, rolls back,
# and boots the same layers from a disk.
#
# usage: demo/run.sh            as root; `make demo` builds layerset first
#   LAYERSET=path    the program (default target/release/layerset)
#   DEMO_WORK=dir    where everything goes (default ./demo-work; must not exist, or be of an earlier demo)
#   DEMO_KEEP=1      keep that directory, with the deployments mounted
#
# Nothing outside the work directory changes: the deployed nginx runs in its own network and process namespaces.
set -euo pipefail
# What is compared and parsed must not depend on who runs it.
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
layerset=$(realpath -- "${LAYERSET:-${CARGO_TARGET_DIR:-$top/target}/release/layerset}")
work=$(realpath -m -- "${DEMO_WORK:-demo-work}")
mark=$work/.layerset-demo
repo=$work/repo
target=$work/target
other=$work/other-target   # that of another machine, which has a repository of its own
sandbox=   # the process that holds the sandbox of the running server
server=    # the first process inside it
machine=   # the virtual machine
console=   # what it prints
page=      # where its front page is

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '%s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
run() {
    # Relative to the work directory, so that the line can be read, and typed there.
    printf '$ layerset --repo repo %s\n' "${*//"$work/"/}"
    "$layerset" --repo "$repo" "$@"
}
elsewhere() {
    printf '$ layerset --repo other %s\n' "${*//"$work/"/}"
    "$layerset" --repo "$work/other" "$@"
}

# Unmounts what an earlier demo, or this one, mounted.
deactivate() {
    local dir
    for dir in "$target" "$other"; do
        if [ -d "$dir" ]; then "$layerset" --repo "$repo" deactivate --target "$dir" >/dev/null || return 1; fi
    done
}

# Runs inside the deployed image, as its first process: hello and nginx, until it is told to stop.
# shellcheck disable=SC2016
serve='
    install -d -o hello -g www-data -m 0750 /run/hello
    setpriv --reuid hello --regid www-data --clear-groups --no-new-privs \
        /usr/lib/hello/hello /run/hello/hello.sock & hello=$!
    nginx -g "daemon off;" & nginx=$!
    trap "kill -TERM $hello; kill -QUIT $nginx" TERM
    wait $hello $nginx || true
    wait $hello $nginx || true
'

# Starts the server from the current deployment. It keeps to that deployment, whatever `current` names later.
start() {
    local root
    root=$(readlink -f "$target/layerset/current/root")
    rm -f "$work/sandbox.json"
    # The network namespace has a loopback device and nothing else.
    bwrap --unshare-net --unshare-pid --unshare-ipc --unshare-uts --as-pid-1 --die-with-parent \
        --ro-bind "$root" / --dev /dev --proc /proc --perms 1777 --tmpfs /tmp --tmpfs /run \
        --tmpfs /var/lib/nginx --tmpfs /var/log --dir /var/log/nginx \
        --clearenv --setenv PATH /usr/sbin:/usr/bin:/sbin:/bin --chdir / --info-fd 9 \
        /bin/sh -euc "$serve" 9>"$work/sandbox.json" </dev/null >"$work/server.log" 2>&1 &
    sandbox=$!
    local tries=600
    until fetch /health >/dev/null 2>&1; do
        kill -0 "$sandbox" 2>/dev/null || { cat "$work/server.log" >&2; fail "the server ended"; }
        ((tries--)) || { cat "$work/server.log" >&2; fail "the server did not answer"; }
        sleep 0.1
    done
}

stop() {
    [ -n "$sandbox" ] || return 0
    if [ -n "$server" ] && kill -0 "$sandbox" 2>/dev/null; then
        kill -TERM "$server" 2>/dev/null || true
    fi
    local tries=50
    while kill -0 "$sandbox" 2>/dev/null && ((tries--)); do sleep 0.1; done
    # With the sandbox's holder, everything inside ends.
    kill -KILL "$sandbox" 2>/dev/null || true
    wait "$sandbox" 2>/dev/null || true
    sandbox=
    server=
}

# Fetches a page from inside the server's network namespace.
fetch() {
    server=$(jq -er '."child-pid"' "$work/sandbox.json") || return 1
    nsenter --net="/proc/$server/ns/net" curl -q -fsS --noproxy '*' --max-time 5 "http://127.0.0.1$1"
}

# Fetches the front page and fails unless it is of version $1.
expect_version() {
    local page
    page=$(fetch /)
    say "$page" | sed -n 's/^<\(h1\|p\)>\(.*\)<.*/  | \2/p'
    grep -q "Hello from version $1<" <<<"$page" || fail "the page is not of version $1"
}

# Starts a virtual machine from a disk, in software: it needs no KVM. Its port 80 is one of this host's loopback.
start_machine() {
    local disk=$1 port tries=20
    console=$work/console.log
    while :; do
        port=$((20000 + RANDOM % 20000))
        page=http://127.0.0.1:$port/
        setsid qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -m 1G -smp 2 \
            -nodefaults -no-user-config -display none -serial "file:$console" \
            -drive "file=$disk,if=virtio,format=qcow2,snapshot=on" -device virtio-rng-pci \
            -netdev "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:$port-:80" -device virtio-net-pci,netdev=n0,romfile= \
            </dev/null >"$work/qemu.log" 2>&1 &
        machine=$!
        sleep 1
        # Somebody else may have the port.
        kill -0 "$machine" 2>/dev/null && break
        ((tries--)) || { cat "$work/qemu.log" >&2; fail "the virtual machine does not start"; }
    done
    say "\$ qemu-system-x86_64 -m 1G -drive file=$disk,if=virtio,format=qcow2 …"
}

# Waits for the front page of the machine, and fails unless it is of version $1.
expect_machine_page() {
    local found end=$((SECONDS + 900))
    until found=$(curl -q -fsS --noproxy '*' --max-time 5 "$page" 2>/dev/null); do
        kill -0 "$machine" 2>/dev/null || { tail -n 40 "$console" >&2; fail "the virtual machine ended"; }
        [ $SECONDS -lt $end ] || { tail -n 40 "$console" >&2; fail "the virtual machine did not answer in 15 minutes"; }
        sleep 1
    done
    say "$found" | sed -n 's/^<\(h1\|p\)>\(.*\)<.*/  | \2/p'
    grep -q "Hello from version $1<" <<<"$found" || fail "the machine's page is not of version $1"
}

stop_machine() {
    [ -n "$machine" ] || return 0
    kill -KILL "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
    machine=
}

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    stop
    stop_machine
    if [ -n "${DEMO_KEEP:-}" ]; then
        say "kept in $work; unmount with: layerset deactivate --target DIR, for $target and $other"
    elif [ -e "$mark" ]; then
        # Never delete through a mount that is still there.
        if deactivate; then
            rm -rf --one-file-system -- "$work"
        else
            say "demo: could not unmount; '$work' is left as it is" >&2
            status=1
        fi
    fi
    exit "$status"
}

[ "$(id -u)" = 0 ] || fail "run it as root: it mounts deployments and makes namespaces"
[ -x "$layerset" ] || fail "there is no '$layerset': run 'make demo', or set LAYERSET"
for tool in bwrap curl jq mmdebstrap nsenter; do
    command -v "$tool" >/dev/null || fail "'$tool' is missing: run 'make deps'"
done
if [ -e "$work" ] && [ ! -e "$mark" ]; then
    fail "'$work' exists and is not of an earlier demo: remove it, or set DEMO_WORK"
fi
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -e "$mark" ]; then
    deactivate || fail "cannot unmount what is below '$work'"
    rm -rf --one-file-system -- "$work"
fi
mkdir -p "$work"
touch "$mark"
cp -a "$top/layers" "$top/recipes" "$work/"
cd "$work"
SECONDS=0
say "Working in $work"

heading "Build: three layers, one image"
run init
run lock recipes/web.toml
run build recipes/web.toml

heading "Deploy it, and look at it from inside"
run deploy web --target "$target"
start
expect_version 1

heading "Publish it, signed"
signing=(--root root.json --keys keys)
run trust init ./remote "${signing[@]}"
run publish web --to ./remote --channel stable --level 6 "${signing[@]}"

heading "Another machine follows the channel"
cat >trust.toml <<TOML
[[remote]]
name = "main"
location = "./remote"
root = "root.json"
channels = ["images/web/*"]
TOML
export LAYERSET_TRUST=trust.toml
elsewhere init
elsewhere deploy --channel web/stable --target "$other"

heading "Change one line of one layer"
cp "$top/demo/hello-v2/page.html" layers/hello/files/usr/share/hello/page.html
sed -i 's/^version = "1"$/version = "2"/' layers/hello/layer.toml
if changes=$(diff -ru --unified=0 "$top/layers/hello" layers/hello); then
    fail "the change changed nothing"
fi
grep '^[-+][^-+]' <<<"$changes"

heading "Build again: one layer is built, the others are kept"
run build recipes/web.toml

heading "Update the target"
run update hello --recipe recipes/web.toml --target "$target"
stop
start
expect_version 2

heading "Publish it, and update the other machine: only the difference travels"
run publish web --to ./remote --channel stable --level 6 "${signing[@]}"
elsewhere update --target "$other"
elsewhere status --target "$other"
grep -q "Hello from version 2<" "$other/layerset/current/root/usr/share/hello/page.html" || fail "the other machine has no version 2"

heading "Roll back"
run rollback --target "$target"
stop
start
expect_version 1

heading "What happened, and what differs"
run history --target "$target"
run diff 1 2 --target "$target"

heading "The same layers, with a kernel, as a disk that boots"
run lock recipes/web-vm.toml
run build recipes/web-vm.toml
run export disk web-vm -o web.qcow2 --report
if command -v qemu-system-x86_64 >/dev/null; then
    start_machine web.qcow2
    expect_machine_page 2
    stop_machine
else
    say "no qemu-system-x86_64 here: start web.qcow2 where there is one"
fi

heading "Done in $SECONDS s"
