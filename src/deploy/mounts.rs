//! The mounts of a deployment: its tree at `root`, its `etc` and the shared `var` in there. Making
//! them again is harmless.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::record::{DeploymentDir, DeploymentKind, JoinMethod};
use super::{DeployError, Target};
use crate::durable::remove_tree;
use crate::id::hex;
use crate::materialise::{
    BindAccess, SetuidPrograms, bind, is_mountpoint, mount_readonly, set_setuid, unmount_lazily,
};

impl Target {
    /// Mounts the parts of a deployment that are not mounted yet; says whether there were any.
    pub(super) fn mount(&self, deployment: &DeploymentDir) -> Result<bool, DeployError> {
        // A machine has mounted what runs, and the rest of its disk is out of sight.
        if self.machine.is_some() {
            return Ok(false);
        }
        let root = deployment.root();
        let mut changed = false;
        if deployment.facts.kind == DeploymentKind::Composefs && !is_mountpoint(&root)? {
            let image = deployment.dir.join("meta.erofs");
            check_metadata(deployment, &image)?;
            let objects = self.identity.repository.join("objects");
            let name = format!("layerset:{}", deployment.facts.image.short());
            mount_readonly(&image, &objects, &root, &name)?;
            changed = true;
        }
        for (source, at) in self.binds(deployment) {
            if !is_mountpoint(&at)? {
                bind(&source, &at, BindAccess::ReadWrite)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Lets setuid programs of a mounted deployment have their privileges, or not.
    ///
    /// An old release keeps the faults that the new one mends. Whoever may start its `sudo` has
    /// them still. A copy has no mount of its own, and its programs keep their bits.
    pub(super) fn set_setuid(
        &self,
        deployment: &DeploymentDir,
        programs: SetuidPrograms,
    ) -> Result<(), DeployError> {
        let root = deployment.root();
        if self.machine.is_none()
            && deployment.facts.kind == DeploymentKind::Composefs
            && is_mountpoint(&root)?
        {
            set_setuid(&root, programs)?;
        }
        Ok(())
    }

    /// Takes the privileges from the setuid programs of all deployments that are not current.
    ///
    /// The switch is over when this is called, so what is wrong with another deployment does not
    /// undo it: the next activation or switch tries again.
    pub(super) fn disarm_others(&self, current: Option<u64>) {
        for generation in self.generations().unwrap_or_default() {
            if let (true, Ok(deployment)) =
                (Some(generation) != current, self.deployment(generation))
            {
                let _ = self.set_setuid(&deployment, SetuidPrograms::Ignored);
            }
        }
    }

    /// Says whether everything of a deployment is mounted that should be.
    pub(super) fn is_mounted(&self, deployment: &DeploymentDir) -> Result<bool, DeployError> {
        if let Some(machine) = &self.machine {
            return Ok(machine.running() == deployment.facts.generation);
        }
        if deployment.facts.kind == DeploymentKind::Composefs && !is_mountpoint(&deployment.root())?
        {
            return Ok(false);
        }
        for (_, at) in self.binds(deployment) {
            if !is_mountpoint(&at)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn binds(&self, deployment: &DeploymentDir) -> Vec<(PathBuf, PathBuf)> {
        if deployment.facts.join != JoinMethod::Bind {
            return Vec::new();
        }
        let root = deployment.root();
        let etc = deployment
            .facts
            .has_etc
            .then(|| (deployment.etc(), root.join("etc")));
        let var = deployment
            .facts
            .has_var
            .then(|| (self.var_dir(), root.join("var")));
        etc.into_iter().chain(var).collect()
    }

    /// Removes a directory of the target, after unmounting whatever is mounted below it.
    ///
    /// A mount that stays stops the removal: walking into it would delete the shared state, or
    /// worse.
    pub(super) fn remove_dir(&self, dir: &Path) -> Result<(), DeployError> {
        unmount_below(dir)?;
        remove_tree(self.disk.as_ref(), dir)?;
        Ok(())
    }
}

pub(super) fn check_metadata(deployment: &DeploymentDir, image: &Path) -> Result<(), DeployError> {
    let bytes = std::fs::read(image).map_err(|error| DeployError::io("read", image, error))?;
    let found = hex(blake3::hash(&bytes).as_bytes());
    match &deployment.facts.metadata {
        Some(wanted) if *wanted != found => Err(DeployError::Metadata {
            generation: deployment.facts.generation,
            found: format!("b3:{found}"),
        }),
        _ => Ok(()),
    }
}

/// Detaches everything that is mounted at or below `dir`; says how much that was.
pub(super) fn unmount_below(dir: &Path) -> Result<usize, DeployError> {
    let mut count = 0;
    // Deepest first, and again: several mounts may lie on one place, and one may come while we
    // work.
    for _ in 0..8 {
        let mut found = mounts_below(dir)?;
        if found.is_empty() {
            return Ok(count);
        }
        found.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
        for path in &found {
            unmount_lazily(path)?;
        }
        count += found.len();
    }
    match mounts_below(dir)?.pop() {
        Some(path) => Err(DeployError::StillMounted { path }),
        None => Ok(count),
    }
}

/// Lists the mount points at or below `dir`, as this thread sees them.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, DeployError> {
    let dir = match std::fs::canonicalize(dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DeployError::io("resolve", dir, error)),
    };
    let table = Path::new("/proc/thread-self/mountinfo");
    let text = std::fs::read(table).map_err(|error| DeployError::io("read", table, error))?;
    Ok(points(&text)
        .filter(|point| point.starts_with(&dir))
        .collect())
}

/// Reads the mount points of a mount table, `proc_pid_mountinfo(5)`.
fn points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape_octal(field))))
}

