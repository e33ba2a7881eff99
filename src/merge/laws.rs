//! The law of kept layers: kept equals rebuilt, in content, or the layer is not kept.
//!
//! A layer is a script of a few commands, played on a model of a filesystem. What it does to a random
//! base is its changeset, as a build makes it. On a randomly moved base the changeset is merged, and
//! the script is played again. Where the two trees differ, something must speak against keeping.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Blobs, MergeError, apply, overwritten, sweeps, uncovered};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::{Changeset, Inode, Node, Owner, Tree};

const DIRS: [&str; 6] = ["a", "a/s", "a/s/t", "b", "b/e", "etc"];
const FILES: [&str; 12] = [
    "a/x.conf",
    "a/y.conf",
    "a/z",
    "a/s/p",
    "a/s/q.conf",
    "a/s/t/u",
    "b/q.conf",
    "b/r.txt",
    "b/w",
    "etc/hosts",
    "etc/passwd",
    "etc/rc.conf",
];
const PASSWD: &str = "etc/passwd";

#[derive(Default)]
struct Memory(RefCell<BTreeMap<ObjectId, Vec<u8>>>);

impl Blobs for Memory {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        Ok(self.0.borrow()[id].clone())
    }
    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let id = ObjectId::of(bytes);
        self.0.borrow_mut().insert(id, bytes.to_vec());
        Ok(id)
    }
}

/// What a script or an update of the base does.
#[derive(Debug, Clone)]
enum Command {
    /// `rm -rf PATH`.
    Remove(String),
    /// `rm -rf DIR/*SUFFIX`.
    RemoveAll(String, &'static str),
    /// `mv PATH NAME`.
    Move(String, String),
    /// `cp -r DIR NAME`.
    Copy(String, String),
    /// `chmod -R MODE PATH`.
    Mode(String, u16),
    /// `chmod MODE DIR/*SUFFIX`.
    ModeAll(String, &'static str, u16),
    /// `chown -R daemon PATH`.
    Own(String),
    /// `rm -rf PATH; ln -s /t PATH`.
    Link(String),
    /// `echo TEXT > PATH`.
    Write(String, String),
    /// `echo TEXT >> PATH`.
    Append(String, String),
    /// `sed -i '2s/.*/TEXT/' PATH`.
    Edit(String, String),
    /// `mkdir -p DIR; echo TEXT > DIR/new`.
    Make(String, String),
}

/// The command failed, and its script with it.
#[derive(Debug)]
struct Failed;

struct Model<'a> {
    memory: &'a Memory,
    tree: Tree,
}

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

impl Model<'_> {
    fn base(memory: &Memory, files: &[bool]) -> Tree {
        let tree: Tree = [""]
            .into_iter()
            .chain(DIRS)
            .map(|dir| (path(dir), Inode::directory(0o755)))
            .collect();
        let mut model = Model { memory, tree };
        for (at, _) in FILES.iter().zip(files).filter(|(_, there)| **there) {
            let text = match *at {
                PASSWD => "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n".to_owned(),
                at => (1..=4).map(|n| format!("line {n} of {at}\n")).collect(),
            };
            model.write(at, &text).unwrap();
        }
        model.tree
    }

    fn text(&self, at: &str) -> Option<String> {
        let object = self.tree.get(at.as_bytes())?.object()?;
        Some(String::from_utf8(self.memory.read(&object).unwrap()).unwrap())
    }

    fn write(&mut self, at: &str, text: &str) -> Result<(), Failed> {
        let parent = path(at).parent().ok_or(Failed)?;
        let is_dir = |tree: &Tree, path: &[u8]| tree.get(path).is_some_and(Inode::is_dir);
        if !is_dir(&self.tree, parent.as_bytes()) || is_dir(&self.tree, at.as_bytes()) {
            return Err(Failed);
        }
        let object = self.memory.write(text.as_bytes()).unwrap();
        let size = text.len() as u64;
        let inode = match self.tree.get(at.as_bytes()) {
            Some(inode) if matches!(inode.node, Node::Symlink { .. }) => return Err(Failed),
            Some(inode) => Inode {
                node: Node::File { object, size },
                ..inode.clone()
            },
            None => Inode::file(object, size, 0o644),
        };
        self.tree.insert(path(at), inode);
        Ok(())
    }

    fn subtree(&self, at: &str) -> Vec<(RelPath, Inode)> {
        let all = self.tree.subtree(at.as_bytes());
        all.map(|(path, inode)| (path.clone(), inode.clone()))
            .collect()
    }

    fn remove(&mut self, at: &str) {
        for (path, _) in self.subtree(at) {
            self.tree.remove(path.as_bytes());
        }
    }

