//! A strict reader over parsed TOML in which every value knows its key and its place.
//!
//! serde's derive would do for the types, but says neither which key was meant nor where a *value*
//! that parses is wrong.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{RecipeError, SourceFile, suggest};
use super::together::all;
use crate::shape::Shape;
use crate::time::Date;

/// A parsed file: keeps alive what [`Table`]s borrow.
pub(crate) struct Document<'a> {
    source: &'a SourceFile,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses the file's text.
    pub(crate) fn parse(source: &'a SourceFile) -> Result<Self, RecipeError> {
        match DeTable::parse(source.text()) {
            Ok(root) => Ok(Self { source, root }),
            Err(error) => Err(source.fault(error.span().unwrap_or(0..0), error.message())),
        }
    }

    /// Returns the top-level table with any keys.
    pub(super) fn any_table(&self) -> Table<'_> {
        Table {
            source: self.source,
            key: String::new(),
            // The whole text is too long to point at.
            span: 0..0,
            table: self.root.get_ref(),
            shape: None,
        }
    }

    /// Returns the top-level table, and what is wrong with its keys if they are not all those of
    /// `shape`: for readers that go on.
    pub(crate) fn open(&self, shape: &'static Shape) -> (Table<'_>, Result<(), RecipeError>) {
        self.any_table().shaped(shape)
    }

    /// Returns the top-level table of a file that programs write, once its keys are known to be
    /// among `known`.
    pub(super) fn written_table(&self, known: &[&str]) -> Result<Table<'_>, RecipeError> {
        let table = self.any_table();
        table.only(known).map(|()| table)
    }
}

/// A table, its dotted key and its place.
pub(crate) struct Table<'d> {
    source: &'d SourceFile,
    key: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
    shape: Option<&'static Shape>,
}

impl<'d> Table<'d> {
    fn shaped(self, shape: &'static Shape) -> (Self, Result<(), RecipeError>) {
        let known: Vec<&str> = shape.keys.iter().map(|key| key.name).collect();
        let keys = self.only(&known);
        let shape = Some(shape);
        (Self { shape, ..self }, keys)
    }

    /// Says which keys are not among `known`.
    fn only(&self, known: &[&str]) -> Result<(), RecipeError> {
        let mut unknown: Vec<_> = self
            .table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .collect();
        unknown.sort_by_key(|key| key.span().start);
        all(unknown.into_iter().map(|key| {
            let free = known
                .iter()
                .copied()
                .filter(|k| !self.table.contains_key(*k));
            let free: Vec<&str> = free.collect();
            // No table has more keys than a line holds, and a key that has no near one tells
            // nothing of what was meant.
            let list = || (!free.is_empty()).then(|| format!("known: {}", free.join(", ")));
            Err(self.source.fault_with(
                key.span(),
                format!("unknown key '{}'", key.get_ref()),
                suggest(key.get_ref(), free.iter().copied()).or_else(list),
            ))
        }))
        .map(|_: Vec<()>| ())
    }

    /// Returns where the table starts.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the value of `key`, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'d>> {
        // What no shape has, no manual page explains.
        debug_assert!(self.shape.is_none_or(|shape| shape.has(key)), "{key}");
        let (key, value) = self.table.get_key_value(key)?;
        Some(self.value(key, value))
    }

    /// Returns the value of `key`, which must be there.
    pub(crate) fn need(&self, key: &str) -> Result<Value<'d>, RecipeError> {
        self.get(key).ok_or_else(|| {
            let message = format!("missing key '{}'", self.dotted(key));
            match self.is_misspelt(key) {
                true => self.source.consequence(self.span(), message, None),
                false => self.source.fault(self.span(), message),
            }
        })
    }

    /// Says whether another key is probably meant to be `key`.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        let near = |other: &str| {
            let meant = suggest(other, [key]);
            meant.is_some_and(|help| help.starts_with("did you mean"))
        };
        self.table.keys().any(|other| near(other.get_ref()))
    }

    /// Returns every key with its value in the order of the text.
    pub(super) fn entries(&self) -> Vec<Value<'d>> {
        let mut entries: Vec<_> = self.table.iter().map(|(k, v)| self.value(k, v)).collect();
        entries.sort_by_key(|value| value.key_span.start);
        entries
    }

    fn value(
        &self,
        key: &'d Spanned<std::borrow::Cow<'d, str>>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Value<'d> {
        Value {
            source: self.source,
            name: key.get_ref(),
            key: self.dotted(key.get_ref()),
            key_span: key.span(),
            span: value.span(),
            value: value.get_ref(),
        }
    }

    fn dotted(&self, key: &str) -> String {
        if self.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.key)
        }
    }
}

