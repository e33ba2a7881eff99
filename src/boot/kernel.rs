//! Which kernel of an image boots it, and whether there is something to boot.

use std::cmp::Ordering;

use crate::tree::view::{ImageView, ViewError, ViewNode, resolve};
use crate::version::Version;

use super::modules::{ModuleError, Modules, NECESSARY};

/// The kernels, by Debian's names; dracut's initrds on other systems lie beside them as
/// `initramfs-K.img`.
const BOOT: &str = "boot";
const KERNEL: &str = "vmlinuz-";
const INITRD: &str = "initrd.img-";
/// Where modules are, by version.
const MODULES: &str = "usr/lib/modules";
/// What the kernel starts when its initrd is done.
const INIT: &str = "sbin/init";

/// Why an image does not boot.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There is none.
    #[error(
        "the image has no kernel: there is no '/boot/vmlinuz-*' with modules in '/usr/lib/modules'"
    )]
    NoKernel,
    /// The newest kernel has no initrd.
    #[error(
        "the kernel {kernel} of the image has no initrd: there is no '/boot/initrd.img-{kernel}'"
    )]
    NoInitrd {
        /// Its version.
        kernel: String,
    },
    /// There is no first process.
    #[error("the image has no init: '/sbin/init' leads nowhere")]
    NoInit,
    /// The kernel lacks something.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A file cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl KernelError {
    /// Returns what to do about it, as far as a layer is the answer.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoKernel => {
                "add the layer 'kernel' to the recipe, or another one with a package linux-image-*"
            }
            Self::NoInitrd { .. } => {
                "add the package initramfs-tools to the layer that brings the kernel, as the layer 'kernel' does"
            }
            Self::NoInit => "add the package systemd-sysv to the base layer",
            Self::Module(ModuleError::Missing { .. }) => {
                "take another kernel: those of Debian have all modules that layerset needs since 6.5"
            }
            Self::Module(_) | Self::View(_) => return None,
        })
    }
}

/// A kernel of an image, with paths relative to the image's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its version as `uname -r` prints it.
    pub version: String,
    /// The kernel itself.
    pub linux: String,
    /// Its initrd.
    pub initrd: String,
    /// The directory of its modules.
    pub modules: String,
}

impl Kernel {
    /// Chooses the newest kernel of an image that has modules, and makes sure that it has an initrd
    /// and that there is an init to start.
    pub fn choose(view: &dyn ImageView) -> Result<Self, KernelError> {
        let newest = view.names(BOOT.as_bytes()).into_iter().filter_map(|name| {
            let version = name.strip_prefix(KERNEL.as_bytes())?;
            let version = std::str::from_utf8(version).ok()?.to_owned();
            let list = format!("{MODULES}/{version}/modules.dep");
            is_file(view, &list).then_some(version)
        });
        let version = newest.max_by(|a, b| compare(a, b));
        let version = version.ok_or(KernelError::NoKernel)?;
        let initrd = format!("{BOOT}/{INITRD}{version}");
        if !is_file(view, &initrd) {
            return Err(KernelError::NoInitrd { kernel: version });
        }
        let init = resolve(view, INIT.as_bytes());
        if !init.is_some_and(|path| view.node(&path) == Some(ViewNode::File)) {
            return Err(KernelError::NoInit);
        }
        Ok(Self {
            linux: format!("{BOOT}/{KERNEL}{version}"),
            initrd,
            modules: format!("{MODULES}/{version}"),
            version,
        })
    }

    /// Makes sure that the kernel can mount a deployment that lies on `filesystem`, and returns the
    /// modules that the boot script has to load, unpacked, in order.
    pub fn boot_modules(
        &self,
        view: &dyn ImageView,
        filesystem: &str,
        wanted: &[&str],
    ) -> Result<Vec<BootModule>, KernelError> {
        let text = |name: &str| -> Result<String, ViewError> {
            let path = format!("{}/{name}", self.modules);
            match view.node(path.as_bytes()) {
                Some(ViewNode::File) => {
                    let bytes = view.read(path.as_bytes())?;
                    Ok(String::from_utf8_lossy(&bytes).into_owned())
                }
                _ => Ok(String::new()),
            }
        };
        let (dep, builtin) = (text("modules.dep")?, text("modules.builtin")?);
        let modules = Modules::read(&self.version, &dep, &builtin);
        modules.require(&[filesystem])?;
        let order = modules.order(&NECESSARY, wanted)?;
        let read = |path: &str| {
            let file = format!("{}/{path}", self.modules);
            let content = super::modules::unpack(&file, view.read(file.as_bytes())?)?;
            let name = path.rsplit('/').next().unwrap_or(path);
            let name = name.split_once(".ko").map_or(name, |(name, _)| name);
            Ok(BootModule {
                name: name.to_owned(),
                content,
            })
        };
        order.into_iter().map(read).collect()
    }
}

