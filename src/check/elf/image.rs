//! The image as a loader sees it: directories, files in them, and objects; each is read once.

use std::collections::HashMap;

use super::names::{Budget, Name, Names, Stop};
use super::object::{Abi, LoadResult, Object};
use crate::elf::ElfKind;
use crate::tree::view::{FileFacts, ImageView, ViewNode, join, parent, resolve};

/// The number of a real directory.
pub(super) type Dir = usize;
/// The number of an [`Object`].
pub(super) type ObjectNo = usize;
/// The number of an [`Instance`].
pub(super) type InstanceNo = usize;

/// An object found in a directory: what it loads may depend on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) object: ObjectNo,
    /// What `$ORIGIN` stands for. The loader takes the path as it opened it; without symlinks it
    /// leads to the same files (elf/dl-object.c). Where it does not matter it is the root.
    pub(super) origin: Dir,
}

/// What a loader finds at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchHit {
    /// Nothing that it could use: it goes on searching.
    Nothing,
    /// Something that makes it give up.
    Fatal,
    /// A library.
    Found(InstanceNo),
}

/// The root directory.
const ROOT: Dir = 0;

pub(super) struct Image<'a> {
    pub(super) view: &'a dyn ImageView,
    pub(super) budget: Budget,
    pub(super) names: Names,
    pub(super) abis: Vec<Abi>,
    pub(super) objects: Vec<Object>,
    pub(super) instances: Vec<Instance>,
    dirs: Vec<Vec<u8>>,
    dir_of_text: HashMap<Vec<u8>, Option<Dir>>,
    dir_of_real: HashMap<Vec<u8>, Dir>,
    object_of: HashMap<Vec<u8>, Option<ObjectNo>>,
    instance_of: HashMap<Instance, InstanceNo>,
    hits: HashMap<(Dir, Name, usize), SearchHit>,
}

/// What one file of the image is to a loader.
pub(super) enum FileKind {
    /// An ELF file with a dynamic section.
    Object(ObjectNo),
    /// It starts like ELF, but is broken in this way.
    Broken(String),
    /// Nothing to load.
    Other,
}

impl<'a> Image<'a> {
    pub(super) fn new(view: &'a dyn ImageView) -> Self {
        Self {
            view,
            budget: Budget::new(),
            names: Names::default(),
            abis: Vec::new(),
            objects: Vec::new(),
            instances: Vec::new(),
            dirs: vec![Vec::new()],
            dir_of_text: HashMap::new(),
            dir_of_real: HashMap::from([(Vec::new(), ROOT)]),
            object_of: HashMap::new(),
            instance_of: HashMap::new(),
            hits: HashMap::new(),
        }
    }

    pub(super) fn name(&mut self, text: &[u8]) -> Result<Name, Stop> {
        self.names.number(text, &mut self.budget)
    }

    /// The real path of a directory, relative to the root.
    pub(super) fn dir_path(&self, dir: Dir) -> &[u8] {
        &self.dirs[dir]
    }

    pub(super) fn object(&self, instance: InstanceNo) -> &Object {
        &self.objects[self.instances[instance].object]
    }

    /// Reads the regular file at the real path `path`, which must not have been read before.
    pub(super) fn load(&mut self, path: &[u8]) -> Result<FileKind, Stop> {
        self.budget.charge(1)?;
        let (kind, object) = match self.view.facts(path)? {
            FileFacts::Elf(facts)
                if facts.dynamic && matches!(facts.kind, ElfKind::Executable | ElfKind::Shared) =>
            {
                let abi = self.abi_number(Abi::of(&facts));
                let (names, budget) = (&mut self.names, &mut self.budget);
                let object = Object::new(path, abi, &facts, names, budget)?;
                self.objects.push(object);
                let number = self.objects.len() - 1;
                (FileKind::Object(number), Some(number))
            }
            FileFacts::BrokenElf(why) => (FileKind::Broken(why), None),
            _ => (FileKind::Other, None),
        };
        self.object_of.insert(path.to_vec(), object);
        Ok(kind)
    }

    fn abi_number(&mut self, abi: Abi) -> usize {
        let known = self.abis.iter().position(|other| *other == abi);
        known.unwrap_or_else(|| {
            self.abis.push(abi);
            self.abis.len() - 1
        })
    }

