//! What to do when something cannot be trusted, in terms of the command line.

use super::{CliError, REFUSED};
use crate::store::StoreError;
use crate::trust::TrustError;

impl From<TrustError> for CliError {
    fn from(error: TrustError) -> Self {
        match error {
            // This is about the disk of this machine, not about trust.
            TrustError::Durable(error) => StoreError::Durable(error).into(),
            TrustError::Policy(error) => error.into(),
            error => Self::from_error(&error, REFUSED).hinted(hint(&error)),
        }
    }
}

/// Says what to do next, where that is known.
fn hint(error: &TrustError) -> Option<String> {
    let text = match error {
        TrustError::Expired { .. } if error.is_of_a_wrong_clock() => {
            "set the clock, or let it be set by NTP, and try again; what is deployed is not touched"
        }
        TrustError::Expired { role, .. } if role == "timestamp" || role == "snapshot" => {
            "whoever publishes there has to run `layerset trust refresh REMOTE`; a mirror may also serve an old state: try another; what is deployed is not touched"
        }
        TrustError::Expired { role, .. } => {
            return Some(format!(
                "whoever has the keys of that role has to run `layerset trust refresh REMOTE --role {role}`; what is deployed is not touched"
            ));
        }
        TrustError::Signature { what, valid: 0, .. } if what.starts_with("role '") => {
            "nothing was taken from there: either the trusted root is another remote's (compare it with the root.json that `layerset trust init` made for this one), or the mirror is not to be trusted: try another, and tell whoever runs this one"
        }
        TrustError::NoChannel { known, .. } if known.is_empty() => {
            "nothing was published there yet: `layerset publish IMAGE --to REMOTE --channel NAME` does"
        }
        TrustError::NoChannel { name, known } => return Some(one_of(name, known)),
        TrustError::Read { path, source }
            if path.extension().is_some_and(|name| name == "json")
                && source.kind() == std::io::ErrorKind::NotFound =>
        {
            return Some(format!(
                "put the root.json that `layerset trust init` made there, or name it as '{}' in the trust policy",
                path.display()
            ));
        }
        TrustError::Signature { .. }
        | TrustError::Altered { .. }
        | TrustError::Mixed { .. }
        | TrustError::Missing { .. }
        | TrustError::Damaged(_)
        | TrustError::TooLarge { .. } => {
            "nothing was taken from there; try another mirror, and tell whoever runs this one"
        }
        TrustError::Rollback { .. } | TrustError::Dropped { .. } => {
            "nothing was taken from there; a mirror that lags behind does this too: try another one, or later"
        }
        TrustError::Foreign { .. } | TrustError::Misnamed { .. } => {
            "whoever publishes there made a mistake, or one of their keys is in the wrong hands: ask them"
        }
        TrustError::Downgrade { .. } => {
            "if that is meant, publish with `--rollback REASON`, which says so in the signed channel"
        }
        TrustError::TrustedRoot { .. } => {
            "put the root.json that `layerset trust init` made onto this machine"
        }
        TrustError::MissingKeys { .. } => {
            "name the right directory with --keys, or write a pending file with --pending and let the others run `layerset trust sign`"
        }
        TrustError::KeyFile { .. } => "`chmod 600` it, or move what is not a key elsewhere",
        TrustError::Outdated { .. } => "make the change again on what is published now",
        TrustError::Unvouched { .. } => {
            "name the root that its machines have with --root, or compare with what is published now, with --compare REMOTE; if that was the right root, somebody changed the file: do not sign it"
        }
        TrustError::State { .. } => {
            "move the file away: the next pull starts again from the trusted root"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Names the known word that was probably meant, or all.
fn one_of(word: &str, known: &[String]) -> String {
    let near = known
        .iter()
        .min_by_key(|other| strsim::damerau_levenshtein(word, other));
    match near.filter(|near| strsim::damerau_levenshtein(word, near) <= 2) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("it has: {}", known.join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Some second of 2033.
    const NOW: i64 = 2_000_000_000;

    #[test]
    fn hints_name_commands_that_can_be_run() {
        let expired = |role: &str| TrustError::Expired {
            role: role.to_owned(),
            expired_at: NOW - 86_400,
            now: NOW,
        };
        let back = TrustError::Downgrade {
            channel: "images/web/stable".to_owned(),
            offered: 1,
            accepted: 2,
        };
        for (error, command) in [
            (expired("timestamp"), "`layerset trust refresh REMOTE`"),
            (
                expired("layer.nginx"),
                "`layerset trust refresh REMOTE --role layer.nginx`",
            ),
            (back, "`--rollback REASON`"),
        ] {
            let hint = hint(&error).unwrap();
            assert!(hint.contains(command), "{hint}");
        }
    }
}
