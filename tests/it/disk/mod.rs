//! Disks as other tools see them.

mod ext4;
mod formats;
