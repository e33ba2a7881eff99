//! GRUB for BIOS: its menu, its environment, and where its programs go on a disk.

mod embed;
mod environment;

pub use embed::{BOOT_IMAGE, CORE_IMAGE, EmbedError, Place, Write, embed};
pub use environment::{Environment, EnvironmentError};

use super::entry::{EntryError, check_line, grub_options, quote};

/// The menu's place on the ESP; the core image of the layer `machine` looks for it.
pub const MENU: &str = "layerset/grub.cfg";
/// Where the menu's entries lie on the ESP.
pub const ENTRIES: &str = "layerset/grub";
/// The environment's place on the ESP.
pub const ENVIRONMENT: &str = "layerset/grubenv";
/// The menu of the layout `updatable`; the same for each disk, and never changed.
pub const MENU_TEXT: &str = include_str!("menu.cfg");

/// The menu's place in a plain root; the core image looks for it too.
pub const PLAIN_MENU: &str = "boot/grub/grub.cfg";

/// Returns the menu of a plain root: its newest kernel, with the initrd of the image. `linux` and
/// `initrd` are paths relative to the root.
pub fn plain_menu(
    title: &str,
    linux: &str,
    initrd: &str,
    options: &str,
) -> Result<String, EntryError> {
    for text in [title, linux, initrd, options] {
        check_line(text)?;
    }
    Ok(format!(
        "# Made with the disk. The layer machine's update-boot-entries puts new kernels here; update-grub of the package\n\
         # grub2-common puts another menu in its place.\n\
         if serial --unit=0 --speed=115200; then\n\
         \tterminal_input console serial\n\
         \tterminal_output console serial\n\
         fi\n\
         set timeout_style=hidden\n\
         set timeout=1\n\
         menuentry {title} --id plain {{\n\
         \tlinux {linux} {options}\n\
         \tinitrd {initrd}\n\
         }}\n",
        title = quote(title),
        linux = quote(&format!("/{linux}")),
        initrd = quote(&format!("/{initrd}")),
        options = grub_options(options),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_of_a_plain_root_starts_its_kernel() {
        let menu = plain_menu(
            "web",
            "boot/vmlinuz-6.12.1+deb13-amd64",
            "boot/initrd.img-6.12.1+deb13-amd64",
            "root=UUID=1-2 ro",
        );
        let expect = "\
# Made with the disk. The layer machine's update-boot-entries puts new kernels here; update-grub of the package
# grub2-common puts another menu in its place.
if serial --unit=0 --speed=115200; then
\tterminal_input console serial
\tterminal_output console serial
fi
set timeout_style=hidden
set timeout=1
menuentry web --id plain {
\tlinux /boot/vmlinuz-6.12.1+deb13-amd64 root=UUID=1-2 ro
\tinitrd /boot/initrd.img-6.12.1+deb13-amd64
}
";
        assert_eq!(menu.unwrap(), expect);
        assert!(plain_menu("web\n", "a", "b", "c").is_err());
        // The program that keeps it up to date knows it by its first words.
        let keeper = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/layers/machine/files/usr/lib/layerset/update-boot-entries"
        );
        let keeper = std::fs::read_to_string(keeper).unwrap();
        assert!(
            keeper.contains(r"'^# Made with the disk\.'")
                && expect.starts_with("# Made with the disk.")
        );
    }

    #[test]
    fn the_menu_reads_what_the_environment_says() {
        for name in ["good", "try", "tries"] {
            assert!(MENU_TEXT.contains(&format!("${name}\"")), "{name}");
        }
        for place in [ENTRIES, ENVIRONMENT] {
            assert!(MENU_TEXT.contains(&format!("/{place}")), "{place}");
        }
    }
}
