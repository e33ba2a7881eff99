//! Modules in directories that carry a version of what loads them: perl, ruby, php, the kernel.
//!
//! Python has rules of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::lookup;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::RelPath;
use crate::tree::Tree;

/// Components of a place that match any name, and the version.
const ANY: &str = "*";
const VERSION: &str = "<version>";

/// Which files of a place are reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Granularity {
    /// Each file whose name ends so: what scripts need beside it comes from the same package.
    Ending(&'static str),
    /// The first file of each name in it.
    Name,
    /// The first kernel module of each name in it.
    Module,
}

/// A program with the places that only one version of it looks at.
struct ModuleLoader {
    kind: FindingKind,
    weight: Weight,
    /// Directories as components, with the files to report in them.
    places: &'static [(&'static [&'static str], Granularity)],
    /// Says whether the tree has the version, or may have it; the last argument is what `*` stood
    /// for.
    is_there: fn(&Programs<'_>, &str, &str) -> bool,
}

/// How the names of kernel modules end.
const MODULES: [&[u8]; 4] = [b".ko", b".ko.gz", b".ko.xz", b".ko.zst"];

const LIBRARY: Granularity = Granularity::Ending(".so");

const LOADERS: [ModuleLoader; 4] = [
    ModuleLoader {
        kind: FindingKind::Perl,
        weight: Weight::Grave,
        places: &[
            (&["usr", "lib", ANY, "perl5", VERSION], LIBRARY),
            (
                &["usr", "local", "lib", ANY, "perl", VERSION],
                Granularity::Name,
            ),
            (
                &["usr", "local", "share", "perl", VERSION],
                Granularity::Name,
            ),
        ],
        is_there: has_perl,
    },
    ModuleLoader {
        kind: FindingKind::Ruby,
        weight: Weight::Grave,
        places: &[
            (
                &["usr", "lib", ANY, "ruby", "vendor_ruby", VERSION],
                LIBRARY,
            ),
            (
                &["usr", "lib", ANY, "rubygems-integration", VERSION],
                LIBRARY,
            ),
            (
                &["usr", "lib", "ruby", "vendor_ruby", VERSION],
                Granularity::Name,
            ),
            (
                &["usr", "share", "rubygems-integration", VERSION],
                Granularity::Name,
            ),
        ],
        is_there: has_ruby,
    },
    ModuleLoader {
        kind: FindingKind::Php,
        weight: Weight::Grave,
        places: &[(&["usr", "lib", "php", VERSION], LIBRARY)],
        is_there: has_php,
    },
    ModuleLoader {
        kind: FindingKind::Kernel,
        weight: Weight::Minor,
        places: &[
            (
                &["usr", "lib", "modules", VERSION, "extra"],
                Granularity::Name,
            ),
            (
                &["usr", "lib", "modules", VERSION, "updates"],
                Granularity::Name,
            ),
            // Packages have theirs here, and take them along with their kernel.
            (&["usr", "lib", "modules", VERSION], Granularity::Module),
        ],
        is_there: has_kernel,
    },
];

/// The versions of PHP by the date of their module interface (`ZEND_MODULE_API_NO`).
const PHP: [(&str, &str); 9] = [
    ("20170718", "7.2"),
    ("20180731", "7.3"),
    ("20190902", "7.4"),
    ("20200930", "8.0"),
    ("20210902", "8.1"),
    ("20220829", "8.2"),
    ("20230831", "8.3"),
    ("20240924", "8.4"),
    ("20250925", "8.5"),
];

/// Returns where modules of a version of PHP are, without a leading slash; `None` for versions that
/// are not known.
pub(super) fn php_modules(version: &str) -> Option<String> {
    let (api, _) = PHP.iter().find(|(_, known)| *known == version)?;
    Some(format!("usr/lib/php/{api}"))
}

/// Finds modules for a version of their program that the tree does not have: `perl:PATH:abi`,
/// `ruby:PATH:abi`, `php:PATH:abi`, and `kernel:PATH:abi`, which is [`Minor`](Weight::Minor).
///
/// A program of unknown version counts as having all versions.
pub fn abi(tree: &Tree) -> Vec<Problem> {
    let programs = Programs::of(tree);
    let mut known: BTreeMap<(&str, &str, &str), bool> = BTreeMap::new();
    let mut problems: BTreeMap<_, Problem> = BTreeMap::new();
    // Modules below /var belong to the machine; all others lie below /usr.
    for (path, _) in tree.below(b"usr").filter(|(_, inode)| !inode.is_dir()) {
        for loader in &LOADERS {
            let Some(found) = loader
                .places
                .iter()
                .find_map(|(place, granularity)| matching(path, place, *granularity))
            else {
                continue;
            };
            let is_there = *known
                .entry((loader.kind.word(), found.version, found.any))
                .or_insert_with(|| (loader.is_there)(&programs, found.version, found.any));
            if !is_there {
                let id = loader.kind.at(format_args!("{}:abi", found.what));
                let version = found.version;
                problems.entry(id.clone()).or_insert_with(|| Problem {
                    id,
                    subject: Subject::Path(path.clone()),
                    package: None,
                    other: None,
                    weight: loader.weight,
                    reason: format!("'{}' is for {} {version}, which this tree does not have", found.what, loader.kind.word()),
                    hint: "rebuild the layer of the module on today's lower layers, or add the version that it was made for".to_owned(),
                });
            }
        }
    }
    problems.into_values().collect()
}

/// A file in one of the places.
struct ModuleMatch<'a> {
    version: &'a str,
    any: &'a str,
    what: RelPath,
}

fn matching<'a>(
    path: &'a RelPath,
    place: &[&str],
    granularity: Granularity,
) -> Option<ModuleMatch<'a>> {
    let bytes = path.as_bytes();
    let is_wanted = match granularity {
        Granularity::Ending(end) => bytes.ends_with(end.as_bytes()),
        Granularity::Name => true,
        Granularity::Module => MODULES.iter().any(|end| bytes.ends_with(end)),
    };
    if !is_wanted {
        return None;
    }
    let (mut version, mut any) = ("", "");
    let mut at = 0;
    for part in place {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'/')?;
        let name = std::str::from_utf8(&bytes[at..end]).ok()?;
        match *part {
            ANY => any = name,
            VERSION if name.starts_with(|c: char| c.is_ascii_digit()) => version = name,
            part if part == name => {}
            _ => return None,
        }
        at = end + 1;
    }
    let end = match granularity {
        Granularity::Ending(_) => bytes.len(),
        Granularity::Name | Granularity::Module => {
            let slash = bytes[at..].iter().position(|byte| *byte == b'/');
            slash.map_or(bytes.len(), |slash| at + slash)
        }
    };
    Some(ModuleMatch {
        version,
        any,
        what: RelPath::new(&bytes[..end]).ok()?,
    })
}

