//! What becomes of files that a build leaves below `/var`: part of the image, copied once, dropped,
//! or not known.
//!
//! Only files are classified: directories and symbolic links are the skeleton and always stay. The
//! most specific of a layer's own rules wins. Where none matches, the table below decides; it was
//! made from what Debian's packages leave there. Any other file is [`StateClass::Unclassified`] and
//! fails the build, because a guess could lose data or publish it.

use crate::glob::Glob;

/// What becomes of one file below `/var`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateClass {
    /// It belongs to the image, and changes with it.
    Image,
    /// It is copied to the machine's state once, when it is missing there.
    Factory,
    /// It is not kept: caches, logs, backups, what belongs to one machine.
    Drop,
    /// No rule matches: the build fails and lists it.
    Unclassified,
}

impl StateClass {
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
    /// What becomes of them; never [`StateClass::Unclassified`].
    pub class: StateClass,
}

const DATABASE: &str = "the package database describes the image";
const BACKUP: &str = "a backup of the package database means nothing in an image";
const LOCK: &str = "a lock file holds nothing";
const SETTINGS: &str = "maintainer scripts keep here what they have registered";
const DERIVED: &str = "it is made from the rest of the image";
const MACHINE: &str = "it belongs to one machine";
const PLACEHOLDER: &str = "a placeholder page that administrators replace";

/// The built-in rules. The most specific match wins, so their order here is for readers only.
#[rustfmt::skip]
const BUILTIN: &[(&str, StateClass, &str)] = &[
    ("var/backups", StateClass::Drop, "copies that cron jobs make of files in the image"),
    ("var/cache", StateClass::Drop, "caches are filled again when needed"),
    ("var/cache/debconf", StateClass::Image, DATABASE),
    ("var/cache/debconf/*-old", StateClass::Drop, BACKUP),
    ("var/cache/debconf/passwords.dat", StateClass::Drop, "it may hold passwords given at installation"),
    ("var/cache/dictionaries-common", StateClass::Image, "only package triggers fill it again"),
    ("var/log", StateClass::Drop, "logs tell of the build, not of the machine"),
    ("var/tmp", StateClass::Drop, "temporary files"),

    ("var/lib/apt", StateClass::Image, DATABASE),
    ("var/lib/apt/daily_lock", StateClass::Drop, LOCK),
    ("var/lib/apt/lists", StateClass::Drop, "the archives' indexes age; the lock says what is installed"),
    ("var/lib/apt/periodic", StateClass::Drop, "times of the last automatic runs"),
    ("var/lib/dpkg", StateClass::Image, DATABASE),
    ("var/lib/dpkg/*-old", StateClass::Drop, BACKUP),
    ("var/lib/dpkg/lock", StateClass::Drop, LOCK),
    ("var/lib/dpkg/lock-frontend", StateClass::Drop, LOCK),
    ("var/lib/dpkg/triggers/Lock", StateClass::Drop, LOCK),
    ("var/lib/ucf", StateClass::Image, "the register of configuration files handled by ucf"),
    ("var/lib/ucf/hashfile.*", StateClass::Drop, "a rotated backup of ucf's register"),
    ("var/lib/ucf/registry.*", StateClass::Drop, "a rotated backup of ucf's register"),

    ("var/lib/alternatives", StateClass::Image, SETTINGS),
    ("var/lib/apache2/*/*abled_by_*", StateClass::Image, SETTINGS),
    ("var/lib/aspell", StateClass::Image, "dictionaries compiled at installation"),
    ("var/lib/ca-certificates-java", StateClass::Drop, "what its trigger was about to do"),
    ("var/lib/dictionaries-common", StateClass::Image, SETTINGS),
    ("var/lib/emacsen-common", StateClass::Image, SETTINGS),
    ("var/lib/ghostscript", StateClass::Image, SETTINGS),
    ("var/lib/initramfs-tools", StateClass::Drop, DERIVED),
    ("var/lib/ispell", StateClass::Image, "dictionaries compiled at installation"),
    ("var/lib/man-db", StateClass::Drop, "a flag of the manual's index"),
    ("var/lib/misc/random-seed", StateClass::Drop, MACHINE),
    ("var/lib/pam", StateClass::Image, "what pam-auth-update has enabled"),
    ("var/lib/php/modules", StateClass::Image, SETTINGS),
    ("var/lib/php/sessions", StateClass::Drop, MACHINE),
    ("var/lib/plocate", StateClass::Drop, MACHINE),
    ("var/lib/polkit-1", StateClass::Image, SETTINGS),
    ("var/lib/python", StateClass::Image, SETTINGS),
    ("var/lib/sgml-base", StateClass::Image, SETTINGS),
    ("var/lib/sgml-base/*.old", StateClass::Drop, "a backup of the catalogue"),
    ("var/lib/shells.state", StateClass::Image, "what update-shells has registered"),
    ("var/lib/tex-common", StateClass::Image, SETTINGS),
    ("var/lib/texmf", StateClass::Image, "formats and font maps compiled at installation"),
    ("var/lib/texmf/**/*.log", StateClass::Drop, "logs tell of the build, not of the machine"),
    ("var/lib/varnish", StateClass::Drop, MACHINE),
    ("var/lib/xfonts", StateClass::Image, SETTINGS),
    ("var/lib/xkb/README.compiled", StateClass::Image, "a file of the package; compiled keymaps lie beside it"),
    ("var/lib/xkb/*.xkm", StateClass::Drop, DERIVED),
    ("var/lib/xml-core", StateClass::Image, SETTINGS),

    ("var/lib/*/.erlang.cookie", StateClass::Drop, MACHINE),
    ("var/lib/dbus/machine-id", StateClass::Drop, MACHINE),
    ("var/lib/systemd/catalog/database", StateClass::Drop, DERIVED),
    ("var/lib/systemd/credential.secret", StateClass::Drop, MACHINE),
    ("var/lib/systemd/deb-systemd-helper-*", StateClass::Image, SETTINGS),
    ("var/lib/systemd/deb-systemd-user-helper-*", StateClass::Image, SETTINGS),
    ("var/lib/systemd/random-seed", StateClass::Drop, MACHINE),
    ("var/lib/systemd/timers", StateClass::Drop, MACHINE),
    ("var/lib/systemd/timesync", StateClass::Drop, MACHINE),

    ("var/lib/tomcat*/webapps/ROOT/META-INF/context.xml", StateClass::Factory, PLACEHOLDER),
    ("var/lib/tomcat*/webapps/ROOT/index.html", StateClass::Factory, PLACEHOLDER),
    ("var/www/html/index.html", StateClass::Factory, PLACEHOLDER),
    ("var/www/html/index.nginx-debian.html", StateClass::Factory, PLACEHOLDER),
];

