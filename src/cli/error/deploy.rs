//! What to do when a target cannot be changed, in terms of the command line.

use super::{CliError, FAILED, INTEGRITY, INTERRUPTED, REFUSED, of_place};
use crate::deploy::{DeployError, RUN_PATH};
use crate::durable::DurableError;

impl From<DeployError> for CliError {
    fn from(error: DeployError) -> Self {
        let hint = hint(&error);
        match error {
            DeployError::Store(error) => error.into(),
            DeployError::Trust(error) => (*error).into(),
            DeployError::Interrupted => Self::new("interrupted", INTERRUPTED),
            error => {
                let exit = match &error {
                    DeployError::Conflicts(_)
                    | DeployError::Renumbered(_)
                    | DeployError::Bad { .. }
                    | DeployError::BadImage { .. }
                    | DeployError::NothingCurrent { .. }
                    | DeployError::EtcEdited { .. }
                    | DeployError::EtcElsewhere { .. } => REFUSED,
                    DeployError::Objects(_)
                    | DeployError::Damaged { .. }
                    | DeployError::Metadata { .. } => INTEGRITY,
                    _ => FAILED,
                };
                let mut shown = Self::from_error(&error, exit);
                if let DeployError::Conflicts(conflicts) = &error {
                    shown.causes.extend(conflicts.iter().map(|conflict| {
                        let record = conflict
                            .record
                            .as_ref()
                            .map_or(String::new(), |record| format!(" ({record})"));
                        format!("{}{record}: {}", conflict.path, conflict.reason)
                    }));
                }
                shown.hinted(hint)
            }
        }
    }
}

/// Says what to do about an error, where there is something to say.
fn hint(error: &DeployError) -> Option<String> {
    Some(match error {
        DeployError::Missing { .. } | DeployError::NothingDeployed => {
            "deploy an image there first".to_owned()
        }
        DeployError::Machine(error) => return error.hint(),
        DeployError::NoMachine => {
            "it is for machines that were exported as disks, and there for their own disk".to_owned()
        }
        DeployError::NotMounted { .. } => "`layerset activate` mounts it".to_owned(),
        DeployError::NoService { .. } => {
            "name a unit below usr/lib/systemd/system of the image, as in 'nginx.service'".to_owned()
        }
        DeployError::Linked { .. } => {
            "deploy it as root where mounts work; `layerset run` starts its programs anyway".to_owned()
        }
        DeployError::Occupied { .. } => {
            "choose another directory, or move its contents away".to_owned()
        }
        DeployError::NoDirectory { .. } => {
            "name a directory; one that is not there is made".to_owned()
        }
        DeployError::NoProgram { .. } => format!(
            "it is looked for in {RUN_PATH}; a path begins with '/'"
        ),
        DeployError::Prepared { uid: 0, .. } if !rustix::process::geteuid().is_root() => {
            "run as root: the target is root's".to_owned()
        }
        DeployError::Prepared { .. } => {
            "whoever made it could lead what is deployed elsewhere: choose a directory that only root may write, or move this one away".to_owned()
        }
        DeployError::Incompatible { .. } => "use the layerset that made it, or a newer one".to_owned(),
        DeployError::OtherRepository { recorded, .. } => {
            format!("use --repo {}", recorded.display())
        }
        DeployError::Damaged { .. } => "restore the file, or switch to another deployment".to_owned(),
        DeployError::NoSpace { .. } => {
            "prune old deployments, or make the filesystem larger".to_owned()
        }
        DeployError::Objects(_) => "`layerset fsck --repair` brings back what is damaged, or says what does".to_owned(),
        DeployError::Renumbered(findings) => {
            let id = findings.first().map(|finding| finding.id.as_str());
            format!(
                "give it its number again in layers/ids.toml and build, or waive '{}' in the recipe and build",
                id.unwrap_or_default()
            )
        }
        DeployError::Conflicts(conflicts) => {
            let path = conflicts.first().map(|conflict| conflict.path.to_string());
            format!(
                "decide for each path: --keep-file {0} leaves it as it is here, --take-file {0} takes the image's",
                path.unwrap_or_default()
            )
        }
        DeployError::EtcEdited { .. } | DeployError::EtcElsewhere { .. } => {
            "stage the image again, so that the current /etc is merged".to_owned()
        }
        DeployError::NothingCurrent { newest } => {
            format!("'layerset status' lists the deployments; 'layerset rollback --to {newest}' makes the newest current")
        }
        DeployError::NoSuchDeployment { .. } => "'layerset status' lists the deployments".to_owned(),
        DeployError::Bad { generation, .. } => {
            format!("to use it anyway, name it: --to {generation}")
        }
        DeployError::BadImage {
            generation: Some(generation),
            ..
        } => format!("`layerset rollback --to {generation}` uses it anyway"),
        DeployError::BadImage { .. } => "publish or build a better one".to_owned(),
        DeployError::NoPrevious => {
            "'layerset status' lists the deployments; name one by --to".to_owned()
        }
        DeployError::IsCurrent { .. } => "switch to another deployment first".to_owned(),
        DeployError::Metadata { .. } => "stage the image again".to_owned(),
        DeployError::StillMounted { .. } => "unmount what is mounted there, then try again".to_owned(),
        DeployError::Unrecorded { .. } => {
            "the next command on this target completes the history".to_owned()
        }
        DeployError::Durable(DurableError::Io { path, .. }) => return of_place(path),
        DeployError::Store(_)
        | DeployError::Merge(_)
        | DeployError::Materialise(_)
        | DeployError::Trust(_)
        | DeployError::Durable(_)
        | DeployError::Interrupted => return None,
    })
}
