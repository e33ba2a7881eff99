//! Reads unit files, and files of the same shape, as far as the checks need them.
//!
//! The grammar is that of systemd.syntax(7), and of `src/shared/conf-parser.c` and
//! `src/basic/extract-word.c` of systemd where the page is silent. What systemd warns about and
//! skips is skipped here, too.

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Setting {
    /// The section's name, "" before the first.
    pub(in crate::check) section: String,
    /// What is set.
    pub(in crate::check) key: String,
    /// The value with its continuation lines, without blanks around.
    pub(in crate::check) value: String,
}

/// One word of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Word {
    /// The word without its quotes and escapes.
    pub(in crate::check) text: String,
    /// Whether it was written without any.
    pub(in crate::check) plain: bool,
}

/// Reads all assignments of a file in order; `None` says that it is binary, which systemd refuses.
pub(in crate::check) fn parse(bytes: &[u8]) -> Option<Vec<Setting>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    if text.contains('\0') {
        return None;
    }
    let mut settings = Vec::new();
    let mut section = String::new();
    let mut pending: Option<String> = None;
    for line in text.lines().map(str::trim_start) {
        // Comments do not end a continued line.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut whole = pending.take().unwrap_or_default();
        if let Some(start) = without_continuation(line) {
            whole.push_str(start);
            whole.push(' ');
            pending = Some(whole);
            continue;
        }
        whole.push_str(line);
        take_line(&whole, &mut section, &mut settings);
    }
    if let Some(whole) = pending {
        take_line(&whole, &mut section, &mut settings);
    }
    Some(settings)
}

/// Returns the line before the backslash that continues it; an escaped backslash does not.
fn without_continuation(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

fn take_line(line: &str, section: &mut String, settings: &mut Vec<Setting>) {
    let line = line.trim();
    if let Some(name) = line.strip_prefix('[') {
        if let Some(name) = name.strip_suffix(']') {
            name.clone_into(section);
        }
    } else if let Some((key, value)) = line.split_once('=') {
        settings.push(Setting {
            section: section.clone(),
            key: key.trim_end().to_owned(),
            value: value.trim_start().to_owned(),
        });
    }
}

/// Splits a value into words; `None` if a quote is not closed, for then systemd ignores the whole
/// value.
pub(in crate::check) fn words(value: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| Word {
            text: String::new(),
            plain: true,
        });
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            '\\' => unescape(&mut chars, &mut word.text),
            _ => {
                word.text.push(c);
                continue;
            }
        }
        word.plain = false;
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some(words)
}

/// Reads what follows a backslash, as in C; anything but an escape stays as it is.
fn unescape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let before = chars.clone();
    let Some(c) = chars.next() else {
        out.push('\\');
        return;
    };
    let number = match c {
        'x' => digits(chars, 16, 2),
        'u' => digits(chars, 16, 4),
        'U' => digits(chars, 16, 8),
        '0'..='7' => {
            *chars = before.clone();
            digits(chars, 8, 3)
        }
        _ => None,
    };
    let plain = match c {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        's' => Some(' '),
        '\\' | '"' | '\'' => Some(c),
        _ => None,
    };
    match number.and_then(char::from_u32).or(plain) {
        Some(c) => out.push(c),
        None => {
            *chars = before;
            out.push('\\');
        }
    }
}

fn digits(chars: &mut std::str::Chars<'_>, radix: u32, count: usize) -> Option<u32> {
    let mut number: u32 = 0;
    for _ in 0..count {
        let digit = chars.next()?.to_digit(radix)?;
        number = number.checked_mul(radix)?.checked_add(digit)?;
    }
    Some(number).filter(|number| *number != 0)
}

/// A program that a unit starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Command {
    /// Its path or name, verbatim but for quotes and prefixes.
    pub(in crate::check) program: String,
    /// What follows it, as it is written.
    pub(super) arguments: Vec<String>,
    /// Whether systemd goes on when it fails (`-`).
    pub(in crate::check) may_fail: bool,
}

