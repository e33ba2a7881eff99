//! Keys of units that name files, directories and other units without which systemd does not start
//! them.

use super::lookup::{self, Lookup};
use super::unit_file;
use super::unit_names::UnitNames;
use super::unit_problems::UnitProblems;
use super::units::{UnitFile, UnitSummary, expand, needed_unit};
use crate::check::Weight;
use crate::path::escape;
use crate::tree::Tree;

const HINT: &str = "rebuild the layer of the unit on today's lower layers, or add what it names";

/// What a key's value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// One file; a pattern is left alone.
    File,
    /// One directory.
    Directory,
    /// Paths, each with marks before it.
    Paths,
    /// Paths, each with marks before it, and after a colon where it is seen.
    Mounts,
    /// A name, a colon and a path.
    Credential,
}

/// The keys, and what ends the ids of their problems.
const KEYS: [(&str, Value); 11] = [
    ("EnvironmentFile", Value::File),
    ("WorkingDirectory", Value::Directory),
    ("LoadCredential", Value::Credential),
    ("LoadCredentialEncrypted", Value::Credential),
    ("ReadWritePaths", Value::Paths),
    ("ReadOnlyPaths", Value::Paths),
    ("InaccessiblePaths", Value::Paths),
    ("ExecPaths", Value::Paths),
    ("NoExecPaths", Value::Paths),
    ("BindPaths", Value::Mounts),
    ("BindReadOnlyPaths", Value::Mounts),
];

/// Says whether a key has one value, the last one.
pub(super) fn is_single(key: &str) -> bool {
    matches!(
        key,
        "Group" | "Service" | "SocketGroup" | "SocketUser" | "Unit" | "User" | "WorkingDirectory"
    )
}

/// Finds files and directories that a unit needs and the image lacks: `unit:PATH:file:NAME`.
///
/// What only a running system, a machine or its users have is left alone, and so is what a `-`
/// stands before.
pub(super) fn paths(
    tree: &Tree,
    file: &UnitFile<'_>,
    summary: &UnitSummary,
    problems: &mut UnitProblems,
) {
    if summary.has_own_root {
        return;
    }
    for (key, kind) in KEYS {
        if summary.is_overridden(file, key) {
            continue;
        }
        for named in values(file, key, kind) {
            let Some(path) = expand(&named).filter(|path| path.starts_with('/')) else {
                continue;
            };
            let fault = fault(tree, &path, kind);
            let is_made = |dir: &String| {
                let dir = [b"/etc/", dir.as_bytes()].concat();
                lookup::within(path.as_bytes(), &dir)
            };
            let Some(fault) = fault else {
                continue;
            };
            if summary.asks_for(&path) || summary.configuration.iter().any(is_made) {
                continue;
            }
            let shown = escape(path.as_bytes());
            problems.add(
                file.path,
                &format!("file:{shown}"),
                Weight::Grave,
                format!("'{}' has {key}={shown}, which {fault}", file.path),
                HINT,
            );
        }
    }
}

/// Returns the paths that the last values of a key name, without those that may be missing.
fn values(file: &UnitFile<'_>, key: &str, kind: Value) -> Vec<String> {
    let mut found: Vec<&str> = Vec::new();
    for setting in file.settings.iter().filter(|setting| setting.key == key) {
        if setting.value.is_empty() || is_single(key) {
            found.clear();
        }
        found.push(&setting.value);
    }
    let words = |value: &str| -> Vec<String> {
        let words = unit_file::words(value).unwrap_or_default().into_iter();
        words.map(|word| word.text).collect()
    };
    match kind {
        Value::File if key == "EnvironmentFile" => {
            let plain = |value: &&&str| !value.contains(['*', '?', '[']);
            found
                .iter()
                .filter(plain)
                .map(|value| value.to_string())
                .collect()
        }
        Value::File | Value::Directory => found.iter().map(|value| value.to_string()).collect(),
        Value::Paths => found
            .iter()
            .flat_map(|value| words(value))
            .map(unmarked)
            .collect(),
        Value::Mounts => {
            let sources = found.iter().flat_map(|value| words(value)).map(|word| {
                let source = word.split(':').next().unwrap_or_default();
                unmarked(source.to_owned())
            });
            sources.collect()
        }
        Value::Credential => {
            let path = |value: &&str| Some(value.split_once(':')?.1.to_owned());
            found.iter().filter_map(path).collect()
        }
    }
}

