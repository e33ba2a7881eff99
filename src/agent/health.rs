//! Health checks: whether what runs does what its layers promise.
//!
//! Each check is asked again until it passes or its time is over: a service that has just started may
//! need a moment. All of them run at once.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::proof::Host;
use super::{child, gateway};
use crate::format::{HealthCheck, Image, Probe};
use crate::store::{Repository, StoreError};

/// How long to wait before a check is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one answer may take, where the check itself allows more.
const ANSWER: Duration = Duration::from_secs(10);

/// What one check said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedHealth {
    /// The layer that promises it.
    pub layer: String,
    /// Its name.
    pub check: String,
    /// What is wrong; none where it passed.
    pub problem: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Runs the health checks of all layers of an image, whose layers are in the repository.
pub(super) fn check_health(
    repository: &Repository,
    image: &Image,
    host: &dyn Host,
) -> Result<Vec<CheckedHealth>, StoreError> {
    let mut checks = Vec::new();
    for layer in &image.layers {
        let found = repository.read_layer(&layer.id)?.health.checks;
        checks.extend(found.into_iter().map(|check| (layer.name.clone(), check)));
    }
    Ok(watch_all(checks, host))
}

/// Asks other machines whether they answer, for at most a time.
pub(super) fn check_reachable(
    whom: &[String],
    patience: Duration,
    host: &dyn Host,
) -> Vec<CheckedHealth> {
    let check = |whom: &String| HealthCheck {
        name: format!("{whom} is reachable"),
        probe: Probe::Reachable(whom.clone()),
        timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    };
    let checks = whom.iter().map(|whom| (String::new(), check(whom)));
    watch_all(checks.collect(), host)
}

