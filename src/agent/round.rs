//! One round of the agent: ask the channel, stage what is new, switch when it is time, prove the
//! switch, and tell. A timer calls it; nothing runs in between.

use serde::Serialize;

use super::inhibit::inhibited;
use super::live::complete_live;
use super::memory::Memory;
use super::proof::{ACTION, Host, Proof, look, problem_of, prove};
use super::tell::{Event, EventKind, Metrics, tell, write_metrics};
use super::{AgentConfig, AgentError, ChannelReport, News, news, update};
use crate::causes::chain;
use crate::deploy::{
    DeployMode, DeployOptions, DeployReport, HistoryAction, HistoryRecord, SwitchClass, SwitchWay,
    Target, TargetLocation,
};
use crate::store::Repository;
use crate::transfer::{ChannelForecast, FollowOptions};

/// What a round came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RoundReport {
    /// The channel has nothing new for the target.
    Nothing {
        /// Why.
        why: String,
    },
    /// Something keeps the agent from working for now.
    Inhibited {
        /// What.
        why: String,
    },
    /// A release is staged, and waits for its time.
    Staged {
        /// The deployment.
        generation: u64,
        /// The release.
        serial: u64,
    },
    /// The machine runs it after its next restart.
    StartsNext {
        /// The deployment.
        generation: u64,
        /// Whether the agent restarts the machine.
        restarts: bool,
    },
    /// Another deployment is current.
    Switched {
        /// The deployment.
        generation: u64,
        /// What the health checks said.
        proof: Proof,
    },
    /// What was switched to was not well.
    Returned {
        /// The deployment that was not.
        generation: u64,
        /// What the health checks said.
        proof: Proof,
    },
}

/// What a round works with.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// The target.
    pub location: &'a TargetLocation,
    /// Where its images are.
    pub repository: &'a Repository,
    /// What the administrator wants.
    pub config: &'a AgentConfig,
    /// How to follow its channel.
    pub following: &'a FollowOptions<'a>,
    /// How to bring an image onto it.
    pub deploying: &'a DeployOptions<'a>,
    /// The system that runs.
    pub host: &'a dyn Host,
    /// Whether to switch whatever the windows say.
    pub is_now: bool,
}