    /// The names that the shell makes of `DIR/*SUFFIX`.
    fn glob(&self, dir: &str, suffix: &str) -> Vec<String> {
        let names = self.tree.names(dir.as_bytes());
        let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
        names
            .filter(|name| name.ends_with(suffix))
            .map(|name| format!("{dir}/{name}"))
            .collect()
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), Failed> {
        if self.tree.get(from.as_bytes()).is_none() || self.tree.get(to.as_bytes()).is_some() {
            return Err(Failed);
        }
        for (at, inode) in self.subtree(from) {
            self.tree
                .insert(at.rebase(from.as_bytes(), to.as_bytes()).unwrap(), inode);
        }
        Ok(())
    }

    fn change(&mut self, at: &str, change: impl Fn(&mut Inode)) -> Result<(), Failed> {
        let all = self.subtree(at);
        if all.is_empty() {
            return Err(Failed);
        }
        for (path, mut inode) in all {
            change(&mut inode);
            self.tree.insert(path, inode);
        }
        Ok(())
    }

    fn run(&mut self, command: &Command) -> Result<(), Failed> {
        let chmod = |mode: u16| {
            move |inode: &mut Inode| {
                if !matches!(inode.node, Node::Symlink { .. }) {
                    inode.mode = mode;
                }
            }
        };
        match command {
            Command::Remove(at) => self.remove(at),
            Command::RemoveAll(dir, suffix) => {
                for at in self.glob(dir, suffix) {
                    self.remove(&at);
                }
            }
            Command::Move(from, to) => {
                self.copy(from, to)?;
                self.remove(from);
            }
            Command::Copy(from, to) => self.copy(from, to)?,
            Command::Mode(at, mode) => self.change(at, chmod(*mode))?,
            Command::ModeAll(dir, suffix, mode) => {
                for at in self.glob(dir, suffix) {
                    let inode = self.tree.get(at.as_bytes()).cloned();
                    let mut inode = inode.ok_or(Failed)?;
                    chmod(*mode)(&mut inode);
                    self.tree.insert(path(&at), inode);
                }
            }
            Command::Own(at) => {
                self.change(at, |inode| inode.owner = Owner::Name("daemon".into()))?
            }
            Command::Link(at) => {
                let parent = path(at).parent().ok_or(Failed)?;
                self.tree
                    .get(parent.as_bytes())
                    .filter(|dir| dir.is_dir())
                    .ok_or(Failed)?;
                self.remove(at);
                self.tree.insert(path(at), Inode::symlink("/t"));
            }
            Command::Write(at, text) => self.write(at, text)?,
            Command::Append(at, text) => {
                let old = self.text(at).unwrap_or_default();
                self.write(at, &(old + text))?;
            }
            Command::Edit(at, text) => {
                let old = self.text(at).ok_or(Failed)?;
                let lines = old.lines().enumerate();
                let lines: Vec<&str> = lines
                    .map(|(n, line)| if n == 1 { text.trim_end() } else { line })
                    .collect();
                self.write(at, &(lines.join("\n") + "\n"))?;
            }
            Command::Make(dir, text) => {
                if let Some(inode) = self.tree.get(dir.as_bytes()) {
                    inode.is_dir().then_some(()).ok_or(Failed)?;
                } else {
                    let parent = path(dir).parent().ok_or(Failed)?;
                    self.tree
                        .get(parent.as_bytes())
                        .filter(|dir| dir.is_dir())
                        .ok_or(Failed)?;
                    self.tree.insert(path(dir), Inode::directory(0o755));
                }
                self.write(&format!("{dir}/new.conf"), text)?;
            }
        }
        Ok(())
    }

    /// Says whether the command would leave a trace of what it means. A pattern that matches nothing,
    /// or one file, and a change of what is so already leave none: see doc/composing.md.
    fn is_seen(&self, base: &Tree, command: &Command) -> bool {
        let before = Model {
            memory: self.memory,
            tree: base.clone(),
        };
        before.leaves_trace(base, command) && self.leaves_trace(base, command)
    }

    fn leaves_trace(&self, base: &Tree, command: &Command) -> bool {
        let files = |at: &str| self.tree.below(at.as_bytes()).count();
        match command {
            Command::Remove(at) | Command::Move(at, _) | Command::Link(at) => {
                self.tree.get(at.as_bytes()).is_some()
            }
            Command::RemoveAll(dir, suffix) => !self.glob(dir, suffix).is_empty(),
            Command::ModeAll(dir, suffix, _) => self.glob(dir, suffix).len() > 1,
            Command::Mode(at, _) | Command::Own(at) => {
                let is_dir = self.tree.get(at.as_bytes()).is_some_and(Inode::is_dir);
                !is_dir || files(at) > 0
            }
            Command::Copy(at, _) => {
                let mut below = self.tree.below(at.as_bytes());
                below.any(|(path, inode)| {
                    let before = base.get(path.as_bytes());
                    inode.object().is_some() && before.is_some_and(|before| before == inode)
                })
            }
            Command::Write(..) | Command::Append(..) | Command::Edit(..) | Command::Make(..) => {
                true
            }
        }
    }
}

