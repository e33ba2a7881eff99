//! Databases that are sets of lines, or nearly so: shells, CA selection, modules, dpkg's triggers.

use super::fields;
use super::linefile::{LineFile, RepeatedLines};
use super::record::RecordMerge;
use std::borrow::Cow;

/// Merges a set of lines, such as `/etc/shells` or a `.dsh-also` file.
pub(super) static SET: LineFile = LineFile::SET;

/// Merges `/etc/ca-certificates.conf`, where `!` before a certificate deselects it.
pub(super) static CA_CERTIFICATES: LineFile = LineFile {
    name: "ca-certificates.conf",
    key: |line| Ok(Cow::Borrowed(line.strip_prefix(b"!").unwrap_or(line))),
    both: |_, _, _| {
        Err(vec![
            "selected on one side, deselected on the other".to_owned(),
        ])
    },
    ..LineFile::SET
};

/// Merges `triggers/File`: `path package[/noawait]`, by path and package.
pub(super) static TRIGGERS_FILE: LineFile = LineFile {
    key: |line| {
        // The path may hold blanks, the package cannot: dpkg cuts at the last blank too.
        let at = line.iter().rposition(|&byte| byte == b' ');
        let package = at.map(|at| &line[at + 1..]).unwrap_or_default();
        if !line.starts_with(b"/") || !is_word(package) || package.starts_with(b"/") {
            return Err("not a path and a package".to_owned());
        }
        Ok(Cow::Borrowed(&line[..line.len() - options(package).len()]))
    },
    ..TRIGGERS
};

/// Merges `triggers/<name>`: `package[/noawait]`, by package.
pub(super) static TRIGGERS_NAMED: LineFile = LineFile {
    key: |line| {
        if !is_word(line) || line.starts_with(b"/") {
            return Err("not a package".to_owned());
        }
        Ok(Cow::Borrowed(&line[..line.len() - options(line).len()]))
    },
    ..TRIGGERS
};

/// Merges `triggers/Unincorp`: a trigger, then the packages that wait for it (`-` for none).
pub(super) static TRIGGERS_UNINCORP: LineFile = LineFile {
    key: |line| match line.split(|&byte| byte == b' ').next() {
        Some(trigger) if is_word(trigger) && trigger.len() + 1 < line.len() => {
            Ok(Cow::Borrowed(trigger))
        }
        _ => Err("not a trigger and its packages".to_owned()),
    },
    both: waiting,
    ..TRIGGERS
};

const TRIGGERS: LineFile = LineFile {
    name: "dpkg-triggers",
    both: |_, _, _| Err(vec!["awaited on one side, not on the other".to_owned()]),
    repeats: RepeatedLines::Refused,
    ..LineFile::SET
};

fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

fn options(package: &[u8]) -> &[u8] {
    let at = package.iter().position(|&byte| byte == b'/');
    &package[at.unwrap_or(package.len())..]
}

