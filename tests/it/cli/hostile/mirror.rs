//! What a mirror serves, what became of those who asked it, and how to tell that in a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layerset::format::{HeadContents, decode_head, encode_head};

use crate::remote::servers::{Seen, Step};
use crate::session::Ran;

/// A mirror's directory that can be changed before it is served.
pub struct Mirror {
    pub dir: PathBuf,
}

/// What became of a pull that was attacked.
pub struct Fate {
    pub ran: Ran,
    pub took: Duration,
    pub machine: String,
}

impl Mirror {
    pub fn set_head(&self, bytes: &[u8]) {
        std::fs::write(self.dir.join("head"), bytes).unwrap();
    }

    /// Rewrites the head as somebody without keys can.
    pub fn tamper(&self, change: impl FnOnce(&mut HeadContents)) {
        let bytes = std::fs::read(self.dir.join("head")).unwrap();
        let mut contents = decode_head(&bytes).unwrap();
        change(&mut contents);
        let changed = encode_head(&contents).unwrap();
        assert_ne!(changed, bytes, "the attack does nothing");
        self.set_head(&changed);
    }

    /// Returns the files of all blobs.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let all = listing(&self.dir);
        let blobs = all.keys().filter(|path| path.starts_with("blobs"));
        blobs.map(|path| self.dir.join(path)).collect()
    }

    /// Changes the bytes of every blob.
    pub fn spoil(&self, change: impl Fn(&mut Vec<u8>)) {
        for path in self.blobs() {
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

impl Fate {
    /// Describes it in the lines of a table, without what differs from run to run.
    pub fn row(&self, name: &str) -> String {
        self.masked_row(name, masked)
    }

    /// Describes it without numbers: which of several requests fails first is chance.
    pub fn numberless_row(&self, name: &str) -> String {
        self.masked_row(name, |line| numberless(&masked(line)))
    }

    fn masked_row(&self, name: &str, mask: impl Fn(&str) -> String) -> String {
        let mut text = format!("{name} [status {}]\n", self.ran.status);
        for line in self.ran.stderr.lines() {
            text.push_str(&format!("  {}\n", mask(line)));
        }
        text
    }
}

/// Puts a placeholder for every number.
pub fn numberless(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        match c.is_ascii_digit() {
            true if text.ends_with('N') => {}
            true => text.push('N'),
            false => text.push(c),
        }
    }
    text
}

/// Puts placeholders for digests and moments.
pub fn masked(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let (bare, rest) = match word.find([':', ',', ';']) {
            Some(at) if word[..at].len() == 64 => word.split_at(at),
            _ => (word, ""),
        };
        let is_digest = bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        let is_moment = word.starts_with("20") && word.contains("T") && word.contains("Z");
        words.push(match (is_digest, is_moment) {
            (true, _) => format!("DIGEST{rest}"),
            (_, true) => format!("MOMENT{}", &word[word.find('Z').unwrap() + 1..]),
            _ => word.to_owned(),
        });
    }
    words.join(" ")
}

/// Returns all files and links below a directory with their contents; locks aside.
pub fn listing(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(dir).unwrap().to_owned();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_symlink() {
                let to = std::fs::read_link(&path).unwrap();
                all.insert(name, to.to_str().unwrap().as_bytes().to_vec());
            } else if !name.ends_with("lock") {
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Serves files as they are.
pub fn honest(_: &Seen, _: usize) -> Option<Step> {
    None
}
