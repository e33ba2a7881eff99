//! Which files of a tree are checked.

use super::image::{FileKind, Image, ObjectNo};
use super::loaders::{self, Interpreter};
use super::names::Stop;
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// What no loader loads from: detached symbols, examples, copies of state, and what a boot loader
/// loads.
const LEFT_OUT: [&[u8]; 6] = [
    b"usr/lib/debug",
    b"usr/lib/sysimage/var",
    b"usr/share/factory",
    b"usr/share/doc",
    b"var",
    b"boot",
];

/// Where commands are.
const COMMAND_DIRS: [&[u8]; 7] = [
    b"bin",
    b"sbin",
    b"usr/bin",
    b"usr/sbin",
    b"usr/games",
    b"usr/local/bin",
    b"usr/local/sbin",
];

/// Endings of data files, which are not opened. Executable files are opened whatever their ending.
const DATA_ENDINGS: &str = "3pm.gz a afm al bmp c cc cmake cnf conf cpp crt css csv desktop dtd el elc eps f90 gif glade \
     gmo go gz h hh hpp htm html hxx in inc ini ix java js json la list lua m4 map md mo o otf page pc pem pfb ph php pl \
     plist pm png po pod properties ps py pyc pyi pyx rb rst rtf scm service sgml sql stub svg tcl tex tmac tmpl toml \
     ts tsv ttf txt ui vim wav woff woff2 xbm xml xpm xsd xsl xslt xz yaml yml zip zst";

/// A program with a dynamic section.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) object: ObjectNo,
    pub(super) interp: Interpreter,
}

/// What is to be checked.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) programs: Vec<Program>,
    /// Shared objects that are no programs.
    pub(super) libraries: Vec<ObjectNo>,
}

impl Collected {
    pub(super) fn keep(&mut self, has_loader: impl Fn(ObjectNo) -> bool) {
        self.programs.retain(|program| has_loader(program.object));
        self.libraries.retain(|object| has_loader(*object));
    }
}

/// Reads the ELF files of a tree, in path order, and calls `broken` with each that is broken, and
/// why.
pub(super) fn collect(
    tree: &Tree,
    image: &mut Image,
    broken: &mut dyn FnMut(&RelPath, &str),
) -> Result<Collected, Stop> {
    let mut shared = Vec::new();
    for (path, inode) in tree.iter() {
        if !is_candidate(path, inode) {
            continue;
        }
        match image.load(path.as_bytes())? {
            FileKind::Object(object) => shared.push(object),
            FileKind::Broken(why) if inode.mode & 0o111 != 0 || is_library_name(path.name()) => {
                broken(path, &why);
            }
            _ => {}
        }
    }
    let mut found = Collected::default();
    for object in shared {
        let Some(interp) = image.objects[object].interp.clone() else {
            if image.objects[object].is_shared {
                found.libraries.push(object);
            }
            continue;
        };
        let interp = loaders::interp(image, object, &interp)?;
        found.programs.push(Program { object, interp });
    }
    Ok(found)
}

fn is_candidate(path: &RelPath, inode: &Inode) -> bool {
    /// The size of the smaller ELF header.
    const SMALLEST: u64 = 52;
    let Node::File { size, .. } = inode.node else {
        return false;
    };
    size >= SMALLEST
        && (inode.mode & 0o111 != 0 || !is_data_name(path.name()))
        && !LEFT_OUT.iter().any(|dir| path.starts_with(dir))
}

fn is_data_name(name: &[u8]) -> bool {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let ending = dot.map(|dot| &name[dot + 1..]);
    ending.is_some_and(|ending| {
        DATA_ENDINGS
            .split(' ')
            .any(|known| known.as_bytes() == ending)
    })
}

/// Says whether a name is that of a library: it ends in `.so` and perhaps numbers.
fn is_library_name(name: &[u8]) -> bool {
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let end = name.iter().rposition(|byte| !is_number(byte));
    let stem = &name[..end.map_or(0, |end| end + 1)];
    let rest = &name[stem.len()..];
    stem.ends_with(b".so") && (rest.is_empty() || rest.starts_with(b"."))
}

/// Says whether a path is that of a command.
pub(super) fn is_command(path: &[u8]) -> bool {
    COMMAND_DIRS.contains(&crate::tree::view::parent(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_data_are_told_by_their_names() {
        for name in ["a.so", "a.so.1", "a.so.1.2.3", "a.cpython-313.so"] {
            assert!(is_library_name(name.as_bytes()), "'{name}'");
            assert!(!is_data_name(name.as_bytes()), "'{name}'");
        }
        for name in ["aso", "a.so1", "a.so.x", "1.2", "a.solid", "nginx", ""] {
            assert!(!is_library_name(name.as_bytes()), "'{name}'");
        }
        for name in ["x.py", ".a", "index.html", "a.1.gz"] {
            assert!(is_data_name(name.as_bytes()), "'{name}'");
        }
        for name in ["nginx", "py", "a.node", "b.", "c.PY"] {
            assert!(!is_data_name(name.as_bytes()), "'{name}'");
        }
    }
}
