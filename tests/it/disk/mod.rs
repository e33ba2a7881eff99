//! Disks: what is written is read back by tools that others made.

mod export;
mod ext4;
mod fat;
mod formats;
mod lvm;
mod refusals;
mod tables;
mod tool;
