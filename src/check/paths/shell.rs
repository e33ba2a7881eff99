//! Reads lines of shell as far as to tell which commands run whatever happens.
//!
//! The grammar is that of POSIX. A script that asks first whether a program is there may do without
//! it, so that commands after `&&`, `||`, `if` and the like are left out, and the reader ends where
//! it does not understand.

/// Stands in a word for what only a running shell knows, e.g. the value of a variable. A word that
/// holds it names nothing.
pub(super) const UNKNOWN: char = '\u{fffd}';

/// Words that start what may run or not, or run later.
const BRANCHES: [&str; 9] = [
    "[[", "case", "for", "function", "if", "select", "until", "while", "coproc",
];

/// What a list of commands is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word without its quotes.
    Word(String),
    /// `;`, `&` or a new line.
    Next,
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `(`
    Open,
    /// `)`
    Close,
}

/// Returns the words of each command that runs unconditionally, assignments before it left out.
///
/// A command whose failure is expected (`COMMAND || OTHER`) is left out, too.
pub(super) fn commands(text: &str) -> Vec<Vec<String>> {
    let mut reader = Reader::default();
    let (tokens, is_whole) = tokens(text);
    for token in tokens {
        if !reader.take(token) {
            return reader.found;
        }
    }
    // What follows the last command may say that it may fail.
    if is_whole {
        reader.end_command(false);
    }
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<Vec<String>>,
    words: Vec<String>,
    /// Whether the present command runs only if another one succeeded or failed.
    is_conditional: bool,
    /// The same for the groups that it stands in.
    outer: Vec<bool>,
}

impl Reader {
    /// Takes the next token, or says that nothing after it can be judged.
    fn take(&mut self, token: Token) -> bool {
        let base = self.outer.last().copied().unwrap_or(false);
        match token {
            Token::Word(word) if self.words.is_empty() => return self.take_first(word),
            Token::Word(word) => self.words.push(word),
            Token::Next => {
                let ends = self.ends_script();
                self.end_command(false);
                self.is_conditional = base;
                return !ends;
            }
            Token::Pipe => self.end_command(false),
            Token::And | Token::Or => {
                self.end_command(token == Token::Or);
                self.is_conditional = true;
            }
            // After a word it makes a function.
            Token::Open if !self.words.is_empty() => return false,
            Token::Open => self.outer.push(self.is_conditional),
            Token::Close => {
                self.end_command(false);
                self.is_conditional = self.outer.pop().unwrap_or(true);
            }
        }
        true
    }

    fn take_first(&mut self, word: String) -> bool {
        match word.as_str() {
            word if BRANCHES.contains(&word) => return false,
            "{" => self.outer.push(self.is_conditional),
            "}" => self.is_conditional = self.outer.pop().unwrap_or(true),
            "!" => {}
            word if is_assignment(word) => {}
            _ => self.words.push(word),
        }
        true
    }

    /// Says whether the present command ends the script: what follows runs on some ways only, or
    /// never.
    fn ends_script(&self) -> bool {
        let first = self.words.first().map(String::as_str);
        matches!(first, Some("exit" | "return" | "exec"))
    }

    fn end_command(&mut self, is_expected_to_fail: bool) {
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() && !self.is_conditional && !is_expected_to_fail {
            self.found.push(words);
        }
    }
}

/// Says whether a word sets a variable for the command after it.
pub(super) fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_of_name) && !name.starts_with(|c: char| c.is_numeric())
}

/// Splits a text up to what it does not understand, and says whether there is no such thing.
fn tokens(text: &str) -> (Vec<Token>, bool) {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        tokens: Vec::new(),
        word: None,
        skips_word: false,
        is_whole: false,
    };
    while lexer.step().is_some() {}
    (lexer.tokens, lexer.is_whole)
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    tokens: Vec<Token>,
    word: Option<String>,
    /// Whether the next word is where output goes.
    skips_word: bool,
    /// Whether all of the text was understood.
    is_whole: bool,
}

