//! Layers → tree: merge in order, derive what is a function of the rest, check.
//!
//! The input is an ordered list of layers; each is applied to what stands below it by
//! [`crate::merge::apply`], then the derivers run, then the checks. Everything is written through
//! the given transaction.

mod baseline;
mod choices;
mod composition;
mod covered;
mod cut;
mod damage;
mod derive;
mod disabled;
mod error;
mod evidence;
mod examine;
mod generate;
mod judge;
mod kernels;
mod made;
mod member;
mod named;
mod ownership;
mod packages;
mod places;
mod probes;
mod records;
mod remedy;
mod root;
mod standard;
mod triggers;
mod usrmerge;
mod view;
mod waive;
mod why;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use baseline::{baseline, watched};
pub use composition::{Composition, compose, ids_of};
pub use damage::{CheckedGround, damage, lost_owners, may_damage};
pub use error::ComposeError;
pub use evidence::{Evidence, derived, moved};
pub use examine::{MemberProblem, examine};
pub use generate::{Generate, GenerateError, UnavailableGenerator, clear, fill};
pub use judge::{Judgement, finding, judge};
pub use member::Member;
pub use packages::extras;
pub use remedy::{leave_alone, lock_again, waiver_block};
pub use view::TreeView;
pub use waive::{WaiverOutcome, waive};
pub use why::{PathOrigin, origin_of};
