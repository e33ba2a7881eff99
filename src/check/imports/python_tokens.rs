//! Python source as logical lines of tokens (The Python Language Reference, "Lexical analysis"), as
//! far as import statements need it.

/// A token that matters; numbers are names, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier, a keyword or a number.
    Name(&'a [u8]),
    /// The text between the quotes, verbatim.
    Text(&'a [u8]),
    /// Any other character.
    Mark(u8),
}

impl Token<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if *own == name.as_bytes())
    }

    pub(super) fn is_mark(&self, mark: u8) -> bool {
        *self == Self::Mark(mark)
    }
}

/// A logical line: never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The column that it starts in.
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token<'a>>,
}

/// Splits a file into logical lines, without comments. Any bytes are taken.
pub(super) fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { bytes, at: 0 };
    let mut lines = Vec::new();
    while reader.at < bytes.len() {
        let indent = reader.indent();
        let tokens = reader.logical_line();
        if !tokens.is_empty() {
            lines.push(Line { indent, tokens });
        }
    }
    lines
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn indent(&mut self) -> usize {
        let mut column = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' => column += 1,
                b'\t' => column = (column / 8 + 1) * 8,
                0x0c => column = 0,
                _ => break,
            }
            self.at += 1;
        }
        column
    }

    /// Reads up to the newline that no bracket and no backslash hides.
    fn logical_line(&mut self) -> Vec<Token<'a>> {
        let mut tokens = Vec::new();
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'#' => self.skip_while(|byte| byte != b'\n'),
                b'\\' => {
                    self.at += 1;
                    self.skip_while(|byte| byte == b'\r');
                    self.at += usize::from(self.peek() == Some(b'\n'));
                }
                b'"' | b'\'' => tokens.push(Token::Text(self.text(byte))),
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ if is_of_name(byte) => {
                    let start = self.at;
                    self.skip_while(is_of_name);
                    let name = &self.bytes[start..self.at];
                    let is_quote = matches!(self.peek(), Some(b'"' | b'\''));
                    if !(is_quote && is_prefix(name)) {
                        tokens.push(Token::Name(name));
                    }
                }
                _ => {
                    match byte {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    self.at += 1;
                    tokens.push(Token::Mark(byte));
                }
            }
        }
        tokens
    }

    fn skip_while(&mut self, is_in: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_in) {
            self.at += 1;
        }
    }

    /// Reads a string that starts here. A backslash hides the next character in raw ones, too.
    fn text(&mut self, quote: u8) -> &'a [u8] {
        let is_long = self.bytes[self.at..].starts_with(&[quote; 3]);
        self.at += if is_long { 3 } else { 1 };
        let start = self.at;
        while let Some(byte) = self.peek() {
            let ends = match is_long {
                true => self.bytes[self.at..].starts_with(&[quote; 3]),
                false => byte == quote,
            };
            if ends {
                let text = &self.bytes[start..self.at];
                self.at += if is_long { 3 } else { 1 };
                return text;
            }
            // It is not closed: the line is wrong, and the next one is read again.
            if byte == b'\n' && !is_long {
                break;
            }
            self.at += if byte == b'\\' { 2 } else { 1 };
        }
        self.at = self.at.min(self.bytes.len());
        &self.bytes[start..self.at]
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_prefix(name: &[u8]) -> bool {
    name.len() <= 2 && name.iter().all(|byte| b"rRbBuUfFtT".contains(byte))
}
