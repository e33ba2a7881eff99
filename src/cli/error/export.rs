//! What to do when an image cannot become a disk, in terms of the command line.

use super::{CliError, FAILED, INTEGRITY, INTERRUPTED, REFUSED};
use crate::export::ExportError;
use crate::export::formats::FormatError;
use crate::store::StoreError;

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Deploy(error) => error.into(),
            ExportError::Recipe(error) => error.into(),
            ExportError::Content { ref source, .. } => {
                let exit = match source {
                    StoreError::NotFound { .. } | StoreError::Corrupt { .. } => INTEGRITY,
                    _ => FAILED,
                };
                Self::from_error(&error, exit).with_hint(DAMAGED)
            }
            ExportError::Interrupted | ExportError::Format(FormatError::Interrupted) => {
                Self::new("interrupted", INTERRUPTED).with_hint("no output was written")
            }
            error => {
                let hint = hint(&error);
                let exit = match &error {
                    ExportError::Rules(_) => REFUSED,
                    error if is_damage(error) => INTEGRITY,
                    _ => FAILED,
                };
                let mut shown = Self::from_error(&error, exit);
                if let ExportError::Rules(problems) = &error {
                    shown
                        .causes
                        .extend(problems.iter().map(ToString::to_string));
                }
                shown.hinted(hint)
            }
        }
    }
}

const DAMAGED: &str = "run `layerset fsck` to see what else is damaged and what uses it";

/// Says whether an object had other bytes than its id says, when it was read.
fn is_damage(error: &ExportError) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().map(std::io::Error::kind) == Some(std::io::ErrorKind::InvalidData)
    };
    crate::causes::causes(error).any(kind)
}

/// Says what to do about an error, where there is something to say.
fn hint(error: &ExportError) -> Option<String> {
    Some(match error {
        ExportError::Exists { path } => {
            format!("--force-overwrite {} replaces it", path.display())
        }
        ExportError::Busy { .. } => "wait for it to end, or write to another name".to_owned(),
        error if is_damage(error) => DAMAGED.to_owned(),
        ExportError::NotAFile {
            what: "a device", ..
        } => "write a raw disk to a file, then copy it: dd if=FILE.raw of=DEVICE bs=4M conv=fsync"
            .to_owned(),
        ExportError::NoDirectoryOfItsOwn { .. } => {
            "make it a directory in a layer, or write --layout plain".to_owned()
        }
        ExportError::Tool { program, .. } => {
            let package = if program.ends_with("xfs") {
                "xfsprogs"
            } else {
                "btrfs-progs"
            };
            format!("'{program}' is in the package {package}")
        }
        ExportError::NoSpace { .. } => "free some space, or write elsewhere".to_owned(),
        ExportError::Boot(error) => return error.hint(),
        ExportError::Fault(fault) => return fault.help.clone(),
        _ => return None,
    })
}
