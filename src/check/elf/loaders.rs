//! The image's program interpreters: which of them there are, and what they have built in.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::image::{Image, InstanceNo, ObjectNo};
use super::names::{Name, Stop};
use super::tokens;
use crate::tree::view::{ViewNode, join, parent, resolve};

/// The loader of one ABI.
pub(super) struct Loader {
    pub(super) instance: InstanceNo,
    pub(super) soname: Option<Name>,
    /// The directories that it always searches, absolute and without a slash at the end.
    pub(super) system_dirs: Rc<[Vec<u8>]>,
    /// What it expands `$LIB` to.
    pub(super) lib: Vec<u8>,
}

/// What a program's interpreter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// A loader for the program.
    Loader(ObjectNo),
    /// There is no such file.
    Missing,
    /// It is no ELF file, or one for other programs.
    Unfit,
}

/// Where to find a loader that no program asks for, as when an image has only libraries of a second
/// architecture.
const USUAL_DIRS: [&[u8]; 4] = [b"lib", b"lib64", b"lib32", b"libx32"];

/// Returns what the interpreter of the program `object` is.
pub(super) fn interp(image: &mut Image, object: ObjectNo, path: &str) -> Result<Interpreter, Stop> {
    let Some(real) = resolve(image.view, path.as_bytes()) else {
        return Ok(Interpreter::Missing);
    };
    if image.view.node(&real) != Some(ViewNode::File) {
        return Ok(Interpreter::Unfit);
    }
    let abi = image.objects[object].abi;
    Ok(match image.object_at(&real)? {
        Some(found) if image.abis[image.objects[found].abi].accepts(&image.abis[abi]) => {
            Interpreter::Loader(found)
        }
        _ => Interpreter::Unfit,
    })
}

/// Says whether an interpreter is musl's, which has rules of its own.
pub(super) fn is_musl(path: &[u8]) -> bool {
    path[parent(path).len()..]
        .windows(7)
        .any(|part| part == b"ld-musl")
}

/// Chooses the loader of each ABI: the one that most of its programs ask for.
pub(super) fn choose(
    image: &mut Image,
    programs: &[(ObjectNo, Interpreter)],
) -> Result<Vec<Option<Loader>>, Stop> {
    let mut votes: Vec<BTreeMap<ObjectNo, usize>> = vec![BTreeMap::new(); image.abis.len()];
    for (program, interp) in programs {
        if let Interpreter::Loader(loader) = interp
            && !is_musl(&image.objects[*loader].path)
        {
            *votes[image.objects[*program].abi]
                .entry(*loader)
                .or_default() += 1;
        }
    }
    let mut loaders = Vec::new();
    for (abi, votes) in votes.iter().enumerate() {
        let most = votes
            .iter()
            .max_by_key(|(loader, votes)| (**votes, std::cmp::Reverse(**loader)));
        let chosen = match most {
            Some((loader, _)) => Some(*loader),
            None => at_usual_place(image, abi),
        };
        loaders.push(match chosen {
            Some(object) => Some(Loader::new(image, object)?),
            None => None,
        });
    }
    Ok(loaders)
}

fn at_usual_place(image: &Image, abi: usize) -> Option<ObjectNo> {
    let starts: [&[u8]; 3] = [b"ld-linux", b"ld.so.", b"ld64.so."];
    image.objects.iter().position(|object| {
        let Some(soname) = object.soname else {
            return false;
        };
        let soname = image.names.text(soname);
        image.abis[object.abi].accepts(&image.abis[abi])
            && starts.iter().any(|start| soname.starts_with(start))
            && USUAL_DIRS.iter().any(|dir| {
                let real = resolve(image.view, &join(dir, soname));
                real.as_ref() == Some(&object.path)
            })
    })
}

impl Loader {
    fn new(image: &mut Image, object: ObjectNo) -> Result<Self, Stop> {
        let path = image.objects[object].path.clone();
        let system_dirs = tokens::system_dirs(&image.view.read(&path)?);
        let dir = image.real_dir(parent(&path));
        // A loader's `$LIB` is the first of its directories, and never starts with 'usr'.
        let first = system_dirs.first().map_or(&b"/lib"[..], Vec::as_slice);
        let lib = first.strip_prefix(b"/usr").unwrap_or(first);
        Ok(Self {
            instance: image.instance(object, dir)?,
            soname: image.objects[object].soname,
            lib: lib.strip_prefix(b"/").unwrap_or(lib).to_vec(),
            system_dirs: system_dirs.into(),
        })
    }
}
