//! Names of findings: a kind and a place, as waivers, baselines and people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a finding is about: the first word of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The shell of an account is not there: `account:PATH:NAME`. Or root has none: `account:PATH`.
    Account,
    /// Somebody chose an alternative that is gone: `alternative:NAME`; or a group of alternatives
    /// lost its link: `alternative:PATH:LINK`.
    Alternative,
    /// Nobody knows what was wrong when a layer was built: `baseline:LAYER`.
    Baseline,
    /// Two sides changed something differently: `conflict:PATH[#RECORD]`.
    Conflict,
    /// A table of cron names what is not there: `cron:PATH:NAME`.
    Cron,
    /// A program of the image could not make what it makes: `derive:LAYER:GENERATOR`.
    Derive,
    /// A layer dealt with all that a directory held below it, and there is more now:
    /// `covered:LAYER:PATH`.
    Covered,
    /// A file of a layer was made of what is other or gone below it now: `derived:LAYER:PATH`.
    Derived,
    /// A layer took away or made useless what one below it has: `disabled:PATH`.
    Disabled,
    /// Relations of packages do not hold: `dpkg:depends:PACKAGE:WANTED` and the like.
    Dpkg,
    /// The database of packages, or a record of it, cannot be read: `dpkg:unreadable:PACKAGE`.
    DpkgUnreadable,
    /// A program or library does not load: `elf:needed:PATH:NAME` and the like.
    Elf,
    /// A file imports a module that is not there: `import:PATH:NAME`.
    Import,
    /// A program's configuration names what is not there: `include:PATH:NAME`.
    Include,
    /// A module is for a kernel that is not there: `kernel:PATH:abi`.
    Kernel,
    /// A symlink dangles: `link:PATH`.
    Link,
    /// Something else is in the place of a link to a directory: `merged:PATH`.
    Merged,
    /// Rotation of logs names an account that is not there: `logrotate:PATH:NAME`.
    Logrotate,
    /// A source of names has no module: `nss:PATH:NAME`.
    Nss,
    /// Files have an owner without an account in the image: `owner:passwd:NAME`.
    Owner,
    /// One of two versions of a package gave way: `package:NAME`.
    Package,
    /// A file stands in a directory for a version of a package that is not there: `place:DIRECTORY`.
    Place,
    /// A way to log in has no module or file: `pam:PATH:NAME`.
    Pam,
    /// A module is for a Perl that is not there: `perl:PATH:abi`.
    Perl,
    /// A module is for another PHP, or not enabled for each SAPI: `php:PATH:abi`.
    Php,
    /// A package asked for a program that another layer brings: `probe:LAYER:PACKAGE:PROGRAM`.
    Probe,
    /// A module is for a Python that is not there: `python:PATH:abi` and the like.
    Python,
    /// What a layer is built from has changed below it: `rebuild:LAYER:PATTERN`.
    Rebuild,
    /// A database has a line that its driver cannot read: `record:PATH:line-N`.
    Record,
    /// An account has another number than before: `renumber:user:NAME`.
    Renumber,
    /// A module is for a Ruby that is not there: `ruby:PATH:abi`.
    Ruby,
    /// A script cannot start: `script:PATH`. Or it runs or reads what is not there:
    /// `script:PATH:NAME`.
    Script,
    /// A layer that was not searched when it was built holds a key or password: `secret:PATH`.
    Secret,
    /// A file hides that of a package: `shadow:file:PATH:VERSION` and the like.
    Shadow,
    /// A rule of sudo names what is not there: `sudo:PATH:NAME`.
    Sudo,
    /// A file of tmpfiles.d or sysusers.d names an account that is not there:
    /// `tmpfiles:PATH:NAME`.
    Tmpfiles,
    /// A package was never told of a layer's files: `trigger:LAYER:PACKAGE:PATH`.
    Trigger,
    /// A rule of udev names what is not there: `udev:PATH:NAME`.
    Udev,
    /// A unit names what is not there: `unit:PATH:WHAT`.
    Unit,
    /// A waiver has no effect: `waiver:WHY:FINDING`.
    Waiver,
    /// A time zone is not there: `zone:PATH:NAME`.
    Zone,
}

impl FindingKind {
    /// A kind whose word starts with another kind's word stands before it.
    const ALL: [Self; 41] = [
        Self::DpkgUnreadable,
        Self::Account,
        Self::Alternative,
        Self::Baseline,
        Self::Conflict,
        Self::Covered,
        Self::Cron,
        Self::Derive,
        Self::Derived,
        Self::Disabled,
        Self::Dpkg,
        Self::Elf,
        Self::Import,
        Self::Include,
        Self::Kernel,
        Self::Link,
        Self::Logrotate,
        Self::Merged,
        Self::Nss,
        Self::Owner,
        Self::Package,
        Self::Pam,
        Self::Perl,
        Self::Php,
        Self::Place,
        Self::Probe,
        Self::Python,
        Self::Rebuild,
        Self::Record,
        Self::Renumber,
        Self::Ruby,
        Self::Script,
        Self::Secret,
        Self::Shadow,
        Self::Sudo,
        Self::Tmpfiles,
        Self::Trigger,
        Self::Udev,
        Self::Unit,
        Self::Waiver,
        Self::Zone,
    ];

