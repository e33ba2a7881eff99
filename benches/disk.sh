#!/bin/bash
# Disks: `layerset export disk` beside mke2fs and qemu-img on the same image, in turns, and a table of medians.
#
# usage: benches/disk.sh          as root; `make bench` builds layerset first
#        benches/disk.sh first    the way from packages to a file that starts, once, beside other builders of images
#   BENCH_WORK=dir     where everything goes (default target/bench); the image is built there once
#   BENCH_ROUNDS=n     counted rounds (default 5); one more comes first and is not counted
#   LAYERSET=path      the program (default target/release/layerset)
#   DIB=command        for `first`: disk-image-create of diskimage-builder (default: the one on PATH; none: left out)
#   MKOSI=command      for `first`: mkosi 25 or newer (default: the one on PATH; none: left out)
#
# `first` starts with empty caches for everyone: downloads count. After that one file of the last component changes, and
# the same commands run again. The peers get the packages of all layers; diskimage-builder only makes a tar of them.
#
# layerset's times end with a disk that is durable under its name; those of mke2fs and qemu-img with bytes in the cache.
set -euo pipefail
export LC_ALL=C.UTF-8

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
layerset=$(realpath -m -- "${LAYERSET:-${CARGO_TARGET_DIR:-$top/target}/release/layerset}")
work=$(realpath -m -- "${BENCH_WORK:-${CARGO_TARGET_DIR:-$top/target}/bench}")
rounds=${BENCH_ROUNDS:-5}
run=$work/disk-$$
export LAYERSET_REPO=$work/machine/repo