/// Returns the first two numbers of a version.
fn minor(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    dots.nth(1).map_or(version, |at| &version[..at])
}

/// The programs of a tree, looked up once, however many versions are asked for.
struct Programs<'a> {
    tree: &'a Tree,
    /// Names in `/usr/bin` with the first two numbers of the version that follows them.
    versions: BTreeSet<(&'static str, String)>,
    has_php: bool,
}

impl<'a> Programs<'a> {
    fn of(tree: &'a Tree) -> Self {
        let mut versions = BTreeSet::new();
        for program in tree.names(b"usr/bin") {
            for name in ["perl", "ruby"] {
                let rest = program.strip_prefix(name.as_bytes()).unwrap_or_default();
                let end = rest.iter().position(|c| !c.is_ascii_digit() && *c != b'.');
                let digits = &rest[..end.unwrap_or(rest.len())];
                if digits.first().is_some_and(u8::is_ascii_digit) {
                    let version = String::from_utf8_lossy(digits);
                    versions.insert((name, minor(&version).to_owned()));
                }
            }
        }
        let any = |dir: &[u8], start: &[u8]| tree.names(dir).any(|name| name.starts_with(start));
        let has_php = any(b"usr/bin", b"php")
            || any(b"usr/sbin", b"php-fpm")
            || any(b"usr/lib/apache2/modules", b"libphp");
        Self {
            tree,
            versions,
            has_php,
        }
    }

    fn exists(&self, path: &str) -> bool {
        let end = lookup::walk(self.tree, b"", path.as_bytes());
        matches!(end, lookup::Lookup::Found(..))
    }

    /// Says whether there is a program of this name and version, or one of unknown version.
    fn has(&self, name: &'static str, wanted: &str) -> bool {
        let first = self.versions.range((name, String::new())..).next();
        let says = first.is_some_and(|(known, _)| *known == name);
        if says {
            return self.versions.contains(&(name, wanted.to_owned()));
        }
        self.exists(&format!("usr/bin/{name}"))
    }
}

fn has_perl(programs: &Programs<'_>, version: &str, triplet: &str) -> bool {
    let wanted = minor(version);
    programs.has("perl", wanted)
        || programs.exists(&format!("usr/lib/{triplet}/libperl.so.{wanted}"))
}

fn has_ruby(programs: &Programs<'_>, version: &str, triplet: &str) -> bool {
    let wanted = minor(version);
    programs.has("ruby", wanted)
        || programs.exists(&format!("usr/lib/{triplet}/libruby-{wanted}.so.{wanted}"))
}

fn has_php(programs: &Programs<'_>, api: &str, _: &str) -> bool {
    match PHP.iter().find(|(known, _)| *known == api) {
        Some((_, version)) => {
            let places = [
                format!("usr/bin/php{version}"),
                format!("usr/bin/php-cgi{version}"),
                format!("usr/sbin/php-fpm{version}"),
                format!("usr/lib/cgi-bin/php{version}"),
                format!("usr/lib/apache2/modules/libphp{version}.so"),
                format!("usr/lib/libphp{version}.so"),
            ];
            places.iter().any(|place| programs.exists(place))
        }
        // `/usr/lib/php/8.4` holds settings, and other dates are of versions to come, which any PHP
        // may be.
        None => api.len() != 8 || programs.has_php,
    }
}

