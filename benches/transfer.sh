#!/bin/bash
# What an update costs on the wire: layerset beside named peers on the same pair of images, and over a link of 20 ms and 100 Mbit/s.
#
# usage: benches/transfer.sh [PART...]   as root; all parts when none is named; `make bench` runs it after benches/run.sh
#   parts: bytes (layerset ostree casync zstd patch xdelta3 bsdiff), network, table; pair (makes the pair and says what it is),
#          record (writes benches/transfer.pair)
#   BENCH_WORK=dir    where everything goes (default target/bench); what is made once is kept in its transfer/
#   BENCH_ROUNDS=n    runs over the link (default 5); medians are shown
#   BENCH_PAIR=dir    a pair of roots, dir/v1 and dir/v2, for the peers, instead of those of the two images
#   LAYERSET=path     the program (default target/release/layerset)
#
# The pair is a server and its security updates of some months. v1 is Debian's `main`; v2 is made from it by
# fixtures/update-archive.py, with changes like those of the updates that the archive had: a kernel of another release, machine
# code of libraries and servers, scripts, data. So the change does not depend on the day. benches/transfer.pair has the digests of
# the pair that figures were recorded on, and the script says whether today's is that one: v1 changes with each point release.
#
# It is built as an image of four layers, and the peers get the files of the composed images. Each figure is kept in results/, so that a part can be run
# again alone. Bytes over the link are those of IP packets, both ways; CPU is user and system time with all children.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$top/benches/transfer.sh
layerset=$(realpath -m -- "${LAYERSET:-${CARGO_TARGET_DIR:-$top/target}/release/layerset}")
work=$(realpath -m -- "${BENCH_WORK:-${CARGO_TARGET_DIR:-$top/target}/bench}")/transfer
rounds=${BENCH_ROUNDS:-5}
pair=${BENCH_PAIR:-$work/pair}
results=$work/results
recorded=$top/benches/transfer.pair
image=server
delay_ms=10 rate_mbit=100
# A delta tool gets this long for a file; else the file counts as compressed whole.
each_s=60

say() { printf '%s\n' "$*" >&2; }
fail() { say "transfer: $*"; exit 1; }

# What layerset is asked to do. $1 is a repository, $2 a location.
layerset_publish() { "$layerset" --repo "$1" --json publish "images/$image" --to "$2" --channel stable --keys "$signing/keys" --root "$signing/root.json"; }
layerset_pull() { "$layerset" --repo "$1" --json pull "images/$image/stable" --from "$2" --trust "$signing/trust.toml" "${@:3}"; }
signing=$work/signing
export -f layerset_publish layerset_pull
export layerset image signing

# A new remote in $1, which machines trust.
layerset_trust() {
    rm -rf -- "$signing" && mkdir "$signing"
    "$layerset" -q trust init "$1" --root "$signing/root.json" --keys "$signing/keys" >/dev/null
    printf '[[remote]]\nname = "lab"\nlocation = "%s"\nroot = "root.json"\n' "$1" >"$signing/trust.toml"
}

# measure NAME COMMAND...: keeps seconds, CPU seconds and peak kilobytes of a run in results/NAME.time.
measure() {
    local name=$1
    shift
    sync
    /usr/bin/time -q -o "$results/$name.time" -f '%e %U %S %M' "$@" >"$work/out/$name" 2>"$work/out/$name.err" ||
        { tail -n 20 "$work/out/$name.err" >&2; fail "$name failed"; }
}

# keep NAME VALUE: a figure.
keep() { printf '%s\n' "$2" >"$results/$1"; }
bytes_of() { find "$@" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }'; }

# --- the pair ----------------------------------------------------------------------------------------------------

# What v2 has in newer versions, besides the kernel: with changed machine code, and with changed files alone. All packages of
# a source move together.
functions=(libc6 libexpat1 libkrb5-3 liblzma5 libpcre2-8-0 libsqlite3-0 libssl3t64 libxml2 nginx openssh-server postgresql-17 python3.13
    zlib1g)
bumps=(apt base-files ca-certificates cloud-init tzdata)

