//! The files that programs of an image generate in it: by which program, and from which input.
//!
//! Scripts run by `/bin/sh -e` with the program's path as `$1` and the instance as `$2`, and do
//! what the postinst or the trigger of the package named does. Where that ignores a failure, so
//! does the script: one unreadable module must not keep the others from being found.

use super::pattern::Pattern;
use crate::path::RelPath;
use crate::tree::{Inode, Node};

/// The version of the table: raised when a line of it changes in meaning, which makes all results
/// anew.
pub(super) const TABLE_VERSION: u32 = 1;

/// A program of the image that makes files from the rest of the image.
#[derive(Debug)]
pub(super) struct Generator {
    /// Its name, as messages show it.
    pub name: &'static str,
    /// A pattern: for each path that matches, the program runs once, with the name of its first `*`
    /// as the instance.
    pub(super) each: &'static str,
    /// Run for the first match only: several architectures have it, and all generate the same.
    pub(super) once: bool,
    /// The program.
    pub(super) program: &'static str,
    /// What the program runs or is made of, beyond itself.
    pub(super) code: &'static [&'static str],
    /// Without one of these the place is not the generator's; empty means that it always is.
    pub(super) needs: &'static [&'static str],
    /// Without one of these it makes nothing; empty means any of `reads`.
    pub(super) works_on: &'static [&'static str],
    /// What it reads; of these, what it makes is left out.
    pub(super) reads: &'static [&'static str],
    /// What it makes: nothing else may make files there.
    pub(super) makes: &'static [&'static str],
    /// What of `makes` it does not make.
    pub(super) spares: &'static [&'static str],
    /// Says which inodes of `makes` count.
    pub(super) only: fn(&RelPath, &Inode) -> bool,
    /// The script.
    pub(super) script: &'static str,
}

const NONE: Generator = Generator {
    name: "",
    each: "",
    once: true,
    program: "",
    code: &[],
    needs: &[],
    works_on: &[],
    reads: &[],
    makes: &[],
    spares: &[],
    only: |_, _| true,
    script: "",
};

