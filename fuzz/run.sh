#!/bin/bash
# Fuzzes what reads untrusted bytes, each target for some time; `make fuzz` runs it.
#
# usage: fuzz/run.sh [TARGET...]    all targets when none is named
#   FUZZ_SECONDS=n   for each target (default 600)
#   FUZZ_REPOS=dirs  repositories that seeds are cut from, in addition to golden ones (default: what the tests left)
#   FUZZ_WORK=dir    corpora, findings and logs (default fuzz/work); corpora are kept and grow
#   FUZZ_JOBS=n      targets at a time (default 1)
#
# The stable compiler does: LLVM's coverage pass is reached with -Cpasses. Sanitizers would need nightly, and our code has no
# `unsafe`. A finding (a panic, a failed assertion, more than 512 MB or 10 s for one input) ends its target and is kept in
# findings/; to see it again: target/x86_64-unknown-linux-gnu/release/TARGET work/findings/TARGET-...
set -euo pipefail
# What is compared and parsed must not depend on who runs it.
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/.." && pwd)
seconds=${FUZZ_SECONDS:-600}
work=$(realpath -m -- "${FUZZ_WORK:-$here/work}")
host=$(rustc -vV | sed -n 's/^host: //p')

fail() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }

mapfile -t known < <(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"/\1/p' "$here/Cargo.toml")
targets=("$@")
[ $# -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
    [[ " ${known[*]} " == *" $target "* ]] || fail "there is no target '$target', but: ${known[*]}"
done
command -v c++ >/dev/null || fail "'c++' is missing: install g++, libFuzzer is built from source"

repos=()
for repo in ${FUZZ_REPOS:-"$top/target/tmp/journey/shared/repo"}; do
    if [ -d "$repo/trees" ]; then
        repos+=("$repo")
    elif [ -n "${FUZZ_REPOS:-}" ]; then
        fail "'$repo' is no repository"
    fi
done
(cd "$top" && cargo build --quiet --locked --example fuzz-seeds)
mkdir -p "$work"/{corpus,findings,logs}
rm -rf -- "$work/seeds"
"$top/target/debug/examples/fuzz-seeds" "$work/seeds" "${repos[@]}"

# With --target, build scripts and macros are left alone.
(
    cd "$here"
    flags=(
        -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
        -Ccodegen-units=1
    )
    RUSTFLAGS="${flags[*]}" cargo build --release --target "$host"
)

# Runs one target, and prints one line about it.
run() {
    local target=$1 log=$work/logs/$1.log status=0 word=clean
    mkdir -p "$work/corpus/$target" "$work/seeds/$target"
    "$here/target/$host/release/$target" "$work/corpus/$target" "$work/seeds/$target" \
        -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=512 -timeout=10 -max_len=65536 -len_control=20 \
        -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$work/findings/$target-" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || word="FINDING: $(grep -m 1 -E 'panicked at|ERROR: libFuzzer' "$log"), see $log"
    awk -v target="$target" -v seeds="$(find "$work/seeds/$target" -type f | wc -l)" -v word="$word" '
        /cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cover = $(i + 1) }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::average_exec_per_sec/ { rate = $2 }
        /^stat::peak_rss_mb/ { peak = $2 }
        END { printf "%-10s %4d seeds %10d runs %7d/s  %5d edges  peak %3d MB  %s\n", target, seeds, runs, rate, cover, peak, word }' "$log"
    return $status
}

printf 'fuzz: %d s for each of: %s\n' "$seconds" "${targets[*]}"
failed=0
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${FUZZ_JOBS:-1}" ]; do wait -n || failed=1; done
    run "$target" &
done
while [ -n "$(jobs -rp)" ]; do wait -n || failed=1; done
[ $failed = 0 ] || fail "there are findings in $work/findings"