impl Round<'_> {
    /// Makes one round. What it could not tell somebody is returned beside what it came to.
    pub fn run(&self) -> (Result<RoundReport, AgentError>, Vec<String>) {
        let now = self.location.clock.now_sec();
        let mut remarks = Vec::new();
        let target = match self.location.open() {
            Ok(target) => target,
            Err(error) => return (Err(error.into()), remarks),
        };
        let mut memory = Memory::load(&target);
        let result = self.work(&target, &mut memory, now);
        let is_proved = matches!(
            result,
            Ok(RoundReport::Switched { .. } | RoundReport::Returned { .. })
        );
        if !is_proved {
            memory.healthy = self.is_healthy(&target);
        }
        let (event, problem) = match &result {
            Ok(report) => (self.event(&target, &memory, report, now), None),
            Err(error) => {
                let problem = chain(error);
                let event = Event::new(EventKind::Failed, target.root(), now, problem.clone());
                (Some(event), Some(problem))
            }
        };
        // A server that is down all night is one message, not one for every round.
        let is_repeated = problem.is_some() && problem == memory.told_problem;
        memory.told_problem = problem;
        if let (Some(event), false) = (event, is_repeated) {
            remarks.extend(tell(self.config, &event));
        }
        if let Ok(
            RoundReport::Staged { generation, .. } | RoundReport::StartsNext { generation, .. },
        ) = &result
        {
            memory.told_staged = Some(*generation);
        }
        let disk = self.location.disk.as_ref();
        if let Err(error) = memory.save(&target, disk) {
            remarks.push(chain(&error));
        }
        if let Some(path) = &self.config.textfile {
            let metrics = metrics(&target, self.repository, &memory, now);
            if let Err(error) = write_metrics(disk, path, &metrics) {
                remarks.push(chain(&error));
            }
        }
        (result, remarks)
    }

    fn work(
        &self,
        target: &Target,
        memory: &mut Memory,
        now: i64,
    ) -> Result<RoundReport, AgentError> {
        if let Some(why) = inhibited(self.config).filter(|_| !self.is_now) {
            return Ok(RoundReport::Inhibited { why });
        }
        let found = news(
            self.location,
            self.repository,
            None,
            self.following,
            self.deploying.again,
        )?;
        memory.last_contact = Some(now);
        let forecast = match found {
            News::Nothing { why, .. } => {
                memory.last_success = Some(now);
                memory.pending = None;
                return Ok(RoundReport::Nothing { why });
            }
            News::Release(forecast) => forecast,
        };
        memory.pending = Some((forecast.release.serial, forecast.release.published));
        if let Some(report) = self.waits_for_restart(target, &forecast, now)? {
            return Ok(report);
        }
        let is_open = self.is_now || self.config.is_open(now);
        let options = DeployOptions {
            action: ACTION,
            mode: match is_open {
                true => DeployMode::Switch,
                false => DeployMode::Stage,
            },
            ..self.deploying.clone()
        };
        let report = update(
            self.location,
            self.repository,
            None,
            self.following,
            &options,
        )?;
        let ChannelReport::Deployed { deployed, pulled } = report else {
            return Ok(RoundReport::Nothing {
                why: "the channel has changed meanwhile".to_owned(),
            });
        };
        memory.received_bytes = memory.received_bytes.saturating_add(pulled.received_bytes);
        let serial = pulled.release.serial;
        let DeployReport::Deployed(deployed) = deployed else {
            memory.last_success = Some(now);
            memory.pending = None;
            return Ok(RoundReport::Nothing {
                why: format!("release {serial} is already current"),
            });
        };
        let generation = deployed.generation;
        let Some(switched) = deployed.switched else {
            return Ok(RoundReport::Staged { generation, serial });
        };
        if switched.at_restart {
            self.start_anew(target, generation, deployed.way.as_ref())?;
            return Ok(RoundReport::StartsNext {
                generation,
                restarts: true,
            });
        }
        if let (Some(from), Some(_)) = (switched.from, &deployed.exchange) {
            let live = complete_live(
                target,
                self.repository,
                (from, generation),
                self.config,
                self.host,
                self.deploying.doing,
            )?;
            let proof = live.proof(generation);
            if proof.returned.is_some_and(|back| back.at_restart) {
                self.host.restart_machine()?;
            }
            return Ok(report_of(memory, generation, proof, now));
        }
        let services: Vec<String> = deployed.services.iter().map(|s| s.unit.clone()).collect();
        self.host.restart_services(Some(&services))?;
        let proof = prove(target, self.repository, switched, self.config, self.host)?;
        Ok(report_of(memory, generation, proof, now))
    }

    /// Starts the machine anew with what is next: the kernel too, unless that stays.
    fn start_anew(
        &self,
        target: &Target,
        generation: u64,
        way: Option<&SwitchWay>,
    ) -> Result<(), AgentError> {
        if way.is_none_or(|way| way.class == SwitchClass::Reboot) {
            return self.host.restart_machine();
        }
        target.change("layerset agent")?.lay_next_root(generation)?;
        self.host.soft_reboot()
    }

    /// Says whether what is current is well: for reports, for what proved itself once stays. None where
    /// that cannot be said.
    fn is_healthy(&self, target: &Target) -> Option<bool> {
        let image = target.image_of(target.current().ok()??).ok()?;
        let checks = look(self.repository, &image, self.config, self.host).ok()?;
        Some(problem_of(&checks).is_none())
    }

    /// Says whether the machine starts the release next already, and restarts it when it is time.
    fn waits_for_restart(
        &self,
        target: &Target,
        forecast: &ChannelForecast,
        now: i64,
    ) -> Result<Option<RoundReport>, AgentError> {
        let Some(machine) = target.machine() else {
            return Ok(None);
        };
        let next = machine.next()?.deployment;
        let Some(generation) = next.filter(|next| *next != machine.running()) else {
            return Ok(None);
        };
        if target.image_id_of(generation)? != forecast.release.id.image() {
            return Ok(None);
        }
        let restarts = self.is_now || self.config.is_open(now);
        if restarts {
            let way = target.way_to_generation(self.repository, generation)?;
            self.start_anew(target, generation, way.as_ref())?;
        }
        Ok(Some(RoundReport::StartsNext {
            generation,
            restarts,
        }))
    }

    /// Returns what the world is told of a round, if it is told anything.
    fn event(
        &self,
        target: &Target,
        memory: &Memory,
        report: &RoundReport,
        now: i64,
    ) -> Option<Event> {
        let (kind, generation, message) = match report {
            RoundReport::Nothing { .. } | RoundReport::Inhibited { .. } => return None,
            RoundReport::Staged { generation, .. } | RoundReport::StartsNext { generation, .. }
                if memory.told_staged == Some(*generation) =>
            {
                return None;
            }
            RoundReport::Staged { generation, .. } => {
                let text = format!("generation {generation} is staged, and waits for its window");
                (EventKind::Staged, *generation, text)
            }
            RoundReport::StartsNext { generation, .. } => {
                let text = format!("generation {generation} starts next");
                (EventKind::Staged, *generation, text)
            }
            RoundReport::Switched { generation, proof } => match &proof.problem {
                None => {
                    let text = format!("generation {generation} is current, and well");
                    (EventKind::Switched, *generation, text)
                }
                Some(problem) => {
                    let text = format!(
                        "generation {generation} is not well, and there is nothing to go back to: {problem}"
                    );
                    (EventKind::Failed, *generation, text)
                }
            },
            RoundReport::Returned { generation, proof } => {
                let problem = proof.problem.as_deref().unwrap_or_default();
                let text = format!("generation {generation} is left, and marked bad: {problem}");
                (EventKind::Returned, *generation, text)
            }
        };
        let mut event = Event::new(kind, target.root(), now, message);
        event.generation = Some(generation);
        event.image = target.image_id_of(generation).ok();
        fill(&mut event, target);
        Some(event)
    }
}

