//! The words that files of this module may hold: names, packages, units, modes, durations. Each
//! check says what is wrong.
//!
//! Many of these words end up on command lines, so none may be empty, start with `-`, or hold what
//! a shell or apt reads as more than a name.

use crate::tree::Owner;

/// The architectures of Debian and its ports that a recipe may name.
pub(super) const ARCHITECTURES: [&str; 10] = [
    "amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "ppc64el", "riscv64",
    "s390x",
];

fn starts_alphanumeric(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Checks the name of a layer or a recipe.
pub(super) fn layer_name(text: &str) -> Option<&'static str> {
    let fits = starts_alphanumeric(text)
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-_".contains(&b));
    (!fits).then_some(
        "is not a name: use up to 64 of a-z, 0-9, '+', '.', '-', '_', starting with a letter or digit",
    )
}

/// Checks what a layer asks for: a Debian package name (policy 5.6.1), optionally with
/// `:<architecture>`, and with `=<version>` or `/<suite>`.
pub(super) fn package(text: &str) -> Option<&'static str> {
    let (text, wanted) = match text.find(['=', '/']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let bad_choice = wanted.is_some_and(|wanted| match wanted.strip_prefix('=') {
        Some(wanted) => version(wanted).is_some(),
        None => suite(&wanted[1..]).is_some(),
    });
    let (name, architecture) = text.split_once(':').unwrap_or((text, "any"));
    (bad_choice || !is_package_name(name) || !is_word(architecture))
        .then_some("is not a package name")
}

/// Checks a Debian package name without architecture.
pub(super) fn plain_package(text: &str) -> Option<&'static str> {
    (!is_package_name(text)).then_some("is not a package name")
}

fn is_package_name(text: &str) -> bool {
    text.len() >= 2
        && starts_alphanumeric(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
}

fn is_word(text: &str) -> bool {
    starts_alphanumeric(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Checks a Debian version (policy 5.6.12).
pub(super) fn version(text: &str) -> Option<&'static str> {
    let fits = starts_alphanumeric(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".+-~:".contains(&b));
    (!fits).then_some("is not a Debian version")
}

/// Checks the architecture of a package, `all` included.
pub(super) fn architecture(text: &str) -> Option<&'static str> {
    (!is_word(text)).then_some("is not an architecture")
}

/// Checks the name that a lock has for an archive: words that earlier versions wrote start with any
/// of these characters.
pub(super) fn archive(text: &str) -> Option<&'static str> {
    let fits = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-+./_".contains(&b));
    (!fits).then_some("is not the name of an archive")
}

/// Checks the name of a suite or component.
pub(super) fn suite(text: &str) -> Option<&'static str> {
    let fits = starts_alphanumeric(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-./_".contains(&b))
        && !text.split('/').any(|part| matches!(part, "" | "." | ".."));
    (!fits).then_some("is not the name of a suite or component")
}

/// Checks the suite of a source: as sources.list(5) has it, the path of a flat archive ends in `/`.
pub(super) fn source_suite(text: &str) -> Option<&'static str> {
    let fits = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-+.~/_$()".contains(&b))
        && !text.starts_with('-')
        && !text.split('/').any(|part| part == "..");
    (!fits).then_some("is not a suite, nor the path of a flat archive")
}

/// Checks the address of an archive.
pub(super) fn archive_uri(text: &str) -> Option<&'static str> {
    // What RFC 3986 allows in paths: nothing that apt would take for the end of a word.
    let is_path = |path: &str| {
        path.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~:/@!$&'()*+,;=%".contains(&b))
    };
    if let Some(path) = text.strip_prefix("file:/") {
        return (!is_path(path)).then_some("holds characters that an address has not");
    }
    let web = ["http://", "https://"].iter();
    let Some(rest) = web.filter_map(|scheme| text.strip_prefix(scheme)).next() else {
        return Some("is not an address that starts with 'https://', 'http://' or 'file:/'");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // An IPv6 address stands between brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match inner {
        Some(inner) => inner
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b)),
        None => host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
    };
    if inner.unwrap_or(host).is_empty() {
        return Some("names no host");
    }
    if port.is_some_and(|port| {
        !(1..=5).contains(&port.len()) || !port.bytes().all(|b| b.is_ascii_digit())
    }) {
        return Some("has a port that is no number");
    }
    (!is_host || !is_path(path)).then_some("holds characters that an address has not")
}