build_pair() {
    local dir=$work/workspace
    # A pair whose versions are not known is of an older script.
    if [ -n "${BENCH_PAIR:-}" ] || { [ -d "$pair/v2" ] && [ -s "$work/v2.lock" ]; }; then return 0; fi
    say "building the pair, once, in $pair"
    # Package files are checked against the lock.
    if [ -d "$work/repo/cache/debs" ]; then rm -rf -- "$work/debs" && mv "$work/repo/cache/debs" "$work/debs"; fi
    rm -rf -- "$dir" "$work"/{repo,new,remote*,ostree,casync,oci,registry} "$results"/* "$pair" "$pair.new"
    mkdir -p "$dir"/{layers/os,recipes} "$pair.new"
    cp -a "$top"/layers/{nginx,postgresql} "$dir/layers/"
    sed -i 's/"debian"/"os"/' "$dir"/layers/*/layer.toml
    cat >"$dir/layers/os/layer.toml" <<TOML
[bootstrap]
suite = "trixie"
pockets = []
packages = ["ca-certificates", "cloud-init", "dbus", "initramfs-tools", "linux-image-cloud-amd64", "openssh-server", "python3", "systemd", "systemd-sysv", "zstd"]
TOML
    mkdir -p "$dir/layers/page/files/usr/share/bench"
    printf 'version = "1"\non = ["os"]\n\n[files]\n' >"$dir/layers/page/layer.toml"
    echo '<h1>A page</h1>' >"$dir/layers/page/files/usr/share/bench/page.html"
    echo 'layers = ["os", "postgresql", "nginx", "page"]' >"$dir/recipes/$image.toml"
    "$layerset" --repo "$work/repo" -q init >/dev/null
    if [ -d "$work/debs" ]; then rmdir "$work/repo/cache/debs" 2>/dev/null || true; mv "$work/debs" "$work/repo/cache/debs"; fi
    build_version v1
    cp "$dir/recipes/$image.lock" "$work/v1.lock"
    say "the archive of v2"
    rm -rf -- "$work/archive"
    "$top/fixtures/update-archive.py" "$work/archive" --debs "$work/repo/cache/debs" --lock "$work/v1.lock" \
        --kernel linux-image-cloud-amd64 "${functions[@]/#/--functions=}" "${bumps[@]/#/--bump=}" >"$work/moved"
    build_version v2 --apt-sources "$work/archive/sources.list"
    cp "$dir/recipes/$image.lock" "$work/v2.lock"
    mv "$pair.new" "$pair"
}

# Locks and builds the image as it is now, and keeps its files as $1; the other words are options of `lock` and `build`.
build_version() {
    local recipe=$work/workspace/recipes/$image.toml
    "$layerset" --repo "$work/repo" -q lock "$recipe" "${@:2}" >/dev/null
    "$layerset" --repo "$work/repo" --json -q build "$recipe" "${@:2}" >"$work/out/build-$1"
    jq -r .image "$work/out/build-$1" >"$results/image-$1"
    "$layerset" --repo "$work/repo" -q deploy "$image" --copy --target "$work/target-$1" >/dev/null
    cp -a "$work/target-$1/layerset/current/root/." "$pair.new/$1"
    "$layerset" deactivate --target "$work/target-$1" >/dev/null
    rm -rf --one-file-system -- "$work/target-$1"
}

# Describes the pair: one fact a line.
describe_pair() {
    local version
    printf 'release %s\n' "$(cat "$pair/v1/etc/debian_version")"
    for version in v1 v2; do
        printf '%s-packages %s\n' $version "$(sed -n 's/.*name = "\([^"]*\)", version = "\([^"]*\)".*/\1 \2/p' "$work/$version.lock" | LC_ALL=C sort -u | digest)"
        printf '%s-content %s\n' $version "$(digest <"$work/sums-$version")"
    done
    printf 'moved-packages %d\nnew-contents %d\nnew-bytes %d\n' "$(wc -l <"$work/moved")" "$(cat "$results/new-files")" "$(cat "$results/new-bytes")"
}

digest() { sha256sum | cut -c -64; }

facts_recorded() { sed '/^#/d; /^recorded /d' "$recorded"; }

