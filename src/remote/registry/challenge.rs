//! What a registry says in headers: who must ask, and what time it is.

use crate::time::days_from_civil;
use serde::Deserialize;

/// A challenge that a token answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub realm: String,
    pub service: Option<String>,
    pub scope: Option<String>,
}

/// Reads `Bearer realm="…",service="…",scope="…"`; none for other challenges.
pub(super) fn bearer(text: &str) -> Option<Bearer> {
    let (scheme, mut rest) = text.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            "scope" => scope = Some(value.to_owned()),
            _ => {}
        }
        rest = after;
    }
    Some(Bearer {
        realm: realm?,
        service,
        scope,
    })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

pub(super) fn token(json: &[u8]) -> Option<String> {
    let answer: Token = serde_json::from_slice(json).ok()?;
    answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7) as seconds since 1970.
pub(super) fn http_date(text: &str) -> Option<u64> {
    let words: Vec<_> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words.as_slice() else {
        return None;
    };
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month =
        (0..12usize).find(|index| months.get(index * 3..index * 3 + 3) == Some(*month))? as i64 + 1;
    let number = |word: &&str| word.parse::<u32>().ok().map(i64::from);
    let (day, year) = (number(day)?, number(year)?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let hours = days_from_civil(year, month, day) * 24 + number(hour)?.min(23);
    let seconds = (hours * 60 + number(minute)?.min(59)) * 60 + number(second)?.min(60);
    u64::try_from(seconds).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_for_a_token_is_understood() {
        let text = r#"Bearer realm="https://a/token",service="s",scope="repository:x:pull,push""#;
        let found = bearer(text).unwrap();
        assert_eq!(found.realm, "https://a/token");
        assert_eq!(found.scope.as_deref(), Some("repository:x:pull,push"));
        for other in [
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer scope=\"x\"",
            "Bearer realm=\"x",
        ] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }

    #[test]
    fn dates_of_servers_are_understood() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            http_date("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in [
            "",
            "now",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 0 08:49:37 GMT",
        ] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
