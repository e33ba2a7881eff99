//! What to do when a build or a lock fails, in terms of the command line.

use std::error::Error;

use serde_json::json;

use super::{CliError, FAILED, INTEGRITY, INTERRUPTED, MAKE_ROOM, REFUSED};
use crate::apt::AptError;
use crate::builder::BuildError;
use crate::check::Finding;
use crate::compose::{ComposeError, lock_again, waiver_block};
use crate::durable::DurableError;
use crate::path::RelPath;
use crate::sandbox::SandboxError;
use crate::store::StoreError;

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        let hint = hint(&error);
        match error {
            BuildError::Recipe(error) => error.into(),
            BuildError::Store(error) => error.into(),
            BuildError::Interrupted => Self::new("interrupted", INTERRUPTED),
            error => {
                let exit = match &error {
                    BuildError::Refused { .. }
                    | BuildError::Damage { .. }
                    | BuildError::RebuildNeeded { .. }
                    | BuildError::NeedsLock { .. }
                    | BuildError::Unclassified { .. }
                    | BuildError::MachineId { .. }
                    | BuildError::Volatile { .. }
                    | BuildError::Secrets { .. }
                    | BuildError::RandomSecrets { .. } => REFUSED,
                    BuildError::Apt(crate::apt::AptError::HashMismatch { .. }) => INTEGRITY,
                    _ => FAILED,
                };
                let details = match &error {
                    BuildError::Unclassified { layer, groups, .. } => Some(json!({
                        "layer": layer,
                        "unclassified": groups,
                    })),
                    _ => None,
                };
                Self {
                    hint,
                    details,
                    ..Self::from_error(&error, exit)
                }
            }
        }
    }
}

/// Says what `[state]` can do about a file below `/var` that each build makes anew.
fn state_hint(path: &RelPath) -> String {
    let text = path.to_string();
    let text = text.trim_start_matches('/');
    let mut parts = text.match_indices('/');
    match parts.nth(2) {
        Some((end, _)) if text.starts_with("var/") => format!(
            "or let each machine make all of it, as databases should:\n  [state]\n  \"{}\" = \"drop\"\n\
             or say there that this very file is no secret: \"{text}\" = \"factory\";\n",
            &text[..end]
        ),
        _ => String::new(),
    }
}

/// Says what to do about a secret that nobody declared.
fn of_secret(layer: &str, path: &RelPath) -> String {
    let text = path.to_string();
    let text = text.trim_start_matches('/');
    if ["etc/shadow", "etc/passwd", "etc/gshadow", "etc/group"].contains(&text) {
        return "an image must not hold a password, nor an account that opens without one: lock it in a script \
                (`passwd --delete USER; passwd --lock USER`, `usermod --password '*' USER`), and set it on each machine"
            .to_owned();
    }
    format!(
        "remove it in a script (`rm /{text}`), or declare in layers/{layer}/layer.toml how each machine makes its own at its \
         first boot:\n  [secrets]\n  \"{text}\" = {{ run = \"…\" }}\nor, where everybody may have it, say why:\n{}",
        allow_block(path)
    )
}

/// Returns what lets a file in, to be pasted into a definition.
fn allow_block(path: &RelPath) -> String {
    let text = path.to_string();
    format!(
        "  [secrets]\n  allow = [{{ path = \"{}\", reason = \"…\" }}]",
        text.trim_start_matches('/')
    )
}