# Says whether figures of today compare with the recorded ones, and keeps that for the table.
judge_pair() {
    local day judged
    if [ -n "${BENCH_PAIR:-}" ]; then
        echo "the pair is one of your own" >"$work/described"
        judged="The pair is one of your own."
    else
        describe_pair >"$work/described"
        day=$(sed -n 's/^recorded //p' "$recorded")
        if [ -z "$day" ]; then
            judged="No pair is recorded: figures compare with those of no other day."
        elif cmp -s <(facts_recorded) "$work/described"; then
            judged="The pair is the recorded one: figures compare with those of $day."
        else
            judged="The pair is not the one of $day: figures compare with those of that day by ratio alone."
            say "what differs from benches/transfer.pair (<) today (>):"
            diff <(facts_recorded) "$work/described" | grep '^[<>]' >&2 || true
        fi
    fi
    echo "$judged" >"$work/judged"
    say "$judged"
}

record_pair() {
    [ -z "${BENCH_PAIR:-}" ] || fail "a pair of your own is not recorded"
    { sed -n '/^#/p' "$recorded"; printf 'recorded %s\n' "$(date -u +%F)"; cat "$work/described"; } >"$work/recorded"
    cp "$work/recorded" "$recorded"
}

# Points the image at one of the two versions.
select_version() { cp "$results/image-$1" "$work/repo/refs/images/$image"; }

# Lists what v2 has and v1 has not: path, bytes, and the file of v1 that is nearest in name; each content once.
list_new() {
    local version
    for version in v1 v2; do
        (cd "$pair/$version" && find . -xdev -type f -size +0 -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum) >"$work/sums-$version"
    done
    awk '
        { sum = substr($0, 1, 64); path = substr($0, 67); name = path; gsub(/[0-9]+/, "N", name) }
        FNR == NR { held[sum] = 1; same[path] = 1; alike[name] = path; next }
        !(sum in held) { held[sum] = 1; print path "\t" (path in same ? path : alike[name]) }
    ' "$work/sums-v1" "$work/sums-v2" >"$work/new"
    keep new-files "$(wc -l <"$work/new")"
    keep new-bytes "$(cut -f 1 "$work/new" | (cd "$pair/v2" && tr '\n' '\0' | xargs -0 stat -c %s) | awk '{ sum += $1 } END { print sum }')"
}

# --- file by file ------------------------------------------------------------------------------------------------

# encode METHOD PATH BASE: prints the path and the bytes of one new file; the whole file where the method has no base, fails or takes too long.
encode() {
    local method=$1 file=$pair/v2/$2 base=$pair/v1/$3 out bytes=
    out=$(mktemp "$work/tmp/XXXXXX")
    if [ -n "$3" ] && [ "$method" != zstd ]; then
        case $method in
        patch) zstd -q -19 --long=27 --patch-from="$base" -f "$file" -o "$out" ;;
        xdelta3) timeout $each_s xdelta3 -e -9 -S lzma -B 67108864 -f -s "$base" "$file" "$out" ;;
        bsdiff) timeout $each_s bsdiff "$base" "$file" "$out" ;;
        esac 2>/dev/null && bytes=$(stat -c %s "$out")
    fi
    if [ -z "$bytes" ] || [ "$method" = zstd ]; then bytes=$(zstd -q -19 --long=27 -c "$file" | wc -c); fi
    rm -f -- "$out"
    printf '%s\t%s\n' "$2" "$bytes"
}

file_by_file() {
    rm -rf -- "$work/tmp" && mkdir -p "$work/tmp"
    say "$1, file by file"
    # shellcheck disable=SC2016 # expanded by the inner shell
    measure "$1" xargs -a "$work/new" -d '\n' -n 16 -P "$(nproc)" "$self" --encode "$1"
    # Nobody sends a delta that is larger than the file.
    sort "$work/out/$1" >"$work/encoded-$1"
    if [ "$1" = zstd ]; then
        keep "$1.bytes" "$(awk -F '\t' '{ sum += $2 } END { print sum }' "$work/encoded-zstd")"
    else
        keep "$1.bytes" "$(join -t "$(printf '\t')" "$work/encoded-zstd" "$work/encoded-$1" | awk -F '\t' '{ sum += $2 < $3 ? $2 : $3 } END { print sum }')"
    fi
}

# --- peers with stores -------------------------------------------------------------------------------------------

commit_ostree() {
    local version
    if [ -d "$work/ostree" ]; then return 0; fi
    say "ostree: commit"
    ostree --repo="$work/ostree.new" init --mode=archive
    for version in v1 v2; do ostree --repo="$work/ostree.new" commit --branch=$image --subject=$version "$pair/$version" >/dev/null; done
    mv "$work/ostree.new" "$work/ostree"
}

