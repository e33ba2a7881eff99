//! Table tests of update-alternatives' files, on those of a Debian 12 system.

#![allow(clippy::unwrap_used)]

use super::*;

const PAGER: &str = "auto\n/usr/bin/pager\npager.1.gz\n/usr/share/man/man1/pager.1.gz\n\n\
    /bin/more\n50\n/usr/share/man/man1/more.1.gz\n\
    /usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n\n";
const LESS: &str = "/usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n";
const MOST: &str = "/usr/bin/most\n60\n/usr/share/man/man1/most.1.gz\n";

fn run(sides: [Option<&str>; 3]) -> Result<Option<String>, String> {
    let [pre, current, post] = sides.map(|side| side.map(str::as_bytes));
    match ALTERNATIVES.merge(pre, current, post) {
        Ok(out) => Ok(out.map(|out| String::from_utf8(out).unwrap())),
        Err(all) => Err(all
            .iter()
            .map(|c| c.to_string())
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

fn with(base: &str, choice: &str) -> String {
    format!("{}{choice}\n", base.strip_suffix('\n').unwrap())
}

#[test]
fn choices_of_two_layers_are_joined_in_order() {
    let current = with(PAGER, MOST);
    let post = with(PAGER, "/usr/bin/bat\n-5\n\n");
    let merged = run([Some(PAGER), Some(&current), Some(&post)])
        .unwrap()
        .unwrap();
    let expect = PAGER.replace(LESS, &format!("/usr/bin/bat\n-5\n\n{LESS}{MOST}"));
    assert_eq!(merged, expect);
}

#[test]
fn a_new_slave_is_blank_in_the_choices_that_have_it_not() {
    let slave = "pager.fr.1.gz\n/usr/share/man/fr/man1/pager.1.gz\n\n/bin/more";
    let current = with(PAGER, MOST);
    let post = PAGER
        .replace("\n/bin/more", slave)
        .replace(
            "more.1.gz\n",
            "more.1.gz\n/usr/share/man/fr/man1/more.1.gz\n",
        )
        .replace("less.1.gz\n", "less.1.gz\n\n");
    let merged = run([Some(PAGER), Some(&current), Some(&post)])
        .unwrap()
        .unwrap();
    assert_eq!(merged, with(&post, &format!("{MOST}\n")));
}

#[test]
fn a_slave_outlives_the_choice_that_brought_it() {
    let bare = "auto\n/usr/bin/pager\n\n/bin/more\n50\n\n";
    let pre = "auto\n/usr/bin/pager\npager.1.gz\n/usr/share/man/man1/pager.1.gz\n\n\
        /bin/more\n50\n\n/usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n\n";
    let current = with(pre, MOST);
    let merged = run([Some(pre), Some(&current), Some(bare)])
        .unwrap()
        .unwrap();
    assert_eq!(merged, current.replace(LESS, ""));
    // And without any choice that has it, it goes.
    let manual = bare.replace("auto", "manual");
    let merged = run([Some(pre), Some(&pre.replace("auto", "manual")), Some(bare)]);
    assert_eq!(merged.unwrap().unwrap(), manual);
}

#[test]
fn the_group_goes_with_its_last_choice_only() {
    let most = PAGER.split_inclusive("\n\n").next().unwrap().to_owned() + MOST + "\n";
    let merged = run([Some(PAGER), Some(&with(PAGER, MOST)), None]).unwrap();
    assert_eq!(merged.unwrap(), most);
    let less = PAGER.replace("/bin/more\n50\n/usr/share/man/man1/more.1.gz\n", "");
    assert_eq!(run([Some(PAGER), Some(&less), None]), Ok(None));
    assert_eq!(run([Some(PAGER), None, Some(&less)]), Ok(None));
}

#[test]
fn true_conflicts_are_named() {
    let more = "record '/bin/more': ";
    for (current, post, expect) in [
        (
            PAGER.replace("\n50", "\n51"),
            PAGER.replace("\n50", "\n52"),
            format!("{more}priority is '51' in current and '52' in post"),
        ),
        (
            PAGER.replace("more.1", "m1.1"),
            PAGER.replace("more.1", "m2.1"),
            format!(
                "{more}slave 'pager.1.gz' is '/usr/share/man/man1/m1.1.gz' in current and \
                  '/usr/share/man/man1/m2.1.gz' in post"
            ),
        ),
        (
            PAGER.replace("\n50", "\n51"),
            PAGER.replace("/bin/more\n50\n/usr/share/man/man1/more.1.gz\n", ""),
            format!("{more}modified in current, removed in post"),
        ),
        (
            PAGER.replace("/usr/bin/pager", "/a"),
            PAGER.replace("/usr/bin/pager", "/b"),
            "record 'master link': it is '/a' in current and '/b' in post".to_owned(),
        ),
    ] {
        assert_eq!(
            run([Some(PAGER), Some(&current), Some(&post)]).unwrap_err(),
            expect
        );
    }
}

#[test]
fn every_truncation_is_refused_and_none_panics() {
    let post = with(PAGER, MOST);
    for cut in 0..PAGER.len() {
        let conflict = run([Some(PAGER), Some(&PAGER[..cut]), Some(&post)]).unwrap_err();
        assert!(conflict.contains("': current: "), "{cut}: {conflict}");
    }
    let conflict = run([Some(PAGER), Some(&format!("{PAGER}x")), Some(&post)]).unwrap_err();
    assert_eq!(conflict, "record 'line 13': current: text after the end");
}