/// Says what a switch that was proved came to, and remembers it.
fn report_of(memory: &mut Memory, generation: u64, proof: Proof, now: i64) -> RoundReport {
    memory.healthy = Some(proof.problem.is_none());
    match proof.returned {
        Some(_) => RoundReport::Returned { generation, proof },
        None => {
            memory.last_success = Some(now);
            memory.pending = None;
            RoundReport::Switched { generation, proof }
        }
    }
}

/// Adds what the target knows of its channel.
pub fn fill(event: &mut Event, target: &Target) {
    if let Ok(Some(subscription)) = target.subscription() {
        event.channel = Some(subscription.channel.to_string());
        event.serial = Some(subscription.serial);
    }
}

fn metrics(target: &Target, repository: &Repository, memory: &Memory, now: i64) -> Metrics {
    let current = target.current().ok().flatten();
    let image = current.and_then(|current| {
        let id = target.image_id_of(current).ok()?;
        Some((target.image_of(current).ok()?.name, id.to_string()))
    });
    let switched = target.history().ok().and_then(|history| {
        let mut records = history.records.iter().rev();
        records
            .find(|record| record.action.is_switch())
            .map(|record| record.when)
    });
    let release = target.subscription().ok().flatten();
    Metrics {
        target: target.root().display().to_string(),
        image,
        release: release.map(|known| (known.channel.to_string(), known.serial)),
        generation: current,
        last_contact: memory.last_contact,
        last_success: memory.last_success,
        last_switch: switched,
        healthy: memory.healthy,
        is_pending: memory.pending.is_some(),
        behind_seconds: memory
            .pending
            .map_or(0, |(_, published)| (now - published).max(0)),
        received_bytes: memory.received_bytes,
        edited_paths: target
            .count_etc_edits(repository)
            .ok()
            .and_then(|count| u64::try_from(count).ok()),
        bad_images: u64::try_from(target.bad_images()).unwrap_or(u64::MAX),
    }
}

/// Says whether a record of a history tells of a way back that nobody asked for.
pub fn is_own_return(record: &HistoryRecord) -> bool {
    record.action == HistoryAction::Rollback && record.who == "layerset"
}
