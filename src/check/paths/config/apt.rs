//! Hooks of apt that run what is not there: each installation fails then.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::launch;
use crate::check::{FindingKind, Weight};
use crate::tree::view::ViewError;

const FILE: &[u8] = b"etc/apt/apt.conf";
const DIR: &[u8] = b"etc/apt/apt.conf.d";

/// Lists of commands, by the last part of their names in lower case; see apt.conf(5).
const HOOKS: [&str; 6] = [
    "pre-invoke",
    "post-invoke",
    "pre-invoke-success",
    "post-invoke-success",
    "post-invoke-stats",
    "pre-install-pkgs",
];

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it runs";

/// Finds commands of hooks that are not there: `include:PATH:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    if !image.has_program("usr/bin/apt-get") {
        return Ok(());
    }
    let mut files = image.files(DIR, is_read);
    files.extend(image.file(FILE));
    for path in files {
        for command in hooks(&image.text(path.as_bytes())?) {
            for wanted in launch::of_shell(&command) {
                if let Some(fault) = wanted.fault_of(image.tree, image.accounts) {
                    let (kind, name) = (FindingKind::Include, wanted.place());
                    let reason = format!("{}, which {fault}", wanted.verb(wanted.name()));
                    faults.add(kind, &path, &name, Weight::Grave, &reason, HINT);
                }
            }
        }
    }
    Ok(())
}

/// Says whether apt reads a file of this name.
fn is_read(name: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let has_ending = name.contains(&b'.');
    name.iter().all(is_of_name) && (!has_ending || name.ends_with(b".conf"))
}

/// Returns the commands of all hooks.
fn hooks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Whether each open bracket stands in a hook, and whether the last name is one.
    let (mut open, mut is_hook) = (Vec::new(), false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '{' => {
                open.push(is_hook || open.last() == Some(&true));
                is_hook = false;
                after
            }
            '}' => {
                open.pop();
                is_hook = false;
                after
            }
            ';' => {
                is_hook = false;
                after
            }
            '"' => {
                let Some((value, after)) = after.split_once('"') else {
                    return found;
                };
                if is_hook || open.last() == Some(&true) {
                    found.push(value.to_owned());
                }
                after
            }
            '#' => after.split_once('\n').map_or("", |(_, after)| after),
            '/' if after.starts_with('/') => after.split_once('\n').map_or("", |(_, after)| after),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, after)| after),
            c if is_of_name(c) => {
                let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
                let name = rest[..end].trim_end_matches(':').to_ascii_lowercase();
                let last = name.rsplit("::").next().unwrap_or_default();
                is_hook = HOOKS.contains(&last);
                &rest[end..]
            }
            _ => after,
        };
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_of_hooks_are_read_however_they_are_written() {
        let text = "// a \"no\"\n# b\n/* DPkg::Post-Invoke { \"no\"; }; */\n\
            DPkg::Post-Invoke { \"a; b\"; \"c\"; };\n\
            DPkg { Pre-Install-Pkgs:: \"d\"; Options { \"no\"; } };\n\
            APT::Update::Post-Invoke-Success {\"e\"};\n\
            DPkg::Tools::Options::/usr/bin/x::Version \"no\";\n";
        assert_eq!(hooks(text), ["a; b", "c", "d", "e"]);
        assert!(is_read(b"20auto") && is_read(b"a.conf") && !is_read(b"a.dpkg-old"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(DPkg::Post-Invoke |[{};\"/*# \n]|[^x])*") {
            hooks(&text);
        }
    }
}
