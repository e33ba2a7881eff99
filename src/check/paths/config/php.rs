//! PHP: modules that are switched on and not there, and pools of php-fpm that cannot start.

use super::faults::Faults;
use super::image::{Image, has_magic};
use crate::check::paths::abi;
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

const ROOT: &str = "/etc/php";

const HINT: &str =
    "rebuild the layer of the file on today's lower layers, or add the package of what it names";

/// Words that PHP takes for nothing.
const EMPTY: [&str; 5] = ["none", "null", "no", "off", "false"];

/// Finds modules, files and accounts that the configuration of installed versions names:
/// `include:PATH:NAME`, `include:PATH:user:NAME` and `zone:PATH:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    for version in image.names(b"etc/php") {
        let Some(modules) = std::str::from_utf8(&version)
            .ok()
            .and_then(abi::php_modules)
        else {
            continue;
        };
        let version = String::from_utf8_lossy(&version).into_owned();
        // Without the version, nobody reads what is left of its configuration.
        let modules = format!("/{modules}");
        for pattern in ["*/php.ini", "*/conf.d/*.ini"] {
            for path in image.glob(&format!("{ROOT}/{version}/{pattern}")) {
                if let Some(path) = image.file(&path) {
                    settings_of(image, &path, &modules, faults)?;
                }
            }
        }
        pools(image, &version, faults)?;
    }
    Ok(())
}

fn settings_of(
    image: &Image<'_>,
    path: &RelPath,
    modules: &str,
    faults: &mut Faults,
) -> Result<(), ViewError> {
    let text = image.text(path.as_bytes())?;
    let own = settings(&text).find(|(key, _)| *key == "extension_dir");
    let dir = own.map_or(modules, |(_, value)| value);
    for (key, value) in settings(&text) {
        match key {
            "extension" | "zend_extension" => {
                if let Some(at) = missing_module(image, dir, value) {
                    let reason = format!("loads the module '{value}', and there is no '{at}'");
                    faults.add(
                        FindingKind::Include,
                        path,
                        value,
                        Weight::Grave,
                        &reason,
                        HINT,
                    );
                }
            }
            "date.timezone" => super::zone::judge(image, path, value, Weight::Minor, faults),
            _ => {}
        }
    }
    Ok(())
}

/// Returns where a module should be, if it is not there. A name stands for a file of that name, or
/// with `.so` after it.
fn missing_module(image: &Image<'_>, dir: &str, value: &str) -> Option<String> {
    let name = value;
    let value = match value.contains('/') {
        true => value.to_owned(),
        false => format!("{dir}/{value}"),
    };
    let is_known = value.starts_with('/') && !value.contains('$') && !EMPTY.contains(&name);
    let is_file = |path: &str| image.file_fault(path).is_none();
    let is_there = is_file(&value) || is_file(&format!("{value}.so"));
    let end = if value.ends_with(".so") { "" } else { ".so" };
    (is_known && !is_there).then(|| format!("{value}{end}"))
}

/// Judges php-fpm: the files that it includes, and the accounts of its pools.
fn pools(image: &Image<'_>, version: &str, faults: &mut Faults) -> Result<(), ViewError> {
    let main = format!("etc/php/{version}/fpm/php-fpm.conf");
    let Some(main) = image.file(main.as_bytes()) else {
        return Ok(());
    };
    if !image.has_program(&format!("usr/sbin/php-fpm{version}")) {
        return Ok(());
    }
    let text = image.text(main.as_bytes())?;
    let mut files = vec![main.clone()];
    for (_, pattern) in settings(&text).filter(|(key, _)| *key == "include") {
        let found: Vec<RelPath> = image
            .glob(pattern)
            .iter()
            .filter_map(|path| image.file(path))
            .collect();
        if found.is_empty()
            && pattern.starts_with('/')
            && (has_magic(pattern) || image.lacks(pattern))
        {
            let reason =
                format!("includes '{pattern}', which matches no file: there is no pool to serve");
            faults.add(
                FindingKind::Include,
                &main,
                pattern,
                Weight::Grave,
                &reason,
                HINT,
            );
        }
        files.extend(found);
    }
    for path in files {
        for (key, value) in settings(&image.text(path.as_bytes())?) {
            let (kind, weight) = (FindingKind::Include, Weight::Grave);
            match key {
                "user" | "listen.owner" if image.lacks_user(value) => {
                    faults.add_account(kind, &path, ("user", value), weight);
                }
                "group" | "listen.group" if image.lacks_group(value) => {
                    faults.add_account(kind, &path, ("group", value), weight);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads `KEY = VALUE` lines; a comment starts with `;`.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with([';', '#', '[']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let value = match value.strip_prefix('"') {
            Some(inside) => inside.split('"').next().unwrap_or(inside),
            None => value.split(';').next().unwrap_or(value).trim(),
        };
        Some((key.trim(), value)).filter(|(_, value)| !value.is_empty())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settings_are_read_without_comments() {
        let text = "; a=b\n[x]\n extension = curl.so ; c\ndate.timezone=\"Europe/Berlin\" ; d\nempty=\nno line";
        let found: Vec<_> = settings(text).collect();
        assert_eq!(
            found,
            [("extension", "curl.so"), ("date.timezone", "Europe/Berlin")]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "([a-z]|[=;\"\\[ \n]|[^x])*") {
            for (_, value) in settings(&text) {
                prop_assert!(!value.is_empty());
            }
        }
    }
}
