//! The tables of `layer.toml`, one function each.

use std::collections::BTreeMap;
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
use super::state::{StateClass, StateRule};
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
fn beside(value: &Value<'_>) -> Result<RelPath, RecipeError> {
    let text = value.string()?;
    if text.starts_with('/') {
        return Err(value.fault(format!(
            "'{text}' is absolute: it must lie in the layer's folder"
        )));
    }
    path(value, text)
}

pub(super) fn bootstrap(value: &Value<'_>) -> Result<Bootstrap, RecipeError> {
    let table = value.table(&BOOTSTRAP)?;
    let components = match table.get("components") {
        Some(list) => list.strings(words::suite)?,
        None => vec!["main".to_owned()],
    };
    if components.is_empty() {
        return Err(table.need("components")?.fault("'components' is empty"));
    }
    let pockets = match table.get("pockets") {
        Some(list) => {
            list.strings(|_| None)?;
            let items = list.list()?;
            let pockets: Result<_, _> = items.iter().map(|v| choice(v, &Pocket::ALL)).collect();
            pockets?
        }
        None => Pocket::ALL.map(|(_, pocket)| pocket).to_vec(),
    };
    Ok(Bootstrap {
        suite: table.need("suite")?.checked(words::suite)?.to_owned(),
        components,
        pockets,
        variant: table
            .get("variant")
            .map_or(Ok(BootstrapVariant::Minbase), |v| {
                choice(&v, &BootstrapVariant::ALL)
            })?,
        packages: table
            .get("packages")
            .map_or(Ok(Vec::new()), |v| v.strings(words::package))?,
    })
}

pub(super) fn apt(value: &Value<'_>) -> Result<AptSection, RecipeError> {
    let table = value.table(&APT)?;
    let list = table.need("packages")?;
    let packages = list.strings(words::package)?;
    if packages.is_empty() {
        return Err(list.fault("'apt.packages' is empty"));
    }
    Ok(AptSection {
        packages,
        recommends: table.get("recommends").map_or(Ok(false), |v| v.boolean())?,
    })
}

pub(super) fn files(value: &Value<'_>) -> Result<(FilesSection, FileSpans), RecipeError> {
    let table = value.table(&FILES)?;
    let (source, place) = match table.get("source") {
        Some(source) => (beside(&source)?, source.span()),
        None => {
            let default = RelPath::from_text("files").map_err(|e| value.fault(e.to_string()))?;
            (default, table.span())
        }
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
    })?;
    let owner = by_path(&table, "owner", &mut places, |entry| {
        let text = entry.string()?;
        words::owner(text).ok_or_else(|| {
            entry.fault(format!(
                "'{}' is not an owner: write user and group, as in \"root:adm\"",
                text.escape_debug()
            ))
        })
    })?;
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
    let mut map = BTreeMap::new();
    let Some(value) = table.get(key) else {
        return Ok(map);
    };
    for entry in value.any_table()?.entries() {
        let path = path_key(&entry)?;
        places.push((path.clone(), entry.key_span()));
        if map.insert(path.clone(), parse(&entry)?).is_some() {
            return Err(entry.key_fault(format!("'{path}' is given twice"), None));
        }
    }
    Ok(map)
}

fn path_key(entry: &Value<'_>) -> Result<RelPath, RecipeError> {
    match RelPath::from_text(entry.name()) {
        Ok(path) if !path.is_root() => Ok(path),
        Ok(_) => Err(entry.key_fault("the path is empty", None)),
        Err(error) => Err(entry.key_fault(error.to_string(), None)),
    }
}

pub(super) fn run(value: &Value<'_>) -> Result<(RunSection, Vec<Range<usize>>), RecipeError> {
    let table = value.table(&RUN)?;
    let list = table.need("scripts")?;
    list.strings(|_| None)?;
    let scripts: Vec<RelPath> = list.list()?.iter().map(beside).collect::<Result<_, _>>()?;
    if scripts.is_empty() {
        return Err(list.fault("'run.scripts' is empty"));
    }
    let mut env = BTreeMap::new();
    if let Some(table) = table.get("env") {
        for entry in table.any_table()?.entries() {
            if let Some(problem) = words::variable(entry.name()) {
                return Err(entry.key_fault(format!("'{}' {problem}", entry.name()), None));
            }
            let text = entry.checked(|text| text.contains('\0').then_some("holds a NUL byte"))?;
            env.insert(entry.name().to_owned(), text.to_owned());
        }
    }
    let run = RunSection {
        scripts,
        env,
        timeout_ms: timeout(&table)?,
    };
    Ok((run, spans(&list)?))
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
    let mut rules: Vec<StateRule> = Vec::new();
    for entry in value.any_table()?.entries() {
        let pattern = Glob::new(entry.name())
            .map_err(|problem| entry.key_fault(format!("bad pattern: {problem}"), None))?;
        if !pattern.as_str().starts_with("var/") {
            let help = "only what lies below 'var/' is state";
            return Err(entry.key_fault(
                format!("'{pattern}' is not below 'var/'"),
                Some(help.into()),
            ));
        }
        if rules.iter().any(|rule| rule.pattern == pattern) {
            return Err(entry.key_fault(format!("'{pattern}' is given twice"), None));
        }
        let class = choice(&entry, &StateClass::SETTABLE)?;
        rules.push(StateRule { pattern, class });
    }
    rules.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    Ok(rules)
}

