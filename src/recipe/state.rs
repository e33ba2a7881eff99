//! What becomes of files that a build leaves below `/var`: part of the image, copied once, dropped, or not known.
//!
//! Only files are classified: directories and symbolic links are the skeleton and always stay. A layer's own rules come
//! first, the most specific of them; then the table below, made from what Debian's packages leave there. What neither
//! knows is [`Class::Unclassified`], which fails the build: data must not be lost or published by a guess.

use crate::glob::Glob;

/// What becomes of one file below `/var`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// It belongs to the image, and changes with it.
    Image,
    /// It is copied to the machine's state once, when it is missing there.
    Factory,
    /// It is not kept: caches, logs, backups, what belongs to one machine.
    Drop,
    /// Nobody said: the build fails and lists it.
    Unclassified,
}

impl Class {
    /// The classes that a layer may give, with their text forms.
    pub const SETTABLE: [(&'static str, Self); 3] = [
        ("image", Self::Image),
        ("factory", Self::Factory),
        ("drop", Self::Drop),
    ];
}

/// One rule of a layer's `[state]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StateRule {
    /// Which files.
    pub pattern: Glob,
    /// What becomes of them; never [`Class::Unclassified`].
    pub class: Class,
}

const DATABASE: &str = "the package database describes the image";
const BACKUP: &str = "a backup of the package database means nothing in an image";
const LOCK: &str = "a lock file holds nothing";
const SETTINGS: &str = "maintainer scripts keep here what they have registered";
const DERIVED: &str = "it is made from the rest of the image";
const MACHINE: &str = "it belongs to one machine";
const PLACEHOLDER: &str = "a placeholder page that administrators replace";

/// The built-in rules; the most specific one that matches counts, so their order here is for readers only.
#[rustfmt::skip]
const BUILTIN: &[(&str, Class, &str)] = &[
    ("var/backups", Class::Drop, "copies that cron jobs make of files in the image"),
    ("var/cache", Class::Drop, "caches are filled again when needed"),
    ("var/cache/debconf", Class::Image, DATABASE),
    ("var/cache/debconf/*-old", Class::Drop, BACKUP),
    ("var/cache/debconf/passwords.dat", Class::Drop, "it may hold passwords given at installation"),
    ("var/cache/dictionaries-common", Class::Image, "only package triggers fill it again"),
    ("var/log", Class::Drop, "logs tell of the build, not of the machine"),
    ("var/tmp", Class::Drop, "temporary files"),

    ("var/lib/apt", Class::Image, DATABASE),
    ("var/lib/apt/daily_lock", Class::Drop, LOCK),
    ("var/lib/apt/lists", Class::Drop, "the archives' indexes age; the lock says what is installed"),
    ("var/lib/apt/periodic", Class::Drop, "times of the last automatic runs"),
    ("var/lib/dpkg", Class::Image, DATABASE),
    ("var/lib/dpkg/*-old", Class::Drop, BACKUP),
    ("var/lib/dpkg/lock", Class::Drop, LOCK),
    ("var/lib/dpkg/lock-frontend", Class::Drop, LOCK),
    ("var/lib/dpkg/triggers/Lock", Class::Drop, LOCK),
    ("var/lib/ucf", Class::Image, "the register of configuration files handled by ucf"),
    ("var/lib/ucf/hashfile.*", Class::Drop, "a rotated backup of ucf's register"),
    ("var/lib/ucf/registry.*", Class::Drop, "a rotated backup of ucf's register"),

    ("var/lib/alternatives", Class::Image, SETTINGS),
    ("var/lib/apache2/*/*abled_by_*", Class::Image, SETTINGS),
    ("var/lib/aspell", Class::Image, "dictionaries compiled at installation"),
    ("var/lib/ca-certificates-java", Class::Drop, "what its trigger was about to do"),
    ("var/lib/dictionaries-common", Class::Image, SETTINGS),
    ("var/lib/emacsen-common", Class::Image, SETTINGS),
    ("var/lib/ghostscript", Class::Image, SETTINGS),
    ("var/lib/initramfs-tools", Class::Drop, DERIVED),
    ("var/lib/ispell", Class::Image, "dictionaries compiled at installation"),
    ("var/lib/man-db", Class::Drop, "a flag of the manual's index"),
    ("var/lib/misc/random-seed", Class::Drop, MACHINE),
    ("var/lib/pam", Class::Image, "what pam-auth-update has enabled"),
    ("var/lib/php/modules", Class::Image, SETTINGS),
    ("var/lib/php/sessions", Class::Drop, MACHINE),
    ("var/lib/plocate", Class::Drop, MACHINE),
    ("var/lib/polkit-1", Class::Image, SETTINGS),
    ("var/lib/python", Class::Image, SETTINGS),
    ("var/lib/sgml-base", Class::Image, SETTINGS),
    ("var/lib/sgml-base/*.old", Class::Drop, "a backup of the catalogue"),
    ("var/lib/shells.state", Class::Image, "what update-shells has registered"),
    ("var/lib/tex-common", Class::Image, SETTINGS),
    ("var/lib/texmf", Class::Image, "formats and font maps compiled at installation"),
    ("var/lib/texmf/**/*.log", Class::Drop, "logs tell of the build, not of the machine"),
    ("var/lib/xfonts", Class::Image, SETTINGS),
    ("var/lib/xkb/README.compiled", Class::Image, "a file of the package; compiled keymaps lie beside it"),
    ("var/lib/xkb/*.xkm", Class::Drop, DERIVED),
    ("var/lib/xml-core", Class::Image, SETTINGS),

    ("var/lib/dbus/machine-id", Class::Drop, MACHINE),
    ("var/lib/systemd/catalog/database", Class::Drop, DERIVED),
    ("var/lib/systemd/credential.secret", Class::Drop, MACHINE),
    ("var/lib/systemd/deb-systemd-helper-*", Class::Image, SETTINGS),
    ("var/lib/systemd/deb-systemd-user-helper-*", Class::Image, SETTINGS),
    ("var/lib/systemd/random-seed", Class::Drop, MACHINE),
    ("var/lib/systemd/timers", Class::Drop, MACHINE),
    ("var/lib/systemd/timesync", Class::Drop, MACHINE),

    ("var/lib/tomcat*/webapps/ROOT/META-INF/context.xml", Class::Factory, PLACEHOLDER),
    ("var/lib/tomcat*/webapps/ROOT/index.html", Class::Factory, PLACEHOLDER),
    ("var/www/html/index.html", Class::Factory, PLACEHOLDER),
    ("var/www/html/index.nginx-debian.html", Class::Factory, PLACEHOLDER),
];

