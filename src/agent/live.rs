//! What follows an exchange of the trees of a running machine: its services, its health, and the way
//! back.
//!
//! ```text
//! stop what is gone → tell systemd-sysusers, systemd-tmpfiles, systemd, udev, the message bus
//!     → start what is new → restart or reload what changed → health checks → good, or back
//! ```
//!
//! A command that dies in between leaves a machine that runs the new trees and has to prove itself at
//! its next start, as after any other switch.

use std::process::{Command, Stdio};

use serde::Serialize;

use super::health::CheckedHealth;
use super::proof::{Host, Proof, look, problem_of, recorded};
use super::{AgentConfig, AgentError};
use crate::causes::chain;
use crate::deploy::{
    BootVerdict, Exchange, Notice, ServiceRestart, SwitchClass, SwitchReport, Target, UnitChanges,
};
use crate::store::Repository;

/// What stays as it is: without it nobody is logged in or reached any more, or this command itself
/// would be waited for.
const LEFT_ALONE: [&str; 7] = [
    "dbus.service",
    "dbus-broker.service",
    "getty@",
    "serial-getty@",
    "user@",
    "user-runtime-dir@",
    "layerset",
];

/// What was done for the units of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitReport {
    /// Who was told of what.
    pub notices: Vec<Notice>,
    /// Units that are gone.
    pub stopped: Vec<String>,
    /// Units that are new.
    pub started: Vec<String>,
    /// Services that were restarted.
    pub restarted: Vec<String>,
    /// Services that were told to read their configuration again.
    pub reloaded: Vec<String>,
    /// What failed of it, in words.
    pub failed: Vec<String>,
    /// The first of these that says that something does not run which should.
    #[serde(skip)]
    pub broken: Option<String>,
}

/// The way back from a switch that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WayBack {
    /// The deployment that runs again; what starts next where it takes a start.
    pub to: u64,
    /// The exchange; none where it takes a start of the machine.
    pub exchange: Option<Exchange>,
    /// What was done for the units.
    pub units: UnitReport,
}

/// What became of a live switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveReport {
    /// What was done for the units.
    pub units: UnitReport,
    /// What the health checks said.
    pub checks: Vec<CheckedHealth>,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// What became of the deployment.
    pub verdict: BootVerdict,
    /// The way back, where that was taken.
    pub back: Option<WayBack>,
}

impl LiveReport {
    /// Returns what it proves of generation `to`.
    pub(super) fn proof(&self, to: u64) -> Proof {
        let returned = self.back.as_ref().map(|back| SwitchReport {
            from: Some(to),
            to: back.to,
            at_restart: back.exchange.is_none(),
        });
        Proof {
            checks: self.checks.clone(),
            problem: self.problem.clone(),
            returned,
        }
    }
}

/// Completes a live switch from one generation to another, whose trees are in place.
pub fn complete_live(
    target: &Target,
    repository: &Repository,
    (from, to): (u64, u64),
    config: &AgentConfig,
    host: &dyn Host,
    doing: &dyn Fn(&str),
) -> Result<LiveReport, AgentError> {
    doing("restarting what changed");
    let units = settle_units(target, repository, (from, to))?;
    doing("checking health");
    let image = target.image_of(to)?;
    let checks = look(repository, &image, config, host)?;
    // What ran before and does not run now is no less a failure where nobody looks at its health.
    let problem = problem_of(&checks).or_else(|| units.broken.clone());
    let change = target.change("layerset settle-boot")?;
    let settled = change.settle_boot(problem.as_deref(), &recorded(&checks))?;
    let mut report = LiveReport {
        units,
        checks,
        problem,
        verdict: settled.verdict,
        back: None,
    };
    let next = settled.next.deployment.filter(|next| *next != to);
    let (BootVerdict::Failed, Some(next)) = (settled.verdict, next) else {
        return Ok(report);
    };
    doing("going back");
    let way = target.way_to_generation(repository, next)?;
    let is_live = way.is_some_and(|way| way.class == SwitchClass::Live);
    let exchange = match is_live {
        true => Some(change.go_live(repository, next)?),
        false => None,
    };
    drop(change);
    let units = match &exchange {
        Some(_) => settle_units(target, repository, (to, next))?,
        None => UnitReport::default(),
    };
    report.back = Some(WayBack {
        to: next,
        exchange,
        units,
    });
    Ok(report)
}

/// Brings the units of the machine to the trees that are there now.
fn settle_units(
    target: &Target,
    repository: &Repository,
    moved: (u64, u64),
) -> Result<UnitReport, AgentError> {
    let running = running();
    let changes = target.unit_changes(repository, moved, &running)?;
    Ok(apply(&changes))
}

