#!/bin/bash
# Runs the tests in worlds that are unlike the machine they were written on. Run it as root, by hand.
#
# usage: scripts/hostile-world.sh WORLD[,WORLD...]... [-- ARGUMENTS]
#        scripts/hostile-world.sh -l             lists the worlds
#   Each word is one run; worlds joined by commas are combined in one. ARGUMENTS go to the test
#   programs, e.g. `-- --skip journey`.
#   HOSTILE_WORK=dir   where logs and what worlds need go (default target/hostile)
#
# The programs are built once, before the first run; documentation tests are left out. Each run has mount
# and process namespaces of its own: with its first process, every mount and every process of it is
# gone, and the files of the machine are as they were. Prints a line for each run: world, result, seconds,
# log. Ends with status 1 when a test failed anywhere.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$top/scripts/hostile-world.sh
work=$(realpath -m -- "${HOSTILE_WORK:-$top/target/hostile}")

list() {
    cat <<'TEXT'
umask         umask 077
locale        TZ=Pacific/Kiritimati (UTC+14), all of LANG, LC_ALL and LANGUAGE Turkish
home          HOME, USER, LOGNAME, SHELL and XDG_* unset
accounts      users and groups named like those of images, with other numbers; uid and gid 100-102 taken
junk          evil links, checkouts, virtual environments and other roots in /tmp, /var/tmp and /home
port          ports 9, 80, 443, 3000, 5000, 5432, 8000, 8080 and 9000 of 127.0.0.1 taken
read-only     /usr and /usr/local read-only
cheap         all of the above
one-core      one processor
clock+TIME    the clock ahead, e.g. clock+90d or clock+2y (by faketime, and without the journeys:
              what mirrors sign expires, and a root of Debian has its own clock)
slow-disk     /tmp, /dev/shm and the journeys' directory on an ext4 that waits for the disk at every write
trixie        Debian 13: a root of its own, in which the tests are built, too
TEXT
}

say() { printf 'hostile-world: %s\n' "$*" >&2; }
fail() { say "$@"; exit 2; }

has() { [[ ",$worlds," == *",$1,"* ]]; }

# Binds $1 over $2. What holds the tree of the project is not hidden by it.
cover() {
    case "$top/" in "$2"/*) say "'$2' holds the project; it stays as it is"; return 0 ;; esac
    mount --bind "$1" "$2"
}

# --- the worlds; these run in the namespaces of a run ------------------------------------------

accounts() {
    # Names of ours with numbers that are not ours, and numbers of ours with other names.
    local names='systemd-network messagebus hello postgres nginx www-data polkitd sshd systemd-resolve web'
    local file name id
    for file in passwd group; do
        id=100
        grep -vE "^(${names// /|}):" "/etc/$file" |
            awk -F : -v OFS=: '$3 >= 100 && $3 < 200 { $3 += 7000 } { print }' >"$run/$file"
        for name in $names; do
            case $file in
            passwd) echo "$name:x:$id:$id::/nonexistent:/usr/sbin/nologin" ;;
            group) echo "$name:x:$id:" ;;
            esac
            id=$((id + 1))
        done >>"$run/$file"
        chmod 644 "$run/$file"
        mount --bind "$run/$file" "/etc/$file"
    done
}

junk() {
    local dir place
    for place in /tmp /var/tmp /home; do
        dir=$run/junk$place
        mkdir -p "$dir"/{checkout/.git,checkout/node_modules/.bin,venv/bin,root/{etc,bin,usr/lib,var/lib/dpkg},closed}
        chmod 1777 "$dir"
        ln -s / "$dir/checkout/slash"
        ln -s ../../../../../../../../etc/passwd "$dir/checkout/up"
        ln -s loop "$dir/loop"
        ln -s "$dir/nowhere" "$dir/dangling"
        ln -s ../../../missing/cli.js "$dir/checkout/node_modules/.bin/tool"
        ln -s /nonexistent/python3 "$dir/venv/bin/python"
        printf '#!%s/venv/bin/python\n' "$place" >"$dir/venv/bin/pip"
        printf '#!/bin/sh\r\nexit 0\r\n' >"$dir/checkout/crlf.sh"
        printf '#!/usr/bin/env -S nothing here\n' >"$dir/checkout/env"
        printf '\177ELF\2\1\1' >"$dir/root/usr/lib/libc.so.6"
        printf 'root:x:7:7::/:/bin/false\nhello:x:0:0::/:/bin/sh\n' >"$dir/root/etc/passwd"
        printf 'Package: broken\nStatus: install ok half\n' >"$dir/root/var/lib/dpkg/status"
        cp /bin/true "$dir/root/bin/sh"
        chmod 4755 "$dir/root/bin/sh"
        chmod 755 "$dir"/venv/bin/pip "$dir"/checkout/{crlf.sh,env}
        touch "$dir"/$'new\nline' "$dir"/$'not\xffutf-8' "$dir/ space" "$dir/layerset" "$dir/layerset.lock"
        mkfifo "$dir/fifo"
        truncate -s 1T "$dir/sparse"
        chmod 000 "$dir/closed"
        cover "$dir" "$place"
    done
}

# Answers every request on every port that is not taken already.
port() {
    cat >"$run/ports.py" <<'PYTHON'
import http.server, sys, threading
class Nothing(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_error(404)
    do_HEAD = do_PUT = do_POST = do_GET
    def log_message(self, *_): pass
for port in map(int, sys.argv[1:]):
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Nothing)
    except OSError:
        continue
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
PYTHON
    coproc python3 "$run/ports.py" 9 80 443 3000 5000 5432 8000 8080 9000
    local word=
    read -r word <&"${COPROC[0]}" || true
    [ "$word" = ready ] || fail "the ports cannot be taken"
}

read_only() {
    local dir
    for dir in /usr /usr/local; do
        case "$top/" in "$dir"/*) say "'$dir' holds the project; it stays writable"; continue ;; esac
        mount --bind "$dir" "$dir"
        mount -o remount,bind,ro "$dir"
    done
}

slow_disk() {
    local disk=$run/disk place
    truncate -s 12G "$disk.img"
    mkfs.ext4 -q "$disk.img"
    mkdir "$disk"
    mount -o loop,sync,dirsync "$disk.img" "$disk"
    for place in /tmp /dev/shm "$target/tmp"; do
        mkdir -p "$place" "$disk$place"
        chmod 1777 "$disk$place"
        case $place in
        /*/tmp) if [ -d "$place/debs" ]; then cp -a "$place/debs" "$disk$place/"; fi; mount --bind "$disk$place" "$place" ;;
        *) cover "$disk$place" "$place" ;;
        esac
    done
}

