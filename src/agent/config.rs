//! `agent.toml`: what the agent does on one machine.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::AgentError;
use super::config_shape::{AGENT, DAYS, HEALTH, INHIBIT, REPORT, SWITCH, WINDOW};
use super::window::Window;
use crate::recipe::reader::{Document, Table, Value};
use crate::recipe::together::{Together as _, all};
use crate::recipe::{RecipeError, SourceFile, words};

/// Where the hooks are, unless the file says otherwise.
const HOOKS: &str = "/etc/layerset/hooks.d";

/// How long other machines may take to answer, unless the file says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the agent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// The target, where it is not the machine itself.
    pub target: Option<PathBuf>,
    /// Whether the agent switches at all.
    pub switches: bool,
    /// When it may; always where there is none.
    pub windows: Vec<Window>,
    /// Whether it waits while the machine runs from a battery.
    pub waits_for_power: bool,
    /// Whether it waits while the connection is metered.
    pub waits_for_free_network: bool,
    /// Other machines that have to answer after a switch.
    pub reachable: Vec<String>,
    /// How long they may take.
    pub patience: Duration,
    /// Where the metrics go.
    pub textfile: Option<PathBuf>,
    /// The directory of programs that are told of each event.
    pub hooks: PathBuf,
    /// The address that each event is posted to.
    pub webhook: Option<String>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            target: None,
            switches: true,
            windows: Vec::new(),
            waits_for_power: true,
            waits_for_free_network: true,
            reachable: Vec::new(),
            patience: PATIENCE,
            textfile: None,
            hooks: PathBuf::from(HOOKS),
            webhook: None,
        }
    }
}

impl AgentConfig {
    /// Reads the file at `path`; one that is not there says nothing.
    pub fn read(path: &Path) -> Result<Self, AgentError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&SourceFile::new(path, text.as_str()))?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(AgentError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Parses its text.
    pub fn parse(source: &SourceFile) -> Result<Self, RecipeError> {
        let document = Document::parse(source)?;
        let (root, keys) = document.open(&AGENT);
        let plain = Self::default();
        let target = optional(&root, "target", |value| path(&value));
        let switches = optional(&root, "switch", |value| switch(&value));
        let windows = root
            .get("window")
            .map_or(Ok(Vec::new()), |list| all(list.list()?.iter().map(window)));
        let inhibit = optional(&root, "inhibit", |value| inhibit(&value));
        let health = optional(&root, "health", |value| health(&value));
        let report = optional(&root, "report", |value| report(&value));
        let ((), target, switches, windows, inhibit, health, report) =
            (keys, target, switches, windows, inhibit, health, report).together()?;
        let (waits_for_power, waits_for_free_network) = inhibit.unwrap_or((true, true));
        let (reachable, patience) = health.unwrap_or_default();
        let (textfile, hooks, webhook) = report.unwrap_or_default();
        Ok(Self {
            target,
            switches: switches.unwrap_or(true),
            windows,
            waits_for_power,
            waits_for_free_network,
            reachable,
            patience: patience.unwrap_or(PATIENCE),
            textfile,
            hooks: hooks.unwrap_or(plain.hooks),
            webhook,
        })
    }

    /// Says whether the machine may be switched at a moment, in seconds since 1970.
    pub fn is_open(&self, now: i64) -> bool {
        self.switches
            && (self.windows.is_empty() || self.windows.iter().any(|window| window.is_open(now)))
    }
}

/// Reads a key that may be left out.
fn optional<'d, T>(
    table: &Table<'d>,
    key: &str,
    read: impl Fn(Value<'d>) -> Result<T, RecipeError>,
) -> Result<Option<T>, RecipeError> {
    table.get(key).map(read).transpose()
}

fn path(value: &Value<'_>) -> Result<PathBuf, RecipeError> {
    Ok(PathBuf::from(value.checked(words::absolute_path)?))
}

fn switch(value: &Value<'_>) -> Result<bool, RecipeError> {
    match value.string()? {
        word if word == SWITCH[0] => Ok(true),
        word if word == SWITCH[1] => Ok(false),
        other => Err(value.fault(format!(
            "'{}' is neither \"window\" nor \"never\"",
            other.escape_debug()
        ))),
    }
}

fn window(item: &Value<'_>) -> Result<Window, RecipeError> {
    let (table, keys) = item.open(&WINDOW)?;
    let days = optional(&table, "days", |list| {
        let items = list.list()?;
        if items.is_empty() {
            return Err(list.fault("a window without days never opens"));
        }
        let mut days = [false; 7];
        let found = all(items.iter().map(|item| Ok((day(item)?, item))))?;
        for (at, item) in found {
            if std::mem::replace(&mut days[at], true) {
                return Err(item.fault(format!("'{}' is given twice", DAYS[at])));
            }
        }
        Ok(days)
    });
    let clock = |key: &str| {
        let value = table.need(key)?;
        minutes(value.string()?)
            .ok_or_else(|| value.fault("a time of day has the form \"02:00\", from 00:00 to 23:59"))
    };
    let zone = optional(&table, "timezone", |value| {
        let name = value.string()?;
        Window::zone(name).ok_or_else(|| {
            value.fault_with(
                format!("this machine knows no time zone '{}'", name.escape_debug()),
                Some("write e.g. \"Europe/Berlin\" or \"UTC\"".into()),
            )
        })
    });
    let ((), days, from, to, zone) = (keys, days, clock("from"), clock("to"), zone).together()?;
    Ok(Window::new(days.unwrap_or([true; 7]), from, to, zone))
}

