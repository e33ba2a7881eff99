//! Dynamic string tokens, and what a loader has built in.

/// What the tokens of one object stand for.
pub(super) struct Tokens<'a> {
    /// `$ORIGIN`, absolute.
    pub(super) origin: &'a [u8],
    /// `$LIB`.
    pub(super) lib: &'a [u8],
    /// `$PLATFORM`, where it is known.
    pub(super) platform: Option<&'a str>,
}

impl Tokens<'_> {
    /// Expands the tokens of one path as `_dl_dst_substitute` (elf/dl-load.c) does; `None` drops
    /// the path.
    pub(super) fn expand(&self, text: &[u8]) -> Option<Vec<u8>> {
        const LONGEST: usize = 4095;
        let mut expanded = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            expanded.extend_from_slice(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            let known = [
                ("ORIGIN", Some(self.origin)),
                ("PLATFORM", self.platform.map(str::as_bytes)),
                ("LIB", Some(self.lib)),
            ];
            let found = known
                .iter()
                .find_map(|(name, value)| Some((token_length(rest, name.as_bytes())?, value)));
            match found {
                Some((length, value)) => {
                    expanded.extend_from_slice((*value)?);
                    rest = &rest[length..];
                }
                None => expanded.push(b'$'),
            }
            // The kernel opens nothing longer, and a path of tokens alone would multiply.
            if expanded.len() > LONGEST {
                return None;
            }
        }
        expanded.extend_from_slice(rest);
        (expanded.len() <= LONGEST).then_some(expanded)
    }
}

/// The length of the token `name` at the start of `text`, after its dollar sign.
fn token_length(text: &[u8], name: &[u8]) -> Option<usize> {
    if let Some(curly) = text.strip_prefix(b"{") {
        let rest = curly.strip_prefix(name)?;
        return rest.starts_with(b"}").then_some(name.len() + 2);
    }
    let next = text.strip_prefix(name)?.first();
    let ends = next.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    ends.then_some(name.len())
}

/// Reads the default directories that a loader has built in: its one run of strings that begin and
/// end with a slash (`system_dirs` in elf/dl-load.c), in the order in which it searches them.
pub(super) fn system_dirs(loader: &[u8]) -> Vec<Vec<u8>> {
    let mut best: Vec<Vec<u8>> = Vec::new();
    let mut run: Vec<Vec<u8>> = Vec::new();
    for text in loader.split(|byte| *byte == 0) {
        // What stands before the first one need not end in a NUL byte.
        let start = text.iter().rposition(|byte| !byte.is_ascii_graphic());
        let text = &text[start.map_or(0, |at| at + 1)..];
        if is_dir(text) {
            run.push(text[..text.len() - 1].to_vec());
            continue;
        }
        if run.len() > best.len() {
            best = std::mem::take(&mut run);
        }
        run.clear();
    }
    if run.len() > best.len() {
        best = run;
    }
    if best.is_empty() {
        let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
        best = usual.iter().map(|dir| dir.as_bytes().to_vec()).collect();
    }
    best
}

fn is_dir(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.+".contains(byte);
    text.len() > 2
        && text.len() < 256
        && text.starts_with(b"/")
        && text.ends_with(b"/")
        && text.windows(4).any(|part| part == b"/lib")
        && text.iter().all(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_loader() {
        let tokens = Tokens {
            origin: b"/opt/app/bin",
            lib: b"lib/x86_64-linux-gnu",
            platform: None,
        };
        let check = |text: &str, expect: Option<&str>| {
            let found = tokens.expand(text.as_bytes());
            let found = found.map(|path| String::from_utf8(path).unwrap());
            assert_eq!(found.as_deref(), expect, "'{text}'");
        };
        check("/usr/lib", Some("/usr/lib"));
        check("$ORIGIN/../lib", Some("/opt/app/bin/../lib"));
        check("${ORIGIN}x", Some("/opt/app/binx"));
        check("$ORIGINx", Some("$ORIGINx"));
        check("$ORIGIN_", Some("$ORIGIN_"));
        check("${ORIGIN", Some("${ORIGIN"));
        check("$ORIGIN.", Some("/opt/app/bin."));
        check("/usr/$LIB/a", Some("/usr/lib/x86_64-linux-gnu/a"));
        check("/a/$PLATFORM/b", None);
        check("a$$b$", Some("a$$b$"));
        check(&"$ORIGIN".repeat(100_000), None);
    }

    #[test]
    fn the_default_directories_are_read_from_the_loader() {
        let check = |loader: &[u8], expect: &[&str]| {
            let found = system_dirs(loader);
            let expect: Vec<Vec<u8>> = expect.iter().map(|dir| dir.as_bytes().into()).collect();
            assert_eq!(found, expect);
        };
        check(
            b"x\0/lib/\0y\0\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0/etc/\0",
            &[
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib",
                "/usr/lib",
            ],
        );
        check(b"\0/lib64/\0/usr/lib64/\0", &["/lib64", "/usr/lib64"]);
        check(b"", &["/lib64", "/usr/lib64", "/lib", "/usr/lib"]);
    }
}
