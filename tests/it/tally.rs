//! What `scripts/test.sh` makes of the output of test programs.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Tallies the output of a made-up test program; returns the last lines and the status.
fn tally(prints: &str, skips: &str, status: i32, environment: &[(&str, &str)]) -> (String, i32) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("prints", prints);
    write("skips", skips);
    let script = format!("cat prints; cat skips >>\"$LAYERSET_TEST_SKIPS\"; exit {status}");
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test.sh"))
        .args(["--run", "sh", "-c", &script])
        .current_dir(dir.path())
        .env_remove("CI")
        .env_remove("LAYERSET_TEST_LOG")
        .env_remove("LAYERSET_TEST_REQUIRE")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.strip_prefix(prints).unwrap();
    (said.trim_start().to_owned(), output.status.code().unwrap())
}

const GOOD: &str = "
running 3 tests
test m::one ... ok
test m::two ... ok
test m::three ... ignored, it takes an hour

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test src/lib.rs - path (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

#[test]
fn a_test_that_could_not_run_is_named_and_is_no_passed_one() {
    let (said, status) = tally(
        GOOD,
        "m::two\tneeds bwrap\ntwo\tneeds a loop device\n",
        0,
        &[],
    );
    let expected = "skipped:
    m::three: ignored: it takes an hour
    m::two: needs bwrap
    m::two: needs a loop device

2 passed, 0 failed, 2 skipped
";
    assert_eq!((said.as_str(), status), (expected, 0));
    assert_eq!(tally(GOOD, "", 0, &[]).1, 0);
    let (said, status) = tally(GOOD, "m::four\tneeds bwrap\n", 0, &[]);
    assert!(said.contains("there is no test \"m::four\""), "{said}");
    assert_eq!(status, 1);
}

#[test]
fn where_it_is_required_a_test_that_could_not_run_is_an_error() {
    let required = [("LAYERSET_TEST_REQUIRE", "1")];
    let (said, status) = tally(GOOD, "m::two\tneeds bwrap\n", 0, &required);
    assert!(
        said.contains("an error here (LAYERSET_TEST_REQUIRE)"),
        "{said}"
    );
    assert!(
        said.ends_with("\n2 passed, 0 failed, 2 skipped\n"),
        "{said}"
    );
    assert_eq!(status, 1);
    // What is ignored is so everywhere.
    assert_eq!(tally(GOOD, "", 0, &required).1, 0);
    let allowed = [("CI", "true"), ("LAYERSET_TEST_REQUIRE", "0")];
    assert_eq!(tally(GOOD, "m::two\tneeds bwrap\n", 0, &allowed).1, 0);
}

#[test]
fn what_failed_is_named_last_and_the_status_is_that_of_the_tests() {
    let prints = format!(
        "{GOOD}
running 2 tests
test m::five ... FAILED
test m::six ... ok

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 7 tests
test m::seven ... ok
"
    );
    let (said, status) = tally(&prints, "m::five\tneeds bwrap\n", 101, &[]);
    let expected = "skipped:
    m::three: ignored: it takes an hour

failed:
    m::five
    a test program that ended in the middle

4 passed, 2 failed, 1 skipped
";
    assert_eq!((said.as_str(), status), (expected, 101));
    let (said, status) = tally("", "", 101, &[]);
    assert!(
        said.starts_with("The tests ended with status 101 before"),
        "{said}"
    );
    assert_eq!(status, 101);
}
