//! Which driver merges which path of an image, and which paths are backups of such databases.

use super::{
    Driver, accounts, alternatives, catalogs, debconf, diversions, dpkg, keystore, lines, ucf,
};
use crate::layout::logical;

/// Returns the driver for a path relative to the image root, such as `etc/passwd`.
///
/// Databases under `var/` are known under `usr/lib/sysimage/var/` as well.
pub fn driver_for(path: &[u8]) -> Option<&'static dyn Driver> {
    if is_backup(path) {
        return None;
    }
    Some(match logical(path) {
        b"etc/passwd" => &accounts::PASSWD_FILE,
        b"etc/group" => &accounts::GROUP_FILE,
        b"etc/shadow" => &accounts::SHADOW_FILE,
        b"etc/gshadow" => &accounts::GSHADOW_FILE,
        b"etc/subuid" => &accounts::SUBUID_FILE,
        b"etc/subgid" => &accounts::SUBGID_FILE,
        b"etc/ca-certificates.conf" => &lines::CA_CERTIFICATES,
        b"etc/mailcap"
        | b"etc/modules"
        | b"etc/shells"
        | b"var/lib/sgml-base/supercatalog"
        | b"var/lib/shells.state" => &lines::SET,
        b"etc/ssl/certs/java/cacerts" => &keystore::CACERTS,
        b"etc/xml/catalog" => &catalogs::XML,
        b"var/lib/dpkg/status" => &dpkg::STATUS,
        b"var/lib/dpkg/available" => &dpkg::AVAILABLE,
        b"var/lib/dpkg/diversions" => &diversions::DIVERSIONS,
        b"var/lib/dpkg/statoverride" => &diversions::STATOVERRIDE,
        b"var/lib/apt/extended_states" => &dpkg::EXTENDED_STATES,
        b"var/cache/debconf/config.dat" | b"var/cache/debconf/passwords.dat" => &debconf::CONFIG,
        b"var/cache/debconf/templates.dat" => &debconf::TEMPLATES,
        b"var/lib/ucf/hashfile" => &ucf::HASHFILE,
        b"var/lib/ucf/registry" => &ucf::REGISTRY,
        path => return in_directory(path),
    })
}

fn in_directory(path: &[u8]) -> Option<&'static dyn Driver> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (directory, name) = (&path[..slash], &path[slash + 1..]);
    match directory {
        b"etc/sgml" if name.ends_with(b".cat") => Some(&lines::SET),
        b"etc/xml" if name.ends_with(b".xml") => Some(&catalogs::XML),
        b"var/lib/xml-core" => Some(&catalogs::LIST),
        b"var/lib/dpkg/alternatives" => Some(&alternatives::ALTERNATIVES),
        b"var/lib/dpkg/triggers" => match name {
            b"File" => Some(&lines::TRIGGERS_FILE),
            b"Unincorp" => Some(&lines::TRIGGERS_UNINCORP),
            b"Lock" => None,
            _ => Some(&lines::TRIGGERS_NAMED),
        },
        b"var/lib/systemd/deb-systemd-helper-enabled"
        | b"var/lib/systemd/deb-systemd-user-helper-enabled"
            if name.ends_with(b".dsh-also") =>
        {
            Some(&lines::SET)
        }
        _ => None,
    }
}

