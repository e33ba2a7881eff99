//! What a Python file imports whenever it runs.
//!
//! An import counts where nothing can keep it from being run, and nothing catches its failure: not
//! in functions, under conditions, or in a `try` that survives an `ImportError`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::python_tokens::{Line, Token, lines};

/// The version of [`PythonFacts`].
pub(super) const KIND: &str = "python-imports-1";

/// What a Python file says about its imports; a function of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PythonFacts {
    pub(super) imports: Vec<Import>,
    /// Absolute paths that it adds to `sys.path`.
    pub(super) dirs: Vec<String>,
    /// Whether it adds to `sys.path` what only running it tells.
    pub(super) extends_path: bool,
    /// Whether it may make modules that are no files.
    pub(super) makes_modules: bool,
}

/// One import that is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Import {
    /// The module, its parts joined by dots; empty in `from . import x`.
    pub(super) module: String,
    /// The number of dots before it.
    pub(super) level: u8,
    /// What is taken from it, each a submodule or not.
    pub(super) names: Vec<String>,
    /// Whether it is run only where the file is the program.
    pub(super) main: bool,
}

impl Import {
    /// The plain import of a module.
    pub(super) fn of(module: &str) -> Self {
        Self {
            module: module.to_owned(),
            level: 0,
            names: Vec::new(),
            main: false,
        }
    }
}

/// Exceptions that have nothing to do with a module that is missing.
const OTHER_EXCEPTIONS: [&str; 14] = [
    "AssertionError",
    "AttributeError",
    "EOFError",
    "EnvironmentError",
    "FileNotFoundError",
    "IOError",
    "IndexError",
    "KeyError",
    "KeyboardInterrupt",
    "OSError",
    "RuntimeError",
    "SystemExit",
    "TypeError",
    "ValueError",
];

/// Names in the source of what makes modules.
const MAKERS: [&str; 5] = [
    "__path__",
    "extend_path",
    "meta_path",
    "modules",
    "path_hooks",
];

/// What a block of lines is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is run.
    Plain,
    /// It is run where the file is the program.
    Main,
    /// Nobody knows.
    Uncertain,
    /// What a `try` watches.
    Try,
    /// An `except` clause; it catches an `ImportError` or not.
    Handler { catches: bool },
}

struct Block {
    /// The column of its header.
    indent: usize,
    kind: Kind,
    /// The column of its first line.
    body: Option<usize>,
    /// Whether its last statement ends the program.
    is_fatal: bool,
}

/// A `try` statement that goes on at its column.
struct Try {
    indent: usize,
    /// The imports in its first block; the end is known when that ends.
    imports: Range<usize>,
    survives: bool,
}

/// Reads the facts of a file.
pub(super) fn read(bytes: &[u8]) -> PythonFacts {
    let mut reader = Reader::default();
    for line in lines(bytes) {
        reader.take(&line);
    }
    reader.leave(0);
    reader.close_tries(0, false);
    reader.facts
}

#[derive(Default)]
struct Reader {
    facts: PythonFacts,
    blocks: Vec<Block>,
    tries: Vec<Try>,
}

impl Reader {
    fn take(&mut self, line: &Line<'_>) {
        let Some(first) = line.tokens.first() else {
            return;
        };
        self.leave(line.indent);
        let goes_on = ["except", "else", "finally"];
        let goes_on = goes_on.iter().any(|word| first.is(word));
        self.close_tries(line.indent, goes_on);
        self.look_for_paths(&line.tokens);
        let (is_fatal, indent) = (is_fatal(&line.tokens), line.indent);
        if let Some(block) = self.blocks.last_mut() {
            let body = *block.body.get_or_insert(indent);
            if body == indent {
                block.is_fatal = is_fatal;
            }
        }
        if let Some(kind) = self.block(line) {
            self.open(indent, kind, &line.tokens);
            return;
        }
        for statement in line.tokens.split(|token| token.is_mark(b';')) {
            self.statement(statement);
        }
    }

    /// Ends the blocks that a line at this column is not in.
    fn leave(&mut self, indent: usize) {
        while self
            .blocks
            .last()
            .is_some_and(|block| block.indent >= indent)
        {
            let Some(block) = self.blocks.pop() else {
                return;
            };
            let mut tries = self.tries.iter_mut();
            let Some(statement) = tries.find(|own| own.indent == block.indent) else {
                continue;
            };
            match block.kind {
                Kind::Try => statement.imports.end = self.facts.imports.len(),
                Kind::Handler { catches } => statement.survives |= catches && !block.is_fatal,
                _ => {}
            }
        }
    }