bytes_ostree() {
    local from to whole
    commit_ostree
    to=$(ostree --repo="$work/ostree" rev-parse $image) from=$(ostree --repo="$work/ostree" rev-parse $image^)
    say "ostree: static delta"
    rm -rf -- "$work/ostree/deltas"
    measure ostree ostree --repo="$work/ostree" static-delta generate --from="$from" --to="$to"
    ostree --repo="$work/ostree" summary -u >/dev/null
    # Large files are not in the delta: they are fetched as objects.
    whole=$(ostree --repo="$work/ostree" static-delta show "$from-$to" | sed -n 's/^Total Fallback Size: \([0-9]*\).*/\1/p')
    keep ostree-delta.bytes "$(bytes_of "$work/ostree/deltas")"
    keep ostree-whole.bytes "${whole:-0}"
    keep ostree.bytes "$(($(cat "$results/ostree-delta.bytes") + ${whole:-0}))"
}

bytes_casync() {
    local version before
    say "casync: make"
    rm -rf -- "$work/casync" && mkdir "$work/casync"
    for version in v1 v2; do
        before=$(bytes_of "$work/casync")
        measure casync casync make --store="$work/casync/store" "$work/casync/$version.caidx" "$pair/$version"
    done
    # The new chunks, and the index.
    keep casync.bytes "$(($(bytes_of "$work/casync") - before))"
}

bytes_layerset() {
    local version
    if [ -n "${BENCH_PAIR:-}" ]; then say "layerset: a pair of roots has no layers to publish"; return 0; fi
    # What was prepared before would not be measured.
    rm -rf -- "$work/remote"* "$work/repo/cache/outgoing"
    layerset_trust "$work/remote"
    for version in v1 v2; do
        say "layerset: publish $version"
        select_version $version
        # shellcheck disable=SC2016 # expanded by the inner shell
        measure "publish-$version" bash -c 'layerset_publish "$@"' - "$work/repo" "$work/remote"
        cp -a --reflink=auto "$work/remote" "$work/remote-$version"
    done
    # What a machine with v1 receives, the head among it.
    rm -rf -- "$work/machine" "$work/machine-fast"
    "$layerset" --repo "$work/machine" -q init
    layerset_pull "$work/machine" "$work/remote-v1" >/dev/null
    cp -a "$work/machine" "$work/machine-fast"
    # The fewest bytes, and what the program does by itself from a directory: fetch what is long to compress again.
    # shellcheck disable=SC2016 # expanded by the inner shell
    measure pull-v2 bash -c 'layerset_pull "$@"' - "$work/machine" "$work/remote-v2" --least-bytes
    # shellcheck disable=SC2016 # expanded by the inner shell
    measure pull-v2-fast bash -c 'layerset_pull "$@"' - "$work/machine-fast" "$work/remote-v2"
    keep layerset.bytes "$(jq .received_bytes "$work/out/pull-v2")"
    keep layerset-fast.bytes "$(jq .received_bytes "$work/out/pull-v2-fast")"
    keep layerset-sent.bytes "$(($(bytes_of "$work/remote-v2") - $(bytes_of "$work/remote-v1")))"
    say "layerset: publish a change of one file"
    echo "<!-- $$ -->" >>"$work/workspace/layers/page/files/usr/share/bench/page.html"
    "$layerset" --repo "$work/repo" -q build "$work/workspace/recipes/$image.toml" >/dev/null
    # shellcheck disable=SC2016 # expanded by the inner shell
    measure publish-one bash -c 'layerset_publish "$@"' - "$work/repo" "$work/remote"
    keep publish-one.bytes "$(($(bytes_of "$work/remote") - $(bytes_of "$work/remote-v2")))"
}