/// All generators, in the order in which they run.
pub(super) static TABLE: &[Generator] = &[
    // ca-certificates.postinst. Hooks are left out: they hand the work to other packages' triggers.
    Generator {
        name: "ca-certificates",
        each: "usr/sbin/update-ca-certificates",
        program: "usr/sbin/update-ca-certificates",
        code: &["usr/bin/openssl"],
        reads: &[
            "etc/ca-certificates.conf",
            "etc/ssl/certs/*",
            "usr/local/share/ca-certificates/**",
            "usr/share/ca-certificates/**",
        ],
        makes: &["etc/ssl/certs/*"],
        only: is_of_ca_certificates,
        script: r#""/$1" --fresh --hooksdir /run/layerset/none"#,
        ..NONE
    },
    // libglib2.0-0t64.postinst, on `/usr/share/glib-2.0/schemas`.
    Generator {
        name: "glib-schemas",
        each: "usr/lib/*/glib-2.0/glib-compile-schemas",
        program: "usr/lib/{}/glib-2.0/glib-compile-schemas",
        reads: &["usr/share/glib-2.0/schemas/*"],
        makes: &["usr/share/glib-2.0/schemas/gschemas.compiled"],
        script: r#""/$1" /usr/share/glib-2.0/schemas || true"#,
        ..NONE
    },
    // libglib2.0-0t64.postinst, on `/usr/lib/<triplet>/gio/modules`.
    Generator {
        name: "gio-modules",
        each: "usr/lib/*/glib-2.0/gio-querymodules",
        once: false,
        program: "usr/lib/{}/glib-2.0/gio-querymodules",
        reads: &["usr/lib/{}/gio/modules/*"],
        makes: &["usr/lib/{}/gio/modules/giomodule.cache"],
        script: r#""/$1" "/usr/lib/$2/gio/modules" || true"#,
        ..NONE
    },
    // libgdk-pixbuf-2.0-0.postinst.
    Generator {
        name: "gdk-pixbuf-loaders",
        each: "usr/lib/*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders",
        once: false,
        program: "usr/lib/{}/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders",
        reads: &[
            "usr/lib/gdk-pixbuf-2.0/2.10.0/loaders/*",
            "usr/lib/{}/gdk-pixbuf-2.0/2.10.0/loaders/*",
        ],
        makes: &["usr/lib/{}/gdk-pixbuf-2.0/2.10.0/loaders.cache"],
        script: r#"there="/usr/lib/$2/gdk-pixbuf-2.0/2.10.0"
"/$1" $(find "$there/loaders" /usr/lib/gdk-pixbuf-2.0/2.10.0/loaders -name '*.so' 2>/dev/null | LC_ALL=C sort) \
  >"$there/loaders.cache" || true"#,
        ..NONE
    },
    // libgtk2.0-0t64.postinst; the directory of the program has the package's name, which changes.
    Generator {
        name: "gtk2-immodules",
        each: "usr/lib/*/*/gtk-query-immodules-2.0",
        once: false,
        program: "usr/lib/{}/*/gtk-query-immodules-2.0",
        reads: &[
            "usr/lib/gtk-2.0/2.10.0/immodules/*",
            "usr/lib/{}/gtk-2.0/2.10.0/immodules/*",
        ],
        makes: &["usr/lib/{}/gtk-2.0/2.10.0/immodules.cache"],
        script: r#""/$1" --update-cache || true"#,
        ..NONE
    },
    // libgtk-3-0t64.postinst.
    Generator {
        name: "gtk3-immodules",
        each: "usr/lib/*/*/gtk-query-immodules-3.0",
        once: false,
        program: "usr/lib/{}/*/gtk-query-immodules-3.0",
        reads: &["usr/lib/{}/gtk-3.0/3.0.0/immodules/*"],
        makes: &["usr/lib/{}/gtk-3.0/3.0.0/immodules.cache"],
        script: r#""/$1" --update-cache || true"#,
        ..NONE
    },
    // libgtk-4-1.postinst.
    Generator {
        name: "gtk4-modules",
        each: "usr/lib/*/glib-2.0/gio-querymodules",
        once: false,
        program: "usr/lib/{}/glib-2.0/gio-querymodules",
        reads: &[
            "usr/lib/{}/gtk-4.0/4.0.0/immodules/*",
            "usr/lib/{}/gtk-4.0/4.0.0/printbackends/*",
        ],
        makes: &[
            "usr/lib/{}/gtk-4.0/4.0.0/immodules/giomodule.cache",
            "usr/lib/{}/gtk-4.0/4.0.0/printbackends/giomodule.cache",
        ],
        script: r#"for dir in immodules printbackends; do
  there="/usr/lib/$2/gtk-4.0/4.0.0/$dir"
  if [ -d "$there" ]; then "/$1" "$there" || true; fi
done"#,
        ..NONE
    },
    // hicolor-icon-theme.postinst and update-icon-caches(8), which dh_icons(1) runs for themes with
    // icons.
    Generator {
        name: "icon-cache",
        each: "usr/share/icons/*/index.theme",
        once: false,
        program: "usr/bin/gtk-update-icon-cache",
        works_on: &[
            "usr/share/icons/{}/**/*.png",
            "usr/share/icons/{}/**/*.svg",
            "usr/share/icons/{}/**/*.xpm",
        ],
        reads: &["usr/share/icons/{}/**"],
        makes: &["usr/share/icons/{}/icon-theme.cache"],
        script: r#""/$1" --force --quiet "/usr/share/icons/$2" || true"#,
        ..NONE
    },
    // shared-mime-info.postinst.
    Generator {
        name: "mime",
        each: "usr/bin/update-mime-database",
        program: "usr/bin/update-mime-database",
        reads: &["usr/share/mime/packages/*"],
        makes: &["usr/share/mime/**"],
        spares: &["usr/share/mime/packages", "usr/share/mime/packages/**"],
        script: r#""/$1" /usr/share/mime"#,
        ..NONE
    },
    // desktop-file-utils.postinst.
    Generator {
        name: "desktop-files",
        each: "usr/bin/update-desktop-database",
        program: "usr/bin/update-desktop-database",
        reads: &["usr/share/applications/**"],
        makes: &["usr/share/applications/mimeinfo.cache"],
        script: r#""/$1" -q /usr/share/applications"#,
        ..NONE
    },
    // What dh_installxfonts(1) adds to the postinst of packages with fonts of the X server.
    Generator {
        name: "x-fonts",
        each: "usr/share/fonts/X11/*",
        once: false,
        program: "usr/sbin/update-fonts-dir",
        code: &["usr/bin/mkfontscale"],
        needs: &[
            "usr/share/fonts/X11/{}/*.otf",
            "usr/share/fonts/X11/{}/*.pcf*",
            "usr/share/fonts/X11/{}/*.pf*",
            "usr/share/fonts/X11/{}/*.ttf",
        ],
        reads: &[
            "etc/X11/fonts/{}/*",
            "etc/X11/fonts/X11R7/{}/*",
            "usr/share/fonts/X11/encodings/**",
            "usr/share/fonts/X11/{}/*",
            "usr/lib/sysimage/var/lib/xfonts/excluded-aliases",
            "usr/sbin/update-fonts-alias",
            "usr/sbin/update-fonts-scale",
        ],
        makes: &[
            "usr/share/fonts/X11/{}/encodings.dir",
            "usr/share/fonts/X11/{}/fonts.alias",
            "usr/share/fonts/X11/{}/fonts.dir",
            "usr/share/fonts/X11/{}/fonts.scale",
        ],
        script: r#"any() { for file in "$@"; do if [ -e "$file" ]; then return 0; fi; done; return 1; }
if any "/etc/X11/fonts/X11R7/$2"/*.scale; then update-fonts-scale --x11r7-layout "$2"; fi
update-fonts-dir --x11r7-layout "$2"
for file in "/etc/X11/fonts/$2"/*.alias; do
  if [ -e "$file" ]; then update-fonts-alias --include "$file" "$2"; fi
done"#,
        ..NONE
    },
    // install-info.postinst runs update-info-dir(8), which takes the files as the directory lists
    // them.
    Generator {
        name: "info-dir",
        each: "usr/sbin/update-info-dir",
        program: "usr/bin/install-info",
        reads: &["usr/share/info/**"],
        makes: &["usr/share/info/dir", "usr/share/info/dir.old"],
        script: r#"find /usr/share/info -type f | LC_ALL=C sort | while read -r file; do
  case $file in
    */dir|*/dir.gz|*/dir.old|*/dir.old.gz|*-[0-9]|*-[0-9].gz|*-[1-9][0-9]|*-[1-9][0-9].gz|*.png|*.jpg) ;;
    *) "/$1" "$file" /usr/share/info/dir || true ;;
  esac
