//! Libraries of Ruby that a program requires at its start and that are not there.
//!
//! Lines are read: a `require` at the start of a line, without a condition behind it, is run. The
//! load path is that of Debian's Ruby (`$:`), and the `lib` directories of gems.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::report::{Missing, Report};
use super::runs::{Run, multiarch};
use crate::check::paths::lookup::{self, Lookup};
use crate::layout::{join, name, parent};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// The version of [`RubyFacts`].
const KIND: &str = "ruby-imports-1";

/// Features of the interpreter itself.
const BUILTIN: [&str; 10] = [
    "complex",
    "enumerator",
    "enumerator.so",
    "fiber",
    "rational",
    "ruby2_keywords",
    "set",
    "thread",
    "thread.rb",
    "pathname.so",
];

/// What a file requires; a function of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RubyFacts {
    /// What the load path is searched for.
    features: Vec<String>,
    /// What is found from the file's own directory.
    relative: Vec<String>,
    /// Whether it changes the load path.
    extends_path: bool,
}

fn read(bytes: &[u8]) -> RubyFacts {
    let mut facts = RubyFacts::default();
    let mut end: Option<String> = None;
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Some(wanted) = &end {
            if line.trim() == wanted.as_str() {
                end = None;
            }
            continue;
        }
        if line.starts_with("=begin") {
            end = Some("=end".to_owned());
        } else if line.trim_end() == "__END__" {
            break;
        } else {
            take(line, &mut facts);
            end = here_document(line);
        }
    }
    facts
}

fn take(line: &str, facts: &mut RubyFacts) {
    let changes = ["$:", "$LOAD_PATH", "bundler", "Gem.path"];
    if changes.iter().any(|word| line.contains(word)) {
        facts.extends_path = true;
    }
    let (list, rest) = if let Some(rest) = line.strip_prefix("require_relative") {
        (&mut facts.relative, rest)
    } else if let Some(rest) = line.strip_prefix("require") {
        (&mut facts.features, rest)
    } else {
        return;
    };
    let Some(rest) = rest.strip_prefix([' ', '\t', '(']) else {
        return;
    };
    let rest = rest.trim_start();
    let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return;
    };
    let Some((feature, after)) = rest[1..].split_once(quote) else {
        return;
    };
    let after = after.trim_start_matches([')', ' ', '\t', '\r']);
    if (after.is_empty() || after.starts_with(['#', ';'])) && !feature.contains('#') {
        list.push(feature.to_owned());
    }
}

/// Returns the last line of the here-document that starts in a line.
fn here_document(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<<")?;
    let own = rest
        .trim_start_matches(['~', '-'])
        .trim_start_matches(['"', '\'']);
    let end = own.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let word = &own[..end.unwrap_or(own.len())];
    word.starts_with(|c: char| c.is_ascii_uppercase())
        .then(|| word.to_owned())
        // `class << Self` and `list <<Item` are no here-documents.
        .filter(|_| {
            rest.starts_with(['~', '-', '"', '\'']) || !line.trim_start().starts_with("class")
        })
        .filter(|word| word.chars().all(|c| !c.is_ascii_lowercase()))
}

/// Reports what the programs of Ruby among `runs` require and do not find.
pub(super) fn check(
    tree: &Tree,
    view: &dyn ImageView,
    runs: &[Run],
    report: &mut Report,
) -> Result<(), ViewError> {
    let is_ruby = |run: &&Run| {
        let at = lookup::program(tree, &run.interpreter);
        at.is_ok_and(|at| parent(&at) == b"usr/bin" && name(&at).starts_with(b"ruby"))
    };
    let mut runs = runs.iter().filter(is_ruby).peekable();
    if runs.peek().is_none() {
        return Ok(());
    }
    let Some(dirs) = load_path(tree) else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    for run in runs {
        let mut todo = vec![run.path.clone()];
        let mut is_open = false;
        while let Some(path) = todo.pop() {
            // What lies in the load path comes from packages and gems, and is taken for whole.
            let is_shared = dirs
                .iter()
                .any(|dir| crate::layout::within(path.as_bytes(), dir));
            if is_shared || !seen.insert(path.clone()) {
                continue;
            }
            let facts = facts(view, &path)?;
            is_open |= facts.extends_path;
            let own = parent(path.as_bytes());
            let mut lacks = |module: &str| {
                report.add(&Missing {
                    path: path.clone(),
                    program: run.path.clone(),
                    module: module.to_owned(),
                    part: String::new(),
                    language: "Ruby",
                    why: "which is not in the load path of this tree's Ruby".to_owned(),
                });
            };
            for feature in &facts.relative {
                match file(tree, own, feature) {
                    Some(found) => todo.push(found),
                    None => lacks(&format!("./{feature}")),
                }
            }
            for feature in &facts.features {
                let is_known = BUILTIN.contains(&feature.as_str())
                    || dirs.iter().any(|dir| file(tree, dir, feature).is_some())
                    || is_open && is_anywhere(tree, feature);
                if !is_known {
                    lacks(feature);
                }
            }
        }
    }
    Ok(())
}

