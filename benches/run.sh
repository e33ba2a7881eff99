#!/bin/bash
# The benchmarks: layerset beside named peers on the same data, in turns, and a table of medians.
#
# usage: benches/run.sh         as root; `make bench` builds layerset first
#   BENCH_WORK=dir     where everything goes (default target/bench); what is made once is kept there
#   BENCH_ROUNDS=n     counted rounds (default 5); one more comes first and is not counted
#   BENCH_KEEP=1       keep this run's repositories and targets, and leave nothing mounted
#   LAYERSET=path      the program (default target/release/layerset)
#
# Rules: the same filesystem for all; each side ends durable (`sync -f` where the peer does not sync by itself); inputs
# are read once before each run, so both find them in the page cache; other people's dirty pages are synced before the
# clock starts; nothing is deleted between runs, because ext4 finds new inodes slowly for a minute after that.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
layerset=$(realpath -m -- "${LAYERSET:-${CARGO_TARGET_DIR:-$top/target}/release/layerset}")
work=$(realpath -m -- "${BENCH_WORK:-${CARGO_TARGET_DIR:-$top/target}/bench}")
rounds=${BENCH_ROUNDS:-5}
run=$work/run-$$      # this run's own; removed at the end
root=$work/debian     # the Debian root that is ingested, made once
web=$work/web         # recipe, lock and packages of the image that is built, made once
packages=linux-image-cloud-amd64,systemd,systemd-sysv,openssh-server,python3,nginx,postgresql,cloud-init
spare_gb=16

say() { printf '%s\n' "$*" >&2; }
fail() { say "bench: $*"; exit 1; }

