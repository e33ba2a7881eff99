//! What to do when an image cannot become a disk, in terms of the command line.

use super::{CliError, FAILED, INTERRUPTED, REFUSED};
use crate::export::ExportError;
use crate::export::formats::FormatError;

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Deploy(error) => error.into(),
            ExportError::Interrupted | ExportError::Format(FormatError::Interrupted) => {
                Self::new("interrupted", INTERRUPTED).with_hint("no output was written")
            }
            error => {
                let hint = hint(&error);
                let exit = if matches!(error, ExportError::Rules(_)) {
                    REFUSED
                } else {
                    FAILED
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

/// Says what to do about an error, where there is something to say.
fn hint(error: &ExportError) -> Option<String> {
    Some(match error {
        ExportError::Exists { path } => {
            format!("--force-overwrite {} replaces it", path.display())
        }
        ExportError::NotAFile {
            what: "a device", ..
        } => "write a raw disk to a file, then copy it: dd if=FILE.raw of=DEVICE bs=4M conv=fsync"
            .to_owned(),
        ExportError::NotBootable { layer, .. } => {
            format!("add the layer '{layer}' to the recipe, lock and build it")
        }
        ExportError::CannotFill { .. } => {
            "use ext4 for it, or mount it where the image has nothing".to_owned()
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
        ExportError::Kernel(error) => return error.hint().map(str::to_owned),
        ExportError::Fault(fault) => return fault.help.clone(),
        _ => return None,
    })
}