/// Says whether the script takes away what it gave something to, and the trace of that with it.
fn covers_its_traces(script: &[Command]) -> bool {
    let given = |command: &Command| match command {
        Command::Mode(at, _) | Command::ModeAll(at, ..) | Command::Own(at) => Some(path(at)),
        _ => None,
    };
    let taken = |command: &Command| match command {
        Command::Remove(at) | Command::RemoveAll(at, _) | Command::Link(at) => Some(path(at)),
        Command::Move(at, _) => Some(path(at)),
        _ => None,
    };
    let meets =
        |a: &RelPath, b: &RelPath| a.starts_with(b.as_bytes()) || b.starts_with(a.as_bytes());
    let written = |command: &Command| match command {
        Command::Write(at, _) | Command::Append(at, _) => Some(path(at)),
        _ => None,
    };
    script.iter().enumerate().any(|(n, command)| {
        let mut later = script[n + 1..].iter();
        later.any(|next| {
            let of_given = given(command).zip(taken(next));
            let of_taken = taken(command).zip(written(next));
            let mut pairs = [of_given, of_taken].into_iter().flatten();
            pairs.any(|(a, b)| meets(&a, &b))
        })
    })
}

fn play(memory: &Memory, tree: &Tree, script: &[Command]) -> Result<Tree, Failed> {
    let tree = tree.clone();
    let mut model = Model { memory, tree };
    for command in script {
        model.run(command)?;
    }
    Ok(model.tree)
}

fn any_path() -> impl Strategy<Value = String> {
    let all = [&DIRS[..], &FILES[..]].concat();
    prop::sample::select(all).prop_map(str::to_owned)
}

fn any_dir() -> impl Strategy<Value = String> {
    prop::sample::select(DIRS.to_vec()).prop_map(str::to_owned)
}

fn any_file() -> impl Strategy<Value = String> {
    prop::sample::select(FILES.to_vec()).prop_map(str::to_owned)
}

fn suffix() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", ".conf", ".txt"])
}

/// Anything but the database: a script that removes or writes it as a whole is taken for one that
/// changes its records.
fn no_database(strategy: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    strategy.prop_filter("has records", |at| at != PASSWD)
}

/// A command of a layer's script; `n` makes what it writes its own.
fn command(n: usize) -> impl Strategy<Value = Command> {
    let mode = prop::sample::select(vec![0o700_u16, 0o750]);
    prop_oneof![
        no_database(any_path()).prop_map(Command::Remove),
        (any_dir(), suffix()).prop_map(|(dir, end)| Command::RemoveAll(dir, end)),
        no_database(any_path()).prop_map(move |at| Command::Move(at, format!("moved{n}"))),
        any_dir().prop_map(move |at| Command::Copy(at, format!("copy{n}"))),
        (any_path(), mode.clone()).prop_map(|(at, mode)| Command::Mode(at, mode)),
        (any_dir(), suffix(), mode).prop_map(|(dir, end, mode)| Command::ModeAll(dir, end, mode)),
        any_path().prop_map(Command::Own),
        no_database(any_path()).prop_map(Command::Link),
        no_database(any_file()).prop_map(move |at| Command::Write(at, format!("all new {n}\n"))),
        any_file().prop_map(move |at| {
            let user = format!("user{n}:x:{0}:{0}::/:/bin/sh\n", 100 + n);
            let line = if at == PASSWD {
                user
            } else {
                format!("more {n}\n")
            };
            Command::Append(at, line)
        }),
        no_database(any_file()).prop_map(move |at| Command::Edit(at, format!("edited {n}\n"))),
        any_dir()
            .prop_map(move |dir| Command::Make(format!("{dir}/made{n}"), format!("made {n}\n"))),
    ]
}

