//! What dpkg keeps of the files of packages: lists, digests and diversions.

use std::collections::HashMap;

/// The diverted paths, where each goes, and for which package (dpkg-divert(1)).
#[derive(Debug, Default)]
pub struct Diversions<'a>(HashMap<&'a [u8], (&'a [u8], &'a [u8])>);

impl<'a> Diversions<'a> {
    /// Reads the three lines of each diversion; `None` says that they are not in step.
    pub fn read(file: &'a [u8]) -> Option<Self> {
        let lines: Vec<_> = file.split(|byte| *byte == b'\n').collect();
        let (last, lines) = lines.split_last()?;
        let chunks = lines.chunks_exact(3);
        if !last.is_empty() || !chunks.remainder().is_empty() {
            return None;
        }
        let all = chunks.map(|chunk| (chunk[0], (chunk[1], chunk[2])));
        Some(Self(all.collect()))
    }

    /// Returns the package that an absolute path is diverted for; `:` is that of the administrator.
    pub fn by(&self, path: &[u8]) -> Option<&'a [u8]> {
        self.0.get(path).map(|(_, by)| *by)
    }

    /// Returns the path that `package` has its file `path` at.
    pub fn follow<'p>(&self, path: &'p [u8], package: &[u8]) -> &'p [u8]
    where
        'a: 'p,
    {
        match self.0.get(path) {
            Some((to, by)) if *by != package => to,
            _ => path,
        }
    }
}

/// Returns the package that a file of dpkg's `info` directory belongs to: all before the last dot.
pub fn stem(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Some(&name[..dot])
}

/// Reads an `md5sums` file: digests by path, without a leading slash (deb-md5sums(5)).
pub fn digests(file: &[u8]) -> HashMap<&[u8], &[u8]> {
    let lines = file.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let blank = line.iter().position(|byte| *byte == b' ')?;
            let (digest, path) = line.split_at(blank);
            Some((path.trim_ascii_start(), digest))
        })
        .collect()
}

/// Returns the name of the package whose list of files this is, by the list's own name below
/// `info`.
pub fn package_of_list(name: &[u8]) -> Option<&[u8]> {
    let stem = name.strip_suffix(b".list")?;
    stem.split(|byte| *byte == b':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_info_are_named_by_their_packages() {
        for (name, of_file, of_list) in [
            ("adduser.list", Some("adduser"), Some("adduser")),
            ("libc6:amd64.list", Some("libc6:amd64"), Some("libc6")),
            ("libc6:amd64.md5sums", Some("libc6:amd64"), None),
            ("g++-12.postinst", Some("g++-12"), None),
            ("format", None, None),
        ] {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            assert_eq!(stem(name.as_bytes()), bytes(of_file), "{name}");
            assert_eq!(package_of_list(name.as_bytes()), bytes(of_list), "{name}");
        }
    }

    #[test]
    fn a_diversion_is_for_all_packages_but_its_own() {
        let read = Diversions::read(b"/bin/a\n/bin/a.real\npkg\n");
        let all = read.unwrap_or_default();
        assert_eq!(all.follow(b"/bin/a", b"other"), b"/bin/a.real");
        assert_eq!(all.follow(b"/bin/a", b"pkg"), b"/bin/a");
        assert_eq!(all.follow(b"/bin/b", b"other"), b"/bin/b");
        for out_of_step in ["/bin/a\n/bin/b\n", "/bin/a\n/bin/b\npkg"] {
            assert!(Diversions::read(out_of_step.as_bytes()).is_none());
        }
    }

    #[test]
    fn digests_are_found_by_path() {
        let found = digests(b"00ff  usr/bin/a\n11  usr/b c\nodd\n");
        assert_eq!(found.get(&b"usr/bin/a"[..]), Some(&&b"00ff"[..]));
        assert_eq!(found.get(&b"usr/b c"[..]), Some(&&b"11"[..]));
        assert_eq!(found.len(), 2);
    }
}
