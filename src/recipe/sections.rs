//! The tables of `layer.toml`, one function each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::format::{HealthCheck, Probe};
use crate::path::RelPath;

use super::definition::{
    AllowedSecret, AptSection, Bootstrap, BootstrapVariant, FilesSection, Pocket, RunSection,
    SecretRule,
};
use super::error::{RecipeError, suggest};
use super::fields::{FileSpans, optional, spans};
use super::reader::{Table, Value};
use super::shapes::{
    ALLOWED_SECRET, APT, BOOTSTRAP, CHECK, FILES, HEALTH, REBUILD, RUN, SECRET, SERVICES,
};
use super::sources;
use super::state::{StateClass, StateRule};
use super::together::{Together as _, all};
use super::words;
use crate::glob::Glob;

/// The key of `[secrets]` that lists what is no secret.
const ALLOW: &str = "allow";
const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// Returns what the word of a value stands for.
pub(super) fn choice<T: Copy>(
    value: &Value<'_>,
    all: &[(&'static str, T)],
) -> Result<T, RecipeError> {
    let text = value.string()?;
    match all.iter().find(|(known, _)| *known == text) {
        Some((_, choice)) => Ok(*choice),
        None => Err(value.fault_with(
            format!(
                "unknown value '{}' of '{}'",
                text.escape_debug(),
                value.name()
            ),
            suggest(text, all.iter().map(|(known, _)| *known)),
        )),
    }
}

fn path(value: &Value<'_>, text: &str) -> Result<RelPath, RecipeError> {
    match RelPath::from_text(text) {
        Ok(path) if !path.is_root() => Ok(path),
        Ok(_) => Err(value.fault("the path is empty")),
        Err(error) => Err(value.fault(error.to_string())),
    }
}

/// Parses the name of something that lies beside `layer.toml`: no leading slash here.
pub(super) fn beside(value: &Value<'_>) -> Result<RelPath, RecipeError> {
    let text = value.string()?;
    if text.starts_with('/') {
        return Err(value.fault(format!(
            "'{text}' is absolute: it must lie in the layer's folder"
        )));
    }
    path(value, text)
}

pub(super) fn bootstrap(value: &Value<'_>) -> Result<Bootstrap, RecipeError> {
    let (table, keys) = value.open(&BOOTSTRAP)?;
    let components = match table.get("components") {
        Some(list) => {
            list.strings(words::suite)
                .and_then(|components| match components.is_empty() {
                    true => Err(list.fault("'components' is empty")),
                    false => Ok(components),
                })
        }
        None => Ok(vec!["main".to_owned()]),
    };
    let pockets = match table.get("pockets") {
        Some(list) => list.strings(|_| None).and_then(|_| {
            let items = list.list()?;
            all(items.iter().map(|v| choice(v, &Pocket::ALL)))
        }),
        None => Ok(Pocket::ALL.map(|(_, pocket)| pocket).to_vec()),
    };
    let suite = table
        .need("suite")
        .and_then(|suite| suite.checked(words::suite));
    let variant = table
        .get("variant")
        .map_or(Ok(BootstrapVariant::Minbase), |v| {
            choice(&v, &BootstrapVariant::ALL)
        });
    let packages = table
        .get("packages")
        .map_or(Ok(Vec::new()), |v| v.strings(words::package));
    let (sources, snapshots) = (sources::parse(&table), sources::snapshots(&table));
    let head = (keys, suite, components, pockets, variant, packages).together();
    let (head, sources, snapshots) = (head, sources, snapshots).together()?;
    let (_, suite, components, pockets, variant, packages) = head;
    if let Some(list) = table.get("components") {
        sources::offer_all(&sources, &list)?;
    }
    Ok(Bootstrap {
        suite: suite.to_owned(),
        components,
        pockets,
        variant,
        packages,
        sources,
        snapshots,
    })
}

pub(super) fn apt(value: &Value<'_>) -> Result<AptSection, RecipeError> {
    let (table, keys) = value.open(&APT)?;
    let packages = table.need("packages").and_then(|list| {
        let packages = list.strings(words::package)?;
        if packages.is_empty() {
            return Err(list.fault("'apt.packages' is empty"));
        }
        Ok(packages)
    });
    let recommends = table.get("recommends").map_or(Ok(false), |v| v.boolean());
    let (sources, snapshots) = (sources::parse(&table), sources::snapshots(&table));
    let (_, packages, recommends, sources, snapshots) =
        (keys, packages, recommends, sources, snapshots).together()?;
    Ok(AptSection {
        packages,
        recommends,
        sources,
        snapshots,
    })
}

pub(super) fn files(value: &Value<'_>) -> Result<(FilesSection, FileSpans), RecipeError> {
    let (table, keys) = value.open(&FILES)?;
    let source = match table.get("source") {
        Some(source) => beside(&source).map(|path| (path, source.span())),
        None => RelPath::from_text("files")
            .map(|path| (path, table.span()))
            .map_err(|e| value.fault(e.to_string())),
    };
    let mut places = Vec::new();
    let mode = by_path(&table, "mode", &mut places, |entry| {
        let text = entry.string()?;
        words::mode(text).ok_or_else(|| {
            entry.fault(format!(
                "'{}' is not a mode: write octal digits, as in \"0755\"",
                text.escape_debug()
            ))
        })
    });
    let owner = by_path(&table, "owner", &mut places, |entry| {
        let text = entry.string()?;
        words::owner(text).ok_or_else(|| {
            entry.fault(format!(
                "'{}' is not an owner: write user and group, as in \"root:adm\"",
                text.escape_debug()
            ))
        })
    });
    let (_, (source, place), mode, owner) = (keys, source, mode, owner).together()?;
    let files = FilesSection {
        source,
        mode,
        owner,
    };
    Ok((
        files,
        FileSpans {
            source: place,
            paths: places,
        },
    ))
}

/// Reads a table by path, refuses two spellings of one path, and notes where each stands.
fn by_path<T>(
    table: &Table<'_>,
    key: &str,
    places: &mut Vec<(RelPath, Range<usize>)>,
    parse: impl Fn(&Value<'_>) -> Result<T, RecipeError>,
) -> Result<BTreeMap<RelPath, T>, RecipeError> {
    let mut seen = BTreeSet::new();
    let Some(value) = table.get(key) else {
        return Ok(BTreeMap::new());
    };
    let entries = value.any_table()?.entries();
    let pairs = all(entries.iter().map(|entry| {
        let path = path_key(entry)?;
        places.push((path.clone(), entry.key_span()));
        if !seen.insert(path.clone()) {
            return Err(entry.key_fault(format!("'{path}' is given twice"), None));
        }
        Ok((path, parse(entry)?))
    }))?;
    Ok(pairs.into_iter().collect())
}

fn path_key(entry: &Value<'_>) -> Result<RelPath, RecipeError> {
    match RelPath::from_text(entry.name()) {
        Ok(path) if !path.is_root() => Ok(path),
        Ok(_) => Err(entry.key_fault("the path is empty", None)),
        Err(error) => Err(entry.key_fault(error.to_string(), None)),
    }
}

pub(super) fn run(value: &Value<'_>) -> Result<(RunSection, Vec<Range<usize>>), RecipeError> {
    let (table, keys) = value.open(&RUN)?;
    let scripts = table.need("scripts").and_then(|list| {
        list.strings(|_| None)?;
        let scripts = all(list.list()?.iter().map(beside))?;
        if scripts.is_empty() {
            return Err(list.fault("'run.scripts' is empty"));
        }
        Ok((scripts, spans(&list)?))
    });
    let env = table.get("env").map_or(Ok(BTreeMap::new()), |env| {
        let entries = env.any_table()?.entries();
        let variables = all(entries.iter().map(|entry| {
            if let Some(problem) = words::variable(entry.name()) {
                return Err(entry.key_fault(format!("'{}' {problem}", entry.name()), None));
            }
            let text = entry.checked(|text| text.contains('\0').then_some("holds a NUL byte"))?;
            Ok((entry.name().to_owned(), text.to_owned()))
        }))?;
        Ok(variables.into_iter().collect())
    });
    let (_, (scripts, places), env, timeout_ms) =
        (keys, scripts, env, timeout(&table)).together()?;
    let run = RunSection {
        scripts,
        env,
        timeout_ms,
    };
    Ok((run, places))
}

/// Reads a time limit, in milliseconds.
fn timeout(table: &Table<'_>) -> Result<Option<u64>, RecipeError> {
    let Some(timeout) = table.get("timeout") else {
        return Ok(None);
    };
    let text = timeout.string()?;
    let duration = words::duration_ms(text).ok_or_else(|| {
        timeout.fault(format!(
            "'{}' is not a duration: write e.g. \"500ms\", \"10s\" or \"2m\"",
            text.escape_debug()
        ))
    });
    duration.map(Some)
}

pub(super) fn state(value: &Value<'_>) -> Result<Vec<StateRule>, RecipeError> {
    let mut seen = BTreeSet::new();
    let entries = value.any_table()?.entries();
    let mut rules = all(entries.iter().map(|entry| {
        let pattern = Glob::new(entry.name())
            .map_err(|problem| entry.key_fault(format!("bad pattern: {problem}"), None))?;
        if !pattern.as_str().starts_with("var/") {
            let help = "only what lies below 'var/' is state";
            return Err(entry.key_fault(
                format!("'{pattern}' is not below 'var/'"),
                Some(help.into()),
            ));
        }
        if !seen.insert(pattern.clone()) {
            return Err(entry.key_fault(format!("'{pattern}' is given twice"), None));
        }
        let class = choice(entry, &StateClass::SETTABLE)?;
        Ok(StateRule { pattern, class })
    }))?;
    rules.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    Ok(rules)
}

pub(super) fn secrets(value: &Value<'_>) -> Result<BTreeMap<RelPath, SecretRule>, RecipeError> {
    let mut seen = BTreeSet::new();
    let entries = value.any_table()?.entries();
    // What is allowed has a reader of its own.
    let entries = entries.iter().filter(|entry| entry.name() != ALLOW);
    let secrets = all(entries.map(|entry| {
        let path = path_key(entry)?;
        if !seen.insert(path.clone()) {
            return Err(entry.key_fault(format!("'{path}' is given twice"), None));
        }
        Ok((path, secret(entry)?))
    }))?;
    Ok(secrets.into_iter().collect())
}

fn secret(entry: &Value<'_>) -> Result<SecretRule, RecipeError> {
    let (table, keys) = entry.open(&SECRET)?;
    let also = table.get("also").map_or(Ok(Vec::new()), |list| {
        list.strings(|_| None)?;
        all(list.list()?.iter().map(|v| path(v, v.string()?)))
    });
    let run = table
        .need("run")
        .and_then(|run| run.checked(words::command));
    let (_, also, run) = (keys, also, run).together()?;
    Ok(SecretRule {
        run: run.to_owned(),
        also,
    })
}

/// Reads `allow` of `[secrets]`, the one key there that is no path.
pub(super) fn allowed_secrets(value: &Value<'_>) -> Result<Vec<AllowedSecret>, RecipeError> {
    let Some(list) = value.any_table()?.get(ALLOW) else {
        return Ok(Vec::new());
    };
    let mut seen = BTreeSet::new();
    let mut allowed = all(list.list()?.iter().map(|item| {
        let (table, keys) = item.open(&ALLOWED_SECRET)?;
        let paths = table.need("path").and_then(|path| {
            let text = path.string()?;
            let paths = Glob::new(text.trim_start_matches('/'))
                .map_err(|problem| path.fault(format!("bad pattern: {problem}")))?;
            match seen.insert(paths.clone()) {
                true => Ok(paths),
                false => Err(path.fault(format!("'{paths}' is given twice"))),
            }
        });
        let reason =
            table
                .need("reason")
                .and_then(|reason| match reason.string()?.trim().is_empty() {
                    true => {
                        Err(reason.fault("the reason is empty: say why everybody may have this"))
                    }
                    false => Ok(reason.checked(words::line)?.trim().to_owned()),
                });
        let (_, paths, reason) = (keys, paths, reason).together()?;
        Ok(AllowedSecret { paths, reason })
    }))?;
    allowed.sort_by(|a, b| a.paths.cmp(&b.paths));
    Ok(allowed)
}

pub(super) fn health(value: &Value<'_>) -> Result<Vec<HealthCheck>, RecipeError> {
    let Some(list) = value.table(&HEALTH)?.get("checks") else {
        return Ok(Vec::new());
    };
    let mut names = BTreeSet::new();
    all(list.list()?.iter().map(|item| {
        let check = check(item)?;
        if !names.insert(check.name.clone()) {
            return Err(item.fault_with(
                format!("there are two checks called '{}'", check.name),
                Some("give one of them another 'name'".into()),
            ));
        }
        Ok(check)
    }))
}

fn check(item: &Value<'_>) -> Result<HealthCheck, RecipeError> {
    let table = item.table(&CHECK)?;
    let probes: Vec<_> = ["run", "unit", "http", "tcp", "file", "reachable"]
        .iter()
        .filter_map(|key| table.get(key))
        .collect();
    let [value] = probes.as_slice() else {
        return Err(item.fault(
            "a check has exactly one of 'run', 'unit', 'http', 'tcp', 'file' and 'reachable'",
        ));
    };
    if let (Some(expect), true) = (table.get("expect"), value.name() != "http") {
        return Err(expect.key_fault("'expect' goes with 'http' only", None));
    }
    let (probe, word) = match value.name() {
        "run" => {
            let command = value.checked(words::command)?;
            (Probe::Run(command.to_owned()), command)
        }
        "unit" => {
            let unit = value.checked(words::unit)?;
            (Probe::Unit(unit.to_owned()), unit)
        }
        "tcp" => {
            let address = value.checked(words::endpoint)?;
            (Probe::Tcp(address.to_owned()), address)
        }
        "file" => {
            let path = value.checked(words::absolute_path)?;
            (Probe::File(path.to_owned()), path)
        }
        "reachable" => {
            let whom = value.checked(words::reachable)?;
            (Probe::Reachable(whom.to_owned()), whom)
        }
        _ => {
            let url = value.checked(words::http_url)?;
            let expect = optional(&table, "expect", words::command)?;
            let probe = Probe::Http {
                url: url.to_owned(),
                expect,
            };
            (probe, url)
        }
    };
    let timeout_ms = timeout(&table)?.unwrap_or(DEFAULT_TIMEOUT_MS);
    Ok(HealthCheck {
        name: optional(&table, "name", words::line)?.unwrap_or_else(|| word.to_owned()),
        probe,
        timeout_ms,
    })
}

pub(super) fn rebuild(value: &Value<'_>) -> Result<Vec<Glob>, RecipeError> {
    let Some(list) = value.table(&REBUILD)?.get("when") else {
        return Ok(Vec::new());
    };
    list.strings(|_| None)?;
    all(list.list()?.iter().map(|item| {
        Glob::new(item.string()?).map_err(|problem| item.fault(format!("bad pattern: {problem}")))
    }))
}

/// What a layer says of services.
#[derive(Debug, Default)]
pub(super) struct ServiceRules {
    pub(super) restart: Vec<String>,
    /// Whether it forbids a change of it beneath running services.
    pub(super) forbids_live: bool,
}

pub(super) fn services(value: &Value<'_>) -> Result<ServiceRules, RecipeError> {
    let table = value.table(&SERVICES)?;
    let restart = table.get("restart");
    let restart = restart.map_or(Ok(Vec::new()), |list| list.strings(words::unit));
    let live = table.get("live").map_or(Ok(true), |live| live.boolean());
    let (restart, live) = (restart, live).together()?;
    Ok(ServiceRules {
        restart,
        forbids_live: !live,
    })
}