cleanup() {
    local status=$? target
    trap - EXIT INT TERM
    for target in "$run"/targets/*/; do
        [ -d "$target/layerset" ] || continue
        # Never delete through a mount that is still there.
        "$layerset" deactivate --target "$target" >/dev/null || { say "bench: '$target' is still mounted"; exit 1; }
    done
    rm -rf --one-file-system -- "$root.new"
    if [ -n "${BENCH_KEEP:-}" ]; then
        say "kept: $run"
    elif [ "$status" != 0 ] && [ -d "$run/out" ]; then
        # What a command said when it failed is worth more than its gigabytes.
        rm -rf --one-file-system -- "$run"/{ingest,ostree,targets,fetch,web,swap,update} "$run"/cp-* "$run"/checkout-* "$run"/links-*
        say "what the commands printed is in $run/out"
    else
        rm -rf --one-file-system -- "$run"
    fi
    exit "$status"
}

# measure NAME COMMAND...: notes milliseconds and the peak memory of one run, if the round counts.
measure() {
    local name=$1 start end
    shift
    sync
    start=$EPOCHREALTIME
    /usr/bin/time -o "$run/memory" -f %M "$@" >"$run/out/$name" 2>"$run/err" || { cat "$run/err" >&2; fail "$name failed"; }
    end=$EPOCHREALTIME
    [ "$round" -gt 0 ] || return 0
    awk -v us=$((${end/./} - ${start/./})) 'BEGIN { printf "%.2f\n", us / 1000 }' >>"$run/times/$name"
    tail -n 1 "$run/memory" >>"$run/memories/$name"
}

median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -g "$1" | awk 'NR == 1 { low = $1 } END { printf "%s-%s", low, $1 }'; }
peak() { awk '$1 > max { max = $1 } END { printf "%.0f MB", max / 1024 }' "$run/memories/$1"; }
warm() { find "$1" -type f -exec cat {} + >/dev/null; }
warm_names() { find "$@" -size +0 >/dev/null; }

# row WHAT NAME TARGET [PEER NAME]: one line of the table. A target is `4x` faster than the peer, or `100` ms.
row() {
    local mine peer=- ratio=- verdict goal=$3
    mine=$(median "$run/times/$2")
    [ $# -lt 5 ] || { peer=$(median "$run/times/$5"); ratio=$(awk -v a="$mine" -v b="$peer" 'BEGIN { printf "%.1f", b / a }'); }
    case $3 in
        -) verdict= ;;
        *x) verdict=$(awk -v r="$ratio" -v g="${3%x}" 'BEGIN { print (r >= g) ? "met" : "MISSED" }') goal="at least $3" ;;
        *) verdict=$(awk -v m="$mine" -v g="$3" 'BEGIN { print (m < g) ? "met" : "MISSED" }') goal="below $3 ms" ;;
    esac
    printf '| %s | %s ms (%s) | %s | %s | %s | %s |\n' "$1" "$mine" "$(spread "$run/times/$2")" \
        "$([ $# -lt 5 ] && echo - || echo "$4: $peer ms")" "$([ "$ratio" = - ] && echo - || echo "${ratio}x")" "$goal" "$verdict"
}

prepare_root() {
    [ ! -d "$root" ] || return 0
    say "making a Debian root, once, in $root"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --dpkgopt=force-unsafe-io \
        trixie "$root.new" >&2
    # ostree knows no devices.
    find "$root.new/dev" -mindepth 1 -delete
    mv "$root.new" "$root"
}

prepare_web() {
    mkdir -p "$web"
    rm -rf -- "${web:?}/layers"
    cp -a "$top/layers" "$web/"
    if [ -d "$web/debs" ]; then return 0; fi
    say "locking recipes/web.toml and fetching its packages, once, in $web"
    mkdir -p "$web/recipes"
    cp -a "$top/recipes/web.toml" "$web/recipes/"
    "$layerset" --repo "$run/fetch" init -q >&2
    "$layerset" --repo "$run/fetch" -q lock "$web/recipes/web.toml" >&2
    "$layerset" --repo "$run/fetch" -q build "$web/recipes/web.toml" >&2
    cp -al "$run/fetch/cache/debs" "$web/debs.new"
    mv "$web/debs.new" "$web/debs"
}

ingest() {
    local mine=$run/ingest/$round ostree=$run/ostree/$round
    say "round $round: ingest, deploy, fsck, gc"
    "$layerset" --repo "$mine" init -q >/dev/null
    ostree --repo="$ostree" init --mode=bare
    warm "$root"
    measure ingest "$library" ingest "$root" "$mine" big
    warm "$root"
    measure ingest-ostree ostree --repo="$ostree" commit --branch=big --subject=big "$root"
    warm "$root"
    measure ingest-cp sh -c 'cp -a "$1" "$2" && sync -f "$2"' sh "$root" "$run/cp-$round"

    warm_names "$mine/objects" "$ostree/objects" "$run/cp-$round"
    measure deploy-first "$layerset" --repo "$mine" --json deploy big --target "$run/targets/first-$round"
    measure deploy-ostree sh -c 'ostree --repo="$1" checkout -H big "$2" && sync -f "$2"' sh "$ostree" "$run/checkout-$round"
    measure deploy "$layerset" --repo "$mine" --json deploy big --target "$run/targets/next-$round"
    measure deploy-cp sh -c 'cp -al "$1" "$2" && sync -f "$2"' sh "$run/cp-$round" "$run/links-$round"

    warm "$mine/objects"
    measure fsck "$layerset" --repo "$mine" fsck
    warm "$ostree/objects"
    measure fsck-ostree ostree --repo="$ostree" fsck --quiet
    measure gc-nothing "$layerset" --repo "$mine" gc
    measure gc-nothing-ostree ostree --repo="$ostree" prune --refs-only
}

# After the rounds, because removing slows down what makes files next.
collect() {
    for round in $(seq 0 "$rounds"); do
        "$layerset" deactivate --target "$run/targets/first-$round" >/dev/null
        "$layerset" deactivate --target "$run/targets/next-$round" >/dev/null
        rm -rf -- "$run/ingest/$round/refs"/*
        ostree --repo="$run/ostree/$round" refs --delete big
        # Its files are hard links to the objects: with them, prune would free nothing.
        rm -rf -- "$run/checkout-$round"
        measure gc-all "$layerset" --repo "$run/ingest/$round" gc
        measure gc-all-ostree ostree --repo="$run/ostree/$round" prune --refs-only
    done
}

build() {
    local repo=$run/web target=$run/targets/web page=$web/layers/hello/files/usr/share/hello/page.html
    say "a full build of recipes/web.toml"
    "$layerset" --repo "$repo" init -q >/dev/null
    cp -al "$web/debs" "$repo/cache/debs"
    round=1
    measure build-full "$layerset" --repo "$repo" --json build "$web/recipes/web.toml"
    "$layerset" --repo "$repo" -q deploy web --target "$target" >/dev/null
    : >"$run/foreign-bytes"
    for round in $(seq 0 "$rounds"); do
        say "round $round: a build of nothing, one changed file, switches"
        measure build-nothing "$layerset" --repo "$repo" --json build "$web/recipes/web.toml"
        echo "<!-- round $round -->" >>"$page"
        measure change sh -c '"$1" --repo "$2" --json build "$3" && "$1" --repo "$2" --json deploy web --target "$4"' \
            sh "$layerset" "$repo" "$web/recipes/web.toml" "$target"
        jq -s '.[0].layers[] | select(.name != "hello") | .bytes_written' "$run/out/change" >>"$run/foreign-bytes"
        measure rollback "$layerset" rollback --target "$target"
        # Forward again, so that the next round starts from the newest.
        current=$("$layerset" --json status --target "$target" | jq '[.deployments[].generation] | max')
        "$layerset" -q rollback --target "$target" --to "$current" >/dev/null
        "$library" switch "$target" $((current - 1)) "$current" 41 >"$run/out/switch"
        "$library" rename "$run" 41 >"$run/out/rename"
        [ "$round" -gt 0 ] || continue
        jq .p50_ms "$run/out/switch" >>"$run/times/switch"
        jq .p50_ms "$run/out/rename" >>"$run/times/switch-floor"
    done
    [ -s "$run/foreign-bytes" ] || fail "no layer but hello was seen"
}

# The base moves under layers that stay: to packages with other content, which are made here, so that something moves on
# every day. None of them is one that a layer above needs in exactly one version.
moving=(ca-certificates coreutils dbus libc6 libcap2 libexpat1 liblzma5 libpcre2-8-0 libselinux1 libssl3t64 libzstd1
    openssh-server systemd tzdata zlib1g)
swap() {
    local repo=$run/swap dir=$work/swap old name sources=(--apt-sources "$run/update/sources.list")
    say "two images on one base, and the base moves"
    rm -rf -- "$dir/layers" "$dir/recipes"
    mkdir -p "$dir/layers/big" "$dir/recipes"
    cp -a "$top"/layers/{nginx,postgresql,hello} "$dir/layers/"
    sed -i 's/"debian"/"big"/' "$dir"/layers/*/layer.toml
    cat >"$dir/layers/big/layer.toml" <<EOF
[bootstrap]
suite = "trixie"
pockets = []
packages = ["ca-certificates", "cloud-init", "dbus", "linux-image-amd64", "openssh-server", "python3", "systemd", "systemd-sysv"]
EOF
    echo 'layers = ["big", "postgresql", "nginx"]' >"$dir/recipes/one.toml"
    echo 'layers = ["big", "nginx", "hello"]' >"$dir/recipes/two.toml"
    "$layerset" --repo "$repo" init -q >/dev/null
    if [ -d "$dir/debs" ]; then rmdir "$repo/cache/debs" 2>/dev/null || true; cp -al "$dir/debs" "$repo/cache/debs"; fi
    for name in one two; do
        "$layerset" --repo "$repo" -q lock "$dir/recipes/$name.toml" >"$run/out/lock" || fail "the lock failed"
        "$layerset" --repo "$repo" --json -q build "$dir/recipes/$name.toml" >"$run/out/swap-old-$name" || fail "the build failed"
    done
    rm -rf -- "$dir/debs"
    cp -al "$repo/cache/debs" "$dir/debs"
    "$top/fixtures/update-archive.py" "$run/update" --debs "$repo/cache/debs" --lock "$dir/recipes/one.lock" --lock "$dir/recipes/two.lock" \
        "${moving[@]/#/--bump=}" >"$run/out/update" || fail "the archive that the base moves to cannot be made"
    for name in one two; do
        "$layerset" --repo "$repo" -q lock "$dir/recipes/$name.toml" --update big "${sources[@]}" >"$run/out/lock" || fail "the lock failed"
    done
    round=1
    measure swap-base "$layerset" --repo "$repo" --json build "$dir/recipes/one.toml" "${sources[@]}"
    jq -e '.layers[0].action == "built"' "$run/out/swap-base" >/dev/null || fail "the base has not moved"
    measure swap-second "$layerset" --repo "$repo" --json build "$dir/recipes/two.toml" "${sources[@]}"
    jq -e '[.layers[1:][].action] | all(. == "kept")' "$run/out/swap-base" >/dev/null || fail "a layer was not kept"
    old=$(jq -r .image "$run/out/swap-old-one")
    for round in $(seq 0 "$rounds"); do
        say "round $round: the base has moved"
        # As before the move, but for the base, which is built.
        rm -rf -- "$repo"/cache/compositions/*
        echo "$old" >"$repo/refs/images/one"
        measure swap "$layerset" --repo "$repo" --json build "$dir/recipes/one.toml" "${sources[@]}"
    done
    "$library" compose "$repo" one 15 >"$run/out/compose"
    round=1
    measure swap-rebuild "$layerset" --repo "$repo" --json build "$dir/recipes/one.toml" "${sources[@]}" --rebuild postgresql --rebuild nginx
}

table() {
    local size files
    size=$(jq '.bytes / 1e6 | round' "$run/out/ingest")
    files=$(jq .files "$run/out/ingest")
    cat <<EOF

## layerset $("$layerset" --version | cut -d' ' -f2), $(date -u +%F)

$(nproc) cores, $(free -g | awk '/Mem:/ { print $2 }') GB of memory, $(stat -f -c %T "$work"), Linux $(uname -r), $(ostree --version | sed -n "s/.*Version: '\(.*\)'.*/ostree \1/p"); load $(cut -d' ' -f1 /proc/loadavg).
The Debian root has $size MB in $files files. Medians of $rounds runs in turns (lowest-highest).

| what | layerset | peer | ratio | target | |
|---|---|---|---|---|---|
EOF
    row "ingest the root" ingest 4x "ostree commit" ingest-ostree
    row "" ingest - "cp -a, sync" ingest-cp
    row "deploy it for the first time" deploy-first - "ostree checkout -H, sync" deploy-ostree
    row "deploy it again elsewhere" deploy 100 "ostree checkout -H, sync" deploy-ostree
    row "" deploy - "cp -al, sync" deploy-cp
    row "change one file: build and deploy" change 1000
    row "build when nothing changed" build-nothing 50
    row "switch, with fsync, in one process" switch 2 "the same renames and fsyncs alone" switch-floor
    row "roll back, as a command" rollback -
    row "verify every byte" fsck - "ostree fsck" fsck-ostree
    row "collect garbage, nothing to remove" gc-nothing - "ostree prune" gc-nothing-ostree
    row "collect garbage, all of the root" gc-all - "ostree prune" gc-all-ostree
    row "recompose and check, the base moved" swap 3000 "rebuilding the layers above it (one run)" swap-rebuild
    row "the same for a second image (one run)" swap-second 3000
    row "full build of recipes/web.toml (one run)" build-full -
    echo
    echo "Bytes written for layers other than the changed one: $(awk '{ sum += $1 } END { print sum + 0 }' "$run/foreign-bytes") (target 0)."
    echo
    jq -r '"The image whose base moves has \(.bytes / 1e6 | round) MB in \(.entries) entries and three layers: composing takes \(.compose_ms) ms, checking \(.check_ms) ms."' "$run/out/compose"
    echo
    echo "| peak memory | layerset | peer |"
    echo "|---|---|---|"
    echo "| ingest | $(peak ingest) | $(peak ingest-ostree) |"
    echo "| deploy, first | $(peak deploy-first) | $(peak deploy-ostree) |"
    echo "| deploy, again | $(peak deploy) | |"
    echo "| fsck | $(peak fsck) | $(peak fsck-ostree) |"
    echo "| gc | $(peak gc-all) | $(peak gc-all-ostree) |"
    echo "| build, full, with its children's largest | $(peak build-full) | |"
    echo "| recompose and check | $(peak swap) | |"
    echo "| build, nothing changed | $(peak build-nothing) | |"
}