done"#,
        ..NONE
    },
    // dictionaries-common.postinst, on the triggers of its dictionaries. Which of them is the
    // default is asked by debconf, and the links in /etc/dictionaries-common that say so are
    // content.
    Generator {
        name: "dictionaries",
        each: "usr/sbin/update-default-wordlist",
        program: "usr/sbin/update-default-wordlist",
        code: &["usr/share/perl5/Debian/DictionariesCommon.pm"],
        needs: &["usr/lib/sysimage/var/lib/dictionaries-common/*/*"],
        reads: &[
            "etc/dictionaries-common/*",
            "usr/lib/sysimage/var/cache/debconf/config.dat",
            "usr/lib/sysimage/var/lib/dictionaries-common/*/*",
            "usr/share/hunspell/*",
        ],
        makes: &["usr/lib/sysimage/var/cache/dictionaries-common/*"],
        script: r#""/$1" --triggered
update-default-ispell --triggered
update-dictcommon-aspell
update-dictcommon-hunspell"#,
        ..NONE
    },
    // linux-image-*.postinst.
    Generator {
        name: "kernel-modules",
        each: "usr/lib/modules/*",
        once: false,
        program: "usr/sbin/depmod",
        needs: &["usr/lib/modules/{}/**/*.ko*"],
        reads: &[
            "etc/depmod.d/*",
            "usr/lib/depmod.d/*",
            "usr/lib/modules/{}/**",
        ],
        makes: &[
            "usr/lib/modules/{}/modules.alias",
            "usr/lib/modules/{}/modules.alias.bin",
            "usr/lib/modules/{}/modules.builtin.alias.bin",
            "usr/lib/modules/{}/modules.builtin.bin",
            "usr/lib/modules/{}/modules.dep",
            "usr/lib/modules/{}/modules.dep.bin",
            "usr/lib/modules/{}/modules.devname",
            "usr/lib/modules/{}/modules.softdep",
            "usr/lib/modules/{}/modules.symbols",
            "usr/lib/modules/{}/modules.symbols.bin",
            "usr/lib/modules/{}/modules.weakdep",
        ],
        script: r#""/$1" "$2""#,
        ..NONE
    },
    // udev.postinst. A machine's own entries below /etc go into /etc/udev/hwdb.bin, by
    // systemd-hwdb-update.service.
    Generator {
        name: "hwdb",
        each: "usr/bin/systemd-hwdb",
        program: "usr/bin/systemd-hwdb",
        code: &["usr/lib/*/systemd/libsystemd-shared-*.so"],
        reads: &["etc/udev/hwdb.d/*", "usr/lib/udev/hwdb.d/*"],
        makes: &["usr/lib/udev/hwdb.bin"],
        script: r#""/$1" --usr update || true"#,
        ..NONE
    },
];

/// Says which of `/etc/ssl/certs` is not somebody else's: the bundle, links to certificates, and
/// links by hash, which `openssl rehash` makes for other people's certificates as well.
fn is_of_ca_certificates(path: &RelPath, inode: &Inode) -> bool {
    let name = path.name();
    let Node::Symlink { target } = &inode.node else {
        return name == b"ca-certificates.crt" && inode.object().is_some();
    };
    let by_hash = |name: &[u8]| match name.split_at_checked(8) {
        Some((hash, [b'.', number @ ..])) => {
            let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            hash.iter().all(is_hex) && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let homes: [&[u8]; 2] = [
        b"/usr/share/ca-certificates/",
        b"/usr/local/share/ca-certificates/",
    ];
    by_hash(name) || homes.iter().any(|home| target.starts_with(home))
}

impl Generator {
    pub(super) fn makes(&self, instance: &[u8], path: &RelPath, inode: &Inode) -> bool {
        let is_one_of = |patterns: &'static [&'static str]| {
            patterns
                .iter()
                .any(|text| Pattern::new(text, instance).matches(path.as_bytes()))
        };
        is_one_of(self.makes) && !is_one_of(self.spares) && (self.only)(path, inode)
    }
}