/// Takes the mark of the unit's own root away; what may be missing keeps its `-`, which no path
/// starts with.
fn unmarked(word: String) -> String {
    word.strip_prefix('+').map_or(word.clone(), str::to_owned)
}

fn fault(tree: &Tree, path: &str, kind: Value) -> Option<&'static str> {
    match lookup::walk(tree, b"", path.as_bytes()) {
        Lookup::Found(_, inode) if kind == Value::Directory && !inode.is_dir() => {
            Some("is no directory")
        }
        Lookup::Found(..) => None,
        Lookup::Lost(at) => (!lookup::may_appear(tree, &at)).then_some("does not exist"),
        Lookup::Loop(_) => Some("is a link that leads in a circle"),
    }
}

/// Finds what a socket, a timer or a path starts and is not there: `unit:PATH:activates:UNIT`. One
/// that nothing enables waits for somebody else's unit, as `syslog.socket` does.
pub(super) fn activated(file: &UnitFile<'_>, names: &UnitNames<'_>, problems: &mut UnitProblems) {
    let Some(wanted) = activates(file).and_then(|name| needed_unit(&name)) else {
        return;
    };
    if names.has(file.scope, wanted.as_bytes()) || !names.is_enabled(file.scope, file.unit) {
        return;
    }
    let unit = escape(wanted.as_bytes());
    problems.add(
        file.path,
        &format!("activates:{unit}"),
        Weight::Grave,
        format!("'{}' starts the unit '{unit}', which does not exist", file.path),
        "rebuild the layer of the unit on today's lower layers, or add the package of the unit that it starts",
    );
}

