//! The history: append-only JSON lines, each with the hash of the line before and of itself.
//!
//! Editing, inserting, removing or swapping lines breaks the chain at that line. Lines that are lost
//! at the end, or with the whole file, break no chain: [`super::history_head`] tells them.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DeployError;
use super::history_head::HistoryHead;
use super::record::DeploymentDir;
use crate::check::Verdict;
use crate::durable::{Disk, DurableError, replace_file};
use crate::format::ImageLayer;
use crate::id::{ImageId, hex};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryAction {
    /// An image was put on the target.
    Deploy,
    /// Some layers of the current image were replaced.
    Update,
    /// An earlier deployment was made current again.
    Rollback,
    /// A switch that died before it was recorded.
    Recovered,
    /// A deployment was marked bad.
    Bad,
    /// The mark was taken back; or, where the record has checks, the deployment passed them.
    Good,
    /// A deployment was made, and not switched to.
    Stage,
    /// A deployment is kept for good.
    Pin,
    /// It is kept no longer.
    Unpin,
    /// Old deployments were removed.
    Prune,
    /// Records before this one are gone: somebody cut, emptied or replaced the file.
    Lost,
}

impl HistoryAction {
    /// Says whether the action makes another deployment current; otherwise `from` and `to` are both
    /// what was current all along.
    pub fn is_switch(self) -> bool {
        matches!(
            self,
            Self::Deploy | Self::Update | Self::Rollback | Self::Recovered
        )
    }
}

impl HistoryAction {
    /// Returns what people call one.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::Recovered | Self::Lost => "repair",
            Self::Bad => "bad mark",
            Self::Good => "good mark",
            Self::Stage => "staging",
            Self::Pin | Self::Unpin => "pin",
            Self::Prune => "pruning",
        }
    }
}

/// What is known of the soundness of the set that a change made current.
///
/// Only what a check really said is written. A set that nobody looked at in the course of the
/// change is `unchecked`, whatever was found when it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedVerdict {
    /// No check ran. Lines of earlier versions have an empty text here.
    #[default]
    #[serde(alias = "")]
    Unchecked,
    /// The checks found nothing that speaks against the set.
    Safe,
    /// The checks found layers that must be rebuilt.
    RebuildNeeded,
    /// The checks found that the set is not sound.
    Refused,
}

impl From<Verdict> for RecordedVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Safe => Self::Safe,
            Verdict::RebuildNeeded => Self::RebuildNeeded,
            Verdict::Refused => Self::Refused,
        }
    }
}

/// A layer that a switch changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerChange {
    /// The layer's name.
    pub name: String,
    /// Its version before; `None` when it is new.
    pub from: Option<String>,
    /// Its version after; `None` when it went away.
    pub to: Option<String>,
}

/// What one health check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCheck {
    /// The layer that promises it; empty where the machine does.
    pub layer: String,
    /// Its name.
    pub check: String,
    /// What was wrong; none where it passed.
    pub problem: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What the history keeps about a change besides the change itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// Who asked for it.
    pub who: String,
    /// What the checks said, where they ran in the course of this change.
    pub verdict: RecordedVerdict,
    /// Why.
    pub reason: String,
    /// What the health checks said, where they ran.
    pub checks: Vec<RecordedCheck>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// Its number, from 1.
    pub sequence: u64,
    /// BLAKE3 of the line before, 64 hex digits; empty in the first record.
    pub parent: String,
    /// When, in seconds since 1970.
    pub when: i64,
    /// Who asked for it.
    pub who: String,
    /// What was done.
    pub action: HistoryAction,
    /// The current deployment before.
    pub from: Option<u64>,
    /// The current deployment after.
    pub to: Option<u64>,
    /// The deployment that was staged, pinned or marked; `None` for other actions, and in marks of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<u64>,
    /// The image of what is current after, or of the deployment that it is about.
    pub image: Option<ImageId>,
    /// The layers that changed.
    pub layers: Vec<LayerChange>,
    /// What the checks said of what is current after.
    pub verdict: RecordedVerdict,
    /// Why.
    pub reason: String,
    /// What the health checks said, where they ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<RecordedCheck>,
    /// BLAKE3 of this line with this field empty, 64 hex digits. It is the last field.
    pub digest: String,
}

/// Where a history stops being believable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainBreak {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The history as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// Every line that can be read; from the break on they are not proven.
    pub records: Vec<HistoryRecord>,
    /// The first break; `None` when every line is as it was written.
    pub broken: Option<ChainBreak>,
    /// Whether the last line was cut short by a crash; it never counted, and the next change
    /// removes it.
    pub torn: bool,
}

