//! Checks of a composed set of layers: findings, each with a reason and a hint, and the verdict
//! that they add up to.
//!
//! A check is pure: it looks at one composed tree and says what is wrong with it ([`Problem`]). A
//! later step decides whose problem it is and whether it is new: a [`Finding`] names its layer and
//! never guesses a remedy, and [`Verdict`] is the worst of them.

pub mod dpkg;
pub mod elf;
mod finding;
mod finding_id;
pub mod imports;
mod owners;
pub mod paths;
mod problem;
mod renumber;

/// The version of the checks: what they look at, and how they name it. Baselines of another version
/// are recomputed where that is possible, and unusable otherwise. No build key and no id of a layer
/// depends on it.
pub const CHECKS_VERSION: u32 = 6;

pub use finding::{Finding, Severity, Verdict, verdict};
pub use finding_id::{FindingId, FindingKind, ParseFindingIdError};
pub use owners::owners;
pub use problem::{Problem, Subject, Weight};
pub use renumber::{Renumbered, renumbered};
