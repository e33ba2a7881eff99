//! `layerset forget`.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Context, error};
use crate::durable::LockMode;
use crate::store::{RefName, Repository};

/// Releases what a target or a recipe that is gone still holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset list                      # shows deployments/0f3c9a7be2d14650/1 and so on
  layerset forget 0f3c9a7be2d14650   # a target whose directory is gone
  layerset forget web                # the image and the layers of a recipe that is gone
  layerset forget layers/web/hello remotes/main/images/web/stable
  layerset gc                        # frees what nothing else needs

A repository keeps what targets have deployed, even when a target's directory was removed by hand. A
target that is still there is refused: remove it first.")]
pub(super) struct Forget {
    /// A target's id (16 hexadecimal digits), a recipe, or a ref
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The target is gone, although nothing says where it was: deployed by an earlier version
    #[arg(long)]
    gone: bool,
}

/// What a name stands for.
struct Released {
    /// The target, if it is one.
    target: Option<KnownTarget>,
    refs: Vec<RefName>,
}

struct KnownTarget {
    id: String,
    root: Option<PathBuf>,
}

impl Forget {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset forget")?;
        let mut all = Vec::new();
        // Everything is refused before anything is released.
        for name in &self.names {
            let released = find(&repository, name)?;
            if let Some(target) = &released.target {
                self.refuse_live(context, target)?;
            }
            all.push(released);
        }
        let (mut count, mut text, mut json) = (0, String::new(), Vec::new());
        for released in &all {
            for name in &released.refs {
                repository.remove_ref(name)?;
            }
            count += released.refs.len();
            if let Some(target) = &released.target {
                repository.forget_target(&target.id)?;
                let root = target.root.as_ref();
                let root = root.map_or(String::new(), |root| {
                    format!(", which was at '{}'", root.display())
                });
                text.push_str(&format!(
                    "{} deployments of target {}{root} released\n",
                    released.refs.len(),
                    target.id
                ));
                json.push(serde_json::json!({ "id": target.id, "root": target.root }));
            } else {
                for name in &released.refs {
                    text.push_str(&format!("{name} released\n"));
                }
            }
        }
        let refs: Vec<&str> = all
            .iter()
            .flat_map(|released| &released.refs)
            .map(RefName::as_str)
            .collect();
        context.ui.print_json(&serde_json::json!({
            "target": self.names[0], "targets": json, "refs": refs, "released": count,
        }))?;
        text.push_str("`layerset gc` frees what nothing else needs\n");
        context.ui.print(&text);
        Ok(())
    }

    fn refuse_live(&self, context: &Context, target: &KnownTarget) -> Result<(), CliError> {
        let id = &target.id;
        let Some(root) = &target.root else {
            if self.gone {
                return Ok(());
            }
            return Err(CliError::new(
                format!("nothing says where target {id} is, so it may be in use"),
                error::REFUSED,
            )
            .with_hint("if its directory is gone, say so with --gone; if it is not, the next deploy there records where it is"));
        };
        let shown = root.display();
        let found = context.target(root);
        match found {
            Ok(found) if found.id() == id => Err(CliError::new(
                format!("target {id} is there, at '{shown}': gc would remove files that it uses"),
                error::REFUSED,
            )
            .with_hint(format!(
                "remove it first: `layerset deactivate --target {shown}`, then `rm -r {shown}/layerset`"
            ))),
            _ => Ok(()),
        }
    }
}

/// Finds what a name stands for: a ref, or all refs of a target, a recipe, or a remote.
fn find(repository: &Repository, name: &str) -> Result<Released, CliError> {
    let known = repository.refs()?;
    let id = name.strip_prefix("deployments/").unwrap_or(name);
    let id = id.split('/').next().unwrap_or(id);
    let starts = [
        name.to_owned(),
        format!("images/{name}"),
        format!("layers/{name}"),
        format!("deployments/{name}"),
    ];
    let refs: Vec<RefName> = known
        .into_iter()
        .map(|(name, _)| name)
        .filter(|found| {
            let found = found.as_str();
            starts.iter().any(|start| {
                let rest = found.strip_prefix(start.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
        .collect();
    let is_target = |name: &RefName| {
        let of_target = name.as_str().strip_prefix("deployments/");
        of_target.is_some_and(|rest| rest.split('/').next() == Some(id))
    };
    // A command that was killed, or a deploy that never came to a stage, leaves the place alone.
    if refs.is_empty() && repository.targets()?.contains_key(id) {
        return Ok(Released {
            target: Some(KnownTarget {
                id: id.to_owned(),
                root: repository.target_root(id),
            }),
            refs,
        });
    }
    if refs.is_empty() {
        return Err(CliError::new(
            format!("the repository knows no target, recipe or ref '{name}'"),
            error::FAILED,
        )
        .with_hint("`layerset list` shows the refs, and targets as deployments/<id>/…"));
    }
    let whole = refs.iter().all(is_target);
    if !whole
        && refs
            .iter()
            .any(|name| name.as_str().starts_with("deployments/"))
    {
        return Err(
            CliError::usage(format!("'{name}' stands for more than one target"))
                .with_hint("name each target by its id"),
        );
    }
    Ok(Released {
        target: whole.then(|| KnownTarget {
            id: id.to_owned(),
            root: repository.target_root(id),
        }),
        refs,
    })
}