/// Reads the commands of one `ExecStart=` or its like, as systemd.service(5) has it.
pub(in crate::check) fn commands(value: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    // What to do with the next word: it names a program, or the program by another name (`@`).
    let (mut at_start, mut renames) = (true, false);
    for word in words(value).unwrap_or_default() {
        if word.plain && word.text == ";" {
            at_start = true;
        } else if at_start {
            at_start = false;
            let program = word.text.trim_start_matches(['@', '-', ':', '+', '!', '|']);
            let prefix = &word.text[..word.text.len() - program.len()];
            renames = prefix.contains('@');
            commands.push(Command {
                program: program.to_owned(),
                arguments: Vec::new(),
                may_fail: prefix.contains('-'),
            });
        } else if !std::mem::take(&mut renames)
            && let Some(command) = commands.last_mut()
        {
            command.arguments.push(word.text);
        }
    }
    commands
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_as_systemd_does() {
        let text = "\u{feff}a=before\r\n# c=1\n ; d=2\n[Unit]\nX = 1 \\\n# between\n  2\\\n\n[Service]\nE=a\\\\\nF=\nno line\n[odd\nG=1\\";
        let read: Vec<_> = parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|s| format!("{}|{}|{}", s.section, s.key, s.value))
            .collect();
        assert_eq!(
            read,
            [
                "|a|before",
                "Unit|X|1  2",
                "Service|E|a\\\\",
                "Service|F|",
                "Service|G|1"
            ]
        );
        assert_eq!(parse(b"[A]\nb=\xff\n"), None);
        assert_eq!(parse(b"[A]\nb=\0\n"), None);
    }

    #[test]
    fn words_lose_their_quotes_and_escapes() {
        let check = |value: &str, expect: Option<&[&str]>| {
            let words = words(value);
            let texts: Option<Vec<&str>> = words
                .as_ref()
                .map(|words| words.iter().map(|word| word.text.as_str()).collect());
            assert_eq!(texts.as_deref(), expect, "{value}");
        };
        check("a  b\tc", Some(&["a", "b", "c"]));
        check("'a b'\"c d\" \"\"", Some(&["a bc d", ""]));
        check("a\\x20b \\s \\101 \\u00e4", Some(&["a b", " ", "A", "ä"]));
        check("a\\qb \\x0 \\", Some(&["a\\qb", "\\x0", "\\"]));
        check("'it\"s' x", Some(&["it\"s", "x"]));
        check("'open", None);
    }

    #[test]
    fn the_program_of_each_command_is_told() {
        let check = |value: &str, expect: &[&str]| {
            let commands = commands(value);
            let programs: Vec<String> = commands
                .iter()
                .map(|c| format!("{}{}", if c.may_fail { "-" } else { "" }, c.program))
                .collect();
            assert_eq!(programs, expect, "{value}");
        };
        check("/bin/a -x", &["/bin/a"]);
        check("-/bin/a ; @+/bin/b arg0 ; !!c", &["-/bin/a", "/bin/b", "c"]);
        check("-@:!/bin/a", &["-/bin/a"]);
        check("\"/opt/my app/run\" \";\" /bin/b", &["/opt/my app/run"]);
        check("/bin/a \\; /bin/b;", &["/bin/a"]);
        check("/bin/a 'open", &[]);
        check("", &[]);
    }

    #[test]
    fn the_arguments_of_each_command_are_told() {
        let found: Vec<Vec<String>> = commands("@/bin/a name 'x y' ; -/bin/b ; /bin/c z")
            .into_iter()
            .map(|command| command.arguments)
            .collect();
        assert_eq!(found, [vec!["x y"], vec![], vec!["z"]]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(settings) = parse(&bytes) {
                for setting in settings {
                    let _ = commands(&setting.value);
                }
            }
        }

        #[test]
        fn no_text_of_the_grammar_makes_the_reader_panic(text in "(\\[[A-Z]*\\]|[A-Z]=|[-@;#'\"\\\\ \n/xuU0-9a-fä%])*") {
            for setting in parse(text.as_bytes()).unwrap() {
                prop_assert!(!setting.value.contains('\n'));
                for word in words(&setting.value).unwrap_or_default() {
                    prop_assert!(!word.plain || setting.value.contains(&word.text));
                }
                let _ = commands(&setting.value);
            }
        }
    }
}