# Makes the root of Debian 13 once; what it lacks of what deps.sh wants is installed there.
trixie_root() {
    local root=$1
    if [ ! -e "$root.made" ]; then
        rm -rf -- "$root"
        mmdebstrap --quiet --variant=apt --include=ca-certificates,mount trixie "$root" >"$root.log" 2>&1 ||
            fail "there is no root of Debian 13: see '$root.log'"
        touch "$root.made"
    fi
}

# Makes that root this run's: the project, cargo and the way to the network are those of the machine.
trixie() {
    local root=$work/trixie dir
    trixie_root "$root"
    mount --bind "$root" "$root"
    for dir in "$top" "$work" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}"; do
        mkdir -p "$root$dir"
        mount --rbind "$dir" "$root$dir"
    done
    # A work tree of git keeps its repository elsewhere; nothing here asks for it.
    for dir in dev sys; do mount --rbind "/$dir" "$root/$dir"; done
    mount -t proc proc "$root/proc"
    for dir in /etc/resolv.conf /etc/hosts; do cp -L "$dir" "$root$dir"; done
    for dir in /etc/apt/apt.conf.d /usr/local/share/ca-certificates; do
        [ ! -d "$dir" ] || { mkdir -p "$root$dir" && mount --bind "$dir" "$root$dir"; }
    done
    mkdir -p "$root/mnt/old"
    cd "$root"
    pivot_root . mnt/old
    cd "$top"
    umount -l /mnt/old
    update-ca-certificates >/dev/null 2>&1 || true
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export CARGO_TARGET_DIR=$work/trixie-target
    target=$CARGO_TARGET_DIR
    scripts/deps.sh
    build "$run/programs"
}

# Builds the test programs, and lists them in $1. They are kept under other names, for cargo may replace
# its own while a run goes on.
build() {
    local program
    rm -rf -- "$1" "$1.d"
    mkdir "$1.d"
    (cd "$top" && cargo test --no-run --locked --message-format json) |
        jq -r 'select(.profile.test and .executable) | .executable' |
        while read -r program; do
            ln "$program" "$1.d/" 2>/dev/null || cp "$program" "$1.d/"
            echo "$1.d/${program##*/}"
        done >"$1"
    [ -s "$1" ] || fail "cargo built no test program"
}

# --- one run -----------------------------------------------------------------------------------