pub(super) fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    out
}

/// Says whether this process may bind one directory at another; both are scratch directories inside
/// `dir`.
pub(super) fn may_bind(dir: &Path) -> bool {
    let scratch = dir.join(format!(".probe-bind-{}", std::process::id()));
    let works = std::fs::create_dir(&scratch).is_ok()
        && bind(&scratch, &scratch, BindAccess::ReadWrite).is_ok()
        && unmount_lazily(&scratch).is_ok();
    // A scratch directory that stays is empty and harmless.
    let _ = std::fs::remove_dir(&scratch);
    works
}

/// Writes the systemd unit that mounts a target's deployments at boot, before ordinary services
/// start.
///
/// `exe` is the absolute path of this program.
pub fn activation_unit(target_root: &Path, repository: &Path, exe: &Path) -> String {
    // Only command lines know variables.
    let (root, exe) = (
        quote(target_root).replace('$', "$$"),
        quote(exe).replace('$', "$$"),
    );
    let (dir, repository) = (quote(&target_root.join("layerset")), quote(repository));
    format!(
        "[Unit]\n\
         Description=Mount the deployments of a layerset target\n\
         DefaultDependencies=no\n\
         RequiresMountsFor={dir} {repository}\n\
         After=local-fs.target\n\
         Before=sysinit.target shutdown.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={exe} activate --target {root}\n\
         ExecStop={exe} deactivate --target {root}\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    )
}

/// Quotes a path for a unit file, `systemd.syntax(7)`: specifiers are taken literally.
pub(super) fn quote(path: &Path) -> String {
    let mut text = String::from("\"");
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '%' => text.push_str("%%"),
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/vda rw\n9 1 0:5 / /a\\040b\\134c rw shared:4 - overlay x ro\n\n";
        let found: Vec<PathBuf> = points(table).collect();
        assert_eq!(found, [PathBuf::from("/"), PathBuf::from("/a b\\c")]);
    }

    #[test]
    fn the_unit_takes_odd_paths_literally() {
        let unit = activation_unit(
            Path::new("/srv/100% \"x\""),
            Path::new("/var/lib/layerset"),
            Path::new("/usr/bin/layerset"),
        );
        assert!(unit.contains(
            "ExecStart=\"/usr/bin/layerset\" activate --target \"/srv/100%% \\\"x\\\"\"\n"
        ));
        assert!(unit.contains(
            "RequiresMountsFor=\"/srv/100%% \\\"x\\\"/layerset\" \"/var/lib/layerset\"\n"
        ));
    }
}
