//! Packages of Node that a program requires at its start and that are not there.
//!
//! Programs of packages are looked at like others; what lies in directories of packages of Node is
//! taken for whole, for those say themselves what they need.

use std::collections::HashSet;

use super::node_source::{self, NodeFacts};
use super::report::{Missing, Report};
use super::runs::{Run, multiarch};
use crate::check::paths::lookup::{self, Lookup};
use crate::layout::{join, name, parent};
use crate::path::RelPath;
use crate::tree::view::{ImageView, ViewError};
use crate::tree::{Inode, Tree};

/// What Node has in itself, since version 18.
const BUILTIN: &str = "_http_agent _http_client _http_common _http_incoming _http_outgoing _http_server \
     _stream_duplex _stream_passthrough _stream_readable _stream_transform _stream_wrap _stream_writable _tls_common \
     _tls_wrap assert async_hooks buffer child_process cluster console constants crypto dgram diagnostics_channel dns \
     domain events fs http http2 https inspector module net os path perf_hooks process punycode querystring readline \
     repl stream string_decoder sys timers tls trace_events tty url util v8 vm wasi worker_threads zlib";

/// What may follow the name of a module.
const ENDINGS: [&[u8]; 6] = [b"", b".js", b".json", b".node", b".cjs", b".mjs"];

/// Reports what the programs of Node among `runs` require and do not find.
pub(super) fn check(
    tree: &Tree,
    view: &dyn ImageView,
    runs: &[Run],
    report: &mut Report,
) -> Result<(), ViewError> {
    let mut seen = HashSet::new();
    for run in runs {
        let program = lookup::program(tree, &run.interpreter);
        let is_node = program.is_ok_and(|at| matches!(name(&at), b"node" | b"nodejs"));
        if !is_node || is_in_package(run.path.as_bytes()) {
            continue;
        }
        let mut todo = vec![run.path.clone()];
        while let Some(path) = todo.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            for module in facts(view, &path)?.modules {
                match find(tree, parent(path.as_bytes()), &module) {
                    Found::Missing => report.add(&Missing {
                        path: path.clone(),
                        program: run.path.clone(),
                        module,
                        part: String::new(),
                        language: "Node",
                        why: "which is in no directory that Node searches in this tree".to_owned(),
                    }),
                    Found::File(next) if is_source(&next) => todo.push(next),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn facts(view: &dyn ImageView, path: &RelPath) -> Result<NodeFacts, ViewError> {
    let compute = |bytes: &[u8]| serde_json::to_vec(&node_source::read(bytes)).unwrap_or_default();
    let bytes = view.computed(path.as_bytes(), node_source::KIND, &compute)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Says whether a path lies where packages of Node are.
fn is_in_package(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| matches!(part, b"node_modules" | b"nodejs"))
}

fn is_source(path: &RelPath) -> bool {
    !path.name().ends_with(b".json") && !path.name().ends_with(b".node")
}

enum Found {
    /// A file of the program's own.
    File(RelPath),
    /// A package, or nothing to look for.
    Package,
    Missing,
}

/// Finds a module from a directory, as `require` does.
fn find(tree: &Tree, dir: &[u8], module: &str) -> Found {
    let bytes = module.as_bytes();
    if module.is_empty() || module.starts_with('#') || module.contains([':', '\\', '!', '?']) {
        return Found::Package;
    }
    let is_relative =
        matches!(module, "." | "..") || ["./", "../", "/"].iter().any(|s| module.starts_with(s));
    if is_relative {
        return match own_file(tree, dir, bytes) {
            Some(own) => own,
            None => Found::Missing,
        };
    }
    let mut parts = module.split('/');
    let first = parts.next().unwrap_or_default();
    if BUILTIN.split_ascii_whitespace().any(|own| own == first) {
        return Found::Package;
    }
    let package = match (first.starts_with('@'), parts.next()) {
        (true, Some(second)) => format!("{first}/{second}"),
        _ => first.to_owned(),
    };
    let mut at = dir;
    loop {
        if name(at) != b"node_modules" && has(tree, &join(at, b"node_modules"), &package) {
            return Found::Package;
        }
        if at.is_empty() {
            break;
        }
        at = parent(at);
    }
    let shared = [
        &b"usr/share/nodejs"[..],
        b"usr/lib/nodejs",
        b"usr/local/lib/node_modules",
    ];
    let of_system = shared.iter().any(|dir| has(tree, dir, &package))
        || multiarch(tree)
            .iter()
            .any(|arch| has(tree, &join(arch, b"nodejs"), &package));
    match of_system {
        true => Found::Package,
        false => Found::Missing,
    }
}

/// Says whether a directory of packages has one.
fn has(tree: &Tree, dir: &[u8], package: &str) -> bool {
    ENDINGS.iter().any(|end| {
        let path = join(dir, &[package.as_bytes(), end].concat());
        tree.resolve(&path).is_some()
    })
}

/// Finds a file of the program's own: by its name, with an ending, or the first of a directory.
fn own_file(tree: &Tree, dir: &[u8], module: &[u8]) -> Option<Found> {
    let file = |path: &[u8]| match lookup::walk(tree, dir, path) {
        Lookup::Found(at, inode) if Inode::object(inode).is_some() => RelPath::new(&at).ok(),
        _ => None,
    };
    for end in ENDINGS {
        if let Some(found) = file(&[module, end].concat()) {
            return Some(Found::File(found));
        }
    }
    for index in [
        &b"/index.js"[..],
        b"/index.json",
        b"/index.node",
        b"/index.cjs",
        b"/index.mjs",
    ] {
        if let Some(found) = file(&[module, index].concat()) {
            return Some(Found::File(found));
        }
    }
    // Its `package.json` says which file is the first.
    file(&[module, b"/package.json"].concat()).map(|_| Found::Package)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::problems;
    use crate::check::paths::testing::{Image, assert_ids};

    fn check(image: &Image, expect: &[&str]) {
        assert_ids(&problems(&image.tree, &image.view).unwrap(), expect);
    }

    fn image() -> Image {
        Image::new()
            .program("usr/bin/env")
            .program("usr/bin/node")
            .dir("usr/lib/x86_64-linux-gnu")
            .exec("opt/app/run", b"#!/usr/bin/env node\nrequire('node:fs'); require('path');\nrequire('./lib/a');\nconst s = require('semver/x');\n")
            .file("opt/app/lib/a.js", b"import b from '@scope/b/c.js';\nimport './none.js';\nimport d from './dir';\n")
            .file("opt/app/lib/dir/index.js", b"")
            .file("opt/app/lib/unused.js", b"require('lost')")
    }

    #[test]
    fn packages_are_found_upward_and_in_debians_directories() {
        let none = "!import:/opt/app/lib/a.js:./none.js";
        let scope = "!import:/opt/app/lib/a.js:@scope/b";
        check(
            &image(),
            &[
                none,
                &format!("{scope}/c.js"),
                "!import:/opt/app/run:semver/x",
            ],
        );
        for place in [
            "opt/app/node_modules/semver/package.json",
            "opt/node_modules/semver.js",
            "usr/share/nodejs/semver/index.js",
            "usr/lib/x86_64-linux-gnu/nodejs/semver/index.js",
        ] {
            let image = image()
                .file(place, b"")
                .file("opt/app/node_modules/@scope/b/c.js", b"");
            check(&image, &[none]);
        }
        let image = image().file("opt/app/lib/node_modules/semver/index.js", b"");
        check(
            &image,
            &[
                none,
                &format!("{scope}/c.js"),
                "!import:/opt/app/run:semver/x",
            ],
        );
    }
}
