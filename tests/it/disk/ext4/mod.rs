//! Filesystems of ours, as e2fsprogs and the kernel read them.

mod content;
mod kernel;
mod layout;
mod random;
mod support;
