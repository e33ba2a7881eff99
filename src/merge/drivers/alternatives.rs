//! The databases of update-alternatives(1), one file per name under `alternatives/`.
//!
//! Status line, master link, pairs of slave name and slave link, a blank line; then for each choice
//! its path, its priority and one line per slave (blank where the choice has none); a blank line at
//! the end. The program writes slaves and choices sorted and drops slaves that no choice has
//! (`alternative_save` in utils/update-alternatives.c), so the merge does the same.

use super::fields::{self, FieldConflict};
use super::{Driver, DriverConflict, UnreadableRecord, linefile, parse_sides};
use std::collections::{BTreeMap, BTreeSet};

/// Merges a file under `/var/lib/dpkg/alternatives`.
pub(super) static ALTERNATIVES: AlternativesDriver = AlternativesDriver;

/// The driver of `alternatives/*`.
pub(super) struct AlternativesDriver;

/// Slave name to link, or to path.
type Slaves<'a> = BTreeMap<&'a [u8], &'a [u8]>;

#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    line: usize,
    priority: &'a [u8],
    /// Slaves that this choice lacks are absent.
    slaves: Slaves<'a>,
}

#[derive(Debug)]
struct Group<'a> {
    status: &'a [u8],
    link: &'a [u8],
    slaves: Slaves<'a>,
    choices: BTreeMap<&'a [u8], Choice<'a>>,
}

struct Cursor<'a, I> {
    lines: I,
    next: usize,
    /// How much of the file ends with a newline; a line behind that is cut off.
    whole: &'a [u8],
}

impl<'a, I: Iterator<Item = &'a [u8]>> Cursor<'a, I> {
    fn line(&mut self, what: &str) -> Result<&'a [u8], UnreadableRecord> {
        self.next += 1;
        match self.lines.next() {
            Some(line) if line.contains(&0) => Err(self.fault("a NUL byte")),
            Some(line) => Ok(line),
            None => Err(self.fault(&format!("truncated before the {what}"))),
        }
    }

    fn path(&mut self, what: &str) -> Result<&'a [u8], UnreadableRecord> {
        let line = self.line(what)?;
        if line.starts_with(b"/") {
            Ok(line)
        } else {
            Err(self.fault(&format!("the {what} is not an absolute path")))
        }
    }

    fn fault(&self, reason: &str) -> UnreadableRecord {
        UnreadableRecord::at(self.next, reason)
    }
}

fn parse(file: &[u8]) -> Result<Group<'_>, UnreadableRecord> {
    let end = file
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let whole = &file[..end];
    let mut from = Cursor {
        lines: linefile::split(whole),
        next: 0,
        whole,
    };
    let status = from.line("status")?;
    if !matches!(status, b"auto" | b"manual") {
        return Err(from.fault("the status is neither 'auto' nor 'manual'"));
    }
    let link = from.path("master link")?;
    let mut order = Vec::new();
    let mut slaves = BTreeMap::new();
    loop {
        let name = from.line("end of the slaves")?;
        if name.is_empty() {
            break;
        }
        if name.contains(&b'/') {
            return Err(from.fault("the name of a slave is a path"));
        }
        let target = from.path("slave link")?;
        if slaves.insert(name, target).is_some() {
            return Err(from.fault("the same slave twice"));
        }
        order.push(name);
    }
    let mut choices = BTreeMap::new();
    loop {
        let path = from.line("end of the choices")?;
        if path.is_empty() {
            break;
        }
        let line = from.next;
        if !path.starts_with(b"/") {
            return Err(from.fault("the choice is not an absolute path"));
        }
        let priority = from.line("priority")?;
        let digits = priority.strip_prefix(b"-").unwrap_or(priority);
        if fields::number::<u32>(digits).is_none() {
            return Err(from.fault("the priority is not a number"));
        }
        let mut own = BTreeMap::new();
        for name in &order {
            let target = from.line("slave path")?;
            if !target.is_empty() {
                own.insert(*name, target);
            }
        }
        let choice = Choice {
            line,
            priority,
            slaves: own,
        };
        if choices.insert(path, choice).is_some() {
            return Err(from.fault("the same choice twice"));
        }
    }
    if from.lines.next().is_some() || from.whole.len() < file.len() {
        from.next += 1;
        return Err(from.fault("text after the end"));
    }
    Ok(Group {
        status,
        link,
        slaves,
        choices,
    })
}

