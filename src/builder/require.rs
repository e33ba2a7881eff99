//! What building takes of the machine, asked before anything is built.

use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, capabilities};

use super::BuildError;

/// What mounting views and giving files their owners takes (capabilities(7)).
const NEEDED: [(CapabilitySet, &str); 7] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
];

/// Fails unless this process may build, and can run programs of `architecture`; `layer` is the first
/// layer to build.
pub(super) fn able(layer: &str, architecture: &str) -> Result<(), BuildError> {
    if !rustix::process::geteuid().is_root() {
        return Err(BuildError::NeedsRoot {
            layer: layer.to_owned(),
        });
    }
    // A kernel that cannot say what it allows says so later, by the call that fails.
    if let Ok(sets) = capabilities(None) {
        let lacking = NEEDED
            .iter()
            .filter(|(one, _)| !sets.effective.contains(*one));
        let lacking: Vec<&str> = lacking.map(|(_, name)| *name).collect();
        if !lacking.is_empty() {
            return Err(BuildError::Unprivileged {
                layer: layer.to_owned(),
                lacking,
            });
        }
    }
    if can_run(architecture) {
        return Ok(());
    }
    Err(BuildError::ForeignPrograms {
        layer: layer.to_owned(),
        architecture: architecture.to_owned(),
    })
}

/// Says whether programs of an architecture run here: those of the machine, and those for which an
/// emulator is registered. `arch-test` tries one, and mmdebstrap asks it too.
fn can_run(architecture: &str) -> bool {
    let own = std::env::consts::ARCH;
    if matches!(
        (own, architecture),
        ("x86_64", "amd64") | ("aarch64", "arm64") | ("x86", "i386") | ("riscv64", "riscv64")
    ) {
        return true;
    }
    let tried = Command::new("arch-test")
        .arg(architecture)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}
