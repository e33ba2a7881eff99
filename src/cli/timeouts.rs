//! How long commands wait for remotes, as the environment says: for links that are slow, and for
//! people in a hurry.

use std::time::Duration;

use super::CliError;
use crate::remote::RemoteOptions;

/// Takes over `LAYERSET_TIMEOUT`, `LAYERSET_MIN_RATE` and `LAYERSET_TRIES`.
pub(super) fn with_timeouts(options: RemoteOptions) -> Result<RemoteOptions, CliError> {
    adjusted(options, &|name| std::env::var(name).ok())
}

fn adjusted(
    mut options: RemoteOptions,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<RemoteOptions, CliError> {
    let number = |name: &str, least: u64, most: u64| match get(name) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(CliError::usage(format!(
                "{name} is '{}': write a number from {least} to {most}",
                text.escape_debug()
            ))),
        },
    };
    if let Some(seconds) = number("LAYERSET_TIMEOUT", 1, 86_400)? {
        let timeout = Duration::from_secs(seconds);
        options.stall_timeout = timeout;
        options.rate_window = timeout;
        options.connect_timeout = options.connect_timeout.min(timeout);
    }
    if let Some(rate) = number("LAYERSET_MIN_RATE", 0, 1 << 40)? {
        options.minimum_rate = rate;
    }
    if let Some(tries) = number("LAYERSET_TRIES", 1, 1000)? {
        options.attempts = u32::try_from(tries).unwrap_or(u32::MAX);
    }
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_how_long_to_wait_and_nonsense_is_refused() {
        let with = |name: &'static str, value: &'static str| {
            adjusted(RemoteOptions::default(), &move |asked| {
                (asked == name).then(|| value.to_owned())
            })
        };
        let quick = with("LAYERSET_TIMEOUT", "2").unwrap();
        let two = Duration::from_secs(2);
        assert_eq!(
            (
                quick.stall_timeout,
                quick.rate_window,
                quick.connect_timeout
            ),
            (two, two, two)
        );
        let slow = with("LAYERSET_TIMEOUT", "300").unwrap();
        assert_eq!(
            slow.connect_timeout,
            RemoteOptions::default().connect_timeout
        );
        assert_eq!(with("LAYERSET_MIN_RATE", "0").unwrap().minimum_rate, 0);
        assert_eq!(with("LAYERSET_TRIES", "7").unwrap().attempts, 7);
        assert_eq!(with("LAYERSET_TRIES", "").unwrap().attempts, 3);
        for (name, value) in [
            ("LAYERSET_TIMEOUT", "0"),
            ("LAYERSET_TIMEOUT", "1.5"),
            ("LAYERSET_MIN_RATE", "-1"),
            ("LAYERSET_TRIES", "0"),
            ("LAYERSET_TRIES", "many"),
        ] {
            let error = with(name, value).unwrap_err();
            assert_eq!(error.exit, 2);
            assert!(error.message.starts_with(name), "{}", error.message);
        }
    }
}
