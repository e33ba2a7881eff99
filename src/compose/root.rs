//! Images of which nobody can be root.

use super::member::Member;
use super::view::TreeView;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::accounts::{self, PASSWD};
use crate::tree::view::{ImageView as _, ViewError};
use crate::tree::{Inode, Tree};

/// Finds that the image has accounts and none of root, who nobody can be then.
pub(super) fn without_root(
    tree: &Tree,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Option<Problem>, ViewError> {
    let Some(path) = tree.resolve(PASSWD.as_bytes()) else {
        return Ok(None);
    };
    let first = members
        .iter()
        .find(|member| member.changeset.get(path.as_bytes()).is_some());
    let is_plain = tree.get(path.as_bytes()).and_then(Inode::object).is_some();
    let Some(first) = first.filter(|_| is_plain) else {
        return Ok(None);
    };
    let file = view.read(path.as_bytes())?;
    let mut names = accounts::numbers(&file).map(|(name, _)| name).peekable();
    if names.peek().is_none() || names.any(|name| name == "root") {
        return Ok(None);
    }
    Ok(Some(Problem {
        // Not `PATH:root`, which is about root's shell.
        id: FindingKind::Account.at(&path),
        // All layers write this file: it is about the accounts that were there first.
        subject: Subject::Layer(first.layer.name.clone()),
        package: None,
        other: None,
        weight: Weight::Grave,
        reason: format!("'{path}' has accounts, and none called root"),
        hint: "leave root in it; an account that nobody may log in to has '*' for its password"
            .to_owned(),
    }))
}