    /// Ends the `try` statements that a line at this column does not belong to.
    fn close_tries(&mut self, indent: usize, goes_on: bool) {
        while let Some(last) = self.tries.last() {
            let stays = last.indent < indent || last.indent == indent && goes_on;
            if stays {
                return;
            }
            let Some(Try {
                imports, survives, ..
            }) = self.tries.pop()
            else {
                return;
            };
            if survives {
                // A line may end this statement and the block of one around it.
                for outer in &mut self.tries {
                    if outer.imports.end >= imports.end {
                        outer.imports.end -= imports.len();
                    }
                }
                self.facts.imports.drain(imports);
            }
        }
    }

    /// Returns what the block is that a line opens, if it opens one.
    fn block(&self, line: &Line<'_>) -> Option<Kind> {
        let tokens = &line.tokens;
        let first = tokens.first()?;
        let of_try = self
            .tries
            .last()
            .is_some_and(|own| own.indent == line.indent);
        if first.is("try") && tokens.get(1)?.is_mark(b':') {
            return Some(Kind::Try);
        }
        if first.is("except") && of_try {
            let catches = catches(&tokens[1..]);
            return Some(Kind::Handler { catches });
        }
        if first.is("finally") && of_try {
            return Some(Kind::Plain);
        }
        if first.is("if") && is_main_guard(&tokens[1..]) {
            return Some(Kind::Main);
        }
        let words = [
            "async", "case", "def", "elif", "else", "for", "if", "match", "while",
        ];
        let ends_open = tokens.last()?.is_mark(b':');
        if first.is("class") {
            return Some(Kind::Plain);
        }
        if first.is("with") {
            let forgives = |token: &Token<'_>| {
                matches!(token, Token::Name(name) if name.ends_with(b"suppress")
                    || name.ends_with(b"raises") || name.starts_with(b"try_"))
            };
            return Some(match tokens.iter().any(forgives) {
                true => Kind::Uncertain,
                false => Kind::Plain,
            });
        }
        let soft = first.is("match") || first.is("case");
        let is_known = words.iter().any(|word| first.is(word)) && (!soft || ends_open);
        (is_known || ends_open).then_some(Kind::Uncertain)
    }

    fn open(&mut self, indent: usize, kind: Kind, tokens: &[Token<'_>]) {
        if kind == Kind::Try {
            let start = self.facts.imports.len();
            self.tries.push(Try {
                indent,
                imports: start..start,
                survives: false,
            });
        }
        self.blocks.push(Block {
            indent,
            kind,
            body: None,
            // `except ImportError: raise`
            is_fatal: is_fatal(after_colon(tokens)),
        });
    }

    fn statement(&mut self, tokens: &[Token<'_>]) {
        let mut main = false;
        for block in &self.blocks {
            match block.kind {
                Kind::Plain | Kind::Try => {}
                Kind::Main => main = true,
                Kind::Uncertain | Kind::Handler { .. } => return,
            }
        }
        match tokens {
            [first, rest @ ..] if first.is("import") => {
                for part in rest.split(|token| token.is_mark(b',')) {
                    if let Some((module, 0, _)) = dotted(part) {
                        self.add(module, 0, Vec::new(), main);
                    }
                }
            }
            [first, rest @ ..] if first.is("from") => {
                if let Some((module, level, [word, names @ ..])) = dotted(rest)
                    && word.is("import")
                {
                    self.add(module, level, taken(names), main);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, module: String, level: u8, names: Vec<String>, main: bool) {
        if module.is_empty() && level == 0 {
            return;
        }
        self.facts.imports.push(Import {
            module,
            level,
            names,
            main,
        });
    }

    /// Looks for what changes where modules are found.
    fn look_for_paths(&mut self, tokens: &[Token<'_>]) {
        if tokens
            .iter()
            .any(|token| MAKERS.iter().any(|maker| token.is(maker)))
        {
            self.facts.makes_modules = true;
        }
        let at = tokens.windows(4).position(|part| {
            let is_path = part[0].is("sys") && part[1].is_mark(b'.') && part[2].is("path");
            let is_changed = [b'.', b'=', b'+', b'['].iter().any(|c| part[3].is_mark(*c));
            let is_site = part[0].is("site")
                && part[1].is_mark(b'.')
                && part[2].is("addsitedir")
                && part[3].is_mark(b'(');
            is_path && is_changed || is_site
        });
        let Some(at) = at else { return };
        let mut is_literal = true;
        for token in &tokens[at + 3..] {
            match token {
                Token::Text(text) if text.starts_with(b"/") => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    self.facts.dirs.push(text);
                }
                Token::Text(_) => is_literal = false,
                Token::Name(name) => {
                    let known = [&b"insert"[..], b"append", b"extend", b"sys", b"path"];
                    is_literal &= known.contains(name) || name.iter().all(u8::is_ascii_digit);
                }
                Token::Mark(_) => {}
            }
        }
        self.facts.extends_path |= !is_literal;
    }
}

/// Reads dots and a dotted name, and returns what follows.
fn dotted<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(String, u8, &'t [Token<'a>])> {
    let level = tokens.iter().take_while(|token| token.is_mark(b'.'));
    let level = level.count();
    let mut rest = &tokens[level..];
    let mut module = String::new();
    loop {
        match rest {
            [Token::Name(name), more @ ..] if *name != b"import" => {
                module.push_str(std::str::from_utf8(name).ok()?);
                rest = more;
            }
            _ => break,
        }
        let [dot, more @ ..] = rest else { break };
        if !dot.is_mark(b'.') {
            break;
        }
        module.push('.');
        rest = more;
    }
    let is_whole = !module.ends_with('.');
    is_whole.then_some((module, u8::try_from(level).ok()?, rest))
}

/// Returns the names that an import takes: `(a, b as c)`.
fn taken(tokens: &[Token<'_>]) -> Vec<String> {
    tokens
        .split(|token| token.is_mark(b','))
        .filter_map(|part| {
            part.iter().find_map(|token| match token {
                Token::Name(name) => String::from_utf8(name.to_vec()).ok(),
                _ => None,
            })
        })
        .collect()
}

/// Says whether an `except` with these tokens behind it catches an `ImportError`.
fn catches(tokens: &[Token<'_>]) -> bool {
    let end = tokens
        .iter()
        .position(|token| token.is_mark(b':') || token.is("as"));
    let tokens = &tokens[..end.unwrap_or(tokens.len())];
    let mut classes = tokens
        .split(|token| token.is_mark(b',') || token.is_mark(b'('))
        .filter_map(|class| {
            class.iter().rev().find_map(|token| match token {
                Token::Name(name) => Some(*name),
                _ => None,
            })
        })
        .peekable();
    classes.peek().is_none()
        || classes.any(|class| {
            !OTHER_EXCEPTIONS
                .iter()
                .any(|other| other.as_bytes() == class)
        })
}

/// Reads the condition `__name__ == '__main__':`.
fn is_main_guard(tokens: &[Token<'_>]) -> bool {
    let tokens: Vec<&Token<'_>> = tokens
        .iter()
        .filter(|token| !token.is_mark(b'(') && !token.is_mark(b')'))
        .collect();
    let parts = match tokens[..] {
        [a, e, f, b, colon, ..] if e.is_mark(b'=') && f.is_mark(b'=') && colon.is_mark(b':') => {
            [a, b]
        }
        _ => return false,
    };
    parts.iter().any(|token| token.is("__name__")) && parts.contains(&&Token::Text(b"__main__"))
}

/// Says whether a statement ends the program, or fails.
fn is_fatal(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [first, ..] if first.is("raise") => true,
        [first, open, ..] if open.is_mark(b'(') => first.is("exit") || first.is("quit"),
        [module, dot, name, ..] if dot.is_mark(b'.') => {
            module.is("sys") && name.is("exit") || module.is("os") && name.is("_exit")
        }
        _ => false,
    }
}

/// Returns what follows the colon of a header on its line.
fn after_colon<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let at = tokens.iter().position(|token| token.is_mark(b':'));
    at.map_or(&[], |at| &tokens[at + 1..])
}

#[cfg(test)]
#[path = "python_source_tests.rs"]
mod tests;
