//! Devices of a sandbox's own.
//!
//! bubblewrap shows the host's devices, and a build is root. A script that gives a mode to a unit
//! that is masked, a link to `/dev/null`, would change the host's `/dev/null` for everybody.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::sandbox::SandboxError;

/// Names and numbers of the devices that bubblewrap takes from the host.
const DEVICES: [(&str, u32, u32); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

/// Devices in the scratch directory.
#[derive(Debug)]
pub(super) struct Devices {
    dir: PathBuf,
}

impl Devices {
    /// Makes them. `None` where that is not allowed, as in some containers, or where devices of the
    /// file system cannot be opened.
    pub(super) fn make(scratch: &Path) -> Result<Option<Self>, SandboxError> {
        let dir = scratch.join("dev");
        std::fs::create_dir_all(&dir).map_err(SandboxError::io("make directory", &dir))?;
        for (name, major, minor) in DEVICES {
            let path = dir.join(name);
            // An earlier command of this build may have changed it.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SandboxError::io("remove", &path)(error));
                }
                _ => {}
            }
            let number = rustix::fs::makedev(major, minor);
            let all = Mode::from_raw_mode(0o666);
            match rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, all, number) {
                Err(Errno::PERM) => return Ok(None),
                made => made.map_err(SandboxError::io("make device", &path))?,
            }
            // Whatever the umask is.
            rustix::fs::chmod(&path, all).map_err(SandboxError::io("set the mode of", &path))?;
        }
        let opened = std::fs::File::options().write(true).open(dir.join("null"));
        Ok(opened.is_ok().then_some(Self { dir }))
    }

    /// Returns for each device where it is, and where commands look for it.
    pub(super) fn places(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        let place =
            |(name, ..): (&str, u32, u32)| (self.dir.join(name), Path::new("/dev").join(name));
        DEVICES.into_iter().map(place)
    }
}
