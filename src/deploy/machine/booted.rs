//! Whether this system runs from a deployment on its own disk, and where that disk is.
//!
//! The boot script mounts the root under the name `layerset:<n>`, and `/etc` from the directory of the
//! deployment. So the mount table says what runs, also after a live update, of which the kernel's
//! command line knows nothing.

use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::error::MachineError;
use super::table;

/// Where the data filesystem is mounted while this program works: the root of the target.
pub const ROOT: &str = "/run/layerset/data";

/// The boot script writes here which partition the ESP of this machine is.
const ESP_UNIT: &str = "/run/systemd/system/boot-efi.mount.d/50-layerset.conf";
/// Its name on disks whose boot script does not.
const ESP_BY_NAME: &str = "/dev/disk/by-partlabel/esp";
/// The directory is there where the firmware is UEFI.
const UEFI: &str = "/sys/firmware/efi";

/// What a running system knows of the disk that it was started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// The deployment that runs.
    pub deployment: u64,
    /// The data filesystem's device, as `major:minor`.
    device: String,
    /// Its type.
    filesystem: String,
    /// Whether UEFI started it.
    pub(super) by_uefi: bool,
}

impl Booted {
    /// Looks at the system that runs; `None` where its root is no deployment.
    pub fn look() -> Option<Self> {
        Self::of_table(&shared_table()?, Path::new(UEFI).is_dir())
    }

    fn of_table(table: &[u8], by_uefi: bool) -> Option<Self> {
        let root = table::top(table, b"/")?;
        if root.filesystem != b"overlay" || !root.source.starts_with(b"layerset:") {
            return None;
        }
        let etc = table::top(table, b"/etc").filter(|etc| etc.filesystem != b"overlay")?;
        Some(Self {
            deployment: etc.deployment()?,
            device: String::from_utf8(etc.device.to_vec()).ok()?,
            filesystem: String::from_utf8(etc.filesystem.to_vec()).ok()?,
            by_uefi,
        })
    }

    /// Mounts the data filesystem.
    pub(super) fn mount_data(&self, at: &Path) -> Result<(), MachineError> {
        let device = self.data_device()?;
        mount(&device, at, &self.filesystem, MountFlags::NOATIME, "")?;
        let found = rustix::fs::statvfs(at)
            .map_err(|errno| MachineError::io("look at", at, errno.into()))?;
        if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(MachineError::ReadOnly { device });
        }
        Ok(())
    }

    fn data_device(&self) -> Result<PathBuf, MachineError> {
        let facts = PathBuf::from(format!("/sys/dev/block/{}/uevent", self.device));
        let text = std::fs::read_to_string(&facts)
            .map_err(|error| MachineError::io("read", &facts, error))?;
        let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        let name = name.ok_or_else(|| MachineError::NoDevice {
            number: self.device.clone(),
        })?;
        Ok(Path::new("/dev").join(name))
    }

    /// Mounts the ESP; whatever else mounted it decided what its files look like.
    pub(super) fn mount_esp(&self, at: &Path) -> Result<(), MachineError> {
        let unit = std::fs::read_to_string(ESP_UNIT).unwrap_or_default();
        let device = unit.lines().find_map(|line| line.strip_prefix("What="));
        let device = PathBuf::from(device.unwrap_or(ESP_BY_NAME));
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount(&device, at, "vfat", flags, "umask=0077,shortname=winnt")
    }
}

/// Reads the mount table of PID 1: a service that has mounts of its own may see earlier trees. Only
/// root may read it.
pub(super) fn shared_table() -> Option<Vec<u8>> {
    let tables = ["/proc/1/mountinfo", "/proc/self/mountinfo"];
    tables.iter().find_map(|path| std::fs::read(path).ok())
}

fn mount(
    device: &Path,
    at: &Path,
    filesystem: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), MachineError> {
    crate::durable::make_dirs(at, 0o700)
        .map_err(|error| MachineError::io("make directory", at, error))?;
    let options = std::ffi::CString::new(options).unwrap_or_default();
    rustix::mount::mount(device, at, filesystem, flags, Some(options.as_c_str())).map_err(|errno| {
        MachineError::Mount {
            device: device.to_owned(),
            source: errno.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 0:20 / / ro,relatime - overlay layerset:2 ro,lowerdir+=x
30 21 0:20 /usr /usr ro,relatime - overlay layerset:2 ro
31 21 254:3 /layerset/deployments/2/etc /etc rw,noatime shared:5 - ext4 /dev/root rw
32 21 254:3 /layerset/state/var /var rw,noatime shared:6 - ext4 /dev/root rw
";

    #[test]
    fn a_machine_knows_its_deployment_and_its_disk_by_its_mounts() {
        let found = Booted::of_table(TABLE.as_bytes(), true).unwrap();
        assert_eq!((found.deployment, found.device.as_str()), (2, "254:3"));
        assert_eq!(found.filesystem, "ext4");
        // A live update puts another one on top.
        let live =
            format!("{TABLE}40 31 254:3 /layerset/deployments/3/etc /etc rw - ext4 /dev/root rw\n");
        assert_eq!(
            Booted::of_table(live.as_bytes(), true).unwrap().deployment,
            3
        );
    }

    #[test]
    fn other_systems_are_no_machines_of_ours() {
        for table in [
            "",
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
            // A container on such a machine, and where layers are built.
            "21 1 0:20 / / rw - overlay overlay rw\n",
            "21 1 0:20 / / ro - overlay layerset:build ro\n",
        ] {
            assert_eq!(Booted::of_table(table.as_bytes(), false), None);
        }
        let odd = TABLE.replace("/layerset/deployments/2/etc", "/elsewhere");
        assert_eq!(Booted::of_table(odd.as_bytes(), false), None);
    }
}
