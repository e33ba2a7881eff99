//! A mount table as the kernel shows it, `proc_pid_mountinfo(5)`.

use rustix::mount::MountFlags;

use crate::deploy::mounts::unescape_octal;
use crate::deploy::parse_generation;

/// A line of a mount table.
#[derive(Debug, Clone)]
pub(super) struct Mounted<'t> {
    id: u64,
    parent: u64,
    /// The device, as `major:minor`.
    pub(super) device: &'t [u8],
    /// What of the filesystem is mounted.
    pub(super) inner: Vec<u8>,
    /// Where.
    pub(super) place: Vec<u8>,
    options: &'t [u8],
    pub(super) filesystem: &'t [u8],
    pub(super) source: Vec<u8>,
}

/// Reads all lines.
pub(super) fn all(table: &[u8]) -> impl Iterator<Item = Mounted<'_>> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(Mounted::of_line)
}

/// Returns the mount that is seen at a place. The order of the lines does not tell: what comes later
/// may have been put beneath.
pub(super) fn top<'t>(table: &'t [u8], place: &[u8]) -> Option<Mounted<'t>> {
    let here: Vec<Mounted<'t>> = all(table).filter(|m| m.place == place).collect();
    let is_hidden = |one: &Mounted<'_>| {
        let mut others = here.iter().filter(|other| other.id != one.id);
        others.any(|other| other.parent == one.id)
    };
    here.iter().rev().find(|one| !is_hidden(one)).cloned()
}

/// Returns a place below another one where something is mounted.
pub(super) fn below(table: &[u8], place: &[u8]) -> Option<Vec<u8>> {
    let is_below = |found: &[u8]| {
        let rest = found.strip_prefix(place);
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    };
    all(table).map(|m| m.place).find(|found| is_below(found))
}

impl<'t> Mounted<'t> {
    fn of_line(line: &'t [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let device = fields.next()?;
        let inner = unescape_octal(fields.next()?);
        let place = unescape_octal(fields.next()?);
        let options = fields.next()?;
        // Optional fields end with a hyphen.
        fields.find(|field| *field == b"-")?;
        Some(Self {
            id,
            parent,
            device,
            inner,
            place,
            options,
            filesystem: fields.next()?,
            source: unescape_octal(fields.next()?),
        })
    }

    /// Returns what the mount itself forbids.
    pub(super) fn flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        for option in self.options.split(|byte| *byte == b',') {
            flags |= match option {
                b"ro" => MountFlags::RDONLY,
                b"nosuid" => MountFlags::NOSUID,
                b"nodev" => MountFlags::NODEV,
                b"noexec" => MountFlags::NOEXEC,
                _ => MountFlags::empty(),
            };
        }
        flags
    }

    /// Returns the deployment whose tree, or whose `/etc`, this is.
    pub(super) fn deployment(&self) -> Option<u64> {
        let number = match self.filesystem {
            b"overlay" => self.source.strip_prefix(b"layerset:")?,
            _ => {
                let inner = self.inner.strip_prefix(b"/layerset/deployments/")?;
                inner.strip_suffix(b"/etc")?
            }
        };
        parse_generation(std::str::from_utf8(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
21 1 0:20 / / ro,relatime - overlay layerset:2 ro,lowerdir+=x
30 21 0:20 /usr /usr ro,nosuid,relatime - overlay layerset:2 ro
31 21 254:3 /layerset/deployments/2/etc /etc rw,noatime shared:5 - ext4 /dev/root rw
32 21 254:3 /layerset/state/var /var rw,noatime shared:6 - ext4 /dev/root rw
33 30 0:40 / /usr/lib/a\\040b ro - tmpfs tmpfs rw
";

    #[test]
    fn a_mount_says_what_it_forbids_and_whose_it_is() {
        let at = |place: &[u8]| top(TABLE, place).unwrap();
        assert_eq!(at(b"/usr").flags(), MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(at(b"/etc").flags(), MountFlags::empty());
        assert_eq!(at(b"/etc").deployment(), Some(2));
        assert_eq!(at(b"/").deployment(), Some(2));
        assert_eq!(at(b"/var").deployment(), None);
        assert!(top(TABLE, b"/opt").is_none());
        assert_eq!(below(TABLE, b"/usr").unwrap(), b"/usr/lib/a b");
        assert_eq!(below(TABLE, b"/etc"), None);
        assert_eq!(below(TABLE, b"/us"), None);
    }

    #[test]
    fn what_was_put_beneath_is_not_what_is_seen() {
        // The new one came later, and the old one is mounted on it.
        let beneath = b"\
21 1 0:20 / / ro - overlay layerset:2 ro
30 40 0:20 /usr /usr ro - overlay layerset:2 ro
40 21 0:33 /usr /usr ro - overlay layerset:3 ro
";
        assert_eq!(top(beneath, b"/usr").unwrap().deployment(), Some(2));
        // What was put on top, as ever.
        let above = b"\
21 1 0:20 / / ro - overlay layerset:2 ro
30 21 0:20 /usr /usr ro - overlay layerset:2 ro
40 30 0:33 /usr /usr ro - overlay layerset:3 ro
";
        assert_eq!(top(above, b"/usr").unwrap().deployment(), Some(3));
    }
}