/// Checks a systemd unit name: `nginx.service`, `getty@tty1.service`.
pub(super) fn unit(text: &str) -> Option<&'static str> {
    const TYPES: [&str; 10] = [
        "service",
        "socket",
        "timer",
        "target",
        "mount",
        "path",
        "slice",
        "swap",
        "automount",
        "scope",
    ];
    let fits = text.len() <= 255
        && text.rsplit_once('.').is_some_and(|(name, kind)| {
            !name.is_empty() && !name.starts_with('-') && TYPES.contains(&kind)
        })
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    (!fits).then_some("is not a unit: write it with its type, as in 'nginx.service'")
}

/// Checks the name of an environment variable.
pub(super) fn variable(text: &str) -> Option<&'static str> {
    let fits = !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (!fits).then_some("is not the name of an environment variable")
}

/// Checks the name of a user or group that a layer creates.
pub(super) fn account(text: &str) -> Option<&'static str> {
    let fits = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    (!fits).then_some("is not the name of a user or group")
}

/// Checks text that may be anything on one line.
pub(super) fn line(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("is empty")
    } else if text.contains(char::is_control) {
        Some("holds a line break or another control character")
    } else {
        None
    }
}

/// Checks a shell command: any text but nothing, without NUL.
pub(super) fn command(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("is empty")
    } else if text.contains('\0') {
        Some("holds a NUL byte")
    } else {
        None
    }
}

/// Checks an address that a health check fetches.
pub(super) fn http_url(text: &str) -> Option<&'static str> {
    let host = text
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    match host {
        None => Some("is not an address that starts with 'http://'"),
        Some("") => Some("names no host"),
        Some(_) if text.contains(|c: char| c.is_control() || c == ' ') => {
            Some("holds a space or a control character")
        }
        Some(_) => None,
    }
}

/// Checks a place that takes connections: `HOST:PORT`, where an IPv6 address stands in brackets.
pub(crate) fn endpoint(text: &str) -> Option<&'static str> {
    let is_port = |port: &str| {
        port.parse::<u16>().is_ok_and(|number| number > 0) && !port.starts_with(['+', '0'])
    };
    let is_host = |host: &str| match host.strip_prefix('[') {
        // Whoever connects finds out whether it is an address.
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| {
            (2..=45).contains(&address.len())
                && address
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
        }),
        None => {
            starts_alphanumeric(host)
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    let fits = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && is_port(port));
    (!fits).then_some(
        "is not HOST:PORT: write e.g. \"localhost:5432\", \"10.0.0.1:22\" or \"[::1]:80\"",
    )
}

/// Checks another machine that may be asked whether it answers: `HOST:PORT`, or `gateway`.
pub(crate) fn reachable(text: &str) -> Option<&'static str> {
    (text != "gateway" && endpoint(text).is_some())
        .then_some("is neither \"gateway\" nor HOST:PORT, such as \"10.0.0.1:22\"")
}

/// Checks an absolute path on a machine.
pub(crate) fn absolute_path(text: &str) -> Option<&'static str> {
    let fits = text.starts_with('/') && text.len() > 1 && !text.contains(char::is_control);
    (!fits).then_some("is not a path that starts with '/'")
}

/// Checks a SHA-256 digest in lower-case hexadecimal digits.
pub(super) fn sha256(text: &str) -> Option<&'static str> {
    let fits = text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (!fits).then_some("is not a SHA-256 digest of 64 lower-case hexadecimal digits")
}