    /// The object at the real path `path`, read if it was not yet.
    pub(super) fn object_at(&mut self, path: &[u8]) -> Result<Option<ObjectNo>, Stop> {
        if let Some(known) = self.object_of.get(path) {
            return Ok(*known);
        }
        match self.load(path)? {
            FileKind::Object(number) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    pub(super) fn instance(&mut self, object: ObjectNo, dir: Dir) -> Result<InstanceNo, Stop> {
        let origin = match self.objects[object].uses_origin {
            true => dir,
            false => ROOT,
        };
        let instance = Instance { object, origin };
        if let Some(number) = self.instance_of.get(&instance) {
            return Ok(*number);
        }
        self.budget.charge(10)?;
        self.instances.push(instance);
        let number = self.instances.len() - 1;
        self.instance_of.insert(instance, number);
        Ok(number)
    }

    /// The directory at a path, symlinks followed; `None` if there is none.
    pub(super) fn dir(&mut self, path: &[u8]) -> Result<Option<Dir>, Stop> {
        if let Some(known) = self.dir_of_text.get(path) {
            return Ok(*known);
        }
        self.budget.charge(10 + path.len())?;
        let real = resolve(self.view, path)
            .filter(|real| real.is_empty() || self.view.node(real) == Some(ViewNode::Dir));
        let dir = real.map(|real| self.real_dir(&real));
        self.dir_of_text.insert(path.to_vec(), dir);
        Ok(dir)
    }

    /// The number of a real directory.
    pub(super) fn real_dir(&mut self, real: &[u8]) -> Dir {
        if let Some(dir) = self.dir_of_real.get(real) {
            return *dir;
        }
        self.dirs.push(real.to_vec());
        let dir = self.dirs.len() - 1;
        self.dir_of_real.insert(real.to_vec(), dir);
        dir
    }

    /// What a loader of an ABI comes across as `name` in `dir`.
    pub(super) fn find_in(&mut self, dir: Dir, name: Name, abi: usize) -> Result<SearchHit, Stop> {
        self.budget.charge(1)?;
        if let Some(hit) = self.hits.get(&(dir, name, abi)) {
            return Ok(*hit);
        }
        self.budget.charge(10)?;
        let hit = self.look_in(dir, name, abi)?;
        self.hits.insert((dir, name, abi), hit);
        Ok(hit)
    }

    fn look_in(&mut self, dir: Dir, name: Name, abi: usize) -> Result<SearchHit, Stop> {
        let path = join(&self.dirs[dir], self.names.text(name));
        let path = match self.view.node(&path) {
            None => return Ok(SearchHit::Nothing),
            Some(ViewNode::File) => path,
            Some(ViewNode::Symlink(_)) => match resolve(self.view, &path) {
                None => return Ok(SearchHit::Nothing),
                Some(real) => real,
            },
            Some(_) => return Ok(SearchHit::Fatal),
        };
        if self.view.node(&path) != Some(ViewNode::File) {
            return Ok(SearchHit::Fatal);
        }
        let Some(object) = self.object_at(&path)? else {
            return Ok(SearchHit::Fatal);
        };
        Ok(match self.fit(object, abi) {
            LoadResult::Passes => SearchHit::Nothing,
            LoadResult::Fails => SearchHit::Fatal,
            LoadResult::Loads => SearchHit::Found(self.instance(object, dir)?),
        })
    }

    /// What `open_verify` (elf/dl-load.c) makes of an object: the class is looked at first, then
    /// the byte order.
    fn fit(&self, object: ObjectNo, abi: usize) -> LoadResult {
        let object = &self.objects[object];
        let (own, wanted) = (&self.abis[object.abi], &self.abis[abi]);
        if own.class != wanted.class {
            LoadResult::Passes
        } else if own.order != wanted.order {
            LoadResult::Fails
        } else if !own.accepts(wanted) {
            LoadResult::Passes
        } else if object.is_shared {
            LoadResult::Loads
        } else {
            LoadResult::Fails
        }
    }

    /// What is at an absolute path, seen by a loader of an ABI.
    pub(super) fn find_at(&mut self, path: &[u8], abi: usize) -> Result<SearchHit, Stop> {
        let name = &path[parent(path).len()..];
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if matches!(name, b"" | b"." | b"..") {
            return Ok(SearchHit::Fatal);
        }
        let name = self.name(name)?;
        match self.dir(parent(path))? {
            Some(dir) => self.find_in(dir, name, abi),
            None => Ok(SearchHit::Nothing),
        }
    }
}
