//! What a file that people write may say: the keys of each table, what a key holds, and what it is
//! for.
//!
//! Readers refuse a key that its [`Shape`] does not have, and ask for none that it does not have.
//! JSON Schemas and manual pages are made of the same shapes, so that none of them drifts.

mod schema;

pub use schema::json_schema;

/// One table: its keys, and how they go together.
#[derive(Debug)]
pub struct Shape {
    /// What the table is for, in sentences.
    pub doc: &'static str,
    /// Its keys, in the order in which they are explained.
    pub keys: &'static [Key],
    /// How keys go together.
    pub rules: &'static [Rule],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What its value is.
    pub holds: Holds,
    /// Whether the table must have it.
    pub is_needed: bool,
    /// What it is for, in sentences.
    pub doc: &'static str,
}

/// What a value is.
#[derive(Debug)]
pub enum Holds {
    /// Any text.
    Text,
    /// Text of one form.
    Word(Word),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number in a range, its ends included.
    Integer(i64, i64),
    /// One of these numbers.
    Number(&'static [i64]),
    /// A day, such as `2027-01-31`.
    Day,
    /// A list.
    List(&'static List),
    /// A table with keys of its own.
    Table(&'static Shape),
    /// A table whose keys are data.
    Map(&'static Map),
    /// Any of these.
    Either(&'static [Holds]),
}

/// Text of one form.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// What it is called, with an article.
    pub name: &'static str,
    /// The whole text as a regular expression of ECMA-262, anchors included.
    pub pattern: &'static str,
}

/// A list of values of one kind.
#[derive(Debug)]
pub struct List {
    /// What each element is.
    pub of: Holds,
    /// The least number of elements.
    pub least: u32,
    /// Whether no two elements may be the same.
    pub is_set: bool,
}

/// A table whose keys are data.
#[derive(Debug)]
pub struct Map {
    /// What each key is.
    pub key: Word,
    /// What each value is.
    pub value: Holds,
    /// Keys that are no data, and mean what they always mean.
    pub named: &'static [Key],
}

/// How keys of one table go together.
#[derive(Debug)]
pub enum Rule {
    /// Exactly one of these keys is there.
    OneOf(&'static [&'static str]),
    /// All keys of at least one of these groups are there.
    AnyOf(&'static [&'static [&'static str]]),
    /// No two of these keys are there together with the first.
    Excludes(&'static str, &'static [&'static str]),
    /// Where the first key is, the second is too.
    Needs(&'static str, &'static str),
    /// Where the first key has that value, the last key is there.
    ValueNeeds(&'static str, &'static str, &'static str),
}

impl Key {
    /// Makes a key that may be left out.
    pub const fn new(name: &'static str, holds: Holds, doc: &'static str) -> Self {
        Self {
            name,
            holds,
            is_needed: false,
            doc,
        }
    }

    /// Makes a key that must be there.
    pub const fn needed(name: &'static str, holds: Holds, doc: &'static str) -> Self {
        Self {
            name,
            holds,
            is_needed: true,
            doc,
        }
    }
}

impl Shape {
    /// Says whether the table has a key of this name.
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }
}

/// Returns the words of a table of choices.
pub const fn words_of<T: Copy, const N: usize>(
    choices: &[(&'static str, T); N],
) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = choices[at].0;
        at += 1;
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
