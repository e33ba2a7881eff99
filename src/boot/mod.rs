//! What boots an image: the kernel that is chosen, the boot script and its cpio, boot entries and
//! menus as text.
//!
//! Everything here is pure: values in, bytes out.

mod cpio;
pub mod entry;
mod files;
pub mod grub;
mod kernel;
mod modules;

pub use cpio::{ALIGNMENT, Archive, TooLarge, pad};
pub use files::{BiosPrograms, BootError, BootFiles, EspContent, EspFile, Firmware, System};
pub use kernel::{BootModule, Kernel, KernelError};
pub use modules::{ModuleError, NECESSARY, WATCHDOGS};

/// The boot script, for initramfs-tools; its head says what it knows, and where dracut differs.
pub const SCRIPT: &str = include_str!("layerset.initramfs");

/// Where an image has the program that UEFI starts: of the package systemd-boot-efi.
pub const SYSTEMD_BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Returns the archive that boot entries name behind the initrd of the image: the boot script and
/// the modules that it loads, in this order.
pub fn archive(modules: &[BootModule]) -> Result<Vec<u8>, TooLarge> {
    let mut archive = Archive::new();
    archive.directory("layerset");
    archive.directory("layerset/modules");
    for (at, module) in modules.iter().enumerate() {
        let name = format!("layerset/modules/{at:02}-{}.ko", module.name);
        archive.file(&name, &module.content)?;
    }
    archive.directory("scripts");
    archive.file("scripts/layerset", SCRIPT.as_bytes())?;
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_archive_holds_the_script_and_the_modules_in_their_order() {
        let module = |name: &str| BootModule {
            name: name.to_owned(),
            content: name.as_bytes().repeat(300),
        };
        let bytes = archive(&[module("libcrc32c"), module("erofs")]).unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let source = &mut std::io::Cursor::new(&bytes);
        let found = crate::codec::members::members(source, 0).unwrap();
        let names: Vec<_> = found
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "layerset/modules/00-libcrc32c.ko",
                "layerset/modules/01-erofs.ko",
                "scripts/layerset"
            ]
        );
    }

    #[test]
    fn the_script_is_one_that_a_shell_reads() {
        let mut shell = Command::new("sh")
            .arg("-n")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(SCRIPT.as_bytes())
            .unwrap();
        assert!(shell.wait().unwrap().success());
    }
}