fn facts(view: &dyn ImageView, path: &RelPath) -> Result<RubyFacts, ViewError> {
    let compute = |bytes: &[u8]| serde_json::to_vec(&read(bytes)).unwrap_or_default();
    let bytes = view.computed(path.as_bytes(), KIND, &compute)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn file(tree: &Tree, dir: &[u8], feature: &str) -> Option<RelPath> {
    ["", ".rb", ".so"].iter().find_map(|end| {
        let path = format!("{feature}{end}");
        match lookup::walk(tree, dir, path.as_bytes()) {
            Lookup::Found(at, inode) if Inode::object(inode).is_some() => RelPath::new(&at).ok(),
            _ => None,
        }
    })
}

fn is_anywhere(tree: &Tree, feature: &str) -> bool {
    let ends = [format!("/{feature}.rb"), format!("/{feature}.so")];
    tree.iter().any(|(path, _)| {
        ends.iter()
            .any(|end| path.as_bytes().ends_with(end.as_bytes()))
    })
}

/// Returns the directories that Debian's Ruby searches; `None` says that it has no library.
fn load_path(tree: &Tree) -> Option<Vec<Vec<u8>>> {
    // Only the version that `ruby` leads to.
    let Ok(program) = lookup::program(tree, b"usr/bin/ruby") else {
        return None;
    };
    let short = name(&program).strip_prefix(b"ruby")?;
    let version = [short, b".0"].concat();
    let lib = join(b"usr/lib/ruby", &version);
    tree.get(&lib)?;
    let mut dirs = vec![lib];
    let local = b"usr/local/lib/site_ruby".to_vec();
    let vendor = b"usr/lib/ruby/vendor_ruby".to_vec();
    for dir in [local, vendor] {
        dirs.push(join(&dir, &version));
        dirs.push(dir);
    }
    for arch in multiarch(tree) {
        let ruby = join(&arch, b"ruby");
        dirs.push(join(&ruby, &version));
        dirs.push(join(&join(&ruby, b"vendor_ruby"), &version));
    }
    // Gems: `NAME-VERSION/lib`, and their compiled parts.
    for root in [
        &b"var/lib/gems"[..],
        b"usr/lib/ruby/gems",
        b"usr/share/rubygems-integration",
        b"usr/lib/sysimage/var/lib/gems",
    ] {
        dirs.extend(gem_dirs(tree, root, &version));
    }
    for arch in multiarch(tree) {
        let extensions = join(&join(&arch, b"rubygems-integration"), &version);
        let names = tree.names(&extensions);
        dirs.extend(names.map(|gem| join(&extensions, gem)));
    }
    dirs.retain(|dir| tree.get(dir).is_some());
    Some(dirs)
}

/// Returns the `lib` directories of the gems for a version below a root of gems.
fn gem_dirs(tree: &Tree, root: &[u8], version: &[u8]) -> Vec<Vec<u8>> {
    let mut dirs = Vec::new();
    for (path, inode) in tree.below(root) {
        let bytes = path.as_bytes();
        if !inode.is_dir() {
            continue;
        }
        let inner: Vec<&[u8]> = bytes[root.len() + 1..]
            .split(|byte| *byte == b'/')
            .collect();
        let is_lib = matches!(inner[..], [own, b"gems", _, b"lib"]
            if own == version || own == b"all" || own == &version[..version.len().saturating_sub(2)]);
        let is_extension = matches!(inner[..], [own, b"extensions", _, _, _] if own == version);
        if is_lib || is_extension {
            dirs.push(bytes.to_vec());
        }
    }
    dirs
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::problems;
    use super::*;
    use crate::check::paths::testing::{Image, assert_ids};

    #[test]
    fn what_is_required_for_certain_is_read() {
        let facts = read(b"require 'a'\nrequire \"b\" # x\nrequire('c')\n  require 'd'\nrequire 'e' if x\nrequire f\nrequire \"g#{h}\"\n=begin\nrequire 'i'\n=end\nx = <<~EOT\nrequire 'j'\nEOT\nrequire_relative 'k'\n__END__\nrequire 'l'\n");
        assert_eq!(facts.features, ["a", "b", "c"]);
        assert_eq!(facts.relative, ["k"]);
        assert!(!facts.extends_path);
        assert!(read(b"$:.unshift 'x'").extends_path);
    }

    #[test]
    fn libraries_are_found_in_the_load_path_and_in_gems() {
        let image = || {
            Image::new()
                .program("usr/bin/ruby3.1")
                .link("usr/bin/ruby", "ruby3.1")
                .file("usr/lib/ruby/3.1.0/json.rb", b"")
                .exec("opt/run", b"#!/usr/bin/ruby\nrequire 'json'\nrequire 'sinatra/base'\nrequire_relative 'own'\n")
                .file("opt/own.rb", b"require 'gone'\n")
        };
        let check = |image: &Image, expect: &[&str]| {
            assert_ids(&problems(&image.tree, &image.view).unwrap(), expect);
        };
        let gone = "!import:/opt/own.rb:gone";
        check(&image(), &[gone, "!import:/opt/run:sinatra/base"]);
        for place in [
            "usr/lib/ruby/vendor_ruby/sinatra/base.rb",
            "var/lib/gems/3.1.0/gems/sinatra-3.0/lib/sinatra/base.rb",
            "usr/share/rubygems-integration/all/gems/sinatra-3.0/lib/sinatra/base.rb",
            "usr/lib/x86_64-linux-gnu/ruby/vendor_ruby/3.1.0/sinatra/base.so",
        ] {
            check(&image().file(place, b""), &[gone]);
        }
        for place in [
            "var/lib/gems/3.3.0/gems/sinatra-3.0/lib/sinatra/base.rb",
            "usr/lib/ruby/vendor_ruby/3.3.0/sinatra/base.rb",
        ] {
            let image = image().file(place, b"");
            let found = problems(&image.tree, &image.view).unwrap();
            assert!(
                found
                    .iter()
                    .any(|own| own.id.place() == "/opt/run:sinatra/base"),
                "{place}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_text_of_the_grammar_makes_the_reader_panic(
            text in "(require|require_relative|ä|<<|EOT|=begin|=end|[ \n'\"()#;])*"
        ) {
            let _ = read(text.as_bytes());
        }
    }
}
