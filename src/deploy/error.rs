//! What can go wrong on a target; a variant for each remedy. Every refusal comes before the first
//! write.

use std::path::{Path, PathBuf};

use super::machine::MachineError;
use crate::check::Finding;
use crate::durable::DurableError;
use crate::id::{ImageId, ObjectId};
use crate::materialise::MaterialiseError;
use crate::merge::{Conflict, MergeError};
use crate::path::RelPath;
use crate::store::StoreError;
use crate::trust::TrustError;

/// Why a target could not be read or changed.
// The names of the fields say what they are.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The disk of the running machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The target is not what this machine runs from.
    #[error("this machine does not run from this target")]
    NoMachine,
    /// There is no deployment to run anything in.
    #[error("nothing is deployed on this target yet")]
    NothingDeployed,
    /// The current deployment is not mounted.
    #[error("generation {generation} is not mounted")]
    NotMounted { generation: u64 },
    /// The current deployment has no such program.
    #[error("generation {generation} has no program '{program}'")]
    NoProgram { generation: u64, program: String },
    /// The current deployment has no such service.
    #[error("the current deployment has no service '{service}'")]
    NoService { service: String },
    /// A copy whose `/etc` and `/var` are links cannot be the root of a service.
    #[error("generation {generation} is a copy whose /etc and /var are links out of it")]
    Linked { generation: u64 },
    /// Nothing is there.
    #[error("no target at '{}'", path.display())]
    Missing { path: PathBuf },
    /// The place is taken by something else.
    #[error("'{}' is not empty and holds no target", path.display())]
    Occupied {
        /// The directory that a target would use.
        path: PathBuf,
    },
    /// The place is no directory.
    #[error("'{}' is no directory", path.display())]
    NoDirectory { path: PathBuf },
    /// Another user made a part of what should be a target.
    #[error("'{}' belongs to user {uid}, and not to the user who deploys", path.display())]
    Prepared {
        path: PathBuf,
        /// The owner's number.
        uid: u32,
    },
    /// It needs another version of this program.
    #[error("the target at '{}' has format {format}, which this program does not know", path.display())]
    Incompatible {
        path: PathBuf,
        /// The format that it says it has.
        format: u32,
    },
    /// Its deployments come from another repository.
    #[error("the target takes its objects from '{}', not from '{}'", recorded.display(), given.display())]
    OtherRepository {
        /// The repository in `target.json`.
        recorded: PathBuf,
        given: PathBuf,
    },
    /// A file of the target makes no sense.
    #[error("cannot understand '{}': {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// There is not enough room, found before the first write.
    #[error(
        "'{}' has {available_bytes} bytes and {available_inodes} inodes free, \
         {needed_bytes} bytes and {needed_inodes} inodes are needed",
        path.display()
    )]
    NoSpace {
        /// A directory on the filesystem that is too small.
        path: PathBuf,
        needed_bytes: u64,
        available_bytes: u64,
        needed_inodes: u64,
        available_inodes: u64,
    },
    /// Objects of the image are missing or damaged; nothing was written.
    #[error("{}", describe_objects(.0))]
    Objects(Vec<HarmedObject>),
    /// `/etc` has changes on both sides that nobody decided about; nothing was written.
    #[error("{}", describe_conflicts(.0))]
    Conflicts(Vec<Conflict>),
    /// Accounts of the machine would get other numbers; nothing was written.
    #[error("{}", .0.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join("\n"))]
    Renumbered(Vec<Finding>),
    /// The current `/etc` was edited after the deployment was staged, so that switching would hide
    /// the edit.
    #[error(
        "/etc of deployment {from} was edited after deployment {generation} was staged from it"
    )]
    EtcEdited {
        generation: u64,
        /// The deployment whose `/etc` it was made of.
        from: u64,
    },
    /// The staged deployment's `/etc` was made of a deployment that is not current any more.
    #[error(
        "deployment {generation} was staged from /etc of deployment {from}, which is not current"
    )]
    EtcElsewhere {
        generation: u64,
        /// The deployment whose `/etc` it was made of.
        from: u64,
    },
    /// The pointer is gone, and the history does not say what was current.
    #[error(
        "'current' is gone, and the history does not say which deployment it was: \
         its edits in /etc would be lost"
    )]
    NothingCurrent {
        /// The newest deployment.
        newest: u64,
    },
    /// No such deployment.
    #[error("the target has no deployment {generation}")]
    NoSuchDeployment { generation: u64 },
    /// The deployment failed before and was not asked for by its number.
    #[error("deployment {generation} is marked bad: {reason}")]
    Bad { generation: u64, reason: String },
    /// The image was marked bad on this target: it is never chosen automatically again.
    #[error("image {} is marked bad on this target: {reason}", image.short())]
    BadImage {
        image: ImageId,
        reason: String,
        /// A deployment of it that is still there.
        generation: Option<u64>,
    },
    /// There is nothing to go back to.
    #[error("there is no earlier deployment to go back to")]
    NoPrevious,
    /// A deployment in use cannot be marked.
    #[error("deployment {generation} is current")]
    IsCurrent { generation: u64 },
    /// The metadata image of a deployment is not what was staged.
    #[error("the metadata of deployment {generation} is damaged: its digest is {found}")]
    Metadata {
        generation: u64,
        /// The digest of what is there.
        found: String,
    },
    /// Something is still mounted where a directory has to go.
    #[error("'{}' is still mounted", path.display())]
    StillMounted { path: PathBuf },
    /// The switch was made and could not be written to the history.
    #[error("deployment {generation} is current, but the history does not say so")]
    Unrecorded {
        generation: u64,
        /// Why the record could not be written.
        source: DurableError,
    },
    /// The repository refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The merge could not read or keep a file.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Writing or mounting a tree failed.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// That a release was taken could not be remembered.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// The system refused.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// An interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

impl From<TrustError> for DeployError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}

/// An object that an image needs and the repository cannot give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarmedObject {
    /// The object.
    pub object: ObjectId,
    /// The paths in the image that hold it.
    pub paths: Vec<RelPath>,
    /// What is wrong with it.
    pub reason: String,
}

impl DeployError {
    /// Wraps the system's answer to `verb` on `path`.
    pub(super) fn io(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Durable(DurableError::new(verb, path, source))
    }
}

fn describe_objects(harmed: &[HarmedObject]) -> String {
    let Some(first) = harmed.first() else {
        return "objects of the image are damaged".to_owned();
    };
    let path = first
        .paths
        .first()
        .map(RelPath::to_string)
        .unwrap_or_default();
    let more = match harmed.len() {
        0 | 1 => String::new(),
        many => format!(", and {} more", many - 1),
    };
    format!(
        "the image cannot be deployed: '{path}': {}{more}",
        first.reason
    )
}

fn describe_conflicts(conflicts: &[Conflict]) -> String {
    let mut paths: Vec<String> = conflicts
        .iter()
        .map(|conflict| format!("'{}'", conflict.path))
        .collect();
    paths.dedup();
    let count = paths.len();
    paths.truncate(3);
    let dots = if count > 3 { ", …" } else { "" };
    let noun = if count == 1 { "path" } else { "paths" };
    format!(
        "the machine and the image changed {count} {noun} differently: {}{dots}",
        paths.join(", ")
    )
}