/// What a new version of the base does to a file or directory.
fn movement(n: usize) -> impl Strategy<Value = Command> {
    let end = prop::sample::select(vec!["", ".conf", ".txt"]);
    prop_oneof![
        3 => (any_dir(), end).prop_map(move |(dir, end)| {
            Command::Write(format!("{dir}/base{n}{end}"), format!("base {n}\n"))
        }),
        2 => any_dir().prop_map(move |dir| Command::Make(format!("{dir}/based{n}"), format!("based {n}\n"))),
        1 => any_path().prop_map(Command::Remove),
        2 => no_database(any_file())
            .prop_map(move |at| Command::Edit(at, format!("base edited {n}\n"))),
        1 => any_file().prop_map(move |at| {
            let user = format!("base{n}:x:{0}:{0}::/:/bin/sh\n", 200 + n);
            let line = if at == PASSWD { user } else { format!("base more {n}\n") };
            Command::Append(at, line)
        }),
        1 => any_file().prop_map(|at| Command::Mode(at, 0o600)),
    ]
}

/// Up to three of something, each with its number.
fn few<S: Strategy<Value = Command>>(of: fn(usize) -> S) -> impl Strategy<Value = Vec<Command>> {
    (of(0), of(1), of(2), 1..=3_usize)
        .prop_map(|(a, b, c, n)| vec![a, b, c].into_iter().take(n).collect())
}

/// What a kept layer comes to, and what speaks against keeping it.
struct Kept {
    tree: Tree,
    said: Vec<String>,
}

fn kept(memory: &Memory, built: &(Tree, Changeset), moved: &Tree) -> Kept {
    let (base, changeset) = built;
    let found = sweeps(base, changeset, memory).unwrap();
    let mut said: Vec<String> = uncovered(moved, changeset, &found)
        .iter()
        .map(|found| {
            format!(
                "{:?} of {}: {:?}",
                found.sweep.what, found.sweep.dir, found.paths
            )
        })
        .collect();
    let anew = overwritten(moved, changeset, &BTreeMap::new(), memory);
    said.extend(anew.iter().map(|path| format!("rewritten {path}")));
    let mut tree = moved.clone();
    let applied = apply(&mut tree, changeset, memory).unwrap();
    said.extend(
        applied
            .conflicts
            .iter()
            .map(|found| format!("{} {}", found.path, found.reason)),
    );
    Kept { tree, said }
}

fn differing(a: &Tree, b: &Tree) -> BTreeSet<String> {
    let both = crate::tree::diff(a, b);
    let differs = both.filter(|(_, sides)| match (sides.before, sides.after) {
        (Some(a), Some(b)) => !a.same_content(b),
        _ => true,
    });
    differs.map(|(path, _)| path.to_string()).collect()
}

fn cases() -> u32 {
    let wanted = std::env::var("LAYERSET_LAW_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_global_rejects: 10_000_000, ..ProptestConfig::default() })]

    #[test]
    fn a_kept_layer_equals_a_rebuilt_one_or_something_speaks_against_keeping_it(
        files in prop::collection::vec(prop::bool::weighted(0.8), FILES.len()),
        script in few(command),
        moves in few(movement),
    ) {
        prop_assume!(!covers_its_traces(&script));
        let memory = Memory::default();
        let base = Model::base(&memory, &files);
        let mut model = Model { memory: &memory, tree: base.clone() };
        for command in &script {
            prop_assume!(model.is_seen(&base, command));
            prop_assume!(model.run(command).is_ok());
        }
        let changeset = Changeset::between(&base, &model.tree);
        let built = (base, changeset);
        // On the base that it was built on, nothing is said, and the result is the same.
        let same = kept(&memory, &built, &built.0);
        prop_assert_eq!(same.said, Vec::<String>::new());
        prop_assert_eq!(differing(&same.tree, &model.tree), BTreeSet::new());

        let moved = play(&memory, &built.0, &moves);
        prop_assume!(moved.is_ok());
        let moved = moved.unwrap();
        // A script that fails on the moved base gives nothing to compare with.
        let Ok(rebuilt) = play(&memory, &moved, &script) else { return Ok(()) };
        let kept = kept(&memory, &built, &moved);
        kept.tree.validate().unwrap();
        let differing = differing(&kept.tree, &rebuilt);
        prop_assert!(differing.is_empty() || !kept.said.is_empty(), "{:?} differ", differing);
    }

    #[test]
    fn what_comes_elsewhere_asks_for_no_rebuild(
        files in prop::collection::vec(prop::bool::weighted(0.8), FILES.len()),
        script in few(command),
    ) {
        let memory = Memory::default();
        let base = Model::base(&memory, &files);
        let Ok(after) = play(&memory, &base, &script) else { return Ok(()) };
        let built = (base.clone(), Changeset::between(&base, &after));
        let mut model = Model { memory: &memory, tree: base };
        model.tree.insert(path("z"), Inode::directory(0o755));
        model.write("z/new", "new\n").unwrap();
        let kept = kept(&memory, &built, &model.tree);
        prop_assert_eq!(kept.said, Vec::<String>::new());
    }
}