/// Name, link and path of a slave; no path where the choice has none.
type ChosenSlave<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

/// What a group's links are to lead to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::merge) struct Chosen<'a> {
    /// The master link.
    pub(in crate::merge) link: &'a [u8],
    /// The path; `None` where somebody chose it, and `/etc/alternatives` alone says what it is.
    pub(in crate::merge) path: Option<&'a [u8]>,
    /// Every slave of the group. Nothing is known of them where the chosen path is no choice of the
    /// group.
    pub(in crate::merge) slaves: Vec<ChosenSlave<'a>>,
    /// Whether somebody chose a path that is gone.
    pub(in crate::merge) is_overruled: bool,
}

/// Returns what update-alternatives makes of a group; `None` without choices, and when the file does
/// not parse.
///
/// `current` is the target of the group's link in `/etc/alternatives`. In manual mode it is
/// somebody's decision. Without it, or when what it names is neither a choice that exists nor any
/// other file, the program goes back to automatic mode (`alternative_select_mode` in
/// utils/update-alternatives.c).
pub(in crate::merge) fn chosen<'a>(
    file: &'a [u8],
    current: Option<&[u8]>,
    exists: &dyn Fn(&[u8]) -> bool,
) -> Option<Chosen<'a>> {
    let group = parse(file).ok()?;
    let is_manual = group.status == b"manual";
    let by_hand = current.filter(|path| is_manual && exists(path));
    let is_overruled = is_manual && by_hand.is_none() && current.is_some();
    let slaves_of = |choice: Option<&Choice<'a>>| -> Vec<ChosenSlave<'a>> {
        let Some(choice) = choice else {
            return Vec::new();
        };
        let slaves = group.slaves.iter();
        slaves
            .map(|(name, link)| (*name, *link, choice.slaves.get(name).copied()))
            .collect()
    };
    let (path, slaves) = match by_hand {
        Some(path) => (None, slaves_of(group.choices.get(path))),
        None => {
            // Loading its database in order to leave manual mode, the program forgets choices whose
            // files are gone.
            let best = best_choice(&group, &|path| !is_overruled || exists(path));
            let (path, choice) = best.or_else(|| best_choice(&group, &|_| true))?;
            (Some(path), slaves_of(Some(choice)))
        }
    };
    Some(Chosen {
        link: group.link,
        path,
        slaves,
        is_overruled,
    })
}

/// Returns the choice of the highest priority among those that `counts`.
fn best_choice<'g, 'a>(
    group: &'g Group<'a>,
    counts: &dyn Fn(&[u8]) -> bool,
) -> Option<(&'a [u8], &'g Choice<'a>)> {
    let priority = |choice: &Choice<'_>| -> i64 {
        std::str::from_utf8(choice.priority)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(i64::MIN)
    };
    // `max_by_key` would take the last of equal ones.
    let choices = group.choices.iter().rev();
    choices
        .filter(|(path, _)| counts(path))
        .max_by_key(|(_, choice)| priority(choice))
        .map(|(path, choice)| (*path, choice))
}

/// The three sides, where an absent file has no choices.
type Groups<'g, 'a> = [Option<&'g Group<'a>>; 3];

/// Merges what exists because choices exist: it goes with the last of them, never on its own, so
/// its absence on one side is not a change.
fn lasting([pre, current, post]: [Option<&[u8]>; 3]) -> Result<Option<&[u8]>, FieldConflict> {
    match (current, post) {
        (Some(_), Some(_)) => fields::three(pre, current, post),
        _ => Ok(current.or(post)),
    }
}

