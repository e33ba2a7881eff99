//! Errors of this module: each points at file, line and column, and says what to write instead
//! where that is known.
//!
//! [`RecipeError`] prints one line for each mistake
//! (`recipes/web.toml:3:10: unknown key 'pakages' (did you mean 'packages'?)`); each [`RecipeFault`]
//! is a [`Diagnostic`] with a short message, so that a graphical handler does not say the position
//! twice. Readers go on after a mistake where they can, so that one run names all of them:
//! `together` joins what several of them found.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Why a recipe, a layer definition, a lock or an ids table cannot be used.
#[allow(missing_docs)] // Most fields are what their names say.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Files say something wrong: their author has to change them.
    #[error(transparent)]
    Invalid(#[from] RecipeFaults),
    /// A file cannot be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The recipe has no lock yet.
    #[error("there is no lock '{}' yet", path.display())]
    NoLock {
        /// Where the lock would be.
        path: PathBuf,
    },
    /// The path given is not that of a recipe.
    #[error("'{}' is not a recipe: {reason}", path.display())]
    NotARecipe { path: PathBuf, reason: &'static str },
}

impl RecipeError {
    /// Returns what is wrong and where, for a handler that draws it; nothing when no file's text is
    /// to blame.
    pub fn faults(&self) -> &[RecipeFault] {
        match self {
            Self::Invalid(RecipeFaults(faults)) => faults,
            _ => &[],
        }
    }

    /// An error that says nothing, to begin with.
    pub(super) fn nothing() -> Self {
        Self::Invalid(RecipeFaults(Vec::new()))
    }

    /// Joins two errors of one run. What is no mistake in a text hides those that are: they may be
    /// its consequence.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid(mut first), Self::Invalid(second)) => {
                first.0.extend(second.0);
                first.settle();
                first.hide();
                Self::Invalid(first)
            }
            (Self::Invalid(_), other) | (other, _) => other,
        }
    }
}

/// All that is wrong in the files of one run, a line each, with position and hint.
#[derive(Debug)]
pub struct RecipeFaults(Vec<RecipeFault>);

impl RecipeFaults {
    /// Hides what any mistake hides from the text that is shown for others of the same file.
    fn hide(&mut self) {
        let hidden: Vec<(PathBuf, Range<usize>)> = self
            .0
            .iter()
            .flat_map(|fault| {
                fault
                    .hidden
                    .iter()
                    .map(|span| (fault.file.clone(), span.clone()))
            })
            .collect();
        for fault in &mut self.0 {
            let here = hidden.iter().filter(|(file, _)| *file == fault.file);
            let text = here.fold(fault.text.inner().to_string(), |text, (_, span)| {
                starred(&text, span)
            });
            fault.text = NamedSource::new(fault.file.to_string_lossy(), text.into());
        }
    }

    /// Leaves out what another mistake of the same file explains, and puts the rest in the order of
    /// the files' lines.
    fn settle(&mut self) {
        let causes: Vec<PathBuf> = self
            .0
            .iter()
            .filter(|fault| !fault.is_consequence)
            .map(|fault| fault.file.clone())
            .collect();
        self.0
            .retain(|fault| !fault.is_consequence || !causes.contains(&fault.file));
        let mut files: Vec<PathBuf> = Vec::new();
        for fault in &self.0 {
            if !files.contains(&fault.file) {
                files.push(fault.file.clone());
            }
        }
        let place = |fault: &RecipeFault| {
            let file = files.iter().position(|file| *file == fault.file);
            (file, fault.span.start)
        };
        self.0.sort_by_key(place);
    }
}

impl fmt::Display for RecipeFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.0.len() > 1;
        if several {
            write!(f, "there are {} mistakes:", self.0.len())?;
        }
        for fault in &self.0 {
            let RecipeFault {
                file, line, column, ..
            } = fault;
            let gap = if several { "\n  " } else { "" };
            write!(
                f,
                "{gap}{}:{line}:{column}: {}",
                file.display(),
                fault.message
            )?;
            if let Some(help) = &fault.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for RecipeFaults {}

/// One thing that is wrong at one place of a file.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RecipeFault {
    /// The file, as its path was given.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, without position or hint.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    text: NamedSource<Arc<str>>,
    span: Range<usize>,
    /// Where the file has what must not be shown.
    hidden: Vec<Range<usize>>,
    /// Whether it is probably there because of another mistake in the file.
    is_consequence: bool,
}

impl Diagnostic for RecipeFault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_deref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::underline(self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Replaces what stands at `span` by as many bytes of stars.
fn starred(text: &str, span: &Range<usize>) -> String {
    let star = |(at, c): (usize, char)| match span.contains(&at) && c != '\n' {
        true => "*".repeat(c.len_utf8()),
        false => c.to_string(),
    };
    text.char_indices().map(star).collect()
}

/// A text file with the path that people know it by. Faults point into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    path: PathBuf,
    text: Arc<str>,
}

