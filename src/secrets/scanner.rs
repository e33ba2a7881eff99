//! Reads a file once, in blocks that overlap, and finds what may be a secret by one automaton.

use std::io::{self, Read};
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::anchors::{self, Reader};
use super::places::Named;
use super::{Place, Secret, armour, stores};

/// New bytes of a block.
const BLOCK: usize = 1 << 20;
/// What stands before a literal and belongs to it, at most: base64 of a key, read from its start.
const BEFORE: usize = 8 << 10;
/// What stands after a literal and belongs to it, at most: a key of 16,384 bits in quoted lines.
const AFTER: usize = 32 << 10;
/// A file has at most so many secrets in a report.
const MOST: usize = 5;

struct Literals {
    automaton: AhoCorasick,
    readers: Vec<(usize, Reader)>,
}

fn literals() -> Option<&'static Literals> {
    static LITERALS: OnceLock<Option<Literals>> = OnceLock::new();
    let made = LITERALS.get_or_init(|| {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(Some(AhoCorasickKind::DFA))
            .build(anchors::all().map(|(literal, _)| literal))
            .ok()?;
        let readers = anchors::all()
            .map(|(literal, reader)| (literal.len(), reader))
            .collect();
        Some(Literals { automaton, readers })
    });
    made.as_ref()
}

/// Looks for secrets in files, one after another.
#[derive(Debug, Default)]
pub struct Scanner {
    buffer: Vec<u8>,
}

/// What of the file is in the buffer.
struct Window {
    filled: usize,
    /// Where new literals begin.
    from: usize,
    /// The offset of the buffer in the file.
    base: u64,
    /// Line ends before the buffer.
    lines: u64,
    is_text: bool,
}

impl Window {
    fn place(&self, text: &[u8], at: usize) -> Place {
        match self.is_text {
            true => {
                Place::Line(self.lines + 1 + memchr::memchr_iter(b'\n', &text[..at]).count() as u64)
            }
            false => Place::Offset(self.base + at as u64),
        }
    }
}

impl Scanner {
    /// Makes a scanner; it keeps its buffer from one file to the next.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds secrets in the file at `path`, a path in an image. They come in the order of the file,
    /// the first few of them.
    pub fn scan(&mut self, path: &[u8], content: &mut dyn Read) -> io::Result<Vec<Secret>> {
        let Some(literals) = literals() else {
            return Err(io::Error::other(
                "the literals of secrets make no automaton",
            ));
        };
        self.buffer.resize(BLOCK + BEFORE + AFTER, 0);
        let mut found = Vec::new();
        let mut window = Window {
            filled: 0,
            from: 0,
            base: 0,
            lines: 0,
            is_text: true,
        };
        let mut is_first = true;
        // Text up to here belongs to a secret that was found, as an offset in the file.
        let mut done = 0;
        loop {
            let read = fill(content, &mut self.buffer[window.filled..])?;
            window.filled += read;
            let is_last = window.filled < self.buffer.len();
            let text = &self.buffer[..window.filled];
            if is_first {
                window.is_text = memchr::memchr(0, &text[..text.len().min(8 << 10)]).is_none();
                head(path, text, is_last, &mut found);
                is_first = false;
            }
            let end = if is_last {
                text.len()
            } else {
                text.len() - AFTER
            };
            search(literals, text, end, &window, &mut done, &mut found);
            if is_last || found.len() >= MOST {
                break;
            }
            let keep = end - BEFORE;
            window.lines += memchr::memchr_iter(b'\n', &text[..keep]).count() as u64;
            window.base += keep as u64;
            window.from = end - keep;
            self.buffer.copy_within(keep..window.filled, 0);
            window.filled -= keep;
        }
        found.sort_by_key(|secret| secret.place);
        found.dedup_by_key(|secret| secret.place);
        found.truncate(MOST);
        Ok(found)
    }
}

/// Judges a file by its start and its name.
fn head(path: &[u8], text: &[u8], is_whole: bool, found: &mut Vec<Secret>) {
    if let Some(kind) = stores::kind(text, is_whole) {
        found.push(Secret {
            place: Place::File,
            kind,
        });
    }
    if let Some(named) = Named::of(path) {
        named.read(text, found);
    }
}

/// Finds secrets whose literal begins before `end`.
fn search(
    literals: &Literals,
    text: &[u8],
    end: usize,
    window: &Window,
    done: &mut u64,
    found: &mut Vec<Secret>,
) {
    for literal in literals
        .automaton
        .find_iter(Input::new(text).range(window.from..))
    {
        let at = literal.start();
        if at >= end || found.len() >= MOST {
            break;
        }
        if window.base + (at as u64) < *done {
            continue;
        }
        let near = &text[..text.len().min(at + AFTER)];
        let (length, reader) = literals.readers[literal.pattern().as_usize()];
        let secret = match reader {
            Reader::Of(read) => read(near, at, length).map(|kind| (kind, at)),
            Reader::Token(shape) => shape.read(near, at).map(|kind| (kind, at)),
            Reader::Base64(phase) => armour::in_base64(near, at, phase),
        };
        if let Some((kind, start)) = secret {
            let place = window.place(text, start);
            found.push(Secret { place, kind });
            *done = window.base + at as u64 + length as u64;
            if matches!(reader, Reader::Base64(_)) {
                // The other literals of the same base64.
                let rest = text[at..]
                    .iter()
                    .take_while(|byte| !matches!(byte, b'"' | b'\'' | b'\n'))
                    .count();
                *done = window.base + (at + rest) as u64;
            }
        }
    }
}

fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
