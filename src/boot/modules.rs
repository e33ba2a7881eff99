//! Which modules of a kernel the boot script loads, and in which order: from `modules.dep` and
//! `modules.builtin`, whose formats are in modules.dep(5) and the kernel's
//! `Documentation/kbuild/kbuild.rst`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use crate::codec;

/// Modules without which no deployment is mounted.
pub const NECESSARY: [&str; 2] = ["erofs", "overlay"];
/// Watchdogs, loaded where the kernel has them: a virtual machine's, a PC chip set's, and one in
/// software for where there is neither.
pub const WATCHDOGS: [&str; 3] = ["i6300esb", "iTCO_wdt", "softdog"];

/// The most bytes that a module may have unpacked; real ones stay below 10 MB.
const MAX_MODULE_BYTES: u64 = 256 << 20;

/// Why the modules of a kernel are of no use.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The kernel lacks something that booting needs.
    #[error("the kernel {kernel} has no module '{module}', which a deployment needs to boot")]
    Missing {
        /// The kernel's version.
        kernel: String,
        /// The module's name.
        module: String,
    },
    /// A line of `modules.dep` names a file that has no line of its own.
    #[error(
        "the modules.dep of the kernel {kernel} is damaged: '{module}' is needed, but not listed"
    )]
    Unlisted {
        /// The kernel's version.
        kernel: String,
        /// The module's path as it stands there.
        module: String,
    },
    /// A module cannot be unpacked.
    #[error("cannot unpack the kernel module '{module}'")]
    Unpack {
        /// The module's path.
        module: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

/// The modules of one kernel.
#[derive(Debug)]
pub(super) struct Modules<'a> {
    kernel: &'a str,
    /// What each module needs, by paths relative to the directory of the modules.
    needs: BTreeMap<&'a str, Vec<&'a str>>,
    /// Paths by name.
    paths: BTreeMap<String, &'a str>,
    builtin: BTreeSet<String>,
}

impl<'a> Modules<'a> {
    /// Reads what a kernel of this version has: the texts of its `modules.dep` and
    /// `modules.builtin`.
    pub(super) fn read(kernel: &'a str, dep: &'a str, builtin: &'a str) -> Self {
        let lines = dep.lines().filter_map(|line| line.split_once(':'));
        let needs: BTreeMap<_, _> = lines
            .map(|(path, needs)| (path, needs.split_whitespace().collect()))
            .collect();
        let paths = needs.keys().map(|path| (name_of(path), *path)).collect();
        let builtin = builtin.lines().map(name_of).collect();
        Self {
            kernel,
            needs,
            paths,
            builtin,
        }
    }

    /// Says whether the kernel has a module, as a file or built in; `-` and `_` are equal in names.
    pub(super) fn has(&self, name: &str) -> bool {
        let name = name.replace('-', "_");
        self.builtin.contains(&name) || self.paths.contains_key(&name)
    }

    /// Fails for the first of `names` that the kernel lacks.
    pub(super) fn require(&self, names: &[&str]) -> Result<(), ModuleError> {
        match names.iter().find(|name| !self.has(name)) {
            None => Ok(()),
            Some(name) => Err(ModuleError::Missing {
                kernel: self.kernel.to_owned(),
                module: (*name).to_owned(),
            }),
        }
    }

    /// Returns the paths, relative to the directory of the modules, of what has to be loaded for
    /// `necessary` and `wanted`, in an order in which each finds what it needs. Nothing is built in
    /// twice, and what of `wanted` is missing is left out.
    pub(super) fn order(
        &self,
        necessary: &[&str],
        wanted: &[&str],
    ) -> Result<Vec<&'a str>, ModuleError> {
        self.require(necessary)?;
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in necessary.iter().chain(wanted) {
            if let Some(path) = self.paths.get(&name.replace('-', "_")) {
                self.visit(path, &mut seen, &mut order)?;
            }
        }
        Ok(order)
    }

    /// Adds a module behind those it needs. The lines of depmod list all of them, the last to be
    /// loaded first.
    fn visit(
        &self,
        path: &'a str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) -> Result<(), ModuleError> {
        if !seen.insert(path) {
            return Ok(());
        }
        let needs = self.needs.get(path).ok_or_else(|| ModuleError::Unlisted {
            kernel: self.kernel.to_owned(),
            module: path.to_owned(),
        })?;
        for needed in needs.iter().rev() {
            self.visit(needed, seen, order)?;
        }
        order.push(path);
        Ok(())
    }
}