/// Tells whether a path is a backup of a database, which means nothing in an image.
pub fn is_backup(path: &[u8]) -> bool {
    let path = logical(path);
    let rotated = |stem: &[u8]| {
        let suffix = path.strip_prefix(stem).unwrap_or_default();
        !suffix.is_empty() && suffix.iter().all(u8::is_ascii_digit)
    };
    match path {
        b"etc/passwd-" | b"etc/group-" | b"etc/shadow-" | b"etc/gshadow-" | b"etc/subuid-"
        | b"etc/subgid-" => true,
        b"var/lib/dpkg/status-old"
        | b"var/lib/dpkg/available-old"
        | b"var/lib/dpkg/diversions-old"
        | b"var/lib/dpkg/statoverride-old"
        | b"var/lib/dpkg/triggers/File-old"
        | b"var/lib/dpkg/triggers/Unincorp-old" => true,
        b"var/cache/debconf/config.dat-old"
        | b"var/cache/debconf/passwords.dat-old"
        | b"var/cache/debconf/templates.dat-old" => true,
        b"var/lib/sgml-base/supercatalog.old" | b"etc/xml/catalog.old" => true,
        path if path.starts_with(b"etc/xml/") => path.ends_with(b".xml.old"),
        _ => rotated(b"var/lib/ucf/hashfile.") || rotated(b"var/lib/ucf/registry."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_has_its_driver_in_both_places() {
        for (path, name) in [
            ("etc/passwd", "passwd"),
            ("etc/gshadow", "gshadow"),
            ("etc/subuid", "subuid"),
            ("etc/subgid", "subgid"),
            ("etc/shells", "lines"),
            ("etc/mailcap", "lines"),
            ("etc/ssl/certs/java/cacerts", "java-cacerts"),
            ("etc/xml/catalog", "xml-catalog"),
            ("etc/xml/docbook-xml.xml", "xml-catalog"),
            ("etc/sgml/docbook-xml.cat", "lines"),
            ("var/lib/sgml-base/supercatalog", "lines"),
            ("var/lib/xml-core/catalog", "xml-core"),
            ("etc/ca-certificates.conf", "ca-certificates.conf"),
            ("var/lib/dpkg/status", "dpkg-status"),
            ("var/lib/dpkg/available", "dpkg-available"),
            ("var/lib/dpkg/alternatives/awk", "alternatives"),
            ("var/lib/dpkg/triggers/ldconfig", "dpkg-triggers"),
            ("var/lib/dpkg/diversions", "dpkg-diversions"),
            ("var/lib/dpkg/statoverride", "dpkg-statoverride"),
            ("var/lib/apt/extended_states", "apt-extended-states"),
            ("var/cache/debconf/config.dat", "debconf-config"),
            ("var/cache/debconf/templates.dat", "debconf-templates"),
            ("var/lib/ucf/registry", "ucf-registry"),
            (
                "var/lib/systemd/deb-systemd-helper-enabled/fstrim.timer.dsh-also",
                "lines",
            ),
        ] {
            let found = |path: &str| driver_for(path.as_bytes()).map(|driver| driver.name());
            assert_eq!(found(path), Some(name), "{path}");
            let moved = format!("usr/lib/sysimage/{path}");
            let expect = path.starts_with("var/").then_some(name);
            assert_eq!(found(&moved), expect, "{moved}");
        }
    }

    #[test]
    fn other_files_have_none() {
        for path in [
            "",
            "/etc/passwd",
            "etc/passwd-",
            "etc/passwd.d/x",
            "passwd",
            "usr/lib/sysimage/etc/passwd",
            "var/lib/dpkg/info/adduser.list",
            "var/lib/dpkg/triggers/Lock",
            "var/lib/dpkg/triggers",
            "var/lib/dpkg/alternatives/a/b",
            "var/lib/ucf/cache/x",
            "var/lib/ucf/registry.0",
            "var/lib/systemd/deb-systemd-helper-enabled/timers.target.wants/fstrim.timer",
        ] {
            assert!(driver_for(path.as_bytes()).is_none(), "{path}");
        }
    }

    #[test]
    fn backups_are_told_from_databases() {
        for (path, expect) in [
            ("etc/passwd-", true),
            ("etc/subgid-", true),
            ("var/lib/dpkg/status-old", true),
            ("usr/lib/sysimage/var/lib/dpkg/status-old", true),
            ("usr/lib/sysimage/var/lib/ucf/registry.12", true),
            ("var/cache/debconf/templates.dat-old", true),
            ("etc/xml/catalog.old", true),
            ("etc/xml/docbook-xml.xml.old", true),
            ("var/lib/sgml-base/supercatalog.old", true),
            ("etc/xml/catalog", false),
            ("etc/passwd", false),
            ("var/lib/ucf/registry.", false),
            ("var/lib/ucf/registry.x", false),
            ("home/passwd-", false),
            ("usr/lib/sysimage/etc/passwd-", false),
        ] {
            assert_eq!(is_backup(path.as_bytes()), expect, "{path}");
        }
    }
}