/// The rules of one layer, ready to classify paths.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// Both from the most to the least specific: the first match counts.
    own: Vec<StateRule>,
    builtin: Vec<(Glob, Class, &'static str)>,
}

/// How a path was classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// What becomes of the file.
    pub class: Class,
    /// The pattern that said so.
    pub pattern: &'a str,
    /// Why; for a layer's own rule, that it is one.
    pub reason: &'a str,
}

impl Classifier {
    /// Takes a layer's own rules, in any order.
    pub fn new(rules: &[StateRule]) -> Self {
        let mut own = rules.to_vec();
        own.sort_by(|a, b| b.pattern.specificity().cmp(&a.pattern.specificity()));
        let mut builtin: Vec<_> = BUILTIN
            .iter()
            // A test holds that every built-in pattern is one.
            .filter_map(|(text, class, reason)| Some((Glob::new(text).ok()?, *class, *reason)))
            .collect();
        builtin.sort_by(|a, b| b.0.specificity().cmp(&a.0.specificity()));
        Self { own, builtin }
    }

    /// Says what becomes of the file at `path`, given without leading slash.
    pub fn classify(&self, path: &[u8]) -> Class {
        self.explain(path)
            .map_or(Class::Unclassified, |explanation| explanation.class)
    }

    /// Says what becomes of the file at `path`, and by which rule; `None` when no rule matches.
    pub fn explain(&self, path: &[u8]) -> Option<Explanation<'_>> {
        let own = self.own.iter().find(|rule| rule.pattern.matches(path));
        if let Some(rule) = own {
            return Some(Explanation {
                class: rule.class,
                pattern: rule.pattern.as_str(),
                reason: "the layer's [state] says so",
            });
        }
        let (pattern, class, reason) = self.builtin.iter().find(|rule| rule.0.matches(path))?;
        Some(Explanation {
            class: *class,
            pattern: pattern.as_str(),
            reason,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(pattern: &str, class: Class) -> StateRule {
        StateRule {
            pattern: Glob::new(pattern).unwrap(),
            class,
        }
    }

    #[test]
    fn every_built_in_pattern_is_valid_below_var_and_there_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (pattern, class, reason) in BUILTIN {
            assert!(Glob::new(pattern).is_ok() && pattern.starts_with("var/"));
            assert!(seen.insert(pattern), "{pattern}");
            assert!(*class != Class::Unclassified && !reason.is_empty());
        }
        assert_eq!(Classifier::new(&[]).builtin.len(), BUILTIN.len());
    }

    /// Paths as apt and mmdebstrap left them on Debian trixie.
    #[test]
    fn what_debian_packages_leave_is_classified() {
        let classifier = Classifier::new(&[]);
        for (path, class) in [
            ("var/cache/debconf/config.dat", Class::Image),
            ("var/cache/debconf/config.dat-old", Class::Drop),
            ("var/cache/debconf/passwords.dat", Class::Drop),
            ("var/cache/dictionaries-common/ispell.db", Class::Image),
            ("var/cache/ldconfig/aux-cache", Class::Drop),
            ("var/cache/man/pt_BR/index.db", Class::Drop),
            (
                "var/lib/apache2/module/disabled_by_maint/mpm_event",
                Class::Image,
            ),
            (
                "var/lib/apache2/site/enabled_by_admin/000-default",
                Class::Image,
            ),
            ("var/lib/apt/extended_states", Class::Image),
            ("var/lib/apt/lists/lock", Class::Drop),
            ("var/lib/dbus/machine-id", Class::Drop),
            ("var/lib/dpkg/alternatives/awk", Class::Image),
            ("var/lib/dpkg/info/some-old.list", Class::Image),
            ("var/lib/dpkg/info/x-old", Class::Image),
            ("var/lib/dpkg/lock-frontend", Class::Drop),
            ("var/lib/dpkg/status", Class::Image),
            ("var/lib/dpkg/status-old", Class::Drop),
            ("var/lib/dpkg/triggers/Lock", Class::Drop),
            ("var/lib/dpkg/triggers/ldconfig", Class::Image),
            ("var/lib/exim4/config.autogenerated", Class::Unclassified),
            ("var/lib/mysql/ibdata1", Class::Unclassified),
            ("var/lib/pam/session-noninteractive", Class::Image),
            ("var/lib/php/modules/8.4/registry/pdo", Class::Image),
            ("var/lib/postgresql/17/main/PG_VERSION", Class::Unclassified),
            ("var/lib/sgml-base/supercatalog", Class::Image),
            ("var/lib/sgml-base/supercatalog.old", Class::Drop),
            ("var/lib/shells.state", Class::Image),
            ("var/lib/systemd/catalog/database", Class::Drop),
            (
                "var/lib/systemd/deb-systemd-helper-enabled/nginx.service.dsh-also",
                Class::Image,
            ),
            (
                "var/lib/systemd/deb-systemd-user-helper-enabled/emacs.service.dsh-also",
                Class::Image,
            ),
            ("var/lib/texmf/web2c/pdftex/etex.fmt", Class::Image),
            ("var/lib/texmf/web2c/pdftex/etex.log", Class::Drop),
            ("var/lib/ucf/cache/:etc:samba:smb.conf", Class::Image),
            ("var/lib/ucf/hashfile", Class::Image),
            ("var/lib/ucf/hashfile.0", Class::Drop),
            ("var/lib/ucf/registry.7", Class::Drop),
            ("var/log/nginx/access.log", Class::Drop),
            ("var/www/html/index.nginx-debian.html", Class::Factory),
            ("var/lib/tomcat10/webapps/ROOT/index.html", Class::Factory),
            (
                "var/lib/tomcat10/webapps/shop/index.html",
                Class::Unclassified,
            ),
            ("var/www/html/shop.php", Class::Unclassified),
            ("srv/data", Class::Unclassified),
        ] {
            assert_eq!(classifier.classify(path.as_bytes()), class, "{path}");
        }
    }

    #[test]
    fn the_most_specific_rule_of_the_layer_wins_over_the_table() {
        let classifier = Classifier::new(&[
            rule("var/lib/postgresql", Class::Factory),
            rule("var/lib/postgresql/**/*.pid", Class::Drop),
            rule("var/log/app/schema.log", Class::Image),
        ]);
        for (path, class) in [
            ("var/lib/postgresql/17/main/PG_VERSION", Class::Factory),
            ("var/lib/postgresql/17/main/postmaster.pid", Class::Drop),
            ("var/log/app/schema.log", Class::Image),
            ("var/log/app/other.log", Class::Drop),
        ] {
            assert_eq!(classifier.classify(path.as_bytes()), class, "{path}");
        }
        let explanation = classifier.explain(b"var/log/app/other.log").unwrap();
        assert_eq!(explanation.pattern, "var/log");
        assert_eq!(classifier.explain(b"var/lib/new/x"), None);
    }
}
