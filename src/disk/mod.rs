//! Disks as bytes: partition tables, volumes and filesystems, written without root, loop device or
//! mount.
//!
//! Everything here is pure: values in, bytes out, through a [`Medium`] that the caller gives. The
//! same values give the same bytes on every machine; what other tools make at random comes from a
//! [`Seed`].

pub mod ext4;
mod medium;
mod seed;

pub use medium::{FileMedium, Medium, Window};
pub use seed::Seed;