fn day(item: &Value<'_>) -> Result<usize, RecipeError> {
    let name = item.string()?;
    DAYS.iter().position(|day| *day == name).ok_or_else(|| {
        item.fault(format!(
            "'{}' is no day: write one of {}",
            name.escape_debug(),
            DAYS.join(", ")
        ))
    })
}

/// Reads a time of day, in minutes.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| {
        let fits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn inhibit(value: &Value<'_>) -> Result<(bool, bool), RecipeError> {
    let (table, keys) = value.open(&INHIBIT)?;
    let flag = |key: &str| table.get(key).map_or(Ok(true), |value| value.boolean());
    let ((), battery, metered) = (keys, flag("battery"), flag("metered")).together()?;
    Ok((battery, metered))
}

fn health(value: &Value<'_>) -> Result<(Vec<String>, Option<Duration>), RecipeError> {
    let (table, keys) = value.open(&HEALTH)?;
    let reachable = table
        .get("reachable")
        .map_or(Ok(Vec::new()), |list| list.strings(words::reachable));
    let timeout = optional(&table, "timeout", |value| {
        let text = value.string()?;
        let duration = words::duration_ms(text).map(Duration::from_millis);
        duration.ok_or_else(|| {
            value.fault(format!(
                "'{}' is not a duration: write e.g. \"30s\" or \"2m\"",
                text.escape_debug()
            ))
        })
    });
    let ((), reachable, timeout) = (keys, reachable, timeout).together()?;
    Ok((reachable, timeout))
}

type Report = (Option<PathBuf>, Option<PathBuf>, Option<String>);

fn report(value: &Value<'_>) -> Result<Report, RecipeError> {
    let (table, keys) = value.open(&REPORT)?;
    let textfile = optional(&table, "textfile", |value| {
        let path = path(&value)?;
        match path.extension().is_some_and(|end| end == "prom") {
            true => Ok(path),
            false => {
                Err(value.fault("the collector reads files whose names end with '.prom' only"))
            }
        }
    });
    let hooks = optional(&table, "hooks", |value| path(&value));
    let webhook = optional(&table, "webhook", |value| {
        let text = value.string()?;
        let url = url::Url::parse(text);
        let fits = url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        match fits && !text.contains(char::is_whitespace) {
            true => Ok(text.to_owned()),
            false => Err(value.fault(format!(
                "'{}' is no address that starts with 'http://' or 'https://'",
                text.escape_debug()
            ))),
        }
    });
    let ((), textfile, hooks, webhook) = (keys, textfile, hooks, webhook).together()?;
    Ok((textfile, hooks, webhook))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentConfig, RecipeError> {
        AgentConfig::parse(&SourceFile::new("agent.toml", text))
    }

    const ALL: &str = "
target = '/srv/web'
switch = 'window'
[[window]]
days = ['sat', 'sun']
from = '22:00'
to = '04:30'
timezone = 'UTC'
[[window]]
from = '12:00'
to = '13:00'
[inhibit]
battery = false
metered = true
[health]
reachable = ['gateway', '10.0.0.1:22']
timeout = '2m'
[report]
textfile = '/var/lib/node/layerset.prom'
hooks = '/etc/hooks'
webhook = 'https://hooks.example/x?y=1'
";

    #[test]
    fn everything_that_can_be_said_is_read() {
        let config = parse(ALL).unwrap();
        assert_eq!(config.target.as_deref(), Some(Path::new("/srv/web")));
        assert_eq!(config.windows.len(), 2);
        assert!(!config.waits_for_power && config.waits_for_free_network);
        assert_eq!(config.reachable, ["gateway", "10.0.0.1:22"]);
        assert_eq!(config.patience, Duration::from_secs(120));
        assert_eq!(config.hooks, Path::new("/etc/hooks"));
        assert_eq!(parse("").unwrap(), AgentConfig::default());
        let unused = crate::shape::testing::unused(&AGENT, &[ALL]);
        assert_eq!(unused, Vec::<String>::new());
    }

    #[test]
    fn reader_and_schema_agree_about_one_mistake() {
        let judge = crate::shape::testing::Judge::new(&AGENT);
        // What a schema cannot know: zones, lengths, and how an address is parsed.
        let beyond = [
            "this machine knows no time zone",
            "is not a duration",
            "names end with",
            "is no address",
            "is given twice",
            "must be a string, not a date",
            "must be a string, not a time",
        ];
        let texts = crate::shape::testing::mutants(ALL);
        assert!(texts.len() > 100, "{}", texts.len());
        let wrong: Vec<String> = texts
            .iter()
            .filter_map(|text| {
                let read = parse(text).map(|_| ()).map_err(|error| error.to_string());
                judge.contradicts(text, read, &beyond)
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn mistakes_are_told_together_each_with_its_place() {
        let text = "
[[window]]
days = ['monday']
from = '24:00'
to = '04:00'
timezone = 'Europe/Nowhere'
[health]
reachable = ['here']
[report]
textfile = '/var/x.txt'
webhook = 'ftp://x'
wbhook = ''
";
        let message = parse(text).unwrap_err().to_string();
        for part in [
            "agent.toml:3:9: 'monday' is no day",
            "agent.toml:4:8: a time of day",
            "agent.toml:6:12: this machine knows no time zone",
            "agent.toml:8:14: 'here' is neither",
            "agent.toml:10:12: the collector",
            "agent.toml:11:11: 'ftp://x' is no address",
            "unknown key 'wbhook'",
        ] {
            assert!(message.contains(part), "{part}:\n{message}");
        }
    }
}
