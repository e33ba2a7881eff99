//! Where a remote is, as people write it.

use std::fmt;
use std::path::{Component, PathBuf};
use std::str::FromStr;

use url::Url;

use super::RemoteError;

/// A checked location of a remote. It never holds credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A directory: `/srv/remote`, `./remote`, `file:///srv/remote`.
    Directory(PathBuf),
    /// A web server, to read only: `https://updates.example.org/layers`. The URL ends with a slash.
    Web(Url),
    /// `s3://bucket/prefix`.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What all keys start with, without slashes around it; may be empty.
        prefix: String,
    },
    /// `oci://host[:port]/repository`.
    Registry {
        /// The host, with its port if one was given.
        host: String,
        /// The repository, for example `fleet/web`.
        repository: String,
    },
}

impl FromStr for Location {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        parse(text).map_err(|reason| RemoteError::Location {
            location: redact(text),
            reason,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Web(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Registry { host, repository } => write!(f, "oci://{host}/{repository}"),
        }
    }
}

fn parse(text: &str) -> Result<Location, String> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return directory(text);
    };
    let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.starts_with(['/', '.']) || !plain {
        return directory(text);
    }
    if rest.contains('@') {
        return Err("a location holds no credentials and no '@'".to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("a location has no query and no fragment".to_owned());
    }
    if rest.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("it holds a character that a location must not hold".to_owned());
    }
    match scheme {
        "file" => {
            let url = Url::parse(text).map_err(|error| error.to_string())?;
            let path = url.to_file_path();
            directory(
                &path
                    .map_err(|()| "it names no local path")?
                    .to_string_lossy(),
            )
        }
        "http" | "https" => web(text),
        "s3" => s3(rest),
        "oci" => registry(rest),
        _ => Err(format!(
            "'{scheme}' is not one of file, http, https, s3, oci"
        )),
    }
}

fn directory(text: &str) -> Result<Location, String> {
    let path = PathBuf::from(text);
    let starts = path.components().next();
    match starts {
        Some(Component::RootDir | Component::CurDir | Component::ParentDir) => {
            Ok(Location::Directory(path))
        }
        None => Err("it is empty".to_owned()),
        _ => Err(format!(
            "a directory starts with '/' or './': write './{text}'"
        )),
    }
}

fn web(text: &str) -> Result<Location, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(Location::Web(url))
}

fn s3(rest: &str) -> Result<Location, String> {
    let rest = rest.strip_prefix("//").ok_or("write s3://bucket/prefix")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
        return Err(format!("'{bucket}' is not the name of a bucket"));
    }
    let safe = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(fits)
    };
    if !prefix.is_empty() && !prefix.split('/').all(safe) {
        return Err(format!(
            "'{prefix}' is not a prefix of letters, digits and ._-+="
        ));
    }
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// The grammar of the OCI distribution specification: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined
/// by slashes.
fn registry(rest: &str) -> Result<Location, String> {
    let form = "write oci://host[:port]/repository";
    let (host, repository) = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
        .ok_or(form)?;
    let url = Url::parse(&format!("https://{host}/")).map_err(|_| form)?;
    if url.host_str().is_none_or(str::is_empty) || url.path() != "/" {
        return Err(form.to_owned());
    }
    let word = |part: &str| {
        let starts_well =
            |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
        let bytes = part.as_bytes();
        starts_well(bytes.first().copied())
            && starts_well(bytes.last().copied())
            && part.bytes().all(inner)
            && !["..", "._", "_.", "___", "-_", "_-", ".-", "-."]
                .iter()
                .any(|bad| part.contains(bad))
    };
    if repository.len() > 200 || !repository.split('/').all(word) {
        return Err(format!(
            "'{repository}' is not the name of a repository: lower-case words, joined by '/', '.', '_' and '-'"
        ));
    }
    Ok(Location::Registry {
        host: host.to_owned(),
        repository: repository.to_owned(),
    })
}

/// Takes out of a text what may be a secret: what is before an '@', and what follows a '?' or '#'.
fn redact(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or("");
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}…{}", &text[..scheme + 3], &text[at..])
        }
        // Without "//", the part before the '@' can still be a user and a password.
        (None, Some(at)) if text.contains(':') && !text.starts_with(['/', '.']) => {
            format!("…{}", &text[at..])
        }
        _ => text.to_owned(),
    }
}

/// Says whether a host is this machine itself, where plain http hands nothing to the network.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_location_is_understood() {
        for (text, shown) in [
            ("/srv/remote", "/srv/remote"),
            ("./remote", "./remote"),
            ("../a:b@c", "../a:b@c"),
            ("file:///srv/a%20b", "/srv/a b"),
            (
                "https://updates.example.org/x",
                "https://updates.example.org/x",
            ),
            ("http://127.0.0.1:80/", "http://127.0.0.1"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            (
                "oci://localhost:5000/fleet/web",
                "oci://localhost:5000/fleet/web",
            ),
            ("oci://[::1]:5000/web", "oci://[::1]:5000/web"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_location_is_refused_without_showing_secrets() {
        for text in [
            "",
            "remote",
            "ftp://host/x",
            "https://user:hunter2@host/x",
            "https://host/x?token=hunter2",
            "https://host/x#hunter2",
            "oci://user:hunter2@host/x",
            "s3://key:hunter2@bucket/x",
            "https:user:hunter2@host",
            "https://",
            "s3://B",
            "s3://bucket/a/../b",
            "oci://host",
            "oci://host/UPPER",
            "oci://host/a//b",
            "oci://host/a..b",
            "oci://host:x/a",
            "https://host/a b",
        ] {
            let error = text.parse::<Location>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, RemoteError::Location { .. }), "{text}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let error = "remote".parse::<Location>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'remote' is not the location of a remote: a directory starts with '/' or './': write './remote'"
        );
    }
}