impl SourceFile {
    /// Names `text` by `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Reads the file at `path`.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, RecipeError> {
        let path = path.into();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(source) => Err(RecipeError::Read { path, source }),
        }
    }

    /// Returns the path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Makes the error that points at `span` of this file.
    pub fn fault(&self, span: Range<usize>, message: impl Into<String>) -> RecipeError {
        self.fault_with(span, message, None)
    }

    /// Makes the error that points at `span` of this file and carries a hint.
    pub fn fault_with(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> RecipeError {
        let (line, column) = self.position(span.start);
        RecipeError::Invalid(RecipeFaults(vec![RecipeFault {
            file: self.path.clone(),
            line,
            column,
            message: message.into(),
            help,
            text: NamedSource::new(self.path.to_string_lossy(), self.text.clone()),
            span,
            hidden: Vec::new(),
            is_consequence: false,
        }]))
    }

    /// Makes the error about what may be there because of another mistake of the file, such as a
    /// missing key beside one that is misspelt: then only that one is said.
    pub(super) fn consequence(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> RecipeError {
        match self.fault_with(span, message, help) {
            RecipeError::Invalid(RecipeFaults(faults)) => {
                let weak = faults.into_iter().map(|fault| RecipeFault {
                    is_consequence: true,
                    ..fault
                });
                RecipeError::Invalid(RecipeFaults(weak.collect()))
            }
            other => other,
        }
    }

    /// Makes the error about what must not be shown, wherever the file has it: neither by this error
    /// nor by others that are told with it.
    pub(super) fn fault_hiding(
        &self,
        span: Range<usize>,
        secret: &str,
        message: impl Into<String>,
        help: String,
    ) -> RecipeError {
        let again = self.text.match_indices(secret);
        let again = again.map(|(at, found)| at..at + found.len());
        let hidden: Vec<Range<usize>> = [span.clone()].into_iter().chain(again).collect();
        match self.fault_with(span, message, Some(help)) {
            RecipeError::Invalid(RecipeFaults(faults)) => {
                let faults = faults.into_iter().map(|fault| RecipeFault {
                    hidden: hidden.clone(),
                    ..fault
                });
                let mut faults = RecipeFaults(faults.collect());
                faults.hide();
                RecipeError::Invalid(faults)
            }
            other => other,
        }
    }

    /// Returns `file:line:column` of `span`, for messages about what is found wrong elsewhere.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let (line, column) = self.position(span.start);
        format!("{}:{line}:{column}", self.path.display())
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self
            .text
            .get(..offset.min(self.text.len()))
            .unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// Says as a hint which of `candidates` was probably meant by `word`. Lists them all when none is
/// near and they are few.
pub(super) fn suggest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    let lower = word.to_lowercase();
    let near = all
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, known), *known))
        .min()
        .filter(|(distance, known)| {
            *distance <= 1.max((known.chars().count().max(word.chars().count()) + 1) / 3)
        });
    match near {
        Some((_, known)) => Some(format!("did you mean '{known}'?")),
        None if all.is_empty() || all.len() > 6 => None,
        None => Some(format!("known: {}", all.join(", "))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = SourceFile::new("a.toml", "x = 1\nä = 'ö' # z\n");
        for (offset, position) in [
            (0, (1, 1)),
            (5, (1, 6)),
            (6, (2, 1)),
            (8, (2, 2)),
            (99, (3, 1)),
        ] {
            assert_eq!(source.position(offset), position, "{offset}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["packages", "recommends"];
        assert_eq!(
            suggest("pakages", known).unwrap(),
            "did you mean 'packages'?"
        );
        assert_eq!(
            suggest("Packages", known).unwrap(),
            "did you mean 'packages'?"
        );
        assert_eq!(
            suggest("tarball", known).unwrap(),
            "known: packages, recommends"
        );
        assert_eq!(suggest("x", []), None);
    }

    #[test]
    fn a_graphical_handler_shows_the_line_once_with_its_hint() {
        let source = SourceFile::new("recipes/web.toml", "name = 'web'\nlayrs = []\n");
        let error = source.fault_with(
            13..18,
            "unknown key 'layrs'",
            Some("did you mean 'layers'?".into()),
        );
        let mut text = String::new();
        miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
            .render_report(&mut text, &error.faults()[0])
            .unwrap();
        assert!(text.contains("[recipes/web.toml:2:1]"), "{text}");
        assert!(text.contains("help: did you mean 'layers'?"), "{text}");
        assert_eq!(text.matches("recipes/web.toml").count(), 1, "{text}");
        assert_eq!(
            error.to_string(),
            "recipes/web.toml:2:1: unknown key 'layrs' (did you mean 'layers'?)"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_says_which_and_why() {
        let error = SourceFile::read("no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "cannot read 'no/such/file'");
        assert!(std::error::Error::source(&error).is_some() && error.faults().is_empty());
    }
}
