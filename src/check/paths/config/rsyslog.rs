//! Modules that the configuration of rsyslogd(8) loads and that are not there: what they would have
//! read or written is not logged.

use super::faults::Faults;
use super::image::Image;
use crate::check::{FindingKind, Weight};
use crate::tree::view::ViewError;

const FILE: &[u8] = b"etc/rsyslog.conf";
const DIR: &[u8] = b"etc/rsyslog.d";

/// Where the modules lie; Debian has a directory for each architecture.
const MODULES: [&str; 3] = [
    "/usr/lib/*/rsyslog",
    "/usr/lib/rsyslog",
    "/usr/local/lib/rsyslog",
];

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of the module";

/// Finds modules that are loaded and lie nowhere: `include:PATH:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program("usr/sbin/rsyslogd") {
        return Ok(());
    }
    let mut files = image.files(DIR, |name| name.ends_with(b".conf"));
    files.extend(image.file(FILE));
    for path in files {
        let text = image.text(path.as_bytes())?;
        // Who has modules elsewhere says himself where.
        if text.contains("$ModDir") {
            continue;
        }
        for name in loaded(&text) {
            if is_missing(image, &name) {
                let reason = format!("loads the module '{name}', which does not exist");
                let (kind, weight) = (FindingKind::Include, Weight::Grave);
                faults.add(kind, &path, &name, weight, &reason, HINT);
            }
        }
    }
    Ok(())
}

fn is_missing(image: &Image<'_>, name: &str) -> bool {
    if name.starts_with('/') {
        return image.lacks(name);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let stem = name.strip_suffix(".so").unwrap_or(name);
    if stem.is_empty() || !stem.chars().all(is_name) {
        return false;
    }
    let lies_in = |dir: &str| !image.glob(&format!("{dir}/{stem}.so")).is_empty();
    !MODULES.iter().any(|dir| lies_in(dir))
}

/// Reads what `module(load="NAME")` and `$ModLoad NAME` name.
fn loaded(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for line in text.lines() {
        let line = before_comment(line);
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first.eq_ignore_ascii_case("$modload") {
            found.extend(words.next().map(str::to_owned));
        }
        rest.push_str(line);
        rest.push('\n');
    }
    let lower = rest.to_ascii_lowercase();
    let starts = lower
        .match_indices("module")
        .map(|(at, word)| at + word.len());
    for start in starts {
        let inside = rest[start..].trim_start().strip_prefix('(');
        let Some(inside) = inside.and_then(|inside| inside.split(')').next()) else {
            continue;
        };
        found.extend(value(inside, "load"));
    }
    found
}

/// Returns the quoted value of a parameter.
fn value(parameters: &str, name: &str) -> Option<String> {
    let lower = parameters.to_ascii_lowercase();
    let mut starts = lower.match_indices(name).map(|(at, _)| at);
    starts.find_map(|at| {
        let is_whole = !parameters[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
        let rest = parameters[at + name.len()..].trim_start();
        let rest = rest.strip_prefix('=')?.trim_start().strip_prefix('"')?;
        let (value, _) = rest.split_once('"')?;
        is_whole.then(|| value.to_owned())
    })
}

/// Returns a line up to a `#` that is not quoted.
fn before_comment(line: &str) -> &str {
    let mut quotes = false;
    let end = line.find(|c| {
        quotes ^= c == '"';
        c == '#' && !quotes
    });
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modules_are_read_in_both_ways_of_writing() {
        let text = "$ModLoad imudp.so # x\n# $ModLoad no\nmodule(load=\"imuxsock\")\n\
            module (\n  SysSock.Use=\"off\" # load=\"no\"\n  load = \"imfile\")\n#module(load=\"no\")\n\
            action(type=\"omfile\")\ntemplate(name=\"module\" reload=\"x\")\n";
        assert_eq!(loaded(text), ["imudp.so", "imuxsock", "imfile"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(\\$ModLoad |module|load|[()=\"# \n\u{130}]|[^x])*") {
            loaded(&text);
        }
    }
}