say() { printf '%s\n' "$*" >&2; }
fail() { say "bench: $*"; exit 1; }
cleanup() {
    local status=$?
    # Never delete through a mount that is still there.
    if [ -d "$run/target/layerset" ]; then "$layerset" -q deactivate --target "$run/target" >/dev/null || exit 1; fi
    rm -rf --one-file-system -- "$run"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" = 0 ] || fail "run it as root: it builds an image, and reads files that only root may read"
for tool in mke2fs qemu-img; do command -v $tool >/dev/null || fail "'$tool' is missing: run 'scripts/deps.sh bench'"; done
mkdir -p "$run/times" "$run/memories" "$work/machine"

# The packages that the layers of a recipe name, in one line.
packages_of() {
    python3 - "$1" <<'EOF'
import sys, tomllib
recipe = tomllib.load(open(sys.argv[1], "rb"))
packages = set()
for layer in recipe["layers"]:
    layer = tomllib.load(open(f"layers/{layer}/layer.toml", "rb"))
    for section in ("bootstrap", "apt"):
        packages |= set(layer.get(section, {}).get("packages", []))
print(" ".join(sorted(packages)))
EOF
}

# once NAME COMMAND...: adds a row to the table: wall and CPU seconds, and the peak memory.
once() {
    local name=$1
    shift
    say "bench: $name"
    /usr/bin/time -q -o "$run/time" -f '%e %U %S %M' "$@" >"$run/out" 2>&1 || {
        tail -n 20 "$run/out" >&2
        echo "| $name | failed | | |" >>"$run/rows"
        return 1
    }
    awk -v name="$name" '{ printf "| %s | %.1f s | %.1f s | %.0f MB |\n", name, $1, $2 + $3, $4 / 1024 }' "$run/time" | tee -a "$run/rows" >&2
}

from_packages() {
    local dib=${DIB:-disk-image-create} mkosi=${MKOSI:-mkosi} packages archive what
    cp -a "$top/layers" "$top/recipes" "$run/"
    cd "$run"
    rm -f recipes/*.lock
    packages=$(packages_of recipes/web-vm.toml)
    # shellcheck disable=SC2016 # apt fills it in
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    cat >build.sh <<EOF
set -e
[ -e repo/config.toml ] || "$layerset" init
[ -e recipes/web-vm.lock ] || "$layerset" -q lock recipes/web-vm.toml
"$layerset" -q build recipes/web-vm.toml
"$layerset" -q export disk web-vm -o web.qcow2 --force-overwrite web.qcow2
EOF
    cat >dib.sh <<EOF
set -e
export DIB_RELEASE=trixie DIB_PYTHON_VERSION=3 DIB_IMAGE_CACHE=$run/dib-cache TMP_DIR=$run/dib-tmp
export DIB_APT_SOURCES_CONF="main:deb $archive trixie main"
mkdir -p dib-cache dib-tmp
$dib -t tar --no-tmpfs -o dib -p ${packages// /,} debian-minimal
EOF
    mkdir -p mkosi/mkosi.sandbox/etc/apt/sources.list.d mkosi/mkosi.cache
    cat >mkosi/mkosi.conf <<EOF
[Distribution]
Distribution=debian
Release=trixie
[Output]
Format=disk
OutputDirectory=out
[Content]
Bootable=no
Packages=$(for package in $packages; do printf '    %s\n' "$package"; done)
EOF
    # Without sources of one's own, it asks for an archive of debugging symbols too.
    cat >mkosi/mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources <<EOF
Types: deb
URIs: $archive
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    export LAYERSET_REPO=$run/repo
    for what in 'from nothing' 'after one file changed'; do
        once "layerset, qcow2, $what" sh build.sh
        if command -v "${dib%% *}" >/dev/null; then
            # Its loop devices and mounts stay out of everybody's sight.
            once "diskimage-builder, tar, $what" unshare --mount --propagation private bash dib.sh || :
        fi
        if command -v "${mkosi%% *}" >/dev/null; then
            # shellcheck disable=SC2086 # a command with arguments
            once "mkosi, raw disk, $what" $mkosi --directory "$run/mkosi" --force build || :
        fi
        sed -i 's/<h1>.*<\/h1>/<h1>Hello again<\/h1>/' layers/hello/files/usr/share/hello/page.html
    done
    echo "| what | wall | CPU | peak memory |"
    echo "|---|---|---|---|"
    cat "$run/rows"
}

if [ "${1:-}" = first ]; then
    from_packages
    exit
fi

# The image is kept between runs; its lock, too, so that the same image is measured.
cp -a --update "$top/layers" "$top/recipes" "$work/machine/"
cd "$work/machine"
[ -e repo/config.toml ] || "$layerset" init >/dev/null
[ -e recipes/web-vm.lock ] || "$layerset" -q lock recipes/web-vm.toml >/dev/null
"$layerset" -q build recipes/web-vm.toml >/dev/null
page=layers/hello/files/usr/share/hello/page.html

# The same tree for mke2fs.
"$layerset" -q deploy web-vm --copy --target "$run/target" >/dev/null
cp -a "$run/target/layerset/current/root" "$run/tree"
cp -a "$run/target/layerset/current/etc/." "$run/tree/etc/"
"$layerset" -q deactivate --target "$run/target" >/dev/null
"$layerset" -q forget "$(jq -r .id "$run/target/layerset/target.json")" >/dev/null || true

# measure NAME COMMAND...: notes seconds and the peak memory in KB of one run, if the round counts.
measure() {
    local name=$1
    shift
    sync
    /usr/bin/time -o "$run/time" -f '%e %M' "$@" >/dev/null 2>"$run/err" || { cat "$run/err" >&2; fail "$name failed"; }
    [ "$round" -gt 0 ] || return 0
    cut -d' ' -f1 "$run/time" >>"$run/times/$name"
    cut -d' ' -f2 "$run/time" >>"$run/memories/$name"
}
median() { sort -g "$run/times/$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# row WHAT NAME PEER-WHAT PEER
row() {
    awk -v what="$1" -v mine="$(median "$2")" -v peer="$(median "$4")" -v name="$3" \
        -v memory="$(sort -g "$run/memories/$2" | tail -n 1)" \
        'BEGIN { printf "| %s | %.2f s | %s: %.2f s | %.2fx | %.0f MB |\n", what, mine, name, peer, mine / peer, memory / 1024 }'
}

for ((round = 0; round <= rounds; round++)); do
    rm -f "$run"/*.raw "$run"/*.qcow2 "$run"/*.img
    truncate -s 1G "$run/peer.img"
    measure mke2fs mke2fs -q -t ext4 -d "$run/tree" "$run/peer.img"
    measure plain "$layerset" -q export disk web-vm --layout plain -o "$run/plain.raw"
    measure updatable "$layerset" -q export disk web-vm -o "$run/updatable.raw"
    rm -rf repo/cache/clusters
    measure qcow2 "$layerset" -q export disk web-vm -o "$run/first.qcow2"
    measure convert qemu-img convert -O qcow2 -c -o compression_type=zstd "$run/updatable.raw" "$run/peer.qcow2"
    # One file of the last layer changes.
    sed -i "s/<h1>.*<\/h1>/<h1>Hello from round $round of $$<\/h1>/" $page
    "$layerset" -q build recipes/web-vm.toml >/dev/null
    measure again "$layerset" -q export disk web-vm -o "$run/again.raw" -o "$run/again.qcow2"
done

content=$("$layerset" --json export disk web-vm -o "$run/x.raw" --dry-run --report | jq -r '.sizes.content')
say "the image has $content bytes of content; its qcow2 has $(stat -c %s "$run/again.qcow2") bytes, that of qemu-img $(stat -c %s "$run/peer.qcow2")"
echo "| what | layerset | peer | ratio | peak memory |"
echo "|---|---|---|---|---|"
row "plain root, raw" plain "mke2fs -d of the same tree" mke2fs
row "updatable machine, raw" updatable "mke2fs -d of the same tree" mke2fs
row "updatable machine, first qcow2" qcow2 "qemu-img convert -c of the raw disk alone" convert
row "after one changed file, raw and qcow2" again "qemu-img convert -c of the raw disk alone" convert
