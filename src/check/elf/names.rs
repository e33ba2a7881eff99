//! Names as numbers, and the work that a check may do.

use std::collections::HashMap;

use crate::tree::view::ViewError;

/// The number of a name: a soname, a version, or the last part of a path.
pub(super) type Name = u32;

/// The most steps taken: looking at a need, at a directory, at a byte of a new name. A system of
/// 2,400 ELF files takes half a million; files made to need each other's hundred thousand libraries
/// would take forever.
const STEPS_LIMIT: u64 = 10_000_000;

/// Why a check ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The image cannot be read.
    View(ViewError),
    /// It would take too long.
    Exhausted,
}

impl From<ViewError> for Stop {
    fn from(error: ViewError) -> Self {
        Self::View(error)
    }
}

/// The work that is left.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new() -> Self {
        Self(STEPS_LIMIT)
    }

    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Stop> {
        match self.0.checked_sub(steps as u64) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Stop::Exhausted),
        }
    }
}

/// All names seen, each with its number.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<[u8]>, Name>,
    texts: Vec<Box<[u8]>>,
}

impl Names {
    pub(super) fn number(&mut self, text: &[u8], budget: &mut Budget) -> Result<Name, Stop> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        budget.charge(text.len() + 1)?;
        let number = Name::try_from(self.texts.len()).map_err(|_| Stop::Exhausted)?;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        Ok(number)
    }

    pub(super) fn text(&self, name: Name) -> &[u8] {
        &self.texts[name as usize]
    }
}