# The root as one layer of an image, in $work/oci.
make_oci() {
    local version blobs=$work/oci.new/blobs/sha256 layer config
    if [ -d "$work/oci" ]; then return 0; fi
    say "skopeo: images of one layer"
    mkdir -p "$blobs"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci.new/oci-layout"
    for version in v1 v2; do
        tar -C "$pair/$version" --sort=name --numeric-owner -cf "$work/layer.tar" .
        gzip -n -c "$work/layer.tar" >"$work/layer.gz"
        layer=$(store_blob "$work/layer.gz")
        jq -n --arg diff "sha256:$(sha256sum "$work/layer.tar" | cut -c -64)" \
            '{ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [$diff] } }' >"$work/config"
        config=$(store_blob "$work/config")
        jq -n --argjson config "$config" --argjson layer "$layer" '{ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
            config: ($config + { mediaType: "application/vnd.oci.image.config.v1+json" }),
            layers: [$layer + { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }] }' >"$work/manifest"
        store_blob "$work/manifest" | jq --arg name $version '. + { mediaType: "application/vnd.oci.image.manifest.v1+json",
            annotations: { "org.opencontainers.image.ref.name": $name } }'
    done | jq -s '{ schemaVersion: 2, manifests: . }' >"$work/oci.new/index.json"
    rm -f -- "$work"/{layer.tar,layer.gz,config,manifest}
    mv "$work/oci.new" "$work/oci"
}

store_blob() {
    local sum bytes
    sum=$(sha256sum "$1" | cut -c -64) bytes=$(stat -c %s "$1")
    cp "$1" "$work/oci.new/blobs/sha256/$sum"
    printf '{ "digest": "sha256:%s", "size": %d }\n' "$sum" "$bytes"
}

# --- over the link -----------------------------------------------------------------------------------------------

servers=()
near=bench-$$-near far=bench-$$-far

cleanup() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
    exec 9>&- # ends the link
    wait || true
    ip netns delete "$near" 2>/dev/null || true
    ip netns delete "$far" 2>/dev/null || true
    exit "$status"
}

start_link() {
    ip netns add "$far" && ip netns add "$near"
    if [ ! -p "$work/link" ]; then mkfifo "$work/link"; fi
    # The link ends when nobody holds the other end of its standard input: with this shell, however that ends.
    /usr/bin/python3 "$top/benches/link.py" "$far" "$near" $delay_ms $rate_mbit <"$work/link" >"$work/out/link" &
    exec 9>"$work/link"
    wait_for "the link" grep -q ready "$work/out/link"
}

wait_for() {
    local what=$1
    shift
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    fail "$what does not come up"
}

# serve NAME URL COMMAND...: starts a server at the far end.
serve() {
    local name=$1 url=$2
    shift 2
    ip netns exec "$far" "$@" >"$work/out/$name" 2>&1 9>&- &
    servers+=($!)
    wait_for "$name" ip netns exec "$near" curl -s --max-time 5 -o /dev/null "$url"
}

# Debian's package would start a server of its own: only the program is wanted.
fetch_nginx() {
    nginx=$work/nginx/usr/sbin/nginx
    if [ -x "$nginx" ]; then return 0; fi
    rm -rf -- "$work/nginx" "$work/nginx.deb" && mkdir "$work/nginx.deb"
    (cd "$work/nginx.deb" && apt-get -q download nginx >&2 && dpkg-deb -x nginx_*.deb "$work/nginx")
}

serve_all() {
    fetch_nginx
    cat >"$work/nginx.conf" <<CONF
user root; worker_processes 2; pid $work/nginx.pid; daemon off; error_log stderr;
events { worker_connections 512; }
http { access_log $work/log-ostree; sendfile on; tcp_nopush on; keepalive_requests 1000000;
    client_body_temp_path $work/tmp; proxy_temp_path $work/tmp; fastcgi_temp_path $work/tmp; uwsgi_temp_path $work/tmp; scgi_temp_path $work/tmp;
    server { listen 10.99.0.1:8001; root $work/ostree; } }
CONF
    serve nginx http://10.99.0.1:8001/config "$nginx" -p "$work" -c "$work/nginx.conf"
    cat >"$work/registry.yml" <<CONF
version: 0.1
log: { level: error, accesslog: { disabled: false } }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: "10.99.0.1:8002" }
CONF
    serve registry http://10.99.0.1:8002/v2/ docker-registry serve "$work/registry.yml"
    for version in v1 v2; do
        # At the far end itself, so not over the link.
        ip netns exec "$far" skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$work/oci:$version" "docker://10.99.0.1:8002/$image:$version"
    done
    : >"$work/log-layerset"
    for version in v1 v2; do
        [ -d "$work/remote-$version" ] || continue
        serve "serve-$version" "http://10.99.0.1:80${version#v}0/healthz" "$layerset" serve "$work/remote-$version" \
            --listen "10.99.0.1:80${version#v}0" --access-log "$work/log-layerset"
    done
}

