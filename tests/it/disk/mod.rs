//! Disks: what is written is read back by tools that others made.

mod ext4;
mod formats;
