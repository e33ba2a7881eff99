//! Images for use elsewhere: disks.

pub mod formats;
pub mod profiles;
