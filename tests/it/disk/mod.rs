//! Disks: what is written is read back by tools that others made.

mod fat;
mod lvm;
mod tables;
mod tool;
