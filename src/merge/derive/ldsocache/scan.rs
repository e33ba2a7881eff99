//! Which files of a directory go into the cache, under which names, and which links are missing.

use std::collections::BTreeMap;

use super::conf::{LibraryDir, LibraryDirs};
use super::order::compare_names;
use super::{CacheEntry, LdConfig};
use crate::elf::ElfFacts;
use crate::merge::derive::DerivedLink;
use crate::tree::view::{ImageView, ViewError, ViewNode, join, resolve};

/// What was found, in the order of the directories.
#[derive(Debug, Default)]
pub(super) struct LibraryScan {
    pub(super) entries: Vec<CacheEntry>,
    pub(super) links: Vec<DerivedLink>,
    pub(super) stale: Vec<Vec<u8>>,
}

/// The file that stands for a soname in a directory.
struct Library {
    name: Vec<u8>,
    is_link: bool,
    flags: u32,
    isa_level: u32,
}

/// Searches the directories for libraries.
pub(super) fn scan(
    view: &dyn ImageView,
    ldconfig: &LdConfig,
    dirs: &LibraryDirs,
) -> Result<LibraryScan, ViewError> {
    let mut found = LibraryScan::default();
    for dir in &dirs.dirs {
        let libraries = libraries(view, ldconfig, dir, &mut found.stale)?;
        for (soname, library) in libraries {
            // Elsewhere the path ends in the soname, a link, so that it stays true when a new file
            // takes over.
            let file = match dir.hwcaps {
                Some(_) => &library.name,
                None => &soname,
            };
            if dir.hwcaps.is_none() && !library.is_link {
                found
                    .links
                    .extend(missing_link(view, dir, &soname, &library.name));
            }
            found.entries.push(CacheEntry {
                path: [&dir.path, b"/".as_slice(), file].concat(),
                flags: library.flags,
                hwcaps: dir.hwcaps.clone(),
                isa_level: library.isa_level,
                soname,
            });
        }
    }
    Ok(found)
}

/// Chooses one file for each soname in a directory: rather a file than a link, else the highest
/// version.
fn libraries(
    view: &dyn ImageView,
    ldconfig: &LdConfig,
    dir: &LibraryDir,
    stale: &mut Vec<Vec<u8>>,
) -> Result<BTreeMap<Vec<u8>, Library>, ViewError> {
    let mut chosen: BTreeMap<Vec<u8>, Library> = BTreeMap::new();
    for name in view.names(&dir.real) {
        let path = join(&dir.real, &name);
        let Some(node) = view.node(&path) else {
            continue;
        };
        let is_link = matches!(node, ViewNode::Symlink(_));
        // A symlink in a hwcaps directory needs no library's name; ldconfig may not have meant it,
        // but does so.
        let wanted = is_library_name(&name) || (is_link && dir.hwcaps.is_some());
        if !wanted || is_temporary_name(&name) {
            continue;
        }
        let real = if is_link {
            let Some(real) = resolve(view, &path) else {
                if contains(&name, b".so.") {
                    stale.push(path);
                }
                continue;
            };
            real
        } else {
            path
        };
        let Some((flags, facts)) = loadable(view, ldconfig, &real)? else {
            continue;
        };
        let (soname, is_link) = known_as(&name, is_link, facts.soname.as_deref());
        let isa_level = facts.isa_level();
        match chosen.get_mut(&soname) {
            None => {
                let library = Library {
                    name,
                    is_link,
                    flags,
                    isa_level,
                };
                chosen.insert(soname, library);
            }
            Some(library) => {
                let better = match (is_link, library.is_link) {
                    (false, true) => true,
                    (true, false) => false,
                    _ => compare_names(&library.name, &name).is_lt(),
                };
                // The flags stay those of the first: ldconfig takes it that they are the same.
                if better {
                    library.name = name;
                    library.is_link = is_link;
                    library.isa_level = isa_level;
                }
            }
        }
    }
    Ok(chosen)
}

fn loadable(
    view: &dyn ImageView,
    ldconfig: &LdConfig,
    path: &[u8],
) -> Result<Option<(u32, ElfFacts)>, ViewError> {
    if view.node(path) != Some(ViewNode::File) {
        return Ok(None);
    }
    // A broken library is the ELF check's business; the loader could not use it.
    let facts = view.elf(path)?;
    Ok(facts.and_then(|facts| Some((ldconfig.flags_of(&facts)?, facts))))
}

/// Tells the name under which a file is listed, and whether it is a link to the real thing.
///
/// A link may bear the soname itself, or be what compilers look for: `libfoo.so` for `libfoo.so.1`.
/// Any other link is taken for a file of its own.
fn known_as(name: &[u8], is_link: bool, soname: Option<&str>) -> (Vec<u8>, bool) {
    let soname = soname.map_or(name, str::as_bytes);
    let developer = name.ends_with(b".so") && soname.starts_with(name);
    if is_link && (name == soname || developer) {
        (name.to_vec(), true)
    } else {
        (soname.to_vec(), false)
    }
}

/// Returns the link from the soname to the file, unless the right one is there or a file is in its
/// place.
fn missing_link(
    view: &dyn ImageView,
    dir: &LibraryDir,
    soname: &[u8],
    name: &[u8],
) -> Option<DerivedLink> {
    // A soname is the word of a file's maker: it must not lead out of the directory. Debian's
    // ldconfig leaves the links of the loader alone, since at no moment may they be missing.
    let unfit = soname.contains(&b'/') || matches!(soname, b"" | b"." | b"..");
    if unfit || soname.starts_with(b"ld-") {
        return None;
    }
    let path = join(&dir.real, soname);
    match view.node(&path) {
        None => {}
        Some(ViewNode::Symlink(_)) => {
            let there = resolve(view, &path);
            if there.is_some() && there == resolve(view, &join(&dir.real, name)) {
                return None;
            }
        }
        Some(_) => return None,
    }
    Some(DerivedLink {
        path,
        target: name.to_vec(),
    })
}

fn is_library_name(name: &[u8]) -> bool {
    ((name.starts_with(b"lib") || name.starts_with(b"ld-")) && contains(name, b".so"))
        || name.starts_with(b"ld.so.")
        || name.starts_with(b"ld64.so.")
}

/// Files that prelink, rpm and dpkg are about to rename.
fn is_temporary_name(name: &[u8]) -> bool {
    const PRELINK: &[u8] = b".#prelink#";
    let random = name.len().saturating_sub(".XXXXXX".len());
    name.ends_with(PRELINK)
        || name[..random].ends_with(PRELINK) && name[random..].starts_with(b".")
        || name.contains(&b';')
        || name.ends_with(b".dpkg-new")
        || name.ends_with(b".dpkg-tmp")
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window == part)
}
