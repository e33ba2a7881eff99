//! Disks: what is written is read back by tools that others made.

mod content;
mod export;
mod ext4;
mod fat;
mod formats;
mod lvm;
mod memory;
mod places;
mod refusals;
mod room;
mod tables;
mod tool;