/// A value, the key it was given for, and the places of both.
pub(crate) struct Value<'d> {
    source: &'d SourceFile,
    name: &'d str,
    key: String,
    key_span: Range<usize>,
    span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Value<'d> {
    /// Returns the key alone, without the tables it lies in.
    pub(super) fn name(&self) -> &'d str {
        self.name
    }

    /// Returns the file that the value is in.
    pub(super) fn source(&self) -> &'d SourceFile {
        self.source
    }

    /// Returns the place of the value.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the place of the key.
    pub(super) fn key_span(&self) -> Range<usize> {
        self.key_span.clone()
    }

    /// Makes the error that points at the value.
    pub(crate) fn fault(&self, message: impl Into<String>) -> RecipeError {
        self.source.fault(self.span(), message)
    }

    /// Makes the error that points at the value and carries a hint.
    pub(crate) fn fault_with(
        &self,
        message: impl Into<String>,
        help: Option<String>,
    ) -> RecipeError {
        self.source.fault_with(self.span(), message, help)
    }

    /// Makes the error that points at the value, of which nothing is shown, nor `secret` anywhere.
    pub(super) fn fault_hiding(
        &self,
        secret: &str,
        message: impl Into<String>,
        help: String,
    ) -> RecipeError {
        self.source.fault_hiding(self.span(), secret, message, help)
    }

    /// Makes the error that points at the key.
    pub(super) fn key_fault(
        &self,
        message: impl Into<String>,
        help: Option<String>,
    ) -> RecipeError {
        self.source.fault_with(self.key_span.clone(), message, help)
    }

    fn wrong_type(&self, expected: &str) -> RecipeError {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(format!("'{}' must be {expected}, not {found}", self.key))
    }

    /// Returns the value as a string.
    pub(crate) fn string(&self) -> Result<&'d str, RecipeError> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// Returns the value as a string that `check` finds nothing wrong with.
    pub(crate) fn checked(
        &self,
        check: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<&'d str, RecipeError> {
        let text = self.string()?;
        match check(text) {
            None => Ok(text),
            Some(problem) => Err(self.fault(format!("'{}' {problem}", text.escape_debug()))),
        }
    }

    /// Returns the value as a boolean.
    pub(crate) fn boolean(&self) -> Result<bool, RecipeError> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// Returns the value as an integer of type `T`.
    pub(super) fn integer<T: TryFrom<i64>>(&self) -> Result<T, RecipeError> {
        let DeValue::Integer(integer) = self.value else {
            return Err(self.wrong_type("an integer"));
        };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.fault(format!("'{}' is out of range: {integer}", self.key)))
    }

    /// Returns the value as a day.
    pub(super) fn date(&self) -> Result<Date, RecipeError> {
        let DeValue::Datetime(value) = self.value else {
            return Err(self.wrong_type("a date"));
        };
        let day = value.date.filter(|_| value.time.is_none());
        day.and_then(|day| Date::new(day.year, day.month, day.day))
            .ok_or_else(|| self.fault(format!("'{}' must be a day, e.g. 2027-01-31", self.key)))
    }

    /// Returns the elements of a list.
    pub(crate) fn list(&self) -> Result<Vec<Value<'d>>, RecipeError> {
        let DeValue::Array(items) = self.value else {
            return Err(self.wrong_type("a list"));
        };
        Ok(items
            .iter()
            .map(|item| Value {
                source: self.source,
                name: self.name,
                key: self.key.clone(),
                key_span: item.span(),
                span: item.span(),
                value: item.get_ref(),
            })
            .collect())
    }

    /// Returns the elements of a list of strings, each checked and none twice.
    pub(crate) fn strings(
        &self,
        check: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Vec<String>, RecipeError> {
        let mut seen = BTreeSet::new();
        all(self.list()?.iter().map(|item| {
            let text = item.checked(&check)?;
            if !seen.insert(text) {
                return Err(item.fault(format!("'{text}' is listed twice")));
            }
            Ok(text.to_owned())
        }))
    }

    /// Returns the value as a table whose keys are those of `shape`.
    pub(crate) fn table(&self, shape: &'static Shape) -> Result<Table<'d>, RecipeError> {
        let (table, keys) = self.open(shape)?;
        keys.map(|()| table)
    }

    /// Returns the value as a table, and what is wrong with its keys if they are not all those of
    /// `shape`: for readers that go on.
    pub(crate) fn open(
        &self,
        shape: &'static Shape,
    ) -> Result<(Table<'d>, Result<(), RecipeError>), RecipeError> {
        Ok(self.any_table()?.shaped(shape))
    }

    /// Returns the value as a table of a file that programs write, whose keys are among `known`.
    pub(super) fn written_table(&self, known: &[&str]) -> Result<Table<'d>, RecipeError> {
        let table = self.any_table()?;
        table.only(known).map(|()| table)
    }

    /// Returns the value as a table whose keys are data.
    pub(super) fn any_table(&self) -> Result<Table<'d>, RecipeError> {
        match self.value {
            DeValue::Table(table) => Ok(Table {
                source: self.source,
                key: self.key.clone(),
                span: self.span(),
                table,
                shape: None,
            }),
            _ => Err(self.wrong_type("a table")),
        }
    }
}
