//! The keyed three-way map merge that every driver of a flat list of records shares.
//!
//! Records are compared by their raw bytes; only a record that both sides changed differently is
//! handed to the format's own merge. The time is linear in the number of records.

use super::DriverConflict;
use std::borrow::Cow;
use std::collections::HashMap;

/// A record as one side holds it.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub key: Cow<'a, [u8]>,
    /// The bytes of the record without its terminator.
    pub raw: &'a [u8],
    /// The line where it begins, counted from 1.
    pub line: usize,
}

/// The records of one side in file order, with unique keys.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    list: Vec<Record<'a>>,
    index: HashMap<Cow<'a, [u8]>, usize>,
}

impl<'a> Records<'a> {
    /// Adds a record at the end; a key that exists already is refused with its index.
    pub(super) fn push(&mut self, record: Record<'a>) -> Result<usize, usize> {
        let next = self.list.len();
        match self.index.entry(record.key.clone()) {
            std::collections::hash_map::Entry::Occupied(found) => Err(*found.get()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(next);
                self.list.push(record);
                Ok(next)
            }
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Record<'a>> {
        self.index.get(key).map(|&at| &self.list[at])
    }

    pub(super) fn list(&self) -> &[Record<'a>] {
        &self.list
    }
}

/// The three sides of one merge.
pub(super) struct Sides<'a> {
    pub pre: Records<'a>,
    pub current: Records<'a>,
    pub post: Records<'a>,
}

/// What becomes of the records: each is listed once, and the caller decides their order.
#[derive(Debug)]
pub(super) struct MergedRecords<'a> {
    /// For each record of current its merged bytes, or `None` if it is gone.
    pub kept: Vec<Option<Cow<'a, [u8]>>>,
    /// The indices of post's records that are new, in post's order.
    pub added: Vec<usize>,
}

/// A record of the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergedRecord<'m> {
    pub key: &'m [u8],
    pub raw: &'m [u8],
    /// The line of the record in current, or in post if it is new.
    pub line: usize,
}

impl<'a> MergedRecords<'a> {
    /// Lists the records of the result: current's in its order, then the new ones in post's.
    pub(super) fn outcomes<'m>(&'m self, sides: &'m Sides<'a>) -> Vec<MergedRecord<'m>> {
        let kept = sides.current.list.iter().zip(&self.kept);
        let kept = kept.filter_map(|(record, raw)| {
            raw.as_ref().map(|raw| MergedRecord {
                key: &record.key,
                raw,
                line: record.line,
            })
        });
        let added = self.added.iter().map(|&at| {
            let record = &sides.post.list[at];
            MergedRecord {
                key: &record.key,
                raw: record.raw,
                line: record.line,
            }
        });
        kept.chain(added).collect()
    }
}

/// Merges one record that both sides changed: `Ok(None)` drops it, `Err` lists the reasons why not.
pub(super) type MergeRecord<'f> = &'f dyn Fn(Option<&[u8]>, &[u8], &[u8]) -> RecordMerge;
/// The merged bytes of a record, nothing if it is gone, or the reasons why it cannot be merged.
pub(super) type RecordMerge = Result<Option<Vec<u8>>, Vec<String>>;

/// Merges the three sides by key.
pub(super) fn merge<'a>(
    sides: &Sides<'a>,
    both: MergeRecord<'_>,
) -> Result<MergedRecords<'a>, Vec<DriverConflict>> {
    let mut conflicts = Vec::new();
    let mut kept = Vec::with_capacity(sides.current.list.len());
    for current in &sides.current.list {
        let pre = sides.pre.get(&current.key).map(|record| record.raw);
        let post = sides.post.get(&current.key).map(|record| record.raw);
        kept.push(match (pre, post) {
            _ if pre == post || post == Some(current.raw) => Some(Cow::Borrowed(current.raw)),
            _ if pre == Some(current.raw) => post.map(Cow::Borrowed),
            (_, Some(post)) => match both(pre, current.raw, post) {
                Ok(merged) => merged.map(Cow::Owned),
                Err(reasons) => {
                    let at = Some(current.line);
                    conflicts.extend(
                        reasons
                            .into_iter()
                            .map(|reason| DriverConflict::on(&current.key, at, reason)),
                    );
                    None
                }
            },
            (_, None) => {
                let reason = "modified in current, removed in post";
                conflicts.push(DriverConflict::on(&current.key, Some(current.line), reason));
                None
            }
        });
    }
    let mut added = Vec::new();
    for (at, post) in sides.post.list.iter().enumerate() {
        if sides.current.get(&post.key).is_some() {
            continue;
        }
        match sides.pre.get(&post.key) {
            None => added.push(at),
            Some(pre) if pre.raw == post.raw => {}
            Some(_) => {
                let reason = "removed in current, modified in post";
                conflicts.push(DriverConflict::on(&post.key, Some(post.line), reason));
            }
        }
    }
    if conflicts.is_empty() {
        Ok(MergedRecords { kept, added })
    } else {
        Err(conflicts)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn side(pairs: &'static [(&'static str, &'static str)]) -> Records<'static> {
        let mut records = Records::default();
        for (line, (key, raw)) in pairs.iter().enumerate() {
            let record = Record {
                key: Cow::Borrowed(key.as_bytes()),
                raw: raw.as_bytes(),
                line: line + 1,
            };
            records.push(record).unwrap();
        }
        records
    }

    #[test]
    fn each_record_follows_the_side_that_changed_it() {
        let sides = Sides {
            pre: side(&[
                ("same", "1"),
                ("mine", "1"),
                ("gone", "1"),
                ("dropped", "1"),
            ]),
            current: side(&[("new", "1"), ("same", "1"), ("mine", "2"), ("gone", "1")]),
            post: side(&[
                ("same", "3"),
                ("mine", "1"),
                ("dropped", "1"),
                ("late", "1"),
            ]),
        };
        let merged = merge(&sides, &|_, _, _| unreachable!()).unwrap();
        let got: Vec<_> = merged
            .outcomes(&sides)
            .iter()
            .map(|o| format!("{}={}", o.key.escape_ascii(), o.raw.escape_ascii()))
            .collect();
        assert_eq!(got, ["new=1", "same=3", "mine=2", "late=1"]);
    }

    #[test]
    fn removal_against_modification_is_a_conflict_in_both_directions() {
        let sides = Sides {
            pre: side(&[("a", "1"), ("b", "1")]),
            current: side(&[("a", "2")]),
            post: side(&[("b", "2")]),
        };
        let conflicts = merge(&sides, &|_, _, _| unreachable!()).unwrap_err();
        let got: Vec<_> = conflicts.iter().map(|c| c.to_string()).collect();
        assert_eq!(
            got,
            [
                "record 'a': modified in current, removed in post",
                "record 'b': removed in current, modified in post",
            ]
        );
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let mut records = side(&[("a", "1")]);
        let again = Record {
            key: Cow::Borrowed(b"a"),
            raw: b"2",
            line: 2,
        };
        assert_eq!(records.push(again), Err(0));
        assert_eq!(records.list().len(), 1);
    }
}
