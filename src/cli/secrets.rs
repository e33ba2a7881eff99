//! No secret leaves the machine in a layer that no build here has searched: every command that
//! writes layers, or what is made of them, for others asks here first.

use super::{CliError, Context, error};
use crate::builder;
use crate::check::Severity;
use crate::format::Waiver;
use crate::id::LayerId;
use crate::store::Repository;
use crate::time::{Clock as _, Date, SystemClock};

/// How many files a message names.
const MOST: usize = 20;

/// Refuses layers that hold what looks like a secret and is none that somebody declared. What only
/// may be one is told. `waivers` is asked where there is something to accept.
pub(super) fn refuse(
    context: &Context,
    repository: &Repository,
    layers: &[LayerId],
    waivers: &dyn Fn() -> Result<Vec<Waiver>, CliError>,
) -> Result<(), CliError> {
    context.ui.doing("searching the layers for secrets");
    let today = Date::of_sec(SystemClock.now_sec()).unwrap_or(Date::LAST);
    let mut findings = builder::secrets_in(repository, layers, &[], today)?;
    if findings.iter().any(|one| one.severity == Severity::Refuse) {
        findings = builder::secrets_in(repository, layers, &waivers()?, today)?;
    }
    let (secrets, told): (Vec<_>, Vec<_>) = findings
        .iter()
        .partition(|finding| finding.severity == Severity::Refuse);
    for finding in told.iter().take(MOST) {
        context
            .ui
            .remark(&format!("{}: {}", finding.place(), finding.reason));
    }
    let Some(first) = secrets.first() else {
        return Ok(());
    };
    let mut lines: Vec<String> = secrets
        .iter()
        .take(MOST)
        .map(|finding| format!("  {}: {}", finding.place(), finding.reason))
        .collect();
    if secrets.len() > MOST {
        lines.push(format!("  and {} more", secrets.len() - MOST));
    }
    let message = format!(
        "{} files hold what everybody would get with them:\n{}",
        secrets.len(),
        lines.join("\n")
    );
    let hint = format!(
        "{}; the recipe can accept it as well: [[waivers]] with finding = \"{}\"",
        first.hint, first.id
    );
    Err(CliError::new(message, error::REFUSED).with_hint(hint))
}
