//! What is made for something below without being a copy of it: a module for a kernel's headers, a
//! virtual environment for a Python.

use super::contents::Contents;
use super::ground::Ground;
use super::origin_at;
use crate::compose::error::ComposeError;
use crate::format::Origin;
use crate::id::ObjectId;
use crate::layout::join;
use crate::path::RelPath;

/// Files of a kernel's headers that change whenever modules have to be built again; the first that
/// is there counts.
const OF_HEADERS: [&str; 3] = [
    "Module.symvers",
    ".config",
    "include/generated/utsrelease.h",
];
/// Larger modules are not looked into, in bytes.
const MAX_MODULE: u64 = 256 << 20;

/// Finds what a file of a layer is made for.
pub(super) fn origins(
    path: &RelPath,
    object: &ObjectId,
    ground: &Ground<'_>,
    contents: &Contents<'_>,
) -> Result<Vec<Origin>, ComposeError> {
    if path.name() == b"pyvenv.cfg" {
        let origin = python(&contents.read(object)?, ground);
        return Ok(origin.into_iter().collect());
    }
    let is_module = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .any(|suffix| path.name().ends_with(suffix.as_bytes()));
    if !is_module {
        return Ok(Vec::new());
    }
    let origin = match release(path, object, contents)? {
        Some(release) => headers(&release, ground),
        None => None,
    };
    Ok(origin.into_iter().collect())
}

/// Finds the Python of a virtual environment: only its minor version matters, for the environment
/// links to it.
fn python(config: &[u8], ground: &Ground<'_>) -> Option<Origin> {
    let config = String::from_utf8_lossy(config);
    let value = |wanted: &[&str]| {
        let mut pairs = config.lines().filter_map(|line| line.split_once('='));
        let found = pairs.find(|(key, _)| wanted.contains(&key.trim()));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let home = value(&["home"])?;
    // The second key is that of virtualenv.
    let version = value(&["version", "version_info"])?;
    let mut parts = version.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    let program = format!("python{major}.{minor}");
    let home = home.trim_matches('/');
    let places = [join(home.as_bytes(), program.as_bytes()), {
        // The directory may be a link of a merged /usr.
        join(b"usr/bin", program.as_bytes())
    }];
    let mut places = places.iter().filter_map(|place| RelPath::new(place).ok());
    let path = places.find(|path| ground.get(path).is_some())?;
    Some(Origin {
        object: None,
        ..origin_at(&path, ObjectId::of(b""), None)
    })
}

/// Reads which kernel a module is for: from its path, else from the module.
fn release(
    path: &RelPath,
    object: &ObjectId,
    contents: &Contents<'_>,
) -> Result<Option<String>, ComposeError> {
    let mut parts = path.as_bytes().split(|byte| *byte == b'/');
    if parts.any(|part| part == b"lib") && parts.next() == Some(b"modules") {
        return Ok(parts
            .next()
            .map(|part| String::from_utf8_lossy(part).into_owned()));
    }
    let packed = contents.read(object)?;
    let module = crate::codec::contents(&packed, MAX_MODULE).unwrap_or(packed);
    let wanted = b"vermagic=";
    let at = module
        .windows(wanted.len())
        .position(|bytes| bytes == wanted);
    let release = at.and_then(|at| {
        let text = &module[at + wanted.len()..];
        let end = text.iter().position(|byte| matches!(byte, b' ' | 0))?;
        std::str::from_utf8(&text[..end]).ok().map(str::to_owned)
    });
    Ok(release)
}

/// Finds the headers of a kernel in the layers below.
fn headers(release: &str, ground: &Ground<'_>) -> Option<Origin> {
    let dirs = [
        format!("usr/src/linux-headers-{release}"),
        format!("usr/lib/modules/{release}/build"),
        format!("lib/modules/{release}/build"),
    ];
    let places = dirs.iter().flat_map(|dir| {
        let files = OF_HEADERS.iter();
        files.filter_map(move |file| RelPath::from_text(&format!("{dir}/{file}")).ok())
    });
    places.into_iter().find_map(|path| {
        let object = ground.object(&path)?;
        Some(origin_at(&path, object, None))
    })
}