/// Returns the units that are active.
fn running() -> Vec<String> {
    let line = "list-units --state=active,activating,reloading --plain --no-legend --full";
    let listed = output(system("systemctl").args(line.split(' '))).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

fn apply(changes: &UnitChanges) -> UnitReport {
    let mut report = UnitReport::default();
    let mut call = |words: &[&str], units: &[String]| -> bool {
        let Some((program, rest)) = words.split_first() else {
            return true;
        };
        let called = output(system(program).args(rest).args(units));
        let is_done = called.is_ok();
        report.failed.extend(called.err());
        is_done
    };
    if !changes.stop.is_empty() {
        call(&["systemctl", "stop", "--"], &changes.stop);
    }
    for notice in &changes.notices {
        call(words_of(*notice), &[]);
    }
    if !changes.start.is_empty() {
        call(&["systemctl", "start", "--"], &changes.start);
    }
    let chosen = choose(&changes.restart, &states(&changes.restart));
    // One call for all: systemd orders them.
    let mut is_broken = false;
    if !chosen.restart.is_empty() {
        is_broken = !call(&["systemctl", "restart", "--"], &chosen.restart);
    }
    if !chosen.again.is_empty() {
        call(&["systemctl", "restart", "--"], &chosen.again);
    }
    if !chosen.reload.is_empty() {
        call(&["systemctl", "reload", "--"], &chosen.reload);
    }
    if is_broken {
        let mut failed = report.failed.iter();
        let restart = failed.find(|text| text.starts_with("'systemctl restart"));
        report.broken = restart.cloned();
    }
    report.notices = changes.notices.iter().copied().collect();
    report.stopped.clone_from(&changes.stop);
    report.started.clone_from(&changes.start);
    report.restarted = [chosen.restart, chosen.again].concat();
    report.reloaded = chosen.reload;
    report
}

fn words_of(notice: Notice) -> &'static [&'static str] {
    match notice {
        Notice::Accounts => &["systemd-sysusers"],
        Notice::Files => &["systemd-tmpfiles", "--create", "--exclude-prefix=/dev"],
        Notice::Units => &["systemctl", "daemon-reload"],
        Notice::Devices => &["udevadm", "control", "--reload"],
        Notice::Bus => &[
            "busctl",
            "call",
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "ReloadConfig",
        ],
    }
}

/// Makes a command that sees the system as its services do, and not as this process, which has mounts
/// of its own.
pub fn system(program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", "1", "--mount", "--", program]);
    command
}

fn output(command: &mut Command) -> Result<String, String> {
    let words: Vec<String> = command
        .get_args()
        .skip(4)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = words.join(" ");
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("'{words}' cannot be run: {}", chain(&error)))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim().replace('\n', "; ");
    Err(format!("'{words}' failed with {}: {said}", done.status))
}

/// What systemd says of a unit.
#[derive(Debug, Default)]
struct UnitState {
    id: String,
    kind: String,
    active: String,
    can_reload: bool,
}

fn states(services: &[ServiceRestart]) -> Vec<UnitState> {
    if services.is_empty() {
        return Vec::new();
    }
    let mut command = system("systemctl");
    command.args(["show", "--property=Id,Type,ActiveState,CanReload", "--"]);
    command.args(services.iter().map(|service| &service.unit));
    parse_states(&output(&mut command).unwrap_or_default())
}

fn parse_states(text: &str) -> Vec<UnitState> {
    let blocks = text.split("\n\n");
    let parse = |block: &str| {
        let mut state = UnitState::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => value.clone_into(&mut state.id),
                "Type" => value.clone_into(&mut state.kind),
                "ActiveState" => value.clone_into(&mut state.active),
                "CanReload" => state.can_reload = value == "yes",
                _ => {}
            }
        }
        state
    };
    blocks.map(parse).collect()
}

/// What is done with services that run something else.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    restart: Vec<String>,
    /// What did not come up before either: restarted, and no failure of the switch if that fails.
    again: Vec<String>,
    reload: Vec<String>,
}

fn choose(services: &[ServiceRestart], states: &[UnitState]) -> Chosen {
    let mut chosen = Chosen::default();
    for service in services {
        let unit = &service.unit;
        let is_left_alone = LEFT_ALONE.iter().any(|start| unit.starts_with(start));
        let state = states.iter().find(|state| state.id == *unit);
        let Some(state) = state.filter(|_| !is_left_alone) else {
            continue;
        };
        // What does not run needs no restart, and what has run is not run again unless asked for.
        if state.kind == "oneshot" && !service.is_asked {
            continue;
        }
        let list = match state.active.as_str() {
            "active" if service.by_reload && state.can_reload => &mut chosen.reload,
            "active" | "reloading" => &mut chosen.restart,
            "activating" => &mut chosen.again,
            _ => continue,
        };
        list.push(unit.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_restarted_or_reloaded_and_what_everybody_needs_is_left_alone() {
        let text = "\
Id=a.service
Type=simple
ActiveState=active
CanReload=yes

Id=b.service
Type=simple
ActiveState=active
CanReload=yes

Id=once.service
Type=oneshot
ActiveState=active
CanReload=no

Id=asked.service
Type=oneshot
ActiveState=active
CanReload=no

Id=loops.service
Type=simple
ActiveState=activating
CanReload=yes

Id=off.service
Type=simple
ActiveState=inactive
CanReload=no

Id=still.service
Type=simple
ActiveState=active
CanReload=no

Id=dbus.service
Type=notify
ActiveState=active
CanReload=yes

Id=getty@tty1.service
Type=idle
ActiveState=active
CanReload=no
";
        let service = |unit: &str| ServiceRestart {
            unit: unit.to_owned(),
            reason: String::new(),
            by_reload: ["b.service", "still.service"].contains(&unit),
            is_asked: unit == "asked.service",
        };
        let states = parse_states(text);
        let services: Vec<_> = states.iter().map(|state| service(&state.id)).collect();
        let chosen = choose(&services, &states);
        assert_eq!(
            chosen.restart,
            ["a.service", "asked.service", "still.service"]
        );
        assert_eq!(chosen.again, ["loops.service"]);
        assert_eq!(chosen.reload, ["b.service"]);
        assert_eq!(choose(&services, &[]), Chosen::default());
    }
}
