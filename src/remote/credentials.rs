//! Credentials from the usual places of each ecosystem. They are never shown: the types have no
//! `Debug`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::patience::Endpoint;
use super::{Environment, RemoteError};

/// The most bytes that a file of credentials, or a helper's answer, has.
const MAX_BYTES: u64 = 1 << 20;

/// The longest that a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// A name and a secret.
#[derive(Clone)]
pub(super) struct Login {
    pub user: String,
    pub secret: String,
}

/// Says who asks, as RFC 7617 has it; none where a name is not fit for it.
pub(super) fn basic(login: &Login) -> Option<HeaderValue> {
    if login.user.contains(':') {
        return None;
    }
    let pair = STANDARD.encode(format!("{}:{}", login.user, login.secret));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads a small file; none when it is not there. What it says never gets into an error.
fn read(endpoint: &Endpoint, path: &Path) -> Result<Option<String>, RemoteError> {
    let failed = |reason: String| {
        let path = path.display();
        endpoint.denied(
            format!("cannot read credentials from '{path}': {reason}"),
            "mend or remove that file",
        )
    };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| failed(error.to_string()))?,
    };
    let mut text = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    Ok(Some(text))
}

/// Looks a host up in the file of curl, ftp and others: netrc(5).
pub(super) fn netrc(endpoint: &Endpoint, host: &str) -> Result<Option<Login>, RemoteError> {
    let environment = &endpoint.options.environment;
    let path = match environment.get("NETRC") {
        Some(path) => Some(path.into()),
        None => environment.home(".netrc"),
    };
    let text = match path {
        Some(path) => read(endpoint, &path)?.unwrap_or_default(),
        None => return Ok(None),
    };
    Ok(netrc_entry(&text, host))
}

fn netrc_entry(text: &str, host: &str) -> Option<Login> {
    let mut words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace);
    let (mut inside, mut user, mut secret) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if inside && user.is_some() {
                    break;
                }
                inside = word == "default" || words.next() == Some(host);
            }
            "login" => {
                let value = words.next();
                user = if inside { value } else { user };
            }
            "password" => {
                let value = words.next();
                secret = if inside { value } else { secret };
            }
            "account" => drop(words.next()),
            // The text of a macro is skipped.
            "macdef" => break,
            _ => {}
        }
    }
    let (user, secret) = (user?.to_owned(), secret.unwrap_or_default().to_owned());
    Some(Login { user, secret })
}

/// What profiles of the AWS tools say: `~/.aws/credentials` before `~/.aws/config`; keys in lower
/// case.
pub(super) fn aws_profile(endpoint: &Endpoint) -> Result<BTreeMap<String, String>, RemoteError> {
    let environment = &endpoint.options.environment;
    let profile = environment.get("AWS_PROFILE").unwrap_or("default");
    let file = |variable: &str, below: &str| {
        let path = environment.get(variable).map(Into::into);
        path.or_else(|| environment.home(below))
    };
    let mut found = BTreeMap::new();
    let files = [
        (
            file("AWS_CONFIG_FILE", ".aws/config"),
            format!("profile {profile}"),
        ),
        (
            file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            profile.to_owned(),
        ),
    ];
    for (path, section) in files {
        let Some(path) = path else { continue };
        let text = read(endpoint, &path)?.unwrap_or_default();
        found.extend(ini_section(&text, &section));
        if profile == "default" {
            found.extend(ini_section(&text, profile));
        }
    }
    Ok(found)
}

fn ini_section(text: &str, section: &str) -> BTreeMap<String, String> {
    let mut inside = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let name: Vec<_> = name.split_whitespace().collect();
            inside = name.join(" ") == section;
        } else if inside
            && !nested
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

