//! `layerset check`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Context, error, host_architecture};
use crate::builder::{self, CheckReport, CheckedSet, Composer, Forecast, ForecastAction};
use crate::check::{Finding, Severity, Verdict};
use crate::compose::{lock_again, waiver_block};
use crate::durable::LockMode;
use crate::recipe::Workspace;
use crate::store::{Repository, ResolvedId};
use crate::time::{Clock as _, Date, SystemClock};

/// Checks whether a set of layers is sound.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset check recipes/web.toml                 # the layers that a build would keep
  layerset check web                              # an image that is there
  layerset check web --with debian=shop/debian    # would the layers above work on another base?
  layerset check web --explain elf:needed:/usr/sbin/nginx:libpcre2-8.so.0

The verdict is the worst finding: safe, rebuild-needed or refused. Only new findings count: --all
also lists those that a layer had when it was built. Nothing is built, and nothing is changed.

Where the lock or a definition has moved, it is a forecast: what a build would keep, build and
rebuild, as far as the relations of packages tell.

Exit status: 0 safe, 3 rebuild-needed or refused.")]
pub(super) struct Check {
    /// A recipe file, or a name or id of an image
    set: String,
    /// Check with another build of a layer, or another layer in its place; may be given more than
    /// once
    #[arg(long, value_name = "LAYER=ID", value_parser = replacement)]
    with: Vec<(String, String)>,
    /// Explain one finding
    #[arg(long, value_name = "FINDING")]
    explain: Option<String>,
    /// Also list the findings that the layers had when they were built
    #[arg(long)]
    all: bool,
    /// Where the layers are [default: layers/ beside the recipe or beside its folder]
    #[arg(long, value_name = "DIR")]
    layers: Option<PathBuf>,
}

fn replacement(text: &str) -> Result<(String, String), String> {
    let parts = text
        .split_once('=')
        .filter(|(name, id)| !name.is_empty() && !id.is_empty());
    let (name, id) = parts.ok_or("it must be LAYER=ID, e.g. debian=web/debian")?;
    Ok((name.to_owned(), id.to_owned()))
}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let repository = context.look("layerset check", LockMode::Shared)?;
        let today = Date::of_sec(SystemClock.now_sec()).unwrap_or(Date::LAST);
        if let Some(forecast) = self.forecast(&repository, today)? {
            return self.foretell(context, &forecast);
        }
        let mut set = self.set(&repository)?;
        for (name, id) in &self.with {
            replace(&repository, &mut set, name, id)?;
        }
        context.ui.doing("composing and checking");
        let composer = Composer::new(&repository, &context.cancel, &context.ui);
        let report = builder::check(&composer, &set, today)?;
        if let Some(id) = &self.explain {
            return explain(context, &report.findings, &report.known, id);
        }
        context.ui.print_json(&report)?;
        context.ui.print(&describe(&report, self.all));
        match report.verdict {
            Verdict::Safe => Ok(()),
            Verdict::RebuildNeeded => {
                Err(CliError::new("some layers must be rebuilt", error::REFUSED)
                    .with_hint(rebuild_hint(&report.findings)))
            }
            Verdict::Refused => Err(CliError::new("the set is not sound", error::REFUSED)
                .with_hint("--explain FINDING says what to do about a finding")),
        }
    }

    /// Forecasts what a build would do, where it would build a layer of the recipe.
    fn forecast(&self, repository: &Repository, today: Date) -> Result<Option<Forecast>, CliError> {
        // What stands in for a layer is there: nothing is forecast then.
        if !is_recipe(&self.set) || !self.with.is_empty() {
            return Ok(None);
        }
        let workspace = self.workspace()?;
        Ok(builder::forecast(&workspace, repository, today)?)
    }

    fn foretell(&self, context: &Context, forecast: &Forecast) -> Result<(), CliError> {
        if let Some(id) = &self.explain {
            return explain(context, &forecast.findings, &[], id);
        }
        context.ui.print_json(&serde_json::json!({
            "forecast": true,
            "verdict": forecast.verdict,
            "layers": forecast.layers,
            "findings": forecast.findings,
            "unknown": forecast.unknown,
        }))?;
        context.ui.print(&describe_forecast(forecast));
        match forecast.verdict {
            Verdict::Safe => Ok(()),
            _ => Err(CliError::new("some layers would not fit", error::REFUSED)
                .with_hint(rebuild_hint(&forecast.findings))),
        }
    }

    fn workspace(&self) -> Result<Workspace, CliError> {
        let path = Path::new(&self.set);
        Ok(Workspace::open(
            path,
            self.layers.as_deref(),
            host_architecture(),
        )?)
    }

    fn set(&self, repository: &Repository) -> Result<CheckedSet, CliError> {
        if is_recipe(&self.set) {
            return Ok(CheckedSet::of_recipe(&self.workspace()?, repository)?);
        }
        let image = repository.read_image(&repository.resolve_image(&self.set)?)?;
        Ok(CheckedSet {
            name: image.name,
            layers: image.layers.iter().map(|layer| layer.id).collect(),
            waivers: image.waivers,
        })
    }
}

