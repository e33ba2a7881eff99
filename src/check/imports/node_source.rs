//! What a file of JavaScript requires whenever it runs.
//!
//! Strings, templates, comments and regular expressions are told apart as far as a reader without a
//! grammar can. A `require` counts outside of all braces, in a statement without a condition; an
//! `import … from` and an `export … from` always do.

use serde::{Deserialize, Serialize};

/// The version of what [`read`] returns.
pub(super) const KIND: &str = "node-imports-1";

/// What a file requires, as written, each once; a function of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeFacts {
    pub(super) modules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(u8),
    /// `=>`, `&&`, `||`, `??` or `?`.
    Condition,
}

/// Words behind which a slash starts a regular expression.
const BEFORE_REGEX: [&str; 9] = [
    "case", "delete", "do", "else", "in", "of", "return", "typeof", "void",
];

/// Words that start a statement which may not run what it holds.
const CONDITIONS: [&str; 9] = [
    "case", "catch", "do", "else", "for", "function", "if", "switch", "while",
];

/// Reads the facts of a file.
pub(super) fn read(bytes: &[u8]) -> NodeFacts {
    let tokens = tokens(bytes);
    let mut facts = NodeFacts::default();
    let mut depth = 0_usize;
    let mut uncertain = false;
    let mut at_start = true;
    for (at, token) in tokens.iter().enumerate() {
        let was_start = std::mem::replace(&mut at_start, false);
        match token {
            Token::Mark(b'{') => depth += 1,
            Token::Mark(b'}') => {
                depth = depth.saturating_sub(1);
                // The end of a block, or of an object; the next word tells.
                at_start = depth == 0;
            }
            Token::Mark(b';' | b'\n') if depth == 0 => {
                at_start = true;
                if *token == Token::Mark(b';') {
                    uncertain = false;
                }
            }
            Token::Condition => uncertain |= depth == 0,
            Token::Word(word) if depth == 0 => {
                if was_start && CONDITIONS.contains(&word.as_str()) {
                    uncertain = true;
                } else if was_start && matches!(word.as_str(), "const" | "let" | "var") {
                    uncertain = false;
                }
                let is_property = at > 0 && tokens[at - 1] == Token::Mark(b'.');
                match word.as_str() {
                    "require" if !uncertain && !is_property => {
                        facts.modules.extend(required(&tokens[at + 1..]));
                    }
                    "import" | "export" if was_start => {
                        facts.modules.extend(imported(word, &tokens[at + 1..]));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    facts.modules.retain(|module| seen.insert(module.clone()));
    facts
}

/// Reads `('x')`.
fn required(tokens: &[Token]) -> Option<String> {
    match tokens {
        [Token::Mark(b'('), Token::Text(text), Token::Mark(b')'), ..] => Some(text.clone()),
        _ => None,
    }
}

/// Reads what follows `import` or `export` up to the module; `import(…)` and `import.meta` are
/// expressions.
fn imported(word: &str, tokens: &[Token]) -> Option<String> {
    if let (Some(Token::Text(text)), "import") = (tokens.first(), word) {
        return Some(text.clone());
    }
    let mut tokens = tokens.iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) if word == "from" => {
                if let Some(Token::Text(text)) = tokens.clone().next() {
                    return Some(text.clone());
                }
            }
            Token::Word(word) => {
                let is_code = [
                    "const", "default", "function", "class", "let", "var", "async",
                ];
                if is_code.contains(&word.as_str()) {
                    // `import { default as x }` is inside braces, and goes on.
                    if word != "default"
                        || matches!(tokens.clone().next(), Some(Token::Word(next)) if next != "as")
                    {
                        return None;
                    }
                }
            }
            Token::Mark(b'{' | b'}' | b',' | b'*' | b'\n') => {}
            _ => return None,
        }
    }
    None
}

fn tokens(bytes: &[u8]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    // Braces of templates that code stands in.
    let mut templates: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    let starts = |at: usize, text: &[u8]| bytes.get(at..).is_some_and(|r| r.starts_with(text));
    if starts(0, b"#!") {
        at = end_of_line(bytes, 0);
    }
    while let Some(byte) = bytes.get(at).copied() {
        if starts(at, b"//") {
            at = end_of_line(bytes, at);
        } else if starts(at, b"/*") {
            let rest = &bytes[at + 2..];
            let end = rest.windows(2).position(|part| part == b"*/");
            at = end.map_or(bytes.len(), |end| at + end + 4);
        } else if byte == b'/' && may_be_regex(tokens.last()) {
            at = end_of_regex(bytes, at);
            tokens.push(Token::Mark(b'/'));
        } else if byte == b'"' || byte == b'\'' {
            let end = end_of_text(bytes, at + 1, byte);
            let text = &bytes[at + 1..end];
            tokens.push(Token::Text(String::from_utf8_lossy(text).into_owned()));
            at = end + 1;
        } else if byte == b'`' || byte == b'}' && templates.last() == Some(&depth) {
            if byte == b'}' {
                templates.pop();
            }
            let (end, is_open) = end_of_template(bytes, at + 1);
            if is_open {
                templates.push(depth);
            }
            tokens.push(Token::Mark(b'`'));
            at = end;
        } else if is_of_word(byte) {
            let rest = &bytes[at..];
            let end = rest.iter().position(|byte| !is_of_word(*byte));
            let end = at + end.unwrap_or(rest.len());
            let word = String::from_utf8_lossy(&bytes[at..end]);
            tokens.push(Token::Word(word.into_owned()));
            at = end;
        } else if [&b"=>"[..], b"&&", b"||", b"??"]
            .iter()
            .any(|own| starts(at, own))
        {
            tokens.push(Token::Condition);
            at += 2;
        } else {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match byte {
                b'?' => tokens.push(Token::Condition),
                b'\n' => tokens.push(Token::Mark(b'\n')),
                _ if byte.is_ascii_whitespace() => {}
                _ => tokens.push(Token::Mark(byte)),
            }
            at += 1;
        }
    }
    tokens
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn may_be_regex(before: Option<&Token>) -> bool {
    match before {
        None => true,
        Some(Token::Word(word)) => BEFORE_REGEX.contains(&word.as_str()),
        Some(Token::Text(_)) => false,
        Some(Token::Condition) => true,
        Some(Token::Mark(mark)) => !matches!(mark, b')' | b']' | b'}' | b'`' | b'/'),
    }
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
    end.map_or(bytes.len(), |end| at + end)
}

/// Returns where a string ends: at its quote, or at the end of the line.
fn end_of_text(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => break,
            _ if *byte == quote => break,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

/// Returns what follows a part of a template, and whether code follows.
fn end_of_template(bytes: &[u8], mut at: usize) -> (usize, bool) {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'`' => return (at + 1, false),
            b'$' if bytes.get(at + 1) == Some(&b'{') => return (at + 2, true),
            _ => {}
        }
        at += 1;
    }
    (bytes.len(), false)
}

fn end_of_regex(bytes: &[u8], mut at: usize) -> usize {
    let mut in_class = false;
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'/' if !in_class => return at + 1,
            b'\n' => return at,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(read(text.as_bytes()).modules, expect, "{text}");
    }

    #[test]
    fn what_is_required_for_certain_is_read() {
        check(
            "#!/usr/bin/env node\n'use strict';\nconst a = require('a'), { b } = require(\"b\");\nrequire('c')(d)\n",
            &["a", "b", "c"],
        );
        check(
            "import 'a'; import b from 'b'\nimport { c as d, default as e } from './c.js';\nimport * as f from \"f\"\nexport * from 'g';",
            &["a", "b", "./c.js", "f", "g"],
        );
        check(
            "export default x\nexport const y = 'from'\nimport('a'); import.meta.url;",
            &[],
        );
        check(
            "function f() { require('a') }\nif (x) require('b');\nx && require('c');\nconst d = () => require('d');\nrequire(e);\nrequire('f' + g);\n",
            &[],
        );
        check(
            "try { require('a') } catch (e) { require('b') }\nvar c = require('c')\n",
            &["c"],
        );
        check(
            "let x = y ? require('a') : require('b');\nlet z = require('c');",
            &["c"],
        );
        check(
            "module.require('a'); // require('b')\n/* require('c') */ let d = 'require(\"e\")';",
            &[],
        );
        check(
            "const r = /[/'\"]{/g, a = require('a'); b = c / require('b') / 2",
            &["a", "b"],
        );
        check(
            "const t = `x ${ {y: `}`} } require('n') ${z}`; require('a')",
            &["a"],
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_text_of_the_grammar_makes_the_reader_panic(
            text in "(require|import|export|from|default|if|const|a|ä|=>|&&|//|/\\*|\\*/|\\$\\{|[\\\\/`'\"(){}\\[\\];\n ?.,*]){0,60}"
        ) {
            let _ = read(text.as_bytes());
        }
    }
}
