//! The words and operators of a shell script.

/// One token of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word without its quotes.
    Word(Word),
    /// A control operator, or a new line.
    Operator(&'static str),
    /// A redirection; the word after it is where to.
    Redirection,
}

/// A word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text without quotes, substitutions included.
    pub text: String,
    /// The scripts of its command substitutions.
    pub substitutions: Vec<String>,
}

/// Operators, longest first.
const OPERATORS: [&str; 9] = [";;", "&&", "||", ";", "&", "|", "(", ")", "\n"];
/// Redirections, longest first.
const REDIRECTIONS: [&str; 9] = ["<<-", "<<", "<&", "<>", ">>", ">&", ">|", "<", ">"];

/// Splits a script. Here-documents are left out.
pub(super) fn tokens(script: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: script,
        found: Vec::new(),
        documents: Vec::new(),
    };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.found
}

struct Lexer<'a> {
    rest: &'a str,
    found: Vec<Token>,
    /// The last words of the here-documents that start on the next line.
    documents: Vec<String>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        if let Some(rest) = self.rest.strip_prefix("\\\n") {
            self.rest = rest;
        } else if self.rest.starts_with('#') {
            self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
        } else if let Some(text) = starts_with(self.rest, &REDIRECTIONS) {
            self.rest = &self.rest[text.len()..];
            self.found.push(Token::Redirection);
            if text.starts_with("<<") {
                self.rest = self.rest.trim_start_matches([' ', '\t']);
                let end = self.word().text;
                self.documents.push(end);
                // Where the text comes from is no place that is written to.
                self.found.pop();
            }
        } else if let Some(text) = starts_with(self.rest, &OPERATORS) {
            self.rest = &self.rest[text.len()..];
            self.found.push(Token::Operator(text));
            if text == "\n" {
                self.skip_documents();
            }
        } else if !self.rest.is_empty() {
            let word = self.word();
            let is_number = !word.text.is_empty() && word.text.bytes().all(|b| b.is_ascii_digit());
            // `2>`: the number belongs to the redirection.
            if !(is_number && self.rest.starts_with(['<', '>'])) {
                self.found.push(Token::Word(word));
            }
        }
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }

    /// Reads a word; at least one character of the rest goes into it.
    fn word(&mut self) -> Word {
        let mut word = Word::default();
        let mut quoted = false;
        while let Some(c) = self.rest.chars().next() {
            if !quoted && is_end(c) {
                break;
            }
            match c {
                '"' => quoted = !quoted,
                '\'' if !quoted => {
                    let inner = &self.rest[1..];
                    let end = inner.find('\'').unwrap_or(inner.len());
                    word.text.push_str(&inner[..end]);
                    self.rest = inner.get(end + 1..).unwrap_or("");
                    continue;
                }
                '\\' => {
                    let next = self.rest[1..].chars().next();
                    word.text.extend(next.filter(|c| *c != '\n'));
                    self.rest = &self.rest[1 + next.map_or(0, char::len_utf8)..];
                    continue;
                }
                '`' => {
                    let inner = &self.rest[1..];
                    let end = inner.find('`').unwrap_or(inner.len());
                    self.substitute(&mut word, end, 1);
                    continue;
                }
                '$' if self.rest.starts_with("$(") && !self.rest.starts_with("$((") => {
                    let end = closing(&self.rest[2..]);
                    self.substitute(&mut word, end, 2);
                    continue;
                }
                c => word.text.push(c),
            }
            self.rest = &self.rest[c.len_utf8()..];
        }
        word
    }

    /// Takes a substitution of `length` bytes that starts after `open` bytes of the rest.
    fn substitute(&mut self, word: &mut Word, length: usize, open: usize) {
        let inner = &self.rest[open..open + length];
        word.substitutions.push(inner.to_owned());
        word.text.push_str("$()");
        self.rest = self.rest.get(open + length + 1..).unwrap_or("");
    }
}

fn starts_with(text: &str, all: &'static [&'static str]) -> Option<&'static str> {
    all.iter().find(|one| text.starts_with(**one)).copied()
}

fn is_end(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>'
    )
}

/// Returns where the parenthesis closes that stands before `text`.
fn closing(text: &str) -> usize {
    let (mut depth, mut single) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => single = !single,
            '(' if !single => depth += 1,
            ')' if !single && depth == 0 => return at,
            ')' if !single => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(script: &str) -> Vec<String> {
        let show = |token: Token| match token {
            Token::Word(word) => word.text,
            Token::Operator(text) => text.escape_debug().to_string(),
            Token::Redirection => ">".to_owned(),
        };
        tokens(script).into_iter().map(show).collect()
    }

    #[test]
    fn a_script_is_split_as_a_shell_splits_it() {
        for (script, expect) in [
            ("a 'b c'\"d e\" # f", &["a", "b cd e"][..]),
            ("a\\\n b;c&&d", &["a", "b", ";", "c", "&&", "d"]),
            ("a 2>&1 >/dev/null", &["a", ">", "1", ">", "/dev/null"]),
            ("x $(y \"$(z)\") `w`", &["x", "$()", "$()"]),
            (
                "cat <<E >f\nno ; words\nE\nb",
                &["cat", ">", "f", "\\n", "b"],
            ),
            ("(triggered)", &["(", "triggered", ")"]),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(script in "[ab '\"`$()<>|&;#\\\\\n\u{e4}]{0,60}") {
            tokens(&script);
        }
    }
}