/// Says what to do next, where that is known.
fn hint(error: &BuildError) -> Option<String> {
    match error {
        BuildError::MachineId { layer } => Some(format!(
            "leave /etc/machine-id out of '{layer}', or ship it empty or with the word 'uninitialized': \
             each machine makes its own at its first boot"
        )),
        BuildError::Volatile { layer, .. } => Some(format!(
            "/dev, /proc, /run, /sys, /tmp and /var/tmp belong to the running machine: ship a file below \
             /usr/lib/tmpfiles.d in '{layer}', which makes them at each boot"
        )),
        BuildError::Unclassified {
            layer,
            has_rules,
            groups,
        } => {
            let lines: String = groups.iter().map(|group| format!("{}\n", group.line())).collect();
            let (place, head) = match has_rules {
                true => ("below [state] in", ""),
                false => ("to", "[state]\n"),
            };
            Some(format!(
                "add {place} layers/{layer}/layer.toml:\n{head}{lines}\
                 (image: changes with the image; factory: copied once to a machine's /var; drop: each machine makes its own)\n\
                 then build again: what was installed is kept, so that takes seconds"
            ))
        }
        BuildError::Secrets { layer, found } => Some(of_secret(layer, &found.first()?.path)),
        BuildError::RandomSecrets { layer, paths } => {
            let path = paths.first()?;
            Some(format!(
                "declare in layers/{layer}/layer.toml how each machine makes its own:\n  [secrets]\n  \"{}\" = {{ run = \"…\" }}\n{}\
                 or remove it in a script; what is no secret can be made the same at each build there, or readable for all, \
                 or let in:\n{}",
                path.to_string().trim_start_matches('/'),
                state_hint(path),
                allow_block(path)
            ))
        }
        BuildError::NeedsLock { findings } => {
            let mut layers: Vec<&str> = Vec::new();
            for finding in findings.iter().filter(|finding| finding.needs_lock()) {
                if !layers.contains(&finding.layer.as_str()) {
                    layers.push(&finding.layer);
                }
            }
            Some(lock_again(&layers))
        }
        BuildError::Refused { findings }
        | BuildError::Damage { findings, .. }
        | BuildError::RebuildNeeded { findings } => of_finding(findings.first()?),
        BuildError::AnotherChanged { layer, .. } => Some(format!(
            "update '{layer}' first, or run `layerset build` and `layerset deploy` to take all changes"
        )),
        BuildError::Step { source, .. } | BuildError::Generator { source, .. } => of_sandbox(source),
        BuildError::GeneratingNeedsRoot => Some(
            "run `layerset build` as root once; the results are kept until their inputs change".to_owned(),
        ),
        BuildError::Compose(ComposeError::Generate(error)) => of_generator(error.source.as_ref()),
        BuildError::Sandbox(source) => of_sandbox(source),
        BuildError::Apt(error) => of_apt(error),
        BuildError::NoInterpreter { layer, .. } => Some(format!(
            "add the package that has it to [apt] packages of layers/{layer}/layer.toml, or its layer to 'on'"
        )),
        BuildError::NeedsRoot { .. } => Some(
            "run `layerset build` as root; only `layerset lock`, and a build that keeps all layers, work without root".to_owned(),
        ),
        BuildError::Unprivileged { .. } => Some(
            "a container gives its root less than a machine does: start it with `docker run --privileged` or \
             `podman run --privileged`, or build on a machine or in a virtual machine".to_owned(),
        ),
        BuildError::ForeignPrograms { architecture, .. } => Some(format!(
            "`apt-get install arch-test qemu-user-binfmt` (qemu-user-static on Debian 12) lets them run here, slowly; \
             or build on an {architecture} machine: `layerset lock` works anywhere"
        )),
        BuildError::NotBuilt { recipe, .. } => {
            Some(format!("run `layerset build {}` first", recipe.display()))
        }
        BuildError::OracleNeedsRoot => Some("run it as root, like `layerset build`".to_owned()),
        BuildError::Durable(DurableError::Full { .. }) | BuildError::Store(StoreError::TooSmall { .. }) => {
            Some(MAKE_ROOM.to_owned())
        }
        _ => None,
    }
}

/// Says what helps against a finding, and how to accept it.
fn of_finding(finding: &Finding) -> Option<String> {
    let mut hint = finding.hint.clone();
    if finding.is_waivable() {
        hint.push_str(&format!(";\n{}", waiver_block(&finding.id)));
    }
    Some(hint)
}