/// Parses permission bits written as three or four octal digits.
pub(super) fn mode(text: &str) -> Option<u16> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    digits.then(|| u16::from_str_radix(text, 8).ok()).flatten()
}

/// Parses `user:group`, each a name or `#` and a number.
pub(super) fn owner(text: &str) -> Option<(Owner, Owner)> {
    let (user, group) = text.split_once(':')?;
    Some((Owner::from_text(user)?, Owner::from_text(group)?))
}

/// Parses a duration such as `500ms`, `10s` or `2m` into milliseconds, from 1 ms to a day.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let value = number.parse::<u64>().ok()?.checked_mul(scale)?;
    (1..=86_400_000).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: fn(&str) -> Option<&'static str>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(word(text), None, "{text}");
        }
        for text in bad {
            assert!(word(text).is_some(), "{text}");
        }
    }

    #[test]
    fn nothing_that_reads_as_an_option_or_a_path_passes() {
        check(
            layer_name,
            &["nginx", "php8.4", "a_b"],
            &["", "-x", "A", "a/b", "..", "ü"],
        );
        check(
            package,
            &["nginx", "g++", "libc6:i386"],
            &["-y", "a=1", "x", "a/b", "a:", "A1"],
        );
        check(version, &["1:2.3-4+deb13u1~x"], &["", "-1", "1 2", "1_2"]);
        check(
            suite,
            &["trixie", "stable-updates", "non-free"],
            &["", "../x", "a b", "/x", "a//b"],
        );
        check(archive, &["debian", "-c++-tools"], &["", "a b", "ü"]);
        check(
            unit,
            &["nginx.service", "getty@tty1.service"],
            &["nginx", "-.x", ".service", "--x.service"],
        );
        check(variable, &["A", "_b1"], &["", "1a", "a-b", "a=b"]);
        check(
            account,
            &["Debian-exim", "_apt", "www-data"],
            &["", "-x", "a:b", "1a"],
        );
        check(
            http_url,
            &["http://127.0.0.1:80/"],
            &["https://x/", "http:///", "http://a b/"],
        );
        check(
            endpoint,
            &[
                "localhost:22",
                "10.0.0.1:65535",
                "a-b.example:1",
                "[::1]:80",
            ],
            &[
                "localhost",
                ":22",
                "a:0",
                "a:65536",
                "a:+1",
                "a:01",
                "a b:1",
                "-a:1",
                "::1:80",
                "[x]:1",
                "a:",
                "a:1/",
                "http://a:1",
            ],
        );
        check(
            reachable,
            &["gateway", "10.0.0.1:22"],
            &["", "Gateway", "10.0.0.1"],
        );
        check(
            absolute_path,
            &["/run/x", "/a b"],
            &["", "/", "run/x", "/a\nb"],
        );
        check(
            sha256,
            &[&"0a".repeat(32)],
            &["", &"0A".repeat(32), &"0a".repeat(31)],
        );
    }

    #[test]
    fn modes_owners_and_durations_parse_exactly() {
        assert_eq!(mode("4755"), Some(0o4755));
        assert_eq!(mode("644"), Some(0o644));
        assert!(
            ["", "0888", "07777", "+755", "75"]
                .iter()
                .all(|m| mode(m).is_none())
        );
        assert!(owner("hello:hello").is_some() && owner("#1000:#1000").is_some());
        assert!(
            ["root", "a:", ":b", "a:b:c"]
                .iter()
                .all(|o| owner(o).is_none())
        );
        assert_eq!(duration_ms("10s"), Some(10_000));
        assert_eq!(duration_ms("250ms"), Some(250));
        assert!(
            ["10", "s", "0s", "-1s", "25h", "1d"]
                .iter()
                .all(|d| duration_ms(d).is_none())
        );
    }
}
