//! The exit statuses, in words.

use super::super::error::{BUG, FAILED, INTEGRITY, INTERRUPTED, REFUSED, USAGE};
use super::page::Page;

const STATUSES: [(u8, &str); 7] = [
    (0, "It is done."),
    (FAILED, "It failed."),
    (USAGE, "The command was called wrongly."),
    (
        REFUSED,
        "A check refused: findings, signatures, conflicts in /etc, what is held or marked bad.",
    ),
    (INTEGRITY, "Data is damaged."),
    (BUG, "A bug of layerset."),
    (INTERRUPTED, "A signal ended it. Finished steps were kept."),
];

pub(super) fn add(page: &mut Page) {
    page.heading("EXIT STATUS");
    for (status, words) in STATUSES {
        page.item(&status.to_string(), "", words);
    }
}