fn has_kernel(programs: &Programs<'_>, version: &str, _: &str) -> bool {
    kernel_of(programs.tree, version)
}

/// Says whether a tree has the kernel of a version.
pub fn kernel_of(tree: &Tree, version: &str) -> bool {
    let places = [
        format!("boot/vmlinuz-{version}"),
        format!("boot/vmlinux-{version}"),
        format!("usr/lib/modules/{version}/vmlinuz"),
    ];
    let exists = |path: &String| {
        let end = lookup::walk(tree, b"", path.as_bytes());
        matches!(end, lookup::Lookup::Found(..))
    };
    places.iter().any(exists)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::{Image, assert_ids};

    fn check(path: &str, others: &[&str], expect: &[&str]) {
        let image = others
            .iter()
            .fold(Image::new(), |image, path| image.program(path));
        assert_ids(&abi(&image.file(path, b"").tree), expect);
    }

    #[test]
    fn perl_modules_need_the_perl_that_they_were_compiled_for() {
        let module = "usr/lib/x86_64-linux-gnu/perl5/5.36/auto/DBI/DBI.so";
        let id = &["!perl:/usr/lib/x86_64-linux-gnu/perl5/5.36/auto/DBI/DBI.so:abi"];
        check(module, &["usr/bin/perl", "usr/bin/perl5.36.0"], &[]);
        check(
            module,
            &["usr/bin/perl", "usr/bin/perl5.36-x86_64-linux-gnu"],
            &[],
        );
        check(module, &["usr/bin/perl"], &[]);
        check(module, &["usr/lib/x86_64-linux-gnu/libperl.so.5.36"], &[]);
        check(module, &["usr/bin/perl", "usr/bin/perl5.40.1"], id);
        check(module, &["usr/bin/perl", "usr/bin/perl5.360.1"], id);
        check(module, &[], id);
        check("usr/lib/x86_64-linux-gnu/perl5/5.36/DBI.pm", &[], &[]);
        check(
            "usr/local/share/perl/5.36.0/My/Module.pm",
            &["usr/bin/perl5.40.1"],
            &["!perl:/usr/local/share/perl/5.36.0/My:abi"],
        );
        check(
            "usr/local/share/perl/5.36.0/My.pm",
            &["usr/bin/perl5.36.1"],
            &[],
        );
    }

    #[test]
    fn ruby_modules_need_their_ruby() {
        let module = "usr/lib/x86_64-linux-gnu/ruby/vendor_ruby/3.1.0/json.so";
        check(module, &["usr/bin/ruby3.1"], &[]);
        check(
            module,
            &["usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1"],
            &[],
        );
        check(
            module,
            &["usr/bin/ruby", "usr/bin/ruby3.3"],
            &["!ruby:/usr/lib/x86_64-linux-gnu/ruby/vendor_ruby/3.1.0/json.so:abi"],
        );
    }

    #[test]
    fn php_modules_need_a_program_of_their_interface() {
        let module = "usr/lib/php/20220829/mysqli.so";
        let id = &["!php:/usr/lib/php/20220829/mysqli.so:abi"];
        check(module, &["usr/sbin/php-fpm8.2"], &[]);
        check(module, &["usr/lib/apache2/modules/libphp8.2.so"], &[]);
        check(module, &["usr/bin/php", "usr/bin/php8.4"], id);
        check(module, &[], id);
        check("usr/lib/php/20990101/x.so", &["usr/bin/php"], &[]);
        check(
            "usr/lib/php/20990101/x.so",
            &[],
            &["!php:/usr/lib/php/20990101/x.so:abi"],
        );
        check("usr/lib/php/8.2/x.so", &[], &[]);
        check("usr/lib/php/x.so", &[], &[]);
    }

    #[test]
    fn kernel_modules_from_elsewhere_need_their_kernel() {
        let module = "usr/lib/modules/6.1.0-9-amd64/updates/dkms/zfs.ko.xz";
        check(module, &["boot/vmlinuz-6.1.0-9-amd64"], &[]);
        check(module, &["usr/lib/modules/6.1.0-9-amd64/vmlinuz"], &[]);
        check(
            module,
            &["boot/vmlinuz-6.1.0-10-amd64"],
            &["kernel:/usr/lib/modules/6.1.0-9-amd64/updates/dkms:abi"],
        );
        let own = "usr/lib/modules/6.1.0-9-amd64/kernel/drivers/net/card.ko";
        check(own, &["boot/vmlinuz-6.1.0-9-amd64"], &[]);
        check(
            own,
            &[],
            &["kernel:/usr/lib/modules/6.1.0-9-amd64/kernel:abi"],
        );
        check("usr/lib/modules/6.1.0-9-amd64/modules.dep", &[], &[]);
    }
}
