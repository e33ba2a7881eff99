//! Fields that several tables have, and where they stand in the text.

use std::ops::Range;

use super::error::RecipeError;
use super::reader::{Table, Value};
use super::words;
use crate::path::RelPath;

/// Where `[files]` names things.
#[derive(Debug, Clone)]
pub(super) struct FileSpans {
    /// The folder, or the table where the folder is the default one.
    pub(super) source: Range<usize>,
    /// Each path with a mode or owner of its own.
    pub(super) paths: Vec<(RelPath, Range<usize>)>,
}

/// Checks an optional `name` against the name that the file's place gives, and returns the latter.
pub(super) fn named<'n>(
    root: &Table<'_>,
    expected: &'n str,
    what: &str,
) -> Result<&'n str, RecipeError> {
    if let Some(value) = root.get("name") {
        let name = value.checked(words::layer_name)?;
        if name != expected {
            return Err(value.fault_with(
                format!("the name '{name}' differs from {what}, '{expected}'"),
                Some("rename one of them, or leave 'name' out".into()),
            ));
        }
    }
    Ok(expected)
}

/// Returns an optional string.
pub(super) fn optional(
    table: &Table<'_>,
    key: &str,
    check: fn(&str) -> Option<&'static str>,
) -> Result<Option<String>, RecipeError> {
    let text = table
        .get(key)
        .map(|value| value.checked(check))
        .transpose()?;
    Ok(text.map(str::to_owned))
}

/// Returns where a list's elements stand.
pub(super) fn spans(value: &Value<'_>) -> Result<Vec<Range<usize>>, RecipeError> {
    Ok(value.list()?.iter().map(Value::span).collect())
}
