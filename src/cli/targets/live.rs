//! When a machine comes to what it was switched to, and the way there.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;

use super::agent::ConfigArgs;
use super::health::{SETTLED, describe as describe_checks, start_anew};
use super::host::SystemHost;
use crate::agent::{LiveReport, UnitReport, complete_live};
use crate::cli::{CliError, Context, error, ui};
use crate::deploy::{BootVerdict, Exchange, SwitchClass, SwitchPace, SwitchWay};
use crate::durable::LockMode;

/// The unit that switches at a time.
const TIMED: &str = "layerset-switch";

/// When to switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SwitchTime {
    /// At once, by a restart if it takes one.
    Now,
    /// When somebody restarts the machine.
    NextBoot,
    /// At a time of the day, by a restart if it takes one.
    At(String),
}

fn parse_time(text: &str) -> Result<SwitchTime, String> {
    match text {
        "now" => return Ok(SwitchTime::Now),
        "next-boot" => return Ok(SwitchTime::NextBoot),
        _ => {}
    }
    let is_number = |text: &str, limit: u32| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain && text.parse::<u32>().is_ok_and(|number| number < limit)
    };
    match text.split_once(':') {
        Some((hour, minute)) if is_number(hour, 24) && is_number(minute, 60) => {
            Ok(SwitchTime::At(text.to_owned()))
        }
        _ => Err("it is 'now', 'next-boot', or a time such as 03:30".to_owned()),
    }
}

/// When a machine comes to what it was switched to.
#[derive(Debug, Args)]
pub(super) struct When {
    /// When a machine switches: now, with a restart if it takes one; by its next start (next-boot); or
    /// at a time of the day (HH:MM) [default: now if that takes no restart, else by its next start]
    #[arg(long, value_parser = parse_time, value_name = "WHEN")]
    when: Option<SwitchTime>,
    /// Restart nothing but services: what takes more waits for the next start
    #[arg(long)]
    no_reboot: bool,
}

impl When {
    /// Says whether a machine switches at once where that takes no start.
    pub(super) fn pace(&self) -> SwitchPace {
        match self.when {
            None | Some(SwitchTime::Now) => SwitchPace::Live,
            Some(SwitchTime::NextBoot | SwitchTime::At(_)) => SwitchPace::NextStart,
        }
    }

    /// Returns the time of the day, where one was given.
    pub(super) fn at(&self) -> Option<&str> {
        match &self.when {
            Some(SwitchTime::At(time)) => Some(time),
            _ => None,
        }
    }

    /// Starts the machine anew, if that was asked for: it starts with what is next, generation `to`.
    pub(super) fn start_anew(
        &self,
        context: &Context,
        root: &Path,
        way: Option<&SwitchWay>,
        to: u64,
    ) -> Result<(), CliError> {
        if self.when != Some(SwitchTime::Now) || self.no_reboot {
            return Ok(());
        }
        if way.is_none_or(|way| way.class == SwitchClass::Reboot) {
            return start_anew("reboot");
        }
        let target = context.target(root)?;
        target.change("layerset deploy")?.lay_next_root(to)?;
        unsettle()?;
        start_anew("soft-reboot")
    }

    /// Lets systemd run this command again at the time of the day that was given, with `--when now`.
    pub(super) fn schedule(&self, context: &Context, time: &str) -> Result<(), CliError> {
        let when = next(time)?;
        let program = std::env::current_exe()
            .map_err(|error| CliError::io("cannot find this program", error))?;
        // Whoever asks again means the new time.
        let _ = Command::new("systemctl")
            .args(["stop", &format!("{TIMED}.timer")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let status = Command::new("systemd-run")
            .args(["--quiet", "--collect", "--timer-property=AccuracySec=1s"])
            .arg(format!("--unit={TIMED}"))
            .arg(format!("--on-calendar={when}"))
            .arg("--same-dir")
            .args(std::env::vars_os().filter_map(|(name, value)| {
                let name = name.to_str().filter(|name| name.starts_with("LAYERSET_"))?;
                let mut word = std::ffi::OsString::from(format!("--setenv={name}="));
                word.push(value);
                Some(word)
            }))
            .arg("--")
            .arg(program)
            .args(at_once(std::env::args_os().skip(1)))
            .stdin(Stdio::null())
            .status()
            .map_err(|error| CliError::io("cannot run 'systemd-run'", error))?;
        if !status.success() {
            return Err(CliError::new(
                format!("'systemd-run' failed with {status}"),
                error::FAILED,
            ));
        }
        context.ui.print(&format!(
            "the switch is at {when}; `systemctl stop {TIMED}.timer` calls it off, and so does a restart before\n"
        ));
        Ok(())
    }
}

/// Lets the next start be settled anew, which a soft reboot does not do by itself.
pub(super) fn unsettle() -> Result<(), CliError> {
    match std::fs::remove_file(SETTLED) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::io("cannot remove /run/layerset/settled", error))
        }
        _ => Ok(()),
    }
}