impl Lexer<'_> {
    /// Takes one piece; `None` at the end, or where the rest cannot be read.
    fn step(&mut self) -> Option<()> {
        let Some(c) = self.rest.next() else {
            self.end_word();
            self.is_whole = true;
            return None;
        };
        match c {
            ' ' | '\t' | '\r' => self.end_word(),
            '\n' | ';' => self.operator(Token::Next),
            '&' if self.takes('&') => self.operator(Token::And),
            // `&>file` of bash.
            '&' if self.takes('>') => self.redirect()?,
            '&' => self.operator(Token::Next),
            '|' if self.takes('|') => self.operator(Token::Or),
            '|' => {
                self.takes('&');
                self.operator(Token::Pipe);
            }
            '(' => self.operator(Token::Open),
            ')' => self.operator(Token::Close),
            '<' | '>' => self.redirect_from(c)?,
            '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
            '\'' => self.single()?,
            '"' => self.double()?,
            '\\' => match self.rest.next()? {
                '\n' => {}
                c => self.push(c),
            },
            '$' => self.expansion()?,
            '`' => self.backquote()?,
            '*' | '?' | '[' if self.rest.peek().is_some_and(|next| !next.is_whitespace()) => {
                self.push(UNKNOWN);
            }
            '~' if self.word.is_none() => self.push(UNKNOWN),
            c => self.push(c),
        }
        Some(())
    }

    fn takes(&mut self, expect: char) -> bool {
        self.rest.next_if_eq(&expect).is_some()
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.skips_word)
        {
            self.tokens.push(Token::Word(word));
        }
    }

    fn operator(&mut self, token: Token) {
        self.end_word();
        self.skips_word = false;
        self.tokens.push(token);
    }

    fn redirect_from(&mut self, c: char) -> Option<()> {
        // The number before it is a descriptor and no word.
        let is_number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
        if self.word.as_ref().is_some_and(is_number) {
            self.word = None;
        }
        // What follows `<<` stands on other lines.
        if c == '<' && self.rest.peek() == Some(&'<') {
            return None;
        }
        self.redirect()
    }

    fn redirect(&mut self) -> Option<()> {
        self.end_word();
        // A process as a file.
        if self.rest.peek() == Some(&'(') {
            return None;
        }
        while self
            .rest
            .next_if(|c| matches!(c, '>' | '&' | '|' | '<'))
            .is_some()
        {}
        self.skips_word = true;
        Some(())
    }

    fn single(&mut self) -> Option<()> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next()? {
                '\'' => return Some(()),
                c => self.push(c),
            }
        }
    }

    fn double(&mut self) -> Option<()> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next()? {
                '"' => return Some(()),
                '$' => self.expansion()?,
                '`' => self.backquote()?,
                '\\' => match self.rest.next()? {
                    '\n' => {}
                    c @ ('$' | '`' | '"' | '\\') => self.push(c),
                    c => {
                        self.push('\\');
                        self.push(c);
                    }
                },
                c => self.push(c),
            }
        }
    }

    fn backquote(&mut self) -> Option<()> {
        self.push(UNKNOWN);
        loop {
            match self.rest.next()? {
                '`' => return Some(()),
                '\\' => {
                    self.rest.next()?;
                }
                _ => {}
            }
        }
    }

    /// Takes what follows `$`; a bracket is skipped up to its partner.
    fn expansion(&mut self) -> Option<()> {
        self.push(UNKNOWN);
        let (open, close) = match self.rest.peek() {
            Some('(') => ('(', ')'),
            Some('{') => ('{', '}'),
            Some(c) if c.is_ascii_alphanumeric() || *c == '_' => {
                let is_of_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                while self.rest.next_if(is_of_name).is_some() {}
                return Some(());
            }
            Some('?' | '#' | '$' | '!' | '@' | '*' | '-') => {
                self.rest.next();
                return Some(());
            }
            _ => return Some(()),
        };
        let mut depth = 0_usize;
        loop {
            let c = self.rest.next()?;
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> = commands(text)
            .into_iter()
            .map(|words| words.join(" "))
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn what_runs_whatever_happens_is_told_and_the_rest_is_not() {
        check("a b; c", &["a b", "c"]);
        check("a && b; c", &["a", "c"]);
        check("a || b; c", &["c"]);
        check("test -x /a && /a", &["test -x /a"]);
        check("[ -x /a ] || exit 0; /a", &[]);
        check("a | b", &["a", "b"]);
        check("X=1 Y='2 3' a 'b c' \"d\"", &["a b c d"]);
        check("(cd / && a); b", &["cd /", "b"]);
        check("x && (a; b); c", &["x", "c"]);
        check("{ a; b; }; c", &["a", "b", "c"]);
        check("x || { a; b; }\nc", &["c"]);
        check("! a", &["a"]);
        check("a >/dev/null 2>&1; b", &["a", "b"]);
        check("a &>/x b & c", &["a b", "c"]);
        check("a # b", &["a"]);
        check("a\\\nb", &["ab"]);
        check("exit 0; a", &["exit 0"]);
    }

    #[test]
    fn what_only_a_shell_knows_stays_unknown() {
        check(
            "$A/b ${C:-d} `e` x$(f (g))",
            &["\u{fffd}/b \u{fffd} \u{fffd} x\u{fffd}"],
        );
        check("a *.b ~/c \"$d\"", &["a \u{fffd}.b \u{fffd}/c \u{fffd}"]);
    }

    #[test]
    fn the_reader_ends_where_it_does_not_understand() {
        check("a; if b; then c; fi; d", &["a"]);
        check("a; for x in y; do z; done", &["a"]);
        check("f() { a; }; b", &[]);
        check("a; b <<E || true\nc\nE\n", &["a"]);
        check("a; 'open", &["a"]);
        check("a; b $(open", &["a"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "([a-z =/.'\"\\\\$`(){};&|<>#!\n~*?\\[-]|if |[^a])*") {
            for words in commands(&text) {
                prop_assert!(!words.is_empty());
            }
        }
    }
}