/// Says what to do next, where that is known.
fn of_apt(error: &AptError) -> Option<String> {
    let text = match error {
        AptError::Spawn { program, .. } => {
            format!("install the Debian package that has '{program}', or run `make deps`")
        }
        AptError::Refused(refused) => refused.cure.clone(),
        AptError::HashMismatch { path, .. } => {
            format!(
                "remove '{}' to fetch it again; if the digest is still wrong, do not trust its archive",
                path.display()
            )
        }
        AptError::Gone { .. } => {
            "run `layerset lock --update LAYER` for the layer that has them, or name an archive that still has them: \
             snapshots = [\"ADDRESS\"] in its [bootstrap] or [apt]; whoever still has them can send them to a remote that this \
             machine trusts: `layerset publish --debs`"
                .to_owned()
        }
        AptError::NotCached { .. } | AptError::Download { .. } => {
            "check the network, then run the command again; finished downloads are kept".to_owned()
        }
        AptError::UnknownArchive { .. } | AptError::NoSource { .. } => {
            "name the archive in [[bootstrap.sources]] or [[apt.sources]], give it with --apt-sources FILE, or lock the recipe again".to_owned()
        }
        AptError::UnknownPackage { .. } => {
            "correct the name in the layer's packages; nothing was changed".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

/// How bubblewrap says that it may not make a sandbox.
const UNPRIVILEGED: [&str; 2] = [
    "bwrap: Creating new namespace failed",
    "bwrap: Failed to make",
];

/// How programs say that there is no network: resolvers, curl, wget, apt, git, pip, npm, Go, Perl and
/// Ruby.
const NO_NETWORK: [&str; 15] = [
    "Could not resolve",
    "Couldn't resolve",
    "unable to resolve host",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "Bad hostname",
    "getaddrinfo",
    "EAI_AGAIN",
    "ENOTFOUND",
    "Network is unreachable",
    "Failed to establish a new connection",
    "dial tcp",
    "Could not connect to",
    "Couldn't connect to server",
];

fn says(lines: &[String], words: &[&str]) -> bool {
    lines
        .iter()
        .any(|line| words.iter().any(|word| line.contains(word)))
}

/// Says whether a script failed because it looked for something in a network.
fn wants_network(lines: &[String]) -> bool {
    says(lines, &NO_NETWORK)
}

/// Says what to do next, where that is known.
fn of_sandbox(error: &SandboxError) -> Option<String> {
    match error {
        SandboxError::Missing { program, .. } => Some(format!(
            "install the Debian package that has '{program}', or run `make deps`"
        )),
        SandboxError::Failed { last_lines, .. } if wants_network(last_lines) => Some(format!(
            "scripts have no network, so that a build gives the same every time: fetch what it needs beforehand into \
             the layer's files/ ([files]), or name its package in [apt]; its last lines were:\n  {}",
            last_lines.join("\n  ")
        )),
        SandboxError::Failed { last_lines, .. } if says(last_lines, &UNPRIVILEGED) => {
            Some(format!(
                "the machine does not let root make namespaces or mounts, as in a container: start it with --privileged, \
             or build on a machine or in a virtual machine; its last lines were:\n  {}",
                last_lines.join("\n  ")
            ))
        }
        SandboxError::Failed { last_lines, .. } if !last_lines.is_empty() => Some(format!(
            "its last lines were:\n  {}",
            last_lines.join("\n  ")
        )),
        SandboxError::Limit { last_lines, .. } => {
            let mut text =
                "a script that needs more time says so: [run] timeout = \"3h\"".to_owned();
            if !last_lines.is_empty() {
                text.push_str("\nits last lines were:\n  ");
                text.push_str(&last_lines.join("\n  "));
            }
            Some(text)
        }
        _ => None,
    }
}

/// The cause of a generator's failure is a build's, or that of its sandbox.
fn of_generator(cause: &(dyn Error + 'static)) -> Option<String> {
    match cause.downcast_ref() {
        Some(error) => of_sandbox(error),
        None => hint(cause.downcast_ref()?),
    }
}
