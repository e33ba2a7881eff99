#!/bin/bash
# Everything that must hold before a commit: format, lints, documentation and tests; `make test` runs it.
#
# usage: scripts/test.sh                   all of it
#        scripts/test.sh --run COMMAND...  COMMAND in their place, whose output is that of test programs
#   CARGO=path               the cargo to run
#   LAYERSET_TEST_REQUIRE=1  a test that cannot run is an error. So it is where CI is set and the tests run as root:
#                            there, a tool that is missing is a fault of the machine. 0 allows it there too.
#   LAYERSET_TEST_LOG=file   keep what the test programs print
#
# The last lines name what could not run, with the reason, and what failed. The very last one is
# `N passed, N failed, N skipped`: sums over unit, integration and documentation tests. A test that
# could not run is no passed one, and an ignored one counts as skipped. The exit status is that of the tests.
set -euo pipefail

cargo=${CARGO:-cargo}
fail() { printf 'test: %s\n' "$*" >&2; exit 1; }

require=${LAYERSET_TEST_REQUIRE:-}
if [ -z "$require" ] && [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ]; then require=1; fi

if [ "${1:-}" = --run ]; then
    shift
    [ $# -gt 0 ] || fail "--run wants a command"
    run=("$@")
else
    [ $# = 0 ] || fail "unknown argument '$1'"
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    "$cargo" fmt --check || fail "'cargo fmt --check' failed; no test ran"
    "$cargo" clippy --all-targets --locked -- -D warnings || fail "'cargo clippy' failed; no test ran"
    RUSTDOCFLAGS="-D warnings" "$cargo" doc --no-deps --locked || fail "'cargo doc' failed; no test ran"
    # One program that fails must not hide what the others would say.
    run=("$cargo" test --locked --no-fail-fast)
fi

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
: >"$work/skips"
log=${LAYERSET_TEST_LOG:-$work/log}
: >"$log" || fail "cannot write '$log'"
# Tests append whole lines: NAME, a tab, REASON.
export LAYERSET_TEST_SKIPS=$work/skips

# The harness writes to standard output, so that lines of its children on standard error cannot tear its own.
status=0
"${run[@]}" | tee -- "$log" || status=$?

tally=0
awk -F '\t' -v require="$require" -v ended="$status" -v root="$(id -u)" '
    # What tests recorded comes first, then what the harness printed.
    FILENAME == ARGV[1] { if (!($1 in reason)) order[++count] = $1; reason[$1] = $2; next }

    /^running [0-9]+ tests?$/ { started++ }
    /^test result: / { split($0, word, " "); results++; passed += word[4]; failed += word[6]; ignored += word[8] }
    /^test .* \.\.\. (ok|FAILED|ignored)/ {
        name = verdict = $0
        sub(/^test /, "", name)
        sub(/( - (should panic|compile|compile fail))? \.\.\. (ok|FAILED|ignored).*$/, "", name)
        sub(/^.* \.\.\. /, "", verdict)
        bare = name
        sub(/^.*::/, "", bare)
        whole[bare] = name
        if (verdict == "FAILED") { failures[++broken] = name; is_broken[name] = 1 }
        else if (verdict ~ /^ignored/) {
            sub(/^ignored(, )?/, "", verdict)
            left[++listed] = name ": " (verdict == "" ? "ignored, without a reason" : "ignored: " verdict)
        }
        else is_passed[name] = 1
    }

    END {
        for (i = 1; i <= count; i++) {
            told = name = order[i]
            # A thread that a test started tells the name without its modules.
            if (name in whole) name = whole[name]
            if (name in is_broken) continue
            if (!(name in is_passed)) { print "test: there is no test \"" told "\", which says that it was skipped"; bad = 1; continue }
            left[++listed] = name ": " reason[told]
            if (reason[told] ~ /^needs root/) rootless++
            # By both names, it is one test.
            if (!(name in is_unable)) unable++
            is_unable[name] = 1
        }
        # A program that was killed, or that ended itself, has no result line.
        for (; results < started; results++) { failures[++broken] = "a test program that ended in the middle"; failed++ }
        if (listed) print "\nskipped:"
        for (i = 1; i <= listed; i++) print "    " left[i]
        if (broken) print "\nfailed:"
        for (i = 1; i <= broken; i++) print "    " failures[i]
        print ""
        if (rootless && root != 0) print "Not run as root: " rootless " tests could not run. CI runs them all, as root."
        if (ended != 0 && !failed) print "The tests ended with status " ended " before all of them had run."
        if (require != "" && require != "0" && unable) { print "A test that cannot run is an error here (LAYERSET_TEST_REQUIRE)."; bad = 1 }
        printf "%d passed, %d failed, %d skipped\n", passed - unable, failed, ignored + unable
        exit bad
    }' "$work/skips" "$log" || tally=$?

[ "$status" != 0 ] || status=$tally
exit "$status"
