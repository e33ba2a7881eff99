//! The rules by which one field of a stanza merges when both sides changed it.

use super::fields::{self, FieldConflict};
use super::linefile;

/// How one field merges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// As one value.
    Value,
    /// As one value that must not be quoted in a message.
    Secret,
    /// Blank-separated words, each in its own place, such as `install ok installed`.
    Places,
    /// A set of blank-separated words.
    Words,
    /// A sorted set, separated by commas.
    Names,
    /// One ` path digest [flag]` per line, by path.
    Conffiles,
    /// One ` name = value` per line, sorted, not to be quoted.
    Variables,
}

/// Why a field does not merge.
pub(super) enum Refusal {
    /// The two values clash as a whole.
    FieldConflict,
    /// These keys of a map clash.
    Keys(String),
}

impl From<FieldConflict> for Refusal {
    fn from(_: FieldConflict) -> Self {
        Refusal::FieldConflict
    }
}

/// Merges the bytes behind the colon by the rule of the field; `Ok(None)` drops an empty field.
pub(super) fn merge_value(
    rule: Rule,
    sides: [Option<&[u8]>; 3],
) -> Result<Option<Vec<u8>>, Refusal> {
    let [pre, current, post] = sides.map(Option::unwrap_or_default);
    let join = |set: &[&[u8]], by: &[u8]| {
        (!set.is_empty()).then(|| [b" ".as_slice(), &set.join(by)].concat())
    };
    match rule {
        Rule::Value | Rule::Secret => Err(Refusal::FieldConflict),
        Rule::Places => {
            let [pre, current, post] = [pre, current, post].map(|side| fields::members(side, b' '));
            if current.len() != post.len() {
                return Err(Refusal::FieldConflict);
            }
            let words = (0..current.len())
                .map(|at| fields::three(pre.get(at), Some(&current[at]), Some(&post[at])))
                .map(|word| word.map(|word| word.copied().unwrap_or_default()));
            Ok(join(&words.collect::<Result<Vec<_>, _>>()?, b" "))
        }
        Rule::Words => {
            let [pre, current, post] = [pre, current, post].map(|side| {
                let words = side.split(u8::is_ascii_whitespace);
                words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
            });
            Ok(join(&fields::set(&pre, &current, &post), b" "))
        }
        Rule::Names => {
            let [pre, current, post] = [pre, current, post].map(|side| fields::members(side, b','));
            let mut set = fields::set(&pre, &current, &post);
            set.sort_unstable();
            Ok(join(&set, b", "))
        }
        Rule::Conffiles => lines(sides, conffile, false),
        Rule::Variables => lines(sides, variable, true),
    }
}

/// Merges a field whose lines are a map, by the function that finds where the key of a line ends.
fn lines(
    sides: [Option<&[u8]>; 3],
    key: fn(&[u8]) -> Option<usize>,
    sorted: bool,
) -> Result<Option<Vec<u8>>, Refusal> {
    let mut maps = [const { Vec::new() }; 3];
    for (side, map) in sides.iter().zip(&mut maps) {
        // The first line is what stands beside the name of the field: nothing.
        for line in linefile::split(side.unwrap_or_default()).skip(1) {
            map.push(line.split_at(key(line).ok_or(Refusal::FieldConflict)?));
        }
        let mut keys: Vec<_> = map.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::FieldConflict);
        }
    }
    let [pre, current, post] = &maps;
    let mut merged = fields::map(pre, current, post).map_err(|keys| {
        let quote = |key: &&[u8]| format!("'{}'", String::from_utf8_lossy(key.trim_ascii()));
        Refusal::Keys(keys.iter().map(quote).collect::<Vec<_>>().join(", "))
    })?;
    if sorted {
        merged.sort_unstable();
    }
    let mut value = Vec::new();
    for (key, rest) in &merged {
        value.push(b'\n');
        value.extend_from_slice(key);
        value.extend_from_slice(rest);
    }
    Ok((!merged.is_empty()).then_some(value))
}

/// Finds the end of the path in ` path digest [flag]`: paths hold blanks, so it is read from
/// behind.
fn conffile(line: &[u8]) -> Option<usize> {
    let mut end = line.len();
    loop {
        let at = line[..end].iter().rposition(|&byte| byte == b' ')?;
        let word = &line[at + 1..end];
        if at == 0 {
            return None;
        }
        if !matches!(word, b"obsolete" | b"remove-on-upgrade") {
            return Some(at);
        }
        end = at;
    }
}

fn variable(line: &[u8]) -> Option<usize> {
    line.windows(2)
        .position(|pair| pair == b" =")
        .filter(|&at| at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conffile_paths_may_hold_blanks_and_flags_belong_to_the_digest() {
        for (line, path) in [
            (" /etc/a b cc34", Some(" /etc/a b")),
            (" /etc/a cc34 obsolete", Some(" /etc/a")),
            (" /etc/a cc34 obsolete remove-on-upgrade", Some(" /etc/a")),
            (" /etc/obsolete newconffile", Some(" /etc/obsolete")),
            (" /etc/a", None),
            (" obsolete", None),
        ] {
            let end = conffile(line.as_bytes());
            assert_eq!(end.map(|end| &line[..end]), path, "{line}");
        }
    }
}