fn choice<'a>(
    path: &[u8],
    groups: Groups<'_, 'a>,
    conflicts: &mut Vec<DriverConflict>,
) -> Option<(&'a [u8], Slaves<'a>)> {
    let [pre, current, post] = groups.map(|group| group?.choices.get(path));
    let line = current.or(post).map(|choice| choice.line);
    let mut refuse = |reason: String| conflicts.push(DriverConflict::on(path, line, reason));
    let same = |a: &Choice<'_>, b: &Choice<'_>| a.priority == b.priority && a.slaves == b.slaves;
    let (now, then) = match (pre, current, post) {
        (_, Some(now), Some(then)) => (now, then),
        (None, Some(one), None) | (None, None, Some(one)) => (one, one),
        (Some(was), Some(one), None) | (Some(was), None, Some(one)) => {
            if !same(was, one) {
                let [kept, lost] = match current {
                    Some(_) => ["current", "post"],
                    None => ["post", "current"],
                };
                refuse(format!("modified in {kept}, removed in {lost}"));
            }
            return None;
        }
        (_, None, None) => return None,
    };
    let (low, high) = (Some(now.priority), Some(then.priority));
    let priority =
        fields::three(pre.map(|was| was.priority), low, high).unwrap_or_else(|FieldConflict| {
            refuse(fields::clash("priority", false, low, high));
            None
        });
    let names: BTreeSet<_> = now.slaves.keys().chain(then.slaves.keys()).collect();
    let mut slaves = BTreeMap::new();
    for name in names {
        let was = pre.and_then(|was| was.slaves.get(name));
        let (low, high) = (now.slaves.get(name), then.slaves.get(name));
        match fields::three(was, low, high) {
            Ok(target) => slaves.extend(target.map(|target| (*name, *target))),
            Err(FieldConflict) => {
                let label = format!("slave '{}'", String::from_utf8_lossy(name));
                let [low, high] = [low, high].map(|target| target.copied());
                refuse(fields::clash(&label, false, low, high));
            }
        }
    }
    priority.map(|priority| (priority, slaves))
}

fn merge(groups: Groups<'_, '_>) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
    let [_, current, post] = groups;
    let mut conflicts = Vec::new();
    let paths: BTreeSet<_> = [current, post]
        .into_iter()
        .flatten()
        .flat_map(|group| group.choices.keys().copied())
        .collect();
    let choices: Vec<_> = paths
        .into_iter()
        .filter_map(|path| choice(path, groups, &mut conflicts).map(|choice| (path, choice)))
        .collect();
    let mut part = |name: &str, line, sides: [Option<_>; 3]| match lasting(sides) {
        Ok(value) => value.unwrap_or_default(),
        Err(FieldConflict) => {
            let reason = fields::clash("it", false, sides[1], sides[2]);
            conflicts.push(DriverConflict::on(name.as_bytes(), line, reason));
            Default::default()
        }
    };
    let status = part("status", Some(1), groups.map(|group| Some(group?.status)));
    let link = part(
        "master link",
        Some(2),
        groups.map(|group| Some(group?.link)),
    );
    // A slave that one side dropped with its last choice lives on in a choice of the other side.
    let used: BTreeSet<_> = choices
        .iter()
        .flat_map(|(_, (_, slaves))| slaves.keys().copied())
        .collect();
    let mut slaves = Vec::new();
    for name in used {
        let label = format!("link of slave '{}'", String::from_utf8_lossy(name));
        let sides = groups.map(|group| group?.slaves.get(name).copied());
        slaves.push((name, part(&label, None, sides)));
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    if choices.is_empty() {
        return Ok(None);
    }
    let mut lines = vec![status, link];
    for (name, target) in &slaves {
        lines.extend([*name, *target]);
    }
    lines.push(b"");
    for (path, (priority, own)) in &choices {
        lines.extend([*path, *priority]);
        let target = |(name, _): &(&[u8], _)| own.get(name).copied().unwrap_or_default();
        lines.extend(slaves.iter().map(target));
    }
    lines.extend([&b""[..], b""]);
    Ok(Some(lines.join(&b'\n')))
}

impl Driver for AlternativesDriver {
    fn name(&self) -> &'static str {
        "alternatives"
    }

    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>> {
        parse(file).map(drop).map_err(|unreadable| vec![unreadable])
    }

    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        let read = |file: Option<_>| match file.map(parse).transpose() {
            Ok(group) => Ok(group),
            Err(unreadable) => Err(vec![unreadable]),
        };
        let groups = parse_sides([pre, current, post], read)?;
        merge(groups.each_ref().map(Option::as_ref))
    }
}

#[cfg(test)]
#[path = "alternatives_tests.rs"]
mod tests;