/// What a registry wants to know: a name and a password, or a token that a token server takes.
#[derive(Clone)]
pub(super) enum RegistryLogin {
    /// For basic authentication, and for token servers.
    Password(Login),
    /// For token servers: a refresh token of OAuth 2.
    Identity(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// Looks a repository of a registry up where podman and docker keep what they know.
pub(super) fn registry(
    endpoint: &Endpoint,
    host: &str,
    repository: &str,
) -> Result<Option<RegistryLogin>, RemoteError> {
    let environment = &endpoint.options.environment;
    let below = |variable: &str, name: &str| Some(Path::new(environment.get(variable)?).join(name));
    let files = match environment.get("REGISTRY_AUTH_FILE") {
        Some(path) => vec![Some(path.into())],
        None => vec![
            below("XDG_RUNTIME_DIR", "containers/auth.json"),
            environment.home(".config/containers/auth.json"),
            below("DOCKER_CONFIG", "config.json")
                .or_else(|| environment.home(".docker/config.json")),
        ],
    };
    for path in files.into_iter().flatten() {
        let Some(text) = read(endpoint, &path)? else {
            continue;
        };
        let config: DockerConfig = serde_json::from_str(&text).map_err(|error| {
            let (path, line) = (path.display(), error.line());
            let reason = format!("'{path}' is no file of credentials: line {line} is wrong");
            endpoint.denied(reason, "mend or remove that file")
        })?;
        if let Some(login) = in_config(endpoint, &config, host, repository)? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

fn in_config(
    endpoint: &Endpoint,
    config: &DockerConfig,
    host: &str,
    repository: &str,
) -> Result<Option<RegistryLogin>, RemoteError> {
    // containers-auth.json(5): the most specific key counts. Docker's own registry is under an old
    // name.
    let mut keys = vec![format!("{host}/{repository}")];
    while let Some((shorter, _)) = keys.last().and_then(|key| key.rsplit_once('/')) {
        keys.push(shorter.to_owned());
    }
    keys.push(format!("https://{host}"));
    keys.push(format!("https://{host}/v2/"));
    if host == "registry-1.docker.io" {
        keys.extend(["docker.io", "https://index.docker.io/v1/"].map(str::to_owned));
    }
    for key in &keys {
        let helper = config.helpers.get(key);
        let known = config.auths.get(key);
        let store = known.is_some() && !config.store.is_empty();
        let inline = known.and_then(DockerAuth::login);
        if inline.is_some() && helper.is_none() {
            return Ok(inline);
        }
        if let Some(helper) = helper.or(store.then_some(&config.store))
            && let Some(login) = ask_helper(endpoint, helper, key)?
        {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

impl DockerAuth {
    fn login(&self) -> Option<RegistryLogin> {
        if !self.identitytoken.is_empty() {
            return Some(RegistryLogin::Identity(self.identitytoken.clone()));
        }
        let (user, secret) = match self.auth.as_str() {
            "" => (self.username.clone(), self.password.clone()),
            auth => {
                let pair = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
                let (user, secret) = pair.split_once(':')?;
                (user.to_owned(), secret.trim_end_matches('\0').to_owned())
            }
        };
        (!user.is_empty()).then_some(RegistryLogin::Password(Login { user, secret }))
    }
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Asks `docker-credential-NAME get`, which reads a server from standard input and answers in JSON.
fn ask_helper(
    endpoint: &Endpoint,
    name: &str,
    server: &str,
) -> Result<Option<RegistryLogin>, RemoteError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let program = format!("docker-credential-{name}");
    let failed = |reason: &str| {
        let hint = "mend the helper, or take it out of the file that names it";
        endpoint.denied(format!("the credential helper '{program}' {reason}"), hint)
    };
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(failed("has a name that no helper can have"));
    }
    let (status, text) = run_helper(endpoint, &program, server, &failed)?;
    if !status.success() {
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(failed("fails")),
        };
    }
    let answer: HelperAnswer =
        serde_json::from_str(&text).map_err(|_| failed("does not answer with JSON"))?;
    Ok(Some(match answer.user.as_str() {
        "<token>" => RegistryLogin::Identity(answer.secret),
        _ => RegistryLogin::Password(Login {
            user: answer.user,
            secret: answer.secret,
        }),
    }))
}

/// Runs a helper, and returns how it ended and what it wrote.
fn run_helper(
    endpoint: &Endpoint,
    program: &str,
    server: &str,
    failed: &dyn Fn(&str) -> RemoteError,
) -> Result<(ExitStatus, String), RemoteError> {
    let mut child = Command::new(program)
        .arg("get")
        .env_clear()
        .envs(endpoint.options.environment.iter())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| failed("cannot be started"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says so by its status.
        let _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map(|stdout| stdout.take(MAX_BYTES).read_to_string(&mut text));
        read.is_some_and(|read| read.is_ok()).then_some(text)
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < HELPER_TIMEOUT && endpoint.interrupted().is_ok() => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                endpoint.interrupted()?;
                return Err(failed("does not answer"));
            }
        }
    };
    let text = reader
        .join()
        .ok()
        .flatten()
        .ok_or_else(|| failed("does not answer with text"))?;
    Ok((status, text))
}

/// Tells whether an environment names S3 keys itself.
pub(super) fn names_s3_keys(environment: &Environment) -> bool {
    environment.get("AWS_ACCESS_KEY_ID").is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_netrc_file_is_read_as_curl_reads_it() {
        let text = "# machine no login no\nmachine a login ann password one\n\
                    machine b\n  login bob\n  password two\ndefault login joe password three\n";
        for (host, user, secret) in [
            ("a", "ann", "one"),
            ("b", "bob", "two"),
            ("no", "joe", "three"),
        ] {
            let login = netrc_entry(text, host).unwrap();
            assert_eq!((login.user.as_str(), login.secret.as_str()), (user, secret));
        }
        assert!(netrc_entry("machine a login x password y", "b").is_none());
    }

    #[test]
    fn the_profile_of_the_environment_counts() {
        let text = "[default]\naws_access_key_id = A\n# x\n[profile  ops]\nregion=r1\ns3 =\n  region = no\n";
        assert_eq!(ini_section(text, "default")["aws_access_key_id"], "A");
        assert_eq!(ini_section(text, "profile ops")["region"], "r1");
        assert!(ini_section(text, "other").is_empty());
    }

    #[test]
    fn the_most_specific_entry_for_a_repository_counts() {
        let text =
            r#"{"auths": {"h:5000": {"auth": "YTpi"}, "h:5000/team": {"auth": "Yzpk"}, "x": {}}}"#;
        let config: DockerConfig = serde_json::from_str(text).unwrap();
        let endpoint = Endpoint {
            name: "oci://h:5000/team/app".to_owned(),
            options: Default::default(),
        };
        for (repository, expected) in [("team/app", "c:d"), ("other", "a:b")] {
            let login = in_config(&endpoint, &config, "h:5000", repository).unwrap();
            let Some(RegistryLogin::Password(login)) = login else {
                panic!("no login for {repository}");
            };
            assert_eq!(format!("{}:{}", login.user, login.secret), expected);
        }
        assert!(in_config(&endpoint, &config, "x", "y").unwrap().is_none());
    }
}