/// Asks all checks at once.
fn watch_all(checks: Vec<(String, HealthCheck)>, host: &dyn Host) -> Vec<CheckedHealth> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = checks
            .into_iter()
            .map(|(layer, check)| scope.spawn(move || watch(layer, &check, host)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Asks a check until it passes or its time is over.
fn watch(layer: String, check: &HealthCheck, host: &dyn Host) -> CheckedHealth {
    let started = Instant::now();
    let limit = Duration::from_millis(check.timeout_ms);
    let problem = loop {
        let left = limit.saturating_sub(started.elapsed()).min(ANSWER);
        match ask(&check.probe, left.max(PAUSE), host) {
            Ok(()) => break None,
            Err(problem) if started.elapsed() + PAUSE > limit => break Some(problem),
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    CheckedHealth {
        layer,
        check: check.name.clone(),
        problem,
        seconds: started.elapsed().as_secs_f64(),
    }
}

fn ask(probe: &Probe, limit: Duration, host: &dyn Host) -> Result<(), String> {
    match probe {
        Probe::Run(command) => run(host.shell(command), limit),
        Probe::Unit(unit) => {
            let own = host.unit(unit).ok_or_else(|| {
                format!("no unit of this system runs '{unit}': `layerset run --print-unit {unit}` writes one")
            })?;
            let mut command = Command::new("systemctl");
            command.args(["is-active", "--quiet", "--", &own]);
            run(command, limit).map_err(|_| format!("'{own}' is not active"))
        }
        Probe::Http { url, expect } => fetch(url, expect.as_deref(), limit),
        Probe::Tcp(address) => connect(address, limit)
            .map(drop)
            .map_err(|error| format!("'{address}' takes no connection: {error}")),
        Probe::File(path) => match host.file(path).try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("'{path}' is not there")),
            Err(error) => Err(format!("'{path}' cannot be looked at: {error}")),
        },
        Probe::Reachable(whom) if whom == "gateway" => gateway::answers(limit),
        Probe::Reachable(address) => match connect(address, limit) {
            Ok(_) => Ok(()),
            // Whoever refuses is there.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(format!("'{address}' does not answer: {error}")),
        },
    }
}

/// Connects to `HOST:PORT`, by whichever of its addresses answers first in their order.
fn connect(address: &str, limit: Duration) -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    // All of them within the time.
    let each = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut problem = std::io::Error::other("it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, each.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn run(mut command: Command, limit: Duration) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    child::end_within(&mut child, limit)
}

/// Fetches a page from this machine: no proxy stands in between.
fn fetch(url: &str, expect: Option<&str>, limit: Duration) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(limit)
            .build()?;
        let answer = client.get(url).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.text().await?))
    });
    let (status, body) = answer.map_err(|error| crate::causes::chain(&error))?;
    if !(status.is_success() || status.is_redirection()) {
        return Err(format!("'{url}' answers {status}"));
    }
    match expect {
        Some(text) if !body.contains(text) => Err(format!("'{url}' does not say '{text}'")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    struct Bare;

    impl Host for Bare {
        fn restart_services(
            &self,
            _: Option<&[String]>,
        ) -> Result<Vec<String>, crate::agent::AgentError> {
            Ok(Vec::new())
        }

        fn restart_machine(&self) -> Result<(), crate::agent::AgentError> {
            Ok(())
        }

        fn shell(&self, text: &str) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        }

        fn unit(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn check(probe: Probe, timeout_ms: u64) -> CheckedHealth {
        let check = HealthCheck {
            name: "x".to_owned(),
            probe,
            timeout_ms,
        };
        watch("layer".to_owned(), &check, &Bare)
    }

    #[test]
    fn a_command_passes_fails_or_takes_too_long() {
        assert_eq!(check(Probe::Run("true".to_owned()), 1000).problem, None);
        let problem = check(Probe::Run("exit 3".to_owned()), 100).problem;
        assert_eq!(problem.unwrap(), "it ended with exit status: 3");
        let problem = check(Probe::Run("sleep 60".to_owned()), 100).problem;
        assert!(problem.unwrap().starts_with("it did not end within"));
    }

    #[test]
    fn what_needs_a_moment_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let text = format!("test -e {0} || {{ touch {0}; exit 1; }}", file.display());
        assert_eq!(check(Probe::Run(text), 5000).problem, None);
    }

    #[test]
    fn a_port_takes_connections_or_not() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        assert_eq!(check(Probe::Tcp(address.clone()), 1000).problem, None);
        assert_eq!(check(Probe::Reachable(address.clone()), 1000).problem, None);
        drop(server);
        let problem = check(Probe::Tcp(address.clone()), 100).problem.unwrap();
        assert!(problem.contains("takes no connection"), "{problem}");
        // The machine is there, though nothing listens.
        assert_eq!(check(Probe::Reachable(address), 100).problem, None);
    }

    #[test]
    fn what_cannot_be_reached_is_told() {
        // Everybody is nobody that could be connected to.
        let problem = check(Probe::Reachable("255.255.255.255:9".to_owned()), 100).problem;
        assert!(problem.unwrap().contains("does not answer"));
        let problem = check(Probe::Reachable("no-such-host.invalid:9".to_owned()), 100).problem;
        assert!(problem.unwrap().contains("does not answer"));
    }

    #[test]
    fn a_file_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready").display().to_string();
        let problem = check(Probe::File(path.clone()), 100).problem.unwrap();
        assert!(problem.ends_with("is not there"), "{problem}");
        std::fs::write(&path, "").unwrap();
        assert_eq!(check(Probe::File(path), 100).problem, None);
    }

    #[test]
    fn a_page_has_to_say_what_is_expected() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfit");
            }
        });
        let probe = |expect: Option<&str>| Probe::Http {
            url: url.clone(),
            expect: expect.map(str::to_owned),
        };
        assert_eq!(check(probe(None), 5000).problem, None);
        assert_eq!(check(probe(Some("fit")), 5000).problem, None);
        let problem = check(probe(Some("well")), 100).problem.unwrap();
        assert!(problem.ends_with("does not say 'well'"), "{problem}");
    }
}