fn waiting(pre: Option<&[u8]>, current: &[u8], post: &[u8]) -> RecordMerge {
    let words = |line| fields::members(line, b' ');
    let (pre, current, post) = (words(pre.unwrap_or_default()), words(current), words(post));
    let packages = fields::set(pre.get(1..).unwrap_or_default(), &current[1..], &post[1..]);
    if packages.is_empty() {
        return Ok(None);
    }
    let line: Vec<_> = current[..1].iter().copied().chain(packages).collect();
    Ok(Some(line.join(&b' ')))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Driver;
    use super::*;

    fn run(file: &LineFile, sides: [&str; 3]) -> Result<String, String> {
        let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
        match file.merge(pre, current, post) {
            Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
            Err(all) => Err(all
                .iter()
                .map(|c| c.to_string())
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    const SHELLS: &str =
        "# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n\n# more\n/bin/dash\n";

    #[test]
    fn line_sets_keep_comments_blanks_and_order() {
        let current = SHELLS.replace("/bin/bash\n", "/bin/bash\n/usr/bin/zsh\n");
        let post = format!(
            "{}\n# for sessions\n/usr/bin/tmux\n",
            SHELLS.replace("/bin/dash\n", "")
        );
        let merged = run(&SET, [SHELLS, &current, &post]).unwrap();
        let expect = "# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n/usr/bin/zsh\n\n# more\n\
                      \n# for sessions\n/usr/bin/tmux\n";
        assert_eq!(merged, expect);
    }

    #[test]
    fn a_line_written_twice_is_no_conflict_in_a_set() {
        let merged = run(&SET, ["a\n", "a\nb\na\n", "a\nc"]).unwrap();
        assert_eq!(merged, "a\nb\na\nc\n");
    }

    #[test]
    fn an_emptied_set_stays_a_file_and_an_absent_one_stays_absent() {
        assert_eq!(
            SET.merge(Some(b"a\nb\n"), Some(b"a\n"), Some(b"b\n")),
            Ok(Some(Vec::new()))
        );
        assert_eq!(SET.merge(Some(b"a\nb\n"), Some(b"a\n"), None), Ok(None));
        let kept = SET.merge(Some(b"a\n"), Some(b"a\nmine\n"), None).unwrap();
        assert_eq!(kept.unwrap(), b"mine\n");
    }

    #[test]
    fn a_certificate_deselected_by_the_admin_stays_so() {
        let pre = "# chosen\nmozilla/A.crt\nmozilla/B.crt\n";
        let current = "# chosen\n!mozilla/A.crt\nmozilla/B.crt\n";
        let post = "# chosen\nmozilla/A.crt\nmozilla/C.crt\n";
        let merged = run(&CA_CERTIFICATES, [pre, current, post]).unwrap();
        assert_eq!(merged, "# chosen\n!mozilla/A.crt\nmozilla/C.crt\n");
        let conflict = run(&CA_CERTIFICATES, [pre, current, "mozilla/B.crt\n"]).unwrap_err();
        assert_eq!(
            conflict,
            "record 'mozilla/A.crt': modified in current, removed in post"
        );
        let both = run(&CA_CERTIFICATES, ["", "x.crt\n!x.crt\n", "y.crt\n"]).unwrap_err();
        assert_eq!(
            both,
            "record 'line 2': current: duplicate of 'x.crt' on line 1"
        );
    }

    #[test]
    fn trigger_interests_of_two_layers_are_joined() {
        let pre = "/usr/lib/binfmt.d systemd/noawait\n/etc/sgml sgml-base\n";
        let current = "/usr/lib/binfmt.d systemd/noawait\n/usr/share/fonts fontconfig/noawait\n\
                       /etc/sgml sgml-base\n";
        let post = format!("{pre}/usr/lib/gdk/loaders libgdk-pixbuf-2.0-0:amd64/noawait\n");
        let merged = run(&TRIGGERS_FILE, [pre, current, &post]).unwrap();
        assert!(merged.starts_with(current) && merged.ends_with(":amd64/noawait\n"));
        let [a, b] = ["/a p/noawait\n", "/a p\n"];
        let conflict = run(&TRIGGERS_FILE, ["", a, b]).unwrap_err();
        assert_eq!(
            conflict,
            "record '/a p': awaited on one side, not on the other"
        );
        let conflict = run(&TRIGGERS_NAMED, ["", "libc-bin\n", "two words\n"]).unwrap_err();
        assert_eq!(conflict, "record 'line 1': post: not a package");
    }

    #[test]
    fn packages_waiting_for_one_trigger_are_a_set() {
        let merged = run(
            &TRIGGERS_UNINCORP,
            [
                "ldconfig a b\n",
                "ldconfig b c\nman-db -\n",
                "ldconfig a b d\n",
            ],
        );
        assert_eq!(merged.unwrap(), "ldconfig b c d\nman-db -\n");
        let gone = run(&TRIGGERS_UNINCORP, ["t a b\n", "t a\nu -\n", "t b\n"]);
        assert_eq!(gone.unwrap(), "u -\n");
    }
}
