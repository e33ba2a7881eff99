//! What users of neighbouring projects complained about in public, tried on this one: each report is a sentence with
//! its source, and a case. The words and the cases are ours.

mod definitions;
mod remotes;
mod repositories;
mod scene;
mod switching;
mod targets;

use std::collections::BTreeSet;
use std::panic::catch_unwind;

/// One complaint.
pub struct Report {
    /// Where it was made: `owner/repository#number`.
    pub source: &'static str,
    /// What the user saw, in one sentence.
    pub said: &'static str,
    /// Fails where this project does the same.
    pub case: fn(),
}

/// Runs all cases of a table, and names those that fail.
fn hold(reports: &[Report]) {
    let failed: Vec<String> = reports
        .iter()
        .filter(|report| catch_unwind(report.case).is_err())
        .map(|report| format!("{}: {}", report.source, report.said))
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_report_has_a_source_and_a_sentence_of_its_own() {
    let tables = [
        targets::REPORTS,
        switching::REPORTS,
        repositories::REPORTS,
        remotes::REPORTS,
        definitions::REPORTS,
    ];
    let all: Vec<&Report> = tables.into_iter().flatten().collect();
    assert!(all.len() >= 40, "{}", all.len());
    let sources: BTreeSet<&str> = all.iter().map(|report| report.source).collect();
    assert_eq!(sources.len(), all.len(), "a source is there twice");
    for report in all {
        let (place, number) = report.source.split_once('#').unwrap();
        assert!(
            place.split('/').count() == 2 && number.parse::<u32>().is_ok(),
            "{}",
            report.source
        );
        let is_sentence =
            report.said.starts_with(|c: char| c.is_uppercase()) && report.said.ends_with('.');
        assert!(is_sentence, "{}", report.said);
    }
}