fn is_recipe(set: &str) -> bool {
    let extension = Path::new(set).extension();
    extension.is_some_and(|extension| extension == "toml")
}

fn replace(
    repository: &Repository,
    set: &mut CheckedSet,
    name: &str,
    id: &str,
) -> Result<(), CliError> {
    let ResolvedId::Layer(with) = repository.resolve(id)? else {
        return Err(CliError::usage(format!("'{id}' is not a layer")));
    };
    let mut names = Vec::new();
    for layer in &mut set.layers {
        names.push(repository.read_layer(layer)?.name);
        if names.last().is_some_and(|last| last == name) {
            *layer = with;
            return Ok(());
        }
    }
    Err(CliError::usage(format!("the set has no layer '{name}'"))
        .with_hint(format!("it has: {}", names.join(", "))))
}

fn rebuild_hint(findings: &[Finding]) -> String {
    let grave = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Rebuild);
    let mut locks: Vec<&str> = grave
        .filter(|f| f.needs_lock())
        .map(|f| f.layer.as_str())
        .collect();
    locks.dedup();
    if locks.is_empty() {
        return "`layerset build` rebuilds exactly those".to_owned();
    }
    lock_again(&locks)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Safe => "safe",
        Verdict::RebuildNeeded => "rebuild-needed",
        Verdict::Refused => "refused",
    }
}

fn severity(finding: &Finding) -> &'static str {
    match (finding.severity, &finding.waived) {
        (Severity::Note, Some(_)) => "waived",
        (Severity::Note, None) => "note",
        (Severity::Rebuild, _) => "rebuild",
        (Severity::Refuse, _) => "refuse",
    }
}

fn describe(report: &CheckReport, all: bool) -> String {
    let mut text = format!("{}\n", word(report.verdict));
    for layer in &report.layers {
        text.push_str(&format!(
            "  {} {} {}\n",
            layer.name,
            layer.version,
            layer.id.short()
        ));
    }
    text.push_str(&listed(&report.findings));
    for public in &report.public_secrets {
        text.push_str(&format!(
            "  public  {}: {} is {}: {}\n",
            public.layer, public.path, public.secret.kind, public.secret.reason
        ));
    }
    if all && !report.known.is_empty() {
        text.push_str("already there when the layers were built:\n");
        text.push_str(&listed(&report.known));
    } else if !report.known.is_empty() {
        text.push_str(&format!(
            "{} more were already there when the layers were built (--all lists them)\n",
            report.known.len()
        ));
    }
    text
}

fn describe_forecast(forecast: &Forecast) -> String {
    let mut text = format!(
        "forecast: {} (from facts of packages; only a build sees files)\n",
        word(forecast.verdict)
    );
    for layer in &forecast.layers {
        let action = match layer.action {
            ForecastAction::Keep => "would be kept",
            ForecastAction::Build => "would be built",
            ForecastAction::Rebuild => "would be rebuilt",
            ForecastAction::Lock => "must be locked again",
        };
        text.push_str(&format!("  {} {action}: {}\n", layer.name, layer.reason));
    }
    text.push_str(&listed(&forecast.findings));
    if let [first, rest @ ..] = forecast.unknown.as_slice() {
        text.push_str(&format!(
            "nothing is known of the relations of {first} and {} more: `layerset lock` learns them\n",
            rest.len()
        ));
    }
    text
}

fn listed(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let layer = finding.place();
        text.push_str(&format!(
            "{}: [{layer}] {}\n    {}\n",
            severity(finding),
            finding.reason,
            finding.id
        ));
    }
    text
}

fn explain(
    context: &Context,
    new: &[Finding],
    known: &[Finding],
    id: &str,
) -> Result<(), CliError> {
    let mut found = new.iter().chain(known);
    let Some(finding) = found.find(|finding| finding.id.as_str() == id) else {
        return Err(CliError::usage(format!("the set has no finding '{id}'"))
            .with_hint("`layerset check --all` lists all of them"));
    };
    let is_known = known.contains(finding);
    context
        .ui
        .print_json(&serde_json::json!({ "finding": finding, "known": is_known }))?;
    let mut text = String::new();
    let mut row = |name: &str, value: String| text.push_str(&format!("{name:<9} {value}\n"));
    row("finding", finding.id.to_string());
    row("severity", severity(finding).to_owned());
    row("layer", finding.layer.clone());
    if let Some(package) = &finding.package {
        row("package", package.clone());
    }
    if let Some(path) = &finding.path {
        row("path", path.to_string());
    }
    row("reason", finding.reason.clone());
    row(
        "new",
        if is_known {
            "no: it was there when the layer was built"
        } else {
            "yes"
        }
        .to_owned(),
    );
    if let Some(waived) = &finding.waived {
        row("waived", waived.clone());
    }
    row("to do", finding.hint.clone());
    if finding.severity > Severity::Note && finding.is_waivable() {
        text.push_str(&format!("{}\n", waiver_block(&finding.id)));
    }
    context.ui.print(&text);
    Ok(())
}
