//! Builds in isolation: a writable view of the layers below, commands run in it, and what they
//! changed.
//!
//! [`BuildView::with`] mounts, [`Sandbox`] runs, [`capture`] reads the difference. All mounts live
//! in a private namespace that the kernel drops with the process, so not even `kill -9` leaves one
//! behind.

mod capture;
mod confine;
mod devices;
mod error;
mod inside;
mod limits;
mod policy;
mod run;
mod upper;
mod view;

pub use capture::{CapturedChanges, capture};
pub use error::SandboxError;
pub use inside::ViewRoot;
pub use limits::{DEFAULT_TIME, Limits};
pub use run::{ReadOnlyBind, Sandbox, SandboxRun};
pub use view::{BuildView, LowerKind, LowerTree, MountedView};
