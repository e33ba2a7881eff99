//! Images for use elsewhere: disks.

mod assemble;
mod cloud;
mod decide;
mod describe;
mod disk;
mod draft;
mod error;
mod fat;
mod files;
pub mod formats;
mod machine;
mod mounts;
mod output;
mod plain;
pub mod profiles;
mod report;
mod rules;
mod sizes;
mod split;
mod tool;
mod updatable;
mod write;

pub use disk::{DiskOutput, DiskRequest, Hooks, export_disk};
pub use error::ExportError;
pub use report::{DiskReport, OutputReport, PartReport};
pub use sizes::{LayerSize, SizeReport};