/// Returns the unit that this one starts; a drop-in says so only where it names another one.
fn activates(file: &UnitFile<'_>) -> Option<String> {
    let unit = std::str::from_utf8(file.unit).ok()?;
    let (stem, kind) = unit.rsplit_once('.')?;
    let get = |wanted: &str| {
        let mut all = file.settings.iter().rev();
        let value = all.find(|setting| setting.key == wanted)?.value.as_str();
        Some(value).filter(|value| !value.is_empty())
    };
    let named = match kind {
        "timer" | "path" => get("Unit"),
        "socket" => get("Service"),
        _ => return None,
    };
    if named.is_some() || file.drop_in {
        return named.map(str::to_owned);
    }
    let accepts = get("Accept").is_some_and(|value| matches!(value, "1" | "yes" | "true" | "on"));
    Some(match kind == "socket" && accepts {
        true => format!("{}@.service", stem.trim_end_matches('@')),
        false => format!("{stem}.service"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::check::paths::testing::{Image, assert_ids};
    use crate::check::paths::units;

    fn image() -> Image {
        Image::new()
            .program("usr/bin/daemon")
            .file("etc/default/daemon", b"")
            .dir("opt/app")
    }

    fn check_of(image: Image, name: &str, text: &str, expect: &[&str]) {
        let path = format!("usr/lib/systemd/system/{name}");
        let image = image.file(&path, text.as_bytes());
        let full = expect.iter().map(|id| format!("!unit:/{path}:{id}"));
        let full: Vec<String> = full.collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        assert_ids(&units(&image.tree, &image.view).unwrap(), &full);
    }

    fn check(text: &str, expect: &[&str]) {
        check_of(
            image(),
            "a.service",
            &format!("[Service]\n{text}\n"),
            expect,
        );
    }

    #[test]
    fn files_and_directories_that_a_unit_needs_have_to_exist() {
        check("EnvironmentFile=/etc/default/daemon", &[]);
        check(
            "EnvironmentFile=/etc/default/none",
            &["file:/etc/default/none"],
        );
        check("EnvironmentFile=-/etc/default/none", &[]);
        check("EnvironmentFile=/etc/default/none\nEnvironmentFile=", &[]);
        check("EnvironmentFile=/run/x.env", &[]);
        check("EnvironmentFile=/etc/%i.env\nEnvironmentFile=/etc/x/*", &[]);
        check("WorkingDirectory=/opt/app", &[]);
        check("WorkingDirectory=/opt/none", &["file:/opt/none"]);
        check(
            "WorkingDirectory=/etc/default/daemon",
            &["file:/etc/default/daemon"],
        );
        check("WorkingDirectory=-/opt/none", &[]);
        check("WorkingDirectory=~", &[]);
        check("WorkingDirectory=/var/lib/app", &[]);
        check("WorkingDirectory=/opt/none\nWorkingDirectory=/opt/app", &[]);
        check("WorkingDirectory=/etc/app\nConfigurationDirectory=app", &[]);
        check("RootDirectory=/srv/root\nWorkingDirectory=/opt/none", &[]);
        check("LoadCredential=key:/etc/none.key", &["file:/etc/none.key"]);
        check("LoadCredential=key\nLoadCredential=key:name", &[]);
        check(
            "ReadWritePaths=/opt/app -/opt/x +/opt/none",
            &["file:/opt/none"],
        );
        check(
            "BindReadOnlyPaths=/opt/none:/x:rbind /opt/app:/y",
            &["file:/opt/none"],
        );
    }

    #[test]
    fn what_a_program_of_a_unit_is_told_to_run_has_to_exist() {
        let image = || {
            image()
                .program("usr/bin/env")
                .program("usr/bin/sh")
                .program("usr/bin/python3")
                .file("opt/app/main.py", b"")
        };
        let check = |text: &str, expect: &[&str]| {
            let text = format!("[Service]\nExecStart={text}\n");
            check_of(image(), "a.service", &text, expect);
        };
        check("/usr/bin/env jq -x", &["jq"]);
        check("/usr/bin/env A=b daemon", &[]);
        check("/usr/bin/python3 /opt/app/main.py", &[]);
        check(
            "/usr/bin/python3 -u /opt/app/gone.py",
            &["/opt/app/gone.py"],
        );
        check("@/usr/bin/sh name /opt/app/gone.sh", &["/opt/app/gone.sh"]);
        check("/usr/bin/sh -c 'jq . ; exec daemon'", &["jq"]);
        check("/usr/bin/sh -c '${HELPER} ; %h/x ; $$X'", &[]);
        check("/usr/bin/sh -c 'jq . || daemon'", &[]);
    }

    #[test]
    fn what_a_timer_a_socket_or_a_path_starts_has_to_exist() {
        let check = |name: &str, text: &str, expect: &[&str]| {
            let units = "usr/lib/systemd/system";
            let wants = format!("etc/systemd/system/x.target.wants/{name}");
            let image = image()
                .file(&format!("{units}/b@.service"), b"")
                .file(&format!("{units}/x.target"), b"");
            check_of(image.clone(), name, text, &[]);
            let image = image.link(&wants, &format!("/{units}/{name}"));
            check_of(image, name, text, expect);
        };
        check("a.timer", "[Timer]\n", &["activates:a.service"]);
        check("a.timer", "[Timer]\nUnit=b@x.service\n", &[]);
        check("a.path", "[Path]\nUnit=c.target\n", &["activates:c.target"]);
        check("b.socket", "[Socket]\nAccept=yes\n", &[]);
        check("b.socket", "[Socket]\n", &["activates:b.service"]);
        check("b@.socket", "[Socket]\n", &[]);
        check("a.socket", "[Socket]\nService=b@%i.service\n", &[]);
    }
}
