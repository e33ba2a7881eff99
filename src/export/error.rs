//! What can go wrong when an image becomes a disk. Every refusal comes before the first write.

use std::io;
use std::path::{Path, PathBuf};

use super::formats::FormatError;
use super::profiles::RuleProblem;
use crate::boot::BootError;
use crate::boot::grub::EmbedError;
use crate::deploy::DeployError;
use crate::disk::ext4::Ext4Error;
use crate::disk::{DiskFault, FatError};
use crate::materialise::MaterialiseError;
use crate::path::RelPath;
use crate::recipe::RecipeError;
use crate::store::StoreError;

/// Why no disk was made.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The name of an output is taken.
    #[error("'{}' exists already", path.display())]
    Exists { path: PathBuf },
    /// An output is a device or a directory.
    #[error("'{}' is {what}, and an output is a regular file", path.display())]
    NotAFile {
        path: PathBuf,
        /// `a device`, `a directory`, …
        what: &'static str,
    },
    /// An output would lie in a directory that is not there.
    #[error("there is no directory for '{}'", path.display())]
    NoDirectory { path: PathBuf },
    /// Two outputs have one name.
    #[error("'{}' is asked for twice", path.display())]
    Twice { path: PathBuf },
    /// Another export is writing it.
    #[error("another export is writing '{}'", path.display())]
    Busy { path: PathBuf },
    /// The content of a file is missing or damaged.
    #[error("'{path}' of the image cannot be read")]
    Content { path: RelPath, source: StoreError },
    /// What an updatable machine has for itself is no directory of the image.
    #[error(
        "'/{path}' of the image is a {kind}, and an updatable machine has a directory of its own there"
    )]
    NoDirectoryOfItsOwn {
        path: &'static str,
        kind: &'static str,
    },
    /// The description has no disk.
    #[error("the description has no disk")]
    NoDisk,
    /// Rules of the profiles are broken.
    #[error("the disk breaks {} of the profiles", if .0.len() == 1 { "a rule".to_owned() } else { format!("{} rules", .0.len()) })]
    Rules(Vec<RuleProblem>),
    /// The architecture has no boot files here.
    #[error("an image for {architecture} cannot become a disk yet: amd64 can")]
    Architecture { architecture: String },
    /// A program that makes a filesystem is not there, or failed.
    #[error("'{program}' could not make the filesystem '{name}': {reason}")]
    Tool {
        program: &'static str,
        name: String,
        reason: String,
    },
    /// There is too little room for the outputs.
    #[error("'{}' has {available} bytes free, {needed} are needed", path.display())]
    NoSpace {
        path: PathBuf,
        needed: u64,
        available: u64,
    },
    /// An object of the image is missing or damaged.
    #[error("the image cannot be exported")]
    Store(#[from] StoreError),
    /// The description does not fit what is to be on the disk.
    #[error(transparent)]
    Fault(#[from] DiskFault),
    /// The same, at its place in the recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A filesystem cannot hold its files.
    #[error("the filesystem '{name}' cannot be written")]
    Filesystem { name: String, source: Ext4Error },
    /// The image lacks what boots it, or a boot entry cannot say what it should.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// GRUB cannot be put on the disk.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The deployment could not be made.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// An owner has no number.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// A format could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The system refused.
    #[error("cannot {verb} '{}'", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The raw disk cannot be written.
    #[error("cannot write '{part}'")]
    Write { part: String, source: io::Error },
    /// The ESP cannot hold its files.
    #[error(transparent)]
    Fat(#[from] FatError),
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

impl ExportError {
    pub(super) fn write(part: &str, source: io::Error) -> Self {
        Self::Write {
            part: part.to_owned(),
            source,
        }
    }

    /// Wraps the system's answer to `verb` on `path`.
    pub(super) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}