# As the first process of its namespaces.
stage() {
    worlds=$1 run=$2
    shift 2
    target=${CARGO_TARGET_DIR:-$top/target}
    export HOSTILE_STARTED=1
    local prefix=() arguments=("$@") world
    cp "$work/programs" "$run/programs"

    if has trixie; then trixie; fi
    if has accounts; then accounts; fi
    if has slow-disk; then slow_disk; fi
    if has junk; then
        ! has slow-disk || fail "junk and slow-disk are both about /tmp: run them one after the other"
        junk
    fi
    if has port; then port; fi
    if has read-only; then read_only; fi
    if has one-core; then prefix+=(taskset -c 0); fi
    if has locale; then
        # The locale's own sort order and case rules count, not its name alone.
        mkdir "$run/locale"
        localedef -i tr_TR -f UTF-8 "$run/locale/tr_TR.UTF-8" 2>/dev/null ||
            say "localedef cannot make tr_TR.UTF-8 (install locales): programs will not find it"
        export LOCPATH=$run/locale
        export TZ=Pacific/Kiritimati LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 LANGUAGE=tr
    fi
    for world in ${worlds//,/ }; do
        case $world in clock+*)
            # Timers stay real: deadlines are absolute times of the kernel's own clock.
            export FAKETIME=${world#clock} FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
            prefix+=(env "LD_PRELOAD=$(faketime_library)")
            arguments+=(--skip journey)
            ;;
        esac
    done
    if has home; then unset HOME USER LOGNAME SHELL "${!XDG_@}"; fi
    if has umask; then umask 077; fi
    # The way that `cargo test` runs them.
    cd "$top"
    export CARGO_MANIFEST_DIR=$top INSTA_UPDATE=no RUST_BACKTRACE=0
    # shellcheck disable=SC2016
    exec "${prefix[@]}" bash -c '
        status=0
        while read -r program; do "$program" "${@:2}" </dev/null || status=101; done <"$1"
        exit $status' programs "$run/programs" "${arguments[@]}"
}

faketime_library() {
    local found
    found=$(ldconfig -p | sed -n 's/.*libfaketime\.so\.1 .*=> //p' | head -n 1)
    [ -n "$found" ] || found=$(find /usr/lib -name libfaketime.so.1 -print -quit 2>/dev/null)
    [ -n "$found" ] || fail "'faketime' is missing: apt-get install faketime"
    printf '%s' "$found"
}

if [ "${1:-}" = --stage ]; then
    shift
    stage "$@"
fi

runs=() arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    -l) list; exit 0 ;;
    --) shift; arguments=("$@"); break ;;
    -*) fail "unknown option '$1'; -l lists the worlds" ;;
    *) runs+=("${1//cheap/umask,locale,home,accounts,junk,port,read-only}") ;;
    esac
    shift
done
[ ${#runs[@]} -gt 0 ] || { list >&2; fail "name a world"; }
for worlds in "${runs[@]}"; do
    for world in ${worlds//,/ }; do
        case $world in
        umask | locale | home | accounts | junk | port | read-only | one-core | slow-disk | trixie) ;;
        clock+[0-9]*[smhdy]) faketime_library >/dev/null ;;
        *) fail "there is no world '$world'; -l lists them" ;;
        esac
    done
done
[ "$(id -u)" = 0 ] || fail "run it as root: it makes namespaces and mounts"
for tool in cargo jq python3 taskset unshare; do
    command -v "$tool" >/dev/null || fail "'$tool' is missing: run 'make deps'"
done

mkdir -p "$work"
build "$work/programs"
status=0 run=
trap '[ -z "$run" ] || rm -rf --one-file-system -- "$run"' EXIT
for worlds in "${runs[@]}"; do
    run=$(mktemp -d "$work/run.XXXXXX")
    log=$work/${worlds//,/_}.log
    began=$SECONDS outcome=0
    # What test.sh keeps must not be where a world covers /tmp.
    TMPDIR=$run LAYERSET_TEST_LOG=$run/out LAYERSET_TEST_REQUIRE=0 "$top/scripts/test.sh" --run \
        env -u TMPDIR unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        "$self" --stage "$worlds" "$run" "${arguments[@]}" >"$log" 2>&1 || outcome=$?
    last=$(tail -n 1 "$log")
    [[ $last == *" skipped" ]] || last="it did not run"
    printf '%-50s %s  %d s  %s\n' "$worlds" "$last" $((SECONDS - began)) "$log"
    if [ $outcome != 0 ]; then
        status=1
        # What failed, or what was said instead.
        sed -n '/^failed:$/,/^$/p' "$log" | grep '^ ' || tail -n 3 "$log"
    fi
    rm -rf --one-file-system -- "$run"
done
exit $status