    /// Returns the word that ids of the kind start with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Alternative => "alternative",
            Self::Baseline => "baseline",
            Self::Conflict => "conflict",
            Self::Covered => "covered",
            Self::Cron => "cron",
            Self::Derive => "derive",
            Self::Derived => "derived",
            Self::Disabled => "disabled",
            Self::Dpkg => "dpkg",
            Self::DpkgUnreadable => "dpkg:unreadable",
            Self::Elf => "elf",
            Self::Import => "import",
            Self::Include => "include",
            Self::Kernel => "kernel",
            Self::Link => "link",
            Self::Logrotate => "logrotate",
            Self::Merged => "merged",
            Self::Nss => "nss",
            Self::Owner => "owner",
            Self::Package => "package",
            Self::Pam => "pam",
            Self::Perl => "perl",
            Self::Php => "php",
            Self::Place => "place",
            Self::Probe => "probe",
            Self::Python => "python",
            Self::Rebuild => "rebuild",
            Self::Record => "record",
            Self::Renumber => "renumber",
            Self::Ruby => "ruby",
            Self::Script => "script",
            Self::Secret => "secret",
            Self::Shadow => "shadow",
            Self::Sudo => "sudo",
            Self::Tmpfiles => "tmpfiles",
            Self::Trigger => "trigger",
            Self::Udev => "udev",
            Self::Unit => "unit",
            Self::Waiver => "waiver",
            Self::Zone => "zone",
        }
    }

    /// Says whether findings of the kind are about packages and their database.
    pub fn is_of_packages(self) -> bool {
        matches!(self, Self::Dpkg | Self::DpkgUnreadable)
    }

    /// Names the finding of the kind at `place`, which holds no white space.
    pub fn at(self, place: impl fmt::Display) -> FindingId {
        FindingId {
            kind: self,
            text: format!("{}:{place}", self.word()),
        }
    }
}

/// The id of a finding or problem, `<kind>:<place>`: equal in two trees that have the same problem.
///
/// Ids are sorted by their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingId {
    kind: FindingKind,
    text: String,
}

impl FindingId {
    /// Returns what it is about.
    pub fn kind(&self) -> FindingKind {
        self.kind
    }

    /// Returns where it is, or whose it is.
    pub fn place(&self) -> &str {
        &self.text[self.kind.word().len() + 1..]
    }

    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the id of the problem that keeps this one from showing: what a script needs is not
    /// looked at while its interpreter is missing. When that one comes, nothing gets worse.
    pub fn hidden_behind(&self) -> Option<Self> {
        let (path, _) = self.place().split_once(':')?;
        let is_inside = matches!(self.kind, FindingKind::Import | FindingKind::Script);
        is_inside.then(|| FindingKind::Script.at(path))
    }
}

impl Ord for FindingId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl PartialOrd for FindingId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a text is not the id of a finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the id of a finding")]
pub struct ParseFindingIdError {
    /// The text as given.
    pub text: String,
}

impl FromStr for FindingId {
    type Err = ParseFindingIdError;

    fn from_str(text: &str) -> Result<Self, ParseFindingIdError> {
        let is_of = |kind: &FindingKind| {
            let rest = text.strip_prefix(kind.word());
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        let text = text.to_owned();
        match FindingKind::ALL.into_iter().find(is_of) {
            Some(kind) => Ok(Self { kind, text }),
            None => Err(ParseFindingIdError { text }),
        }
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_and_written_as_the_same_text() {
        for kind in FindingKind::ALL {
            let id = kind.at("a:/b#c");
            assert_eq!(id.to_string(), format!("{}:a:/b#c", kind.word()));
            let read: FindingId = id.as_str().parse().unwrap();
            assert_eq!((read.kind(), read.place()), (kind, "a:/b#c"));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, format!("\"{id}\""));
            assert_eq!(serde_json::from_str::<FindingId>(&json).unwrap(), id);
        }
        for bad in ["", "link", "links:/a", "elfin:x", ":link:x"] {
            assert!(bad.parse::<FindingId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_script_imports_is_hidden_while_it_has_no_interpreter() {
        let behind = |id: FindingId| id.hidden_behind().map(|id| id.to_string());
        let import = FindingKind::Import.at("/usr/share/x.pl:A::B");
        assert_eq!(behind(import).as_deref(), Some("script:/usr/share/x.pl"));
        assert_eq!(behind(FindingKind::Script.at("/usr/share/x.pl")), None);
        let runs = behind(FindingKind::Script.at("/opt/x:jq"));
        assert_eq!(runs.as_deref(), Some("script:/opt/x"));
        assert_eq!(behind(FindingKind::Elf.at("needed:/a:b")), None);
    }

    #[test]
    fn ids_are_sorted_as_their_texts_are() {
        let mut ids = [
            FindingKind::DpkgUnreadable.at("a"),
            FindingKind::Dpkg.at("state:b"),
            FindingKind::Dpkg.at("depends:c"),
            FindingKind::Conflict.at("/z"),
        ];
        ids.sort();
        let texts: Vec<&str> = ids.iter().map(FindingId::as_str).collect();
        assert!(texts.is_sorted(), "{texts:?}");
    }
}
