//! Settings: keys whose values are secrets, in INI, shell, YAML, TOML and JSON alike; and addresses
//! that have a password in them.

use super::accounts::Found;
use super::plausible::is_placeholder;

/// Finds settings called as in `keys`, small letters; a `*` before a key is for any beginning. A
/// key and its value are apart by `=`, `:` or, in files of `words`, by blanks.
pub(super) fn settings(text: &[u8], keys: &[&str], words: bool) -> Vec<Found> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().zip(1..).filter(|(line, _)| {
        let line = line.trim_start();
        !["#", ";", "// "].iter().any(|mark| line.starts_with(mark))
    });
    lines
        .filter(|(line, _)| values(line, keys, words).any(|value| !is_placeholder(value)))
        .map(|(_, number)| (number, "a password or key"))
        .collect()
}

/// Returns the values of such keys in one line.
fn values<'a>(line: &'a str, keys: &'a [&str], words: bool) -> impl Iterator<Item = &'a str> {
    let separators = line
        .char_indices()
        .filter(move |(_, c)| matches!(c, '=' | ':') || words && c.is_whitespace());
    separators.filter_map(move |(at, c)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'', ']']);
        let is_of_key = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let start = before.rfind(|c: char| !is_of_key(c)).map_or(0, |at| {
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        });
        let key = before[start..].to_ascii_lowercase();
        let is_key = keys.iter().any(|known| match known.strip_prefix('*') {
            Some(end) => key.ends_with(end),
            None => key == *known,
        });
        is_key.then(|| {
            value(
                line[at + c.len_utf8()..]
                    .trim_start()
                    .trim_start_matches(['=', '>', ':'])
                    .trim_start(),
            )
        })
    })
}

/// Returns the value at the start of `rest`, without quotes.
fn value(rest: &str) -> &str {
    let quote = rest
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'));
    match quote {
        Some(quote) => {
            let inner = &rest[1..];
            &inner[..inner.find(quote).unwrap_or(inner.len())]
        }
        None => {
            let end = rest
                .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '}'))
                .unwrap_or(rest.len());
            &rest[..end]
        }
    }
}

/// Finds addresses with a password: `scheme://user:password@host`.
pub(super) fn addresses(text: &[u8]) -> Vec<Found> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().zip(1..);
    lines
        .filter(|(line, _)| {
            line.match_indices("://")
                .any(|(at, _)| has_password(&line[at + 3..]))
        })
        .map(|(_, number)| (number, "a password in an address"))
        .collect()
}

fn has_password(rest: &str) -> bool {
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '`'))
        .unwrap_or(rest.len());
    let Some((account, host)) = rest[..end].rsplit_once('@') else {
        return false;
    };
    let is_host = host.starts_with(|c: char| c.is_alphanumeric() || c == '[');
    match account.split_once(':') {
        Some((_, password)) => is_host && !is_placeholder(password),
        // A token alone, as git hosts take it.
        None => is_host && account.len() >= 20 && super::plausible::is_random(account.as_bytes()),
    }
}

/// Finds passwords in the user data of cloud-init, and lists for chpasswd(8).
pub(super) fn cloud(text: &[u8]) -> Vec<Found> {
    const KEYS: [&str; 5] = [
        "passwd",
        "password",
        "hashed_passwd",
        "hashed-passwd",
        "plain_text_passwd",
    ];
    let mut found = settings(text, &KEYS, false);
    let lines = String::from_utf8_lossy(text);
    let mut in_list: Option<usize> = None;
    for (line, number) in lines.lines().zip(1u64..) {
        let indent = line.len() - line.trim_start().len();
        let entry = line.trim();
        match in_list {
            Some(outer) if indent > outer || entry.starts_with('-') || entry.is_empty() => {
                let entry = entry.trim_start_matches(['-', ' ', '"', '\'']);
                let pair = entry
                    .split_once(':')
                    .filter(|(name, _)| !name.contains(' '));
                if pair.is_some_and(|(_, word)| is_list_password(word.trim())) {
                    found.push((number, "a password"));
                }
            }
            Some(_) => in_list = None,
            None => {}
        }
        if entry.starts_with("list:") || entry.starts_with("chpasswd:") {
            in_list = Some(indent);
        }
    }
    found
}

/// `R` and `RANDOM` have the machine make one; what cloud-init's own keys say is no password.
fn is_list_password(word: &str) -> bool {
    !matches!(
        word,
        "R" | "RANDOM" | "|" | "|-" | "hash" | "text" | "False" | "True"
    ) && !is_placeholder(word)
}
