//! Disks: what is written is read back by tools that others made.

mod export;
mod ext4;
mod formats;