impl History {
    /// Reads a history, and verifies its chain; a file that is not there is an empty history.
    pub(super) fn load(path: &Path) -> Result<Self, DeployError> {
        // The head first: what is appended meanwhile is then only more than it says.
        let head = HistoryHead::load(path)?;
        let bytes = read(path)?;
        let mut history = Self::parse(&bytes);
        if history.broken.is_none() {
            history.broken = head.and_then(|head| head.missing_in(&bytes));
        }
        Ok(history)
    }

    /// Reads the records without verifying the chain, which takes a tenth of the time: what a
    /// switch needs.
    pub(super) fn load_unverified(path: &Path) -> Result<Self, DeployError> {
        let bytes = read(path)?;
        let whole = whole_lines(&bytes);
        let lines = whole.split_terminator_bytes();
        Ok(Self {
            records: lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
            broken: None,
            torn: whole.len() < bytes.len(),
        })
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        let whole = whole_lines(bytes);
        history.torn = whole.len() < bytes.len();
        let mut parent = String::new();
        let lines = whole.split_terminator_bytes();
        for (index, line) in lines.enumerate() {
            if history.broken.is_none()
                && let Err(reason) = check_line(line, index, &parent)
            {
                history.broken = Some(ChainBreak {
                    line: index + 1,
                    reason,
                });
            }
            // A rollback must work with a log that somebody edited, so the rest is still read.
            let record = serde_json::from_slice::<HistoryRecord>(line).ok();
            if let (None, Some(record)) = (&history.broken, &record)
                && record.action == HistoryAction::Lost
            {
                history.broken = Some(ChainBreak {
                    line: index + 1,
                    reason: record.reason.clone(),
                });
            }
            history.records.extend(record);
            parent = digest(line);
        }
        history
    }

    /// Returns the deployments that were ever current.
    pub fn ever_current(&self) -> BTreeSet<u64> {
        self.records.iter().filter_map(|record| record.to).collect()
    }

    /// Returns what a rollback may choose by itself, best first: what was current before, latest
    /// first, without what was itself rolled back from since it was last asked for.
    pub fn earlier(&self, current: u64) -> Vec<u64> {
        let mut order: Vec<u64> = Vec::new();
        let mut left: BTreeSet<u64> = BTreeSet::new();
        for record in &self.records {
            let Some(to) = record.to else { continue };
            if let (HistoryAction::Rollback, Some(from)) = (record.action, record.from)
                && to < from
            {
                left.insert(from);
            }
            left.remove(&to);
            order.retain(|generation| *generation != to);
            order.push(to);
        }
        order.retain(|generation| *generation != current && !left.contains(generation));
        order.reverse();
        order
    }
}

/// Compares the layers of two deployments; what cannot be read has none.
pub(super) fn layer_changes(
    old: Option<&DeploymentDir>,
    new: Option<&DeploymentDir>,
) -> Vec<LayerChange> {
    let layers = |deployment: Option<&DeploymentDir>| -> Vec<ImageLayer> {
        deployment
            .and_then(|deployment| deployment.image().ok())
            .map(|image| image.layers)
            .unwrap_or_default()
    };
    let (old, new) = (layers(old), layers(new));
    let same_name = |layers: &[ImageLayer], name: &str| -> Option<ImageLayer> {
        layers.iter().find(|layer| layer.name == name).cloned()
    };
    let mut changes: Vec<LayerChange> = new
        .iter()
        .filter_map(|layer| {
            let before = same_name(&old, &layer.name);
            let is_same = before.as_ref().is_some_and(|before| before.id == layer.id);
            (!is_same).then(|| LayerChange {
                name: layer.name.clone(),
                from: before.map(|before| before.version),
                to: Some(layer.version.clone()),
            })
        })
        .collect();
    let gone = old
        .into_iter()
        .filter(|layer| same_name(&new, &layer.name).is_none());
    changes.extend(gone.map(|layer| LayerChange {
        name: layer.name,
        from: Some(layer.version),
        to: None,
    }));
    changes
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, DurableError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(DurableError::new("read", path, error)),
    }
}

/// Returns what the last whole line made current, and whether the file ends in a line that was cut
/// short.
pub(super) fn tail(path: &Path) -> Result<(Option<u64>, bool), DeployError> {
    let bytes = read(path)?;
    let whole = whole_lines(&bytes);
    let last = whole.split_terminator_bytes().last();
    let to = last.and_then(|line| serde_json::from_slice::<HistoryRecord>(line).ok()?.to);
    Ok((to, whole.len() < bytes.len()))
}