[ "$(id -u)" = 0 ] || fail "run it as root: it makes a Debian root and mounts deployments"
for tool in apt-ftparchive cargo gpg jq mmdebstrap objcopy ostree python3 /usr/bin/time; do
    command -v $tool >/dev/null || fail "'$tool' is missing: run 'make deps'"
done
[ -x "$layerset" ] || fail "there is no '$layerset': run 'make bench', or set LAYERSET"
mkdir -p "$work"
[ "$(($(stat -f -c '%a * %S' "$work") / 1000000000))" -ge "$spare_gb" ] || fail "'$work' needs $spare_gb GB of room: set BENCH_WORK"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "working in $work"
SECONDS=0
library=$(cd "$top" && cargo bench --locked --no-run --bench library --message-format=json |
    jq -r 'select(.target.name? == "library" and .executable) | .executable')
mkdir -p "$run"/{bin,times,memories,out,targets,ingest,ostree}
# Copies, so that a build meanwhile does not change what is measured.
cp "$layerset" "$run/bin/layerset" && layerset=$run/bin/layerset
cp "$library" "$run/bin/library" && library=$run/bin/library
prepare_root
prepare_web
for round in $(seq 0 "$rounds"); do ingest; done
build
swap
collect
table
say "done in $SECONDS s"