/// Returns a module's name: that of its file without `.ko` and what packed it, with `_` for `-`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once(".ko").map_or(file, |(name, _)| name);
    name.replace('-', "_")
}

/// Returns a module as the kernel takes it from the initramfs' insmod: unpacked.
pub(super) fn unpack(path: &str, packed: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    let form = codec::form_of(&packed);
    if form == codec::Form::Raw {
        return Ok(packed);
    }
    let mut module = Vec::new();
    let read = codec::reader(form, packed.as_slice())
        .and_then(|inside| inside.take(MAX_MODULE_BYTES).read_to_end(&mut module));
    match read {
        Ok(_) => Ok(module),
        Err(source) => Err(ModuleError::Unpack {
            module: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/lib/libcrc32c.ko.xz:
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/fs/overlayfs/overlay.ko.zst:
kernel/drivers/watchdog/watchdog.ko.xz:
kernel/drivers/mfd/lpc_ich.ko:
kernel/drivers/watchdog/iTCO_vendor-support.ko:
kernel/drivers/watchdog/iTCO_wdt.ko: kernel/drivers/watchdog/iTCO_vendor-support.ko kernel/drivers/mfd/lpc_ich.ko kernel/drivers/watchdog/watchdog.ko.xz
";

    #[test]
    fn modules_come_behind_what_they_need_and_once() {
        let modules = Modules::read("6.12.1", DEP, "");
        let order = modules.order(&NECESSARY, &WATCHDOGS).unwrap();
        assert_eq!(
            order,
            [
                "kernel/lib/libcrc32c.ko.xz",
                "kernel/fs/erofs/erofs.ko.xz",
                "kernel/fs/overlayfs/overlay.ko.zst",
                "kernel/drivers/watchdog/watchdog.ko.xz",
                "kernel/drivers/mfd/lpc_ich.ko",
                "kernel/drivers/watchdog/iTCO_vendor-support.ko",
                "kernel/drivers/watchdog/iTCO_wdt.ko",
            ]
        );
        assert!(modules.has("iTCO-vendor_support"));
    }

    #[test]
    fn what_is_built_in_is_there_and_is_not_loaded() {
        let dep = "kernel/fs/erofs/erofs.ko:\n";
        let modules = Modules::read("6.12.1", dep, "kernel/fs/overlayfs/overlay.ko\n");
        let order = modules.order(&NECESSARY, &WATCHDOGS).unwrap();
        assert_eq!(order, ["kernel/fs/erofs/erofs.ko"]);
    }

    #[test]
    fn a_missing_module_is_named_with_its_kernel() {
        let modules = Modules::read("6.1.0-9-odd", "kernel/fs/erofs/erofs.ko:\n", "");
        let error = modules.order(&NECESSARY, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel 6.1.0-9-odd has no module 'overlay', which a deployment needs to boot"
        );
        let dep = "a/erofs.ko: a/gone.ko\na/overlay.ko:\n";
        let error = Modules::read("6.1", dep, "").order(&NECESSARY, &[]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the modules.dep of the kernel 6.1 is damaged: 'a/gone.ko' is needed, but not listed"
        );
    }

    #[test]
    fn modules_that_need_each_other_end() {
        let dep = "a/erofs.ko: a/overlay.ko\na/overlay.ko: a/erofs.ko\n";
        let modules = Modules::read("6.1", dep, "");
        let order = modules.order(&NECESSARY, &[]).unwrap();
        assert_eq!(order, ["a/overlay.ko", "a/erofs.ko"]);
    }

    #[test]
    fn a_module_is_unpacked_however_it_is_packed() {
        let module = b"\x7fELF and more".to_vec();
        let xz = liblzma::encode_all(module.as_slice(), 6).unwrap();
        let zst = zstd::encode_all(module.as_slice(), 3).unwrap();
        for packed in [module.clone(), xz.clone(), zst] {
            assert_eq!(unpack("m", packed).unwrap(), module);
        }
        let error = unpack("a/erofs.ko.xz", xz[..xz.len() - 9].to_vec()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot unpack the kernel module 'a/erofs.ko.xz'"
        );
    }
}