pub(super) trait Lines {
    fn split_terminator_bytes(&self) -> impl Iterator<Item = &[u8]>;
}

impl Lines for [u8] {
    fn split_terminator_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.strip_suffix(b"\n")
            .into_iter()
            .flat_map(|lines| lines.split(|byte| *byte == b'\n'))
    }
}

pub(super) fn whole_lines(bytes: &[u8]) -> &[u8] {
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => &bytes[..=last],
        None => &[],
    }
}

fn check_line(line: &[u8], index: usize, parent: &str) -> Result<(), String> {
    let record: HistoryRecord = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if record.sequence != index as u64 + 1 {
        return Err(format!("it is record {}", record.sequence));
    }
    if record.parent != parent {
        return Err("it does not follow the line before it".to_owned());
    }
    if own_digest(line, &record.digest).as_ref() != Some(&record.digest) {
        return Err("it was changed after it was written".to_owned());
    }
    Ok(())
}

pub(super) fn digest(bytes: &[u8]) -> String {
    hex(blake3::hash(bytes).as_bytes())
}

/// What stands after the digest, which is the last field of a line.
const AFTER_DIGEST: &[u8] = b"\"}";

/// Computes the digest of a line as if the digest in it were empty; none where the line does not
/// end in that digest.
///
/// The bytes are hashed as they are. A line that was read and encoded again would be another line
/// wherever this program spells a value in another way than the version that wrote it.
fn own_digest(line: &[u8], written: &str) -> Option<String> {
    let before = line
        .strip_suffix(AFTER_DIGEST)?
        .strip_suffix(written.as_bytes())?;
    Some(digest(&[before, AFTER_DIGEST].concat()))
}

/// Appends `record` durably, after filling in its place in the chain.
pub(super) fn append(
    disk: &dyn Disk,
    path: &Path,
    record: HistoryRecord,
) -> Result<(), DurableError> {
    let bytes = read(path)?;
    let line = next_line(&bytes, record)
        .map_err(|reason| DurableError::new("encode", path, std::io::Error::other(reason)))?;
    disk.append(path, &line)?;
    if bytes.is_empty()
        && let Some(dir) = path.parent()
    {
        disk.sync_dir(dir)?;
    }
    match HistoryHead::of(&[bytes, line].concat()).save(disk, path) {
        // A log that is longer than its head says is whole, unless a sync failed.
        Err(error) if error.is_no_room() => disk.require_unharmed(),
        result => result,
    }
}

/// Returns the line of `record` after the whole lines of `history`, with its place in the chain.
pub(super) fn next_line(history: &[u8], mut record: HistoryRecord) -> Result<Vec<u8>, String> {
    let lines: Vec<&[u8]> = history.split_terminator_bytes().collect();
    record.sequence = lines.len() as u64 + 1;
    record.parent = lines.last().map(|line| digest(line)).unwrap_or_default();
    record.digest.clear();
    let bare = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
    let before = bare
        .strip_suffix(AFTER_DIGEST)
        .ok_or("the digest is not the last field")?;
    let digest = digest(&bare);
    Ok([before, digest.as_bytes(), AFTER_DIGEST, b"\n"].concat())
}