/// The rules of one layer, ready to classify paths.
#[derive(Debug, Clone)]
pub struct StateClassifier {
    /// Both go from the most to the least specific: the first match wins.
    own: Vec<StateRule>,
    builtin: Vec<(Glob, StateClass, &'static str)>,
}

/// How a path was classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification<'a> {
    /// What becomes of the file.
    pub class: StateClass,
    /// The pattern that said so.
    pub pattern: &'a str,
    /// Why. For a layer's own rule this says that it is one.
    pub reason: &'a str,
}

impl StateClassifier {
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
    pub fn classify(&self, path: &[u8]) -> StateClass {
        self.explain(path)
            .map_or(StateClass::Unclassified, |explanation| explanation.class)
    }

    /// Says what becomes of the file at `path`, and by which rule; `None` when no rule matches.
    pub fn explain(&self, path: &[u8]) -> Option<Classification<'_>> {
        let own = self.own.iter().find(|rule| rule.pattern.matches(path));
        if let Some(rule) = own {
            return Some(Classification {
                class: rule.class,
                pattern: rule.pattern.as_str(),
                reason: "the layer's [state] says so",
            });
        }
        let (pattern, class, reason) = self.builtin.iter().find(|rule| rule.0.matches(path))?;
        Some(Classification {
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

    fn rule(pattern: &str, class: StateClass) -> StateRule {
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
            assert!(*class != StateClass::Unclassified && !reason.is_empty());
        }
        assert_eq!(StateClassifier::new(&[]).builtin.len(), BUILTIN.len());
    }

    /// Paths as apt and mmdebstrap left them on Debian trixie.
    #[test]
    fn what_debian_packages_leave_is_classified() {
        let classifier = StateClassifier::new(&[]);
        for (path, class) in [
            ("var/cache/debconf/config.dat", StateClass::Image),
            ("var/cache/debconf/config.dat-old", StateClass::Drop),
            ("var/cache/debconf/passwords.dat", StateClass::Drop),
            ("var/cache/dictionaries-common/ispell.db", StateClass::Image),
            ("var/cache/ldconfig/aux-cache", StateClass::Drop),
            ("var/cache/man/pt_BR/index.db", StateClass::Drop),
            (
                "var/lib/apache2/module/disabled_by_maint/mpm_event",
                StateClass::Image,
            ),
            (
                "var/lib/apache2/site/enabled_by_admin/000-default",
                StateClass::Image,
            ),
            ("var/lib/apt/extended_states", StateClass::Image),
            ("var/lib/apt/lists/lock", StateClass::Drop),
            ("var/lib/dbus/machine-id", StateClass::Drop),
            ("var/lib/dpkg/alternatives/awk", StateClass::Image),
            ("var/lib/dpkg/info/some-old.list", StateClass::Image),
            ("var/lib/dpkg/info/x-old", StateClass::Image),
            ("var/lib/dpkg/lock-frontend", StateClass::Drop),
            ("var/lib/dpkg/status", StateClass::Image),
            ("var/lib/dpkg/status-old", StateClass::Drop),
            ("var/lib/dpkg/triggers/Lock", StateClass::Drop),
            ("var/lib/dpkg/triggers/ldconfig", StateClass::Image),
            (
                "var/lib/exim4/config.autogenerated",
                StateClass::Unclassified,
            ),
            ("var/lib/mysql/ibdata1", StateClass::Unclassified),
            ("var/lib/pam/session-noninteractive", StateClass::Image),
            ("var/lib/php/modules/8.4/registry/pdo", StateClass::Image),
            (
                "var/lib/postgresql/17/main/PG_VERSION",
                StateClass::Unclassified,
            ),
            ("var/lib/sgml-base/supercatalog", StateClass::Image),
            ("var/lib/sgml-base/supercatalog.old", StateClass::Drop),
            ("var/lib/shells.state", StateClass::Image),
            ("var/lib/systemd/catalog/database", StateClass::Drop),
            (
                "var/lib/systemd/deb-systemd-helper-enabled/nginx.service.dsh-also",
                StateClass::Image,
            ),
            (
                "var/lib/systemd/deb-systemd-user-helper-enabled/emacs.service.dsh-also",
                StateClass::Image,
            ),
            ("var/lib/texmf/web2c/pdftex/etex.fmt", StateClass::Image),
            ("var/lib/texmf/web2c/pdftex/etex.log", StateClass::Drop),
            ("var/lib/ucf/cache/:etc:samba:smb.conf", StateClass::Image),
            ("var/lib/ucf/hashfile", StateClass::Image),
            ("var/lib/ucf/hashfile.0", StateClass::Drop),
            ("var/lib/ucf/registry.7", StateClass::Drop),
            ("var/log/nginx/access.log", StateClass::Drop),
            ("var/www/html/index.nginx-debian.html", StateClass::Factory),
            (
                "var/lib/tomcat10/webapps/ROOT/index.html",
                StateClass::Factory,
            ),
            (
                "var/lib/tomcat10/webapps/shop/index.html",
                StateClass::Unclassified,
            ),
            ("var/www/html/shop.php", StateClass::Unclassified),
            ("srv/data", StateClass::Unclassified),
        ] {
            assert_eq!(classifier.classify(path.as_bytes()), class, "{path}");
        }
    }

    #[test]
    fn the_most_specific_rule_of_the_layer_wins_over_the_table() {
        let classifier = StateClassifier::new(&[
            rule("var/lib/postgresql", StateClass::Factory),
            rule("var/lib/postgresql/**/*.pid", StateClass::Drop),
            rule("var/log/app/schema.log", StateClass::Image),
        ]);
        for (path, class) in [
            ("var/lib/postgresql/17/main/PG_VERSION", StateClass::Factory),
            (
                "var/lib/postgresql/17/main/postmaster.pid",
                StateClass::Drop,
            ),
            ("var/log/app/schema.log", StateClass::Image),
            ("var/log/app/other.log", StateClass::Drop),
        ] {
            assert_eq!(classifier.classify(path.as_bytes()), class, "{path}");
        }
        let explanation = classifier.explain(b"var/log/app/other.log").unwrap();
        assert_eq!(explanation.pattern, "var/log");
        assert_eq!(classifier.explain(b"var/lib/new/x"), None);
    }
}
