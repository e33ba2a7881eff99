//! Programs of the administrator that are told of each event.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Event;
use crate::agent::child;

/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the hooks of a directory in the order of their names, and says what went wrong. None of them
/// stops the others, or what they are told of.
pub(super) fn run(dir: &Path, event: &Event) -> Vec<String> {
    run_within(dir, event, LIMIT)
}

fn run_within(dir: &Path, event: &Event, limit: Duration) -> Vec<String> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            return vec![format!(
                "the hooks in '{}' cannot be listed: {error}",
                dir.display()
            )];
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let json = serde_json::to_vec(event).unwrap_or_default();
    paths
        .iter()
        .filter(|path| is_meant(path))
        .filter_map(|path| {
            let problem = usable(path)
                .and_then(|()| run_one(path, event, &json, limit))
                .err()?;
            Some(format!("hook '{}': {problem}", path.display()))
        })
        .collect()
}

/// Says whether a file is a hook: what editors and dpkg leave behind is none.
fn is_meant(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let left = [
        "~",
        ".bak",
        ".swp",
        ".dpkg-old",
        ".dpkg-new",
        ".dpkg-dist",
        ".dpkg-tmp",
        ".disabled",
    ];
    !name.starts_with('.') && !left.iter().any(|end| name.ends_with(end)) && name != "README"
}

/// Refuses what cannot be run, and what others than root and this user can write: it would run with
/// this user's rights.
fn usable(path: &Path) -> Result<(), String> {
    let facts = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid().as_raw();
    if !facts.is_file() {
        return Err("it is no file".to_owned());
    }
    if facts.mode() & 0o111 == 0 {
        return Err("it has no run bit: `chmod +x` makes it a program".to_owned());
    }
    if ![0, own].contains(&facts.uid()) || facts.mode() & 0o022 != 0 {
        return Err("others can write to it, so it is not run".to_owned());
    }
    Ok(())
}

fn run_one(path: &Path, event: &Event, json: &[u8], limit: Duration) -> Result<(), String> {
    let mut child = Command::new(path)
        .arg(event.event.word())
        .env("LAYERSET_EVENT", event.event.word())
        .env("LAYERSET_TARGET", &event.target)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // Less than a pipe holds; a hook that does not read it is a hook too.
        let _ = input.write_all(json);
    }
    child::end_within(&mut child, limit)
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn hook(dir: &Path, name: &str, mode: u32, text: &str) {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn hooks_are_told_in_order_and_none_stops_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let hooks = dir.path().join("hooks");
        let event = Event::new(EventKind::Staged, Path::new("/srv/web"), 7, "x".to_owned());
        assert_eq!(run(&hooks, &event), Vec::<String>::new());
        std::fs::create_dir(&hooks).unwrap();
        let append = format!(
            "echo \"$0 $1 $LAYERSET_TARGET\" >>{0}; cat >>{0}",
            out.display()
        );
        hook(&hooks, "10-fails", 0o755, "exit 3");
        hook(&hooks, "20-tells", 0o755, &append);
        hook(&hooks, "30-hangs", 0o755, "exec sleep 60");
        hook(&hooks, "40-open", 0o777, &append);
        hook(&hooks, "50-plain", 0o644, &append);
        hook(&hooks, "60-old~", 0o755, &append);
        let said = run_within(&hooks, &event, Duration::from_millis(300));
        let endings = [
            "10-fails': it ended with exit status: 3",
            "30-hangs': it did not end within 0 s",
            "40-open': others can write to it, so it is not run",
            "50-plain': it has no run bit: `chmod +x` makes it a program",
        ];
        assert_eq!(said.len(), endings.len(), "{said:?}");
        for (text, end) in said.iter().zip(endings) {
            assert!(text.ends_with(end), "{text}");
        }
        let told = std::fs::read_to_string(&out).unwrap();
        let (line, json) = told.split_once('\n').unwrap();
        assert!(line.ends_with("20-tells staged /srv/web"), "{line}");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            (&json["event"], &json["when"]),
            (&"staged".into(), &7.into())
        );
    }
}