/// Removes a last line that a crash cut short.
pub(super) fn mend(disk: &dyn Disk, path: &Path) -> Result<(), DurableError> {
    let bytes = read(path)?;
    let whole = whole_lines(&bytes);
    if whole.len() == bytes.len() {
        return Ok(());
    }
    replace_file(disk, path, 0o644, whole)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;

    fn record(action: HistoryAction, from: Option<u64>, to: u64) -> HistoryRecord {
        HistoryRecord {
            sequence: 0,
            parent: String::new(),
            when: 1_700_000_000,
            who: "root".to_owned(),
            action,
            from,
            to: Some(to),
            about: None,
            image: None,
            layers: Vec::new(),
            verdict: RecordedVerdict::Safe,
            reason: String::new(),
            checks: Vec::new(),
            digest: String::new(),
        }
    }

    fn written(steps: &[(HistoryAction, Option<u64>, u64)]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        for (action, from, to) in steps {
            append(&RealDisk, &path, record(*action, *from, *to)).unwrap();
        }
        std::fs::read(&path).unwrap()
    }

    fn three() -> Vec<u8> {
        written(&[
            (HistoryAction::Deploy, None, 1),
            (HistoryAction::Update, Some(1), 2),
            (HistoryAction::Update, Some(2), 3),
        ])
    }

    #[test]
    fn every_edit_removal_and_swap_of_a_line_is_found_at_that_line() {
        let bytes = three();
        assert_eq!(History::parse(&bytes).broken, None);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let line_of = |lines: &[&str]| {
            let joined = format!("{}\n", lines.join("\n"));
            History::parse(joined.as_bytes())
                .broken
                .map(|found| found.line)
        };
        for index in 0..3 {
            let edited = lines[index].replace("\"who\":\"root\"", "\"who\":\"mallory\"");
            assert_ne!(edited, lines[index]);
            let mut changed = lines.clone();
            changed[index] = &edited;
            assert_eq!(line_of(&changed), Some(index + 1));
        }
        assert_eq!(line_of(&[lines[1], lines[2]]), Some(1));
        assert_eq!(line_of(&[lines[0], lines[2]]), Some(2));
        assert_eq!(line_of(&[lines[0], lines[2], lines[1]]), Some(2));
        assert_eq!(line_of(&[lines[0], lines[0], lines[1]]), Some(2));
        assert_eq!(line_of(&[lines[0], "nonsense", lines[2]]), Some(2));
    }

    /// Histories of version 0.1.0, in which every switch is `safe` and every mark `refused`, though
    /// no check ran, and a completed record has no verdict.
    const MARKED: &str = include_str!("../../tests/fixtures/history/marked_bad.jsonl");
    const COMPLETED: &str = include_str!("../../tests/fixtures/history/recovered.jsonl");

    #[test]
    fn lines_of_an_earlier_version_are_read_and_the_chain_goes_on_from_them() {
        use RecordedVerdict::{Refused, Safe, Unchecked};
        let cases: [(&str, &[RecordedVerdict]); 2] = [
            (MARKED, &[Safe, Safe, Safe, Refused, Safe, Unchecked]),
            (COMPLETED, &[Safe, Safe, Unchecked, Unchecked]),
        ];
        for (earlier, verdicts) in cases {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("history.jsonl");
            std::fs::write(&path, earlier).unwrap();
            let next = HistoryRecord {
                verdict: Unchecked,
                ..record(HistoryAction::Update, Some(1), 9)
            };
            append(&RealDisk, &path, next).unwrap();
            let history = History::load(&path).unwrap();
            assert_eq!(history.broken, None);
            let found = history.records.iter().map(|record| record.verdict);
            assert_eq!(found.collect::<Vec<_>>(), verdicts);
            let text = std::fs::read_to_string(&path).unwrap();
            let written = text.strip_prefix(earlier).unwrap();
            assert!(written.contains(r#""verdict":"unchecked""#), "{written}");
        }
        // An empty verdict is another text than the word that stands for it now.
        let forged = COMPLETED.replace(r#""verdict":"""#, r#""verdict":"unchecked""#);
        assert_eq!(History::parse(forged.as_bytes()).broken.unwrap().line, 3);
    }

    #[test]
    fn a_torn_last_line_never_counts_and_is_mended() {
        let whole = three();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let second_end = whole
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .nth(1)
            .unwrap()
            .0
            + 1;
        for cut in [second_end + 1, whole.len() - 1] {
            let _ = std::fs::remove_file(dir.path().join("history.head"));
            std::fs::write(&path, &whole[..cut]).unwrap();
            let torn = History::load(&path).unwrap();
            assert!(torn.torn && torn.broken.is_none());
            assert_eq!(torn.records.last().and_then(|record| record.to), Some(2));
            mend(&RealDisk, &path).unwrap();
            append(
                &RealDisk,
                &path,
                record(HistoryAction::Recovered, Some(2), 3),
            )
            .unwrap();
            let mended = History::load(&path).unwrap();
            assert_eq!((mended.torn, mended.broken), (false, None));
            assert_eq!(mended.records.len(), 3);
        }
    }

    #[test]
    fn what_was_rolled_back_from_is_not_chosen_again() {
        let rolled = |steps: &[(HistoryAction, Option<u64>, u64)], current| {
            History::parse(&written(steps)).earlier(current)
        };
        use HistoryAction::{Deploy, Rollback, Update};
        let mut steps = vec![
            (Deploy, None, 1),
            (Update, Some(1), 2),
            (Update, Some(2), 3),
        ];
        assert_eq!(rolled(&steps, 3), [2, 1]);
        steps.push((Rollback, Some(3), 2));
        assert_eq!(rolled(&steps, 2), [1]);
        steps.push((Rollback, Some(2), 1));
        assert_eq!(rolled(&steps, 1), [] as [u64; 0]);
        // Asking for it by its number clears the mark.
        steps.push((Update, Some(1), 3));
        assert_eq!(rolled(&steps, 3), [1]);
        steps.push((Update, Some(3), 4));
        assert_eq!(rolled(&steps, 4), [3, 1]);
    }
}