pub(super) fn secrets(value: &Value<'_>) -> Result<BTreeMap<RelPath, SecretRule>, RecipeError> {
    let mut secrets = BTreeMap::new();
    for entry in value.any_table()?.entries() {
        if entry.name() == ALLOW {
            continue;
        }
        let path = path_key(&entry)?;
        let table = entry.table(&SECRET)?;
        let also = match table.get("also") {
            Some(list) => {
                list.strings(|_| None)?;
                let items = list.list()?;
                let paths: Result<_, _> =
                    items.iter().map(|v| self::path(v, v.string()?)).collect();
                paths?
            }
            None => Vec::new(),
        };
        let run = table.need("run")?.checked(words::command)?.to_owned();
        if secrets
            .insert(path.clone(), SecretRule { run, also })
            .is_some()
        {
            return Err(entry.key_fault(format!("'{path}' is given twice"), None));
        }
    }
    Ok(secrets)
}

/// Reads `allow` of `[secrets]`, the one key there that is no path.
pub(super) fn allowed_secrets(value: &Value<'_>) -> Result<Vec<AllowedSecret>, RecipeError> {
    let mut allowed: Vec<AllowedSecret> = Vec::new();
    let Some(list) = value.any_table()?.get(ALLOW) else {
        return Ok(allowed);
    };
    for item in list.list()? {
        let table = item.table(&ALLOWED_SECRET)?;
        let path = table.need("path")?;
        let text = path.string()?;
        let paths = Glob::new(text.trim_start_matches('/'))
            .map_err(|problem| path.fault(format!("bad pattern: {problem}")))?;
        if allowed.iter().any(|other| other.paths == paths) {
            return Err(path.fault(format!("'{paths}' is given twice")));
        }
        let reason = table.need("reason")?;
        let text = reason.checked(words::line)?.trim();
        if text.is_empty() {
            return Err(reason.fault("the reason is empty: say why everybody may have this"));
        }
        allowed.push(AllowedSecret {
            paths,
            reason: text.to_owned(),
        });
    }
    allowed.sort_by(|a, b| a.paths.cmp(&b.paths));
    Ok(allowed)
}

pub(super) fn health(value: &Value<'_>) -> Result<Vec<HealthCheck>, RecipeError> {
    let mut checks: Vec<HealthCheck> = Vec::new();
    let Some(list) = value.table(&HEALTH)?.get("checks") else {
        return Ok(checks);
    };
    for item in list.list()? {
        let check = check(&item)?;
        if checks.iter().any(|other| other.name == check.name) {
            return Err(item.fault_with(
                format!("there are two checks called '{}'", check.name),
                Some("give one of them another 'name'".into()),
            ));
        }
        checks.push(check);
    }
    Ok(checks)
}

fn check(item: &Value<'_>) -> Result<HealthCheck, RecipeError> {
    let table = item.table(&CHECK)?;
    let probes: Vec<_> = ["run", "unit", "http"]
        .iter()
        .filter_map(|key| table.get(key))
        .collect();
    let [value] = probes.as_slice() else {
        return Err(item.fault("a check has exactly one of 'run', 'unit' and 'http'"));
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
    list.list()?
        .iter()
        .map(|item| {
            Glob::new(item.string()?)
                .map_err(|problem| item.fault(format!("bad pattern: {problem}")))
        })
        .collect()
}

pub(super) fn services(value: &Value<'_>) -> Result<Vec<String>, RecipeError> {
    let list = value.table(&SERVICES)?.get("restart");
    list.map_or(Ok(Vec::new()), |list| list.strings(words::unit))
}
