//! Tables of cron and anacron: whose commands are not there, or run as nobody.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::launch;
use crate::check::paths::shell;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// What reads the tables. Packages bring theirs where nobody does.
const DAEMONS: [&str; 4] = [
    "usr/sbin/cron",
    "usr/sbin/crond",
    "usr/lib/systemd/system-generators/systemd-crontab-generator",
    "usr/sbin/bcron-start",
];

const HINT: &str =
    "rebuild the layer of the table on today's lower layers, or add the package of what it names";

/// One line that runs something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    user: String,
    command: String,
}

/// Finds commands, users and time zones of tables that are not there: `cron:PATH:NAME`,
/// `cron:PATH:user:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    let weight = match DAEMONS.iter().any(|path| image.has_program(path)) {
        true => Weight::Grave,
        false => Weight::Minor,
    };
    let mut tables = image.files(b"etc/cron.d", is_table);
    tables.extend(image.file(b"etc/crontab"));
    for path in tables {
        let (jobs, zones) = read(&image.text(path.as_bytes())?);
        for job in jobs {
            if image.lacks_user(&job.user) {
                faults.add_account(FindingKind::Cron, &path, ("user", &job.user), weight);
            }
            commands(image, &path, &job.command, weight, faults);
        }
        for zone in zones {
            super::zone::judge(image, &path, &zone, Weight::Minor, faults);
        }
    }
    if let Some(path) = image.file(b"etc/anacrontab") {
        let weight = match image.has_program("usr/sbin/anacron") {
            true => Weight::Grave,
            false => Weight::Minor,
        };
        for line in image.text(path.as_bytes())?.lines() {
            if let Some(command) = anacron_command(line) {
                commands(image, &path, command, weight, faults);
            }
        }
    }
    Ok(())
}

/// Says whether cron of Debian reads a file of this name, see run-parts(8).
fn is_table(name: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.iter().all(is_of_name)
}

fn commands(image: &Image<'_>, path: &RelPath, command: &str, weight: Weight, faults: &mut Faults) {
    for wanted in launch::of_shell(command) {
        if let Some(fault) = wanted.fault_of(image.tree, image.accounts) {
            let name = wanted.place();
            let reason = format!("{}, which {fault}", wanted.verb(wanted.name()));
            faults.add(FindingKind::Cron, path, &name, weight, &reason, HINT);
        }
    }
}

/// Reads a system-wide table: its jobs, and the time zones that it sets.
fn read(text: &str) -> (Vec<Job>, Vec<String>) {
    let (mut jobs, mut zones) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            if matches!(name, "TZ" | "CRON_TZ") {
                zones.push(value.to_owned());
            }
            continue;
        }
        let times = if line.starts_with('@') { 1 } else { 5 };
        let (user, rest) = match fields(line, times) {
            Some(rest) => rest.split_once(char::is_whitespace).unwrap_or_default(),
            None => continue,
        };
        jobs.push(Job {
            // A class of BSD may follow it.
            user: user.split([':', '/']).next().unwrap_or_default().to_owned(),
            command: before_percent(rest.trim()),
        });
    }
    (jobs, zones)
}

/// Reads `NAME = VALUE`, quoted or not.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let value = value.trim().trim_matches(['"', '\'']);
    shell::is_assignment(&format!("{name}=")).then_some((name, value))
}

/// Returns what follows this many fields.
fn fields(line: &str, count: usize) -> Option<&str> {
    let mut rest = line;
    for _ in 0..count {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    Some(rest).filter(|rest| !rest.is_empty())
}

/// Returns the command alone: what follows a `%` is its input.
fn before_percent(text: &str) -> String {
    let mut command = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '%' => break,
            '\\' if chars.next_if_eq(&'%').is_some() => command.push('%'),
            c => command.push(c),
        }
    }
    command
}

/// Returns the command of a line of anacrontab(5): period, delay and a name stand before it.
fn anacron_command(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let is_job = line.starts_with(|c: char| c.is_ascii_digit() || c == '@');
    fields(line, 3).filter(|_| is_job)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn jobs_are_read_with_their_users() {
        let text = "# x\nSHELL=/bin/sh\nPATH = /a\nCRON_TZ='Europe/Berlin'\n\n*/5 * * * *\tjoe  a b\\%c%d\n@daily root:staff /x\n1 2 3\n";
        let (jobs, zones) = read(text);
        let jobs: Vec<_> = jobs
            .iter()
            .map(|job| (job.user.as_str(), job.command.as_str()))
            .collect();
        assert_eq!(jobs, [("joe", "a b%c"), ("root", "/x")]);
        assert_eq!(zones, ["Europe/Berlin"]);
        assert_eq!(anacron_command("1 5 cron.daily nice run"), Some("nice run"));
        assert_eq!(anacron_command("START_HOURS_RANGE=1 2 3 4"), None);
        assert!(is_table(b"my_job-1") && !is_table(b"a.dpkg-old"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "([*@0-9a-z]+ |[=%\\\\'\"\n ]|[^x])*") {
            read(&text);
            text.lines().for_each(|line| {
                anacron_command(line);
            });
        }
    }
}