/// Returns the next moment with this time of the day, as systemd.time(7) writes it.
fn next(time: &str) -> Result<String, CliError> {
    let date = |date: &str| {
        let done = Command::new("date")
            .args(["--date", date, "+%s %Y-%m-%d %H:%M:%S"])
            .output()
            .map_err(|error| CliError::io("cannot run 'date'", error))?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        let (seconds, text) = text.split_once(' ').unwrap_or_default();
        Ok::<_, CliError>((seconds.parse::<i64>().unwrap_or(0), text.to_owned()))
    };
    let (now, today) = (date("now")?.0, date(time)?);
    match today.0 > now {
        true => Ok(today.1),
        false => Ok(date(&format!("tomorrow {time}"))?.1),
    }
}

/// Returns the arguments of a command with `now` for the time of the day.
fn at_once(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> impl Iterator<Item = std::ffi::OsString> {
    let mut is_time = false;
    arguments.map(move |argument| {
        let text = argument.to_str().unwrap_or_default();
        if std::mem::replace(&mut is_time, text == "--when") {
            return "now".into();
        }
        match text.starts_with("--when=") {
            true => "--when=now".into(),
            false => argument,
        }
    })
}

/// Completes a live switch: services, health, and the way back if that fails.
pub(super) fn complete(
    context: &Context,
    root: &Path,
    config: &ConfigArgs,
    (from, to): (u64, u64),
) -> Result<LiveReport, CliError> {
    let target = &context.target(root)?;
    let repository = context.look("layerset deploy", LockMode::Shared)?;
    let host = SystemHost { context, target };
    let config = config.read_or_default(context);
    let report = complete_live(
        target,
        &repository,
        (from, to),
        &config,
        &host,
        &*context.doing,
    )?;
    if report.verdict != BootVerdict::Good {
        ui::answer_with(error::REFUSED);
    }
    Ok(report)
}

/// Starts the machine anew where a live switch failed, and the way back takes that.
pub(super) fn go_back_by_start(report: &LiveReport) -> Result<(), CliError> {
    match &report.back {
        Some(back) if back.exchange.is_none() => start_anew("reboot"),
        _ => Ok(()),
    }
}

/// Describes an exchange for people.
pub(super) fn describe_exchange(exchange: &Exchange) -> String {
    let mut text = format!(
        "new trees beneath what runs in {:.1} ms, flags kept in {} mount namespaces\n",
        exchange.seconds * 1000.0,
        exchange.namespaces
    );
    for closed in &exchange.closed {
        text.push_str(&format!("more is forbidden than before to {closed}\n"));
    }
    text
}

fn describe_units(units: &UnitReport) -> String {
    let mut text = String::new();
    for (verb, list) in [
        ("stopped", &units.stopped),
        ("started", &units.started),
        ("restarted", &units.restarted),
        ("reloaded", &units.reloaded),
    ] {
        if !list.is_empty() {
            text.push_str(&format!("{verb} {}\n", list.join(", ")));
        }
    }
    for failed in &units.failed {
        text.push_str(&format!("{failed}\n"));
    }
    text
}

/// Describes what followed an exchange.
pub(super) fn describe(report: &LiveReport, to: u64) -> String {
    let mut text = describe_units(&report.units);
    let problem = report.problem.as_deref().unwrap_or_default();
    if report.problem.is_some() {
        text.push_str(&describe_checks(&report.checks));
    }
    text.push_str(&match report.verdict {
        BootVerdict::Good => format!("generation {to} is good\n"),
        BootVerdict::Unwell => format!(
            "generation {to} is not well: {problem}; it proved itself earlier, or there is nothing else, so that \
             it stays\n"
        ),
        BootVerdict::Failed => format!("generation {to} failed, and is marked bad: {problem}\n"),
    });
    if let Some(back) = &report.back {
        text.push_str(&match &back.exchange {
            Some(_) => format!("generation {} runs again\n", back.to),
            None => format!("generation {} starts next: the machine restarts\n", back.to),
        });
        text.push_str(&describe_units(&back.units));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_word_or_a_time_of_the_day() {
        assert_eq!(parse_time("now").unwrap(), SwitchTime::Now);
        assert_eq!(parse_time("next-boot").unwrap(), SwitchTime::NextBoot);
        for good in ["00:00", "03:30", "23:59"] {
            assert_eq!(parse_time(good).unwrap(), SwitchTime::At(good.to_owned()));
        }
        for bad in ["24:00", "3:30", "03:60", "0330", "+1:00", "soon", ""] {
            parse_time(bad).unwrap_err();
        }
    }

    #[test]
    fn a_command_is_run_again_as_it_was_but_at_once() {
        let words = |text: &str| {
            let words = text.split(' ').map(std::ffi::OsString::from);
            let found: Vec<_> = at_once(words)
                .map(|word| word.into_string().unwrap())
                .collect();
            found.join(" ")
        };
        assert_eq!(
            words("update --when 03:30 --no-reboot"),
            "update --when now --no-reboot"
        );
        assert_eq!(words("update --when=03:30"), "update --when=now");
    }

    #[test]
    fn a_time_of_the_day_that_is_over_is_that_of_tomorrow() {
        let (early, late) = (next("00:00").unwrap(), next("23:59").unwrap());
        assert!(early.ends_with(" 00:00:00") && late.ends_with(" 23:59:00"));
        assert!(early > late, "{early} {late}");
    }
}