wire() { ip -s -j -n "$near" link show dev wire | jq '.[0].stats64 | .rx.bytes + .tx.bytes'; }
requests() { case $1 in layerset*) wc -l <"$work/log-layerset" ;; ostree*) wc -l <"$work/log-ostree" ;; *) grep -c 'HTTP/1.1" ' "$work/out/registry" || true ;; esac; }

# pulls NAME COMMAND...: one run at the near end; its seconds, CPU, bytes and requests are added to results/NAME.runs.
pulls() {
    local name=$1 bytes asked
    shift
    bytes=$(wire) asked=$(requests "$name")
    measure "$name" ip netns exec "$near" "$@"
    sleep 0.3 # for the last line of the log
    printf '%s %s %s\n' "$(cat "$results/$name.time")" "$(($(wire) - bytes))" "$(($(requests "$name") - asked))" >>"$results/$name.runs"
}

network() {
    local round version from client=$work/client
    for tool in docker-registry skopeo ip python3 curl; do
        command -v $tool >/dev/null || fail "'$tool' is missing: run 'scripts/deps.sh bench'"
    done
    commit_ostree
    [ -e "$results/ostree.bytes" ] || bytes_ostree
    make_oci
    mkdir -p "$work/tmp"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_link
    serve_all
    from=$(ostree --repo="$work/ostree" rev-parse $image^)
    rm -f -- "$results"/*.runs
    for round in $(seq "$rounds"); do
        say "round $round over the link"
        rm -rf -- "$client" && mkdir "$client"
        if [ -d "$work/remote-v2" ]; then
            for version in v1 v2; do
                "$layerset" --repo "$client/layerset-$version" -q init
            done
            # shellcheck disable=SC2016 # expanded by the inner shell
            pulls layerset-full bash -c 'layerset_pull "$@"' - "$client/layerset-v2" http://10.99.0.1:8020
            layerset_pull "$client/layerset-v1" "$work/remote-v1" >/dev/null
            # shellcheck disable=SC2016 # expanded by the inner shell
            pulls layerset-update bash -c 'layerset_pull "$@"' - "$client/layerset-v1" http://10.99.0.1:8020
        fi
        for version in full update objects; do
            ostree --repo="$client/ostree-$version" init --mode=bare
            ostree --repo="$client/ostree-$version" remote add --no-gpg-verify lab http://10.99.0.1:8001
            if [ $version != full ]; then
                ostree --repo="$client/ostree-$version" pull-local "$work/ostree" "$from" >/dev/null
                ostree --repo="$client/ostree-$version" refs --create="lab:$image" "$from"
            fi
        done
        pulls ostree-full ostree --repo="$client/ostree-full" pull lab $image
        pulls ostree-update ostree --repo="$client/ostree-update" pull lab $image
        pulls ostree-objects ostree --repo="$client/ostree-objects" pull --disable-static-deltas lab $image
        for version in v1 v2; do
            # v1 first, for v2 to share what it can.
            pulls skopeo-$version skopeo --insecure-policy copy -q --src-tls-verify=false "docker://10.99.0.1:8002/$image:$version" "oci:$client/oci:$version"
        done
    done
}

# --- the table ---------------------------------------------------------------------------------------------------

mb() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }
cpu() { if [ -s "$results/$1.time" ]; then awk '{ printf "%.0f s | %.0f MB", $2 + $3, $4 / 1024 }' "$results/$1.time"; else printf -- '- | -'; fi; }
middle() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

bytes_row() {
    local mine= ratio=-
    [ -s "$results/$2.bytes" ] || return 0
    [ ! -s "$results/layerset.bytes" ] || mine=$(cat "$results/layerset.bytes")
    if [ -n "$mine" ]; then ratio=$(awk -v a="$mine" -v b="$(cat "$results/$2.bytes")" 'BEGIN { printf "%.2fx", b / a }'); fi
    printf '| %s | %s | %s | %s |\n' "$1" "$(mb "$(cat "$results/$2.bytes")")" "$ratio" "$(cpu "$3")"
}

link_row() {
    [ -s "$results/$2.runs" ] || return 0
    printf '| %s | %.1f s (%s) | %.1f s | %s | %s |\n' "$1" "$(cut -d ' ' -f 1 "$results/$2.runs" | middle)" \
        "$(cut -d ' ' -f 1 "$results/$2.runs" | sort -g | sed -n '1p;$p' | paste -sd -)" \
        "$(awk '{ print $2 + $3 }' "$results/$2.runs" | middle)" "$(mb "$(cut -d ' ' -f 5 "$results/$2.runs" | middle)")" \
        "$(cut -d ' ' -f 6 "$results/$2.runs" | middle)"
}

table() {
    cat <<EOT

## An update: $(cat "$results/new-files") new contents, $(mb "$(cat "$results/new-bytes")"), of $(mb "$(bytes_of "$pair/v2")")

$(cat "$work/judged")

| how | bytes | to layerset | CPU to make it | peak memory |
|---|---|---|---|---|
EOT
    bytes_row "layerset --least-bytes, deltas and metadata (CPU: with the packs)" layerset publish-v2
    bytes_row "ostree static delta, and $(mb "$(cat "$results/ostree-whole.bytes" 2>/dev/null || echo 0)") of whole files" ostree ostree
    bytes_row "casync, new chunks and index" casync casync
    bytes_row "zstd -19 of each new file" zstd zstd
    bytes_row "zstd -19 --patch-from the like path" patch patch
    bytes_row "xdelta3 -9 -S lzma from the like path" xdelta3 xdelta3
    bytes_row "bsdiff from the like path" bsdiff bsdiff
    if [ -s "$results/pull-v2.time" ]; then
        printf '\nPulling it from a directory with --least-bytes takes %s s of CPU and %s KB of memory; without, %s s and %s KB for %s.\n' \
            "$(awk '{ print $2 + $3 }' "$results/pull-v2.time")" "$(awk '{ print $4 }' "$results/pull-v2.time")" \
            "$(awk '{ print $2 + $3 }' "$results/pull-v2-fast.time")" "$(awk '{ print $4 }' "$results/pull-v2-fast.time")" \
            "$(mb "$(cat "$results/layerset-fast.bytes")")"
        printf '\nThe publisher sends %s, with packs for those who pull anew.\n' "$(mb "$(cat "$results/layerset-sent.bytes")")"
    fi
    if [ -s "$results/publish-one.bytes" ]; then
        printf '\nPublishing a change of one file takes %s s and %s bytes.\n' "$(cut -d ' ' -f 1 "$results/publish-one.time")" "$(cat "$results/publish-one.bytes")"
    fi
    cat <<EOT

Over a link of $((2 * delay_ms)) ms round trip and $rate_mbit Mbit/s, medians of $rounds (lowest-highest):

| what | time | CPU | bytes, both ways | requests |
|---|---|---|---|---|
EOT
    link_row "layerset pull, all" layerset-full
    link_row "ostree pull, all" ostree-full
    link_row "skopeo copy, all" skopeo-v1
    link_row "layerset pull, update" layerset-update
    link_row "ostree pull, update, static delta" ostree-update
    link_row "ostree pull, update, objects" ostree-objects
    link_row "skopeo copy, update" skopeo-v2
}

if [ "${1:-}" = --encode ]; then
    method=$2
    shift 2
    for line in "$@"; do encode "$method" "${line%%$'\t'*}" "${line#*$'\t'}"; done
    exit
fi

[ "$(id -u)" = 0 ] || fail "run it as root: it builds images and makes network namespaces"
for tool in apt-ftparchive bsdiff casync gpg jq objcopy ostree python3 readelf xdelta3 xz zstd /usr/bin/time; do
    command -v $tool >/dev/null || fail "'$tool' is missing: run 'scripts/deps.sh bench'"
done
mkdir -p "$results" "$work/out"
build_pair
[ -s "$work/new" ] || list_new
judge_pair
parts=("$@")
[ $# -gt 0 ] || parts=(bytes network table)
for part in "${parts[@]}"; do
    case $part in
    bytes)
        bytes_layerset
        bytes_ostree
        bytes_casync
        for method in zstd patch xdelta3 bsdiff; do file_by_file $method; done
        ;;
    layerset | ostree | casync) "bytes_$part" ;;
    zstd | patch | xdelta3 | bsdiff) file_by_file "$part" ;;
    network) (network) ;;
    table) table ;;
    pair) cat "$work/described" ;;
    record) record_pair ;;
    *) fail "there is no part '$part'" ;;
    esac
done
