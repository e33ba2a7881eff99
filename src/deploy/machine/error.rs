//! What can go wrong on the disk of a machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::boot::BootError;
use crate::materialise::MaterialiseError;

/// Why the disk of the running machine could not be used.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its data filesystem is root's.
    #[error("this machine's own disk can only be looked at by root")]
    NotRoot,
    /// A number that no device has.
    #[error("no device has the number {number}, from which this machine runs")]
    NoDevice { number: String },
    /// The kernel refused.
    #[error("cannot mount '{}'", device.display())]
    Mount { device: PathBuf, source: io::Error },
    /// It was mounted read-only, as the kernel does after errors.
    #[error("the data filesystem on '{}' is read-only: the kernel found errors on it", device.display())]
    ReadOnly { device: PathBuf },
    /// Nothing on the ESP starts deployments.
    #[error("'{}' has neither systemd-boot nor GRUB", esp.display())]
    NoLoader { esp: PathBuf },
    /// Nothing says how the kernel is to be called.
    #[error("no boot entry of layerset is left to take the arguments of the kernel from")]
    NoEntry,
    /// A deployment that nothing can start.
    #[error("generation {generation} has no boot entry")]
    NotStartable { generation: u64 },
    /// Too little room on the ESP.
    #[error("the ESP has {free} bytes free, and the kernel of this image needs {need}")]
    EspFull { free: u64, need: u64 },
    /// An image that cannot look after the machine.
    #[error("the image has no '/{path}', without which the machine could not be updated again")]
    NoAgent { path: &'static str },
    /// It does not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A file is not what it should be.
    #[error("'{}' is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// The kernel refused a mount or a namespace.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// The system refused.
    #[error("cannot {verb} '{}'", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl MachineError {
    pub(super) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRoot => "run it with sudo".to_owned(),
            Self::ReadOnly { device } => format!(
                "restart the machine, and if it comes back, look with `fsck -n {}`",
                device.display()
            ),
            Self::NotStartable { .. } => "stage its image again with `layerset deploy`".to_owned(),
            Self::EspFull { .. } => {
                "remove deployments whose kernels nobody needs, or what else lies in /boot/efi"
                    .to_owned()
            }
            Self::NoAgent { .. } => {
                "add the layer 'layerset' to the recipe, lock and build it".to_owned()
            }
            Self::NoLoader { .. } | Self::NoEntry => {
                "export the image as a disk again, and start the machine from that".to_owned()
            }
            Self::Boot(error) => return error.hint(),
            _ => return None,
        })
    }
}