/// A module that the boot script loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootModule {
    /// The name of its file, without an ending.
    pub name: String,
    /// The file, unpacked.
    pub content: Vec<u8>,
}

fn is_file(view: &dyn ImageView, path: &str) -> bool {
    view.node(path.as_bytes()) == Some(ViewNode::File)
}

/// Orders versions of kernels as Debian orders versions; what is none comes first.
fn compare(a: &str, b: &str) -> Ordering {
    let (x, y) = (Version::parse(a.as_bytes()), Version::parse(b.as_bytes()));
    x.ok().cmp(&y.ok()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    fn kernel(view: MemoryView, version: &str) -> MemoryView {
        let modules = format!("usr/lib/modules/{version}");
        view.file(&format!("boot/vmlinuz-{version}"), b"MZ")
            .file(&format!("boot/initrd.img-{version}"), b"070701")
            .file(
                &format!("{modules}/modules.dep"),
                b"a/erofs.ko: a/crc.ko\na/crc.ko:\na/overlay.ko:\n",
            )
            .file(
                &format!("{modules}/modules.builtin"),
                b"kernel/fs/ext4/ext4.ko\n",
            )
            .file(&format!("{modules}/a/erofs.ko"), b"erofs")
            .file(&format!("{modules}/a/crc.ko"), b"crc")
            .file(&format!("{modules}/a/overlay.ko"), b"overlay")
    }

    fn with_init(view: MemoryView) -> MemoryView {
        view.link("sbin", "usr/sbin")
            .link("usr/sbin/init", "../lib/systemd/systemd")
            .file("usr/lib/systemd/systemd", b"\x7fELF")
    }

    #[test]
    fn the_newest_kernel_with_modules_boots_the_image() {
        let mut view = with_init(MemoryView::new()).file("boot/vmlinuz-7.0-bare", b"MZ");
        for version in [
            "6.12.9+deb13-cloud-amd64",
            "6.12.118+deb13-cloud-amd64",
            "6.1.0-40-amd64",
        ] {
            view = kernel(view, version);
        }
        let chosen = Kernel::choose(&view).unwrap();
        assert_eq!(chosen.version, "6.12.118+deb13-cloud-amd64");
        assert_eq!(chosen.linux, "boot/vmlinuz-6.12.118+deb13-cloud-amd64");
        assert_eq!(chosen.initrd, "boot/initrd.img-6.12.118+deb13-cloud-amd64");
        let modules = chosen.boot_modules(&view, "ext4", &["i6300esb"]).unwrap();
        let named: Vec<_> = modules
            .iter()
            .map(|m| (m.name.as_str(), m.content.as_slice()))
            .collect();
        assert_eq!(
            named,
            [
                ("crc", &b"crc"[..]),
                ("erofs", b"erofs"),
                ("overlay", b"overlay")
            ]
        );
    }

    #[test]
    fn what_an_image_lacks_to_boot_is_said_with_the_layer_to_add() {
        let check = |view: &MemoryView, message: &str, hint: &str| {
            let error = Kernel::choose(view).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        };
        let empty = with_init(MemoryView::new()).file("boot/vmlinuz-7.0-bare", b"MZ");
        check(
            &empty,
            "the image has no kernel: there is no '/boot/vmlinuz-*' with modules in '/usr/lib/modules'",
            "'kernel'",
        );
        let bare = empty.file("usr/lib/modules/7.0-bare/modules.dep", b"");
        check(
            &bare,
            "the kernel 7.0-bare of the image has no initrd: there is no '/boot/initrd.img-7.0-bare'",
            "initramfs-tools",
        );
        let headless = kernel(MemoryView::new(), "6.12.1").link("sbin", "usr/sbin");
        check(
            &headless,
            "the image has no init: '/sbin/init' leads nowhere",
            "systemd-sysv",
        );
    }

    #[test]
    fn a_kernel_without_the_filesystem_of_the_data_is_named() {
        let view = kernel(with_init(MemoryView::new()), "6.12.1");
        let error = Kernel::choose(&view)
            .unwrap()
            .boot_modules(&view, "xfs", &[]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the kernel 6.12.1 has no module 'xfs', which a deployment needs to boot"
        );
    }
}
