//! `layerset compose`.

use std::collections::BTreeMap;

use clap::Args;

use super::build::{WorkspaceArgs, options};
use super::{CliError, Context, error, host_architecture, ui};
use crate::builder::{self, ComposeReport, Composer, InodeFacts, OracleDifference, OracleReport};
use crate::check::{Severity, Verdict};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::time::{Clock as _, Date, SystemClock};

/// Composes the layers of a recipe as they are built, and says what the checks find.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset compose recipes/web.toml
  layerset compose recipes/web.toml --oracle            # as root
  layerset compose recipes/web.toml --oracle --explain

Nothing is built and no image is kept. The oracle installs what the layers lock in one go, on the
base as built, and compares: what it cannot explain is a defect of a layer, or of layerset.")]
pub(super) struct Compose {
    #[command(flatten)]
    workspace: WorkspaceArgs,
    /// Install the same lock in one go, and print every difference that nothing explains
    #[arg(long)]
    oracle: bool,
    /// List the differences that are explained as well
    #[arg(long, requires = "oracle")]
    explain: bool,
}

impl Compose {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let workspace = Workspace::open(
            &self.workspace.recipe,
            self.workspace.layers.as_deref(),
            host_architecture(),
        )?;
        let repository = context.open(LockMode::Shared, "layerset compose")?;
        if self.oracle {
            let options = options(context, &self.workspace)?;
            let report = builder::oracle(&workspace, &repository, &options)?;
            context.ui.print_json(&report)?;
            context.ui.print(&describe_oracle(&report, self.explain));
            return match report.unexplained.len() {
                0 => Ok(()),
                1 => Err(refused("1 difference is not explained")),
                count => Err(refused(&format!("{count} differences are not explained"))),
            };
        }
        let composer = Composer::new(&repository, &context.cancel, &context.ui);
        let today = Date::of_sec(SystemClock.now_sec()).unwrap_or(Date::LAST);
        let report = builder::compose_built(&workspace, &composer, today)?;
        context.ui.print_json(&report)?;
        context.ui.print(&describe(&report));
        if report.verdict != Verdict::Safe {
            return Err(refused("the layers do not make a sound image"));
        }
        Ok(())
    }
}

fn refused(message: &str) -> CliError {
    CliError::new(message, error::REFUSED)
}

fn describe(report: &ComposeReport) -> String {
    let rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| vec![layer.name.clone(), layer.version.clone(), layer.id.short()])
        .collect();
    let mut text = ui::table(&["layer", "version", "id"], &rows);
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Rebuild => "rebuild",
            Severity::Refuse => "refuse",
        };
        text.push_str(&format!(
            "{severity}: [{}] {}\n",
            finding.layer, finding.reason
        ));
    }
    let verdict = match report.verdict {
        Verdict::Safe => "safe",
        Verdict::RebuildNeeded => "rebuild-needed",
        Verdict::Refused => "refused",
    };
    let image = report
        .image
        .map_or("no image".to_owned(), |image| image.short());
    text.push_str(&format!("{verdict}: {} {image}\n", report.recipe));
    text
}

fn describe_oracle(report: &OracleReport, explain: bool) -> String {
    let mut text = String::new();
    let mut reasons: BTreeMap<&str, Vec<&OracleDifference>> = BTreeMap::new();
    for explained in &report.explained {
        let of_reason = reasons.entry(&explained.reason).or_default();
        of_reason.push(&explained.difference);
    }
    for (reason, differences) in reasons {
        text.push_str(&format!("{:5} explained: {reason}\n", differences.len()));
        for difference in differences.iter().filter(|_| explain) {
            text.push_str(&format!(
                "      {}: {}\n",
                difference.path,
                difference.differs.join(", ")
            ));
        }
    }
    for difference in &report.unexplained {
        text.push_str(&describe_difference(difference));
    }
    text.push_str(&format!(
        "{} explained, {} unexplained, of {} paths of {} in {}\n",
        report.explained.len(),
        report.unexplained.len(),
        report.paths,
        report.recipe,
        ui::seconds(report.seconds)
    ));
    text
}

fn describe_difference(difference: &OracleDifference) -> String {
    let mut text = format!(
        "unexplained: {}: {}\n",
        difference.path,
        difference.differs.join(", ")
    );
    if let Some(kind) = difference.kind {
        text.push_str(&format!("  {}\n", kind.meaning()));
    }
    let lines = difference.lines.as_ref();
    for (side, facts, lines) in [
        (
            "composed ",
            &difference.composed,
            lines.map(|l| &l.composed),
        ),
        (
            "installed",
            &difference.installed,
            lines.map(|l| &l.installed),
        ),
    ] {
        text.push_str(&format!("  {side} {}\n", describe_facts(facts.as_ref())));
        for line in lines.into_iter().flatten() {
            text.push_str(&format!("            | {line}\n"));
        }
    }
    text
}

fn describe_facts(facts: Option<&InodeFacts>) -> String {
    let Some(facts) = facts else {
        return "nothing".to_owned();
    };
    let mut text = format!(
        "{} {} {}:{} {}",
        facts.kind, facts.mode, facts.owner, facts.group, facts.content
    );
    for (name, value) in &facts.xattrs {
        text.push_str(&format!(" {name}={value}"));
    }
    if !facts.names.is_empty() {
        let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        text.push_str(&format!(" names: {}", names.join(" ")));
    }
    text.trim_end().to_owned()
}
