//! Images for use elsewhere: disks.

mod assemble;
mod error;
mod files;
mod machine;
mod output;
mod plain;
mod split;
mod tool;
mod updatable;
mod view;

pub use error::ExportError;
