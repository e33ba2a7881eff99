//! The heart: one three-way merge of trees. It composes layers, and carries a machine's `/etc` over
//! an update.
//!
//! [`apply`] puts a changeset on a tree that is not the one it was made on. For each path, with
//! `pre` what the layer saw, `post` what it made and `current` what is there now: unchanged below →
//! take `post`; already `post` → done; a known database → its [driver](drivers); text → three-way
//! text merge; else a [`Conflict`]. Metadata merges field by field. Nothing is ever guessed.

mod engine;
mod jks;
mod overwritten;
mod sweeps;
mod uncovered;

pub mod derive;
pub mod drivers;
pub mod packages;
pub mod text;

pub use engine::{ApplyReport, Blobs, Conflict, MergeError, apply};
pub use overwritten::{content_of, overwritten};
pub use sweeps::sweeps;
pub use uncovered::{Uncovered, uncovered};

#[cfg(test)]
mod laws;

#[cfg(test)]
mod testing;
