//! Maintainer scripts of packages, as far as they can be read without running them.
//!
//! A script is split into words and operators as a POSIX shell splits it (XCU 2.3). Nothing is
//! expanded: what depends on a variable is not known, and is never taken for harmless.

mod probes;
mod tokens;
mod triggered;

pub use probes::{Probe, probes};
pub use triggered::only_tells_daemons;
