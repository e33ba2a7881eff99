//! layerset builds operating-system images in content-addressed layers and updates machines with them atomically.
//!
//! The map of the code is in ARCHITECTURE.md; a module uses only modules of a lower level, which a test holds.

#![warn(unreachable_pub)]

pub mod agent;
pub mod apt;
pub mod boot;
pub mod builder;
pub mod causes;
pub mod check;
pub mod cli;
pub mod codec;
pub mod compose;
pub mod deb822;
pub mod delta;
pub mod deploy;
pub mod disk;
pub mod durable;
pub mod elf;
pub mod export;
pub mod format;
pub mod glob;
pub mod id;
pub mod layout;
pub mod materialise;
pub mod merge;
pub mod packages;
pub mod path;
pub mod recipe;
pub mod remote;
pub mod sandbox;
pub mod secrets;
pub mod serve;
pub mod sha256;
pub mod shape;
pub mod store;
pub mod time;
pub mod transfer;
pub mod tree;
pub mod trust;
pub mod version;
