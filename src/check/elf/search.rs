//! Where a loader looks for what an object needs (man 8 ld.so; `_dl_map_new_object` in
//! elf/dl-load.c).

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::image::{Dir, Image, InstanceNo, ObjectNo, SearchHit};
use super::loaders::Loader;
use super::names::{Name, Stop};
use super::tokens::Tokens;
use crate::tree::view::{parent, resolve};

/// The most directories taken from one path list: more would be searched for each of its needs.
const DIRS_LIMIT: usize = 1024;

/// One line of the loader's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The name that programs need.
    pub soname: Vec<u8>,
    /// Where the loader finds it: an absolute path.
    pub path: Vec<u8>,
    /// Which ABI it is for; see [`ElfFacts::cache_flags`](crate::elf::ElfFacts::cache_flags).
    pub flags: u32,
    /// The `glibc-hwcaps` subdirectory that it is in, such as `x86-64-v3`.
    pub hwcaps: Option<Vec<u8>>,
}

/// Where one needed name of an instance leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeedTarget {
    /// What is found, unless an inherited `DT_RPATH` has it.
    pub(super) found: Option<InstanceNo>,
    /// Whether an inherited `DT_RPATH` is asked first.
    pub(super) inherits: bool,
}

/// What is known of an instance whatever loaded it.
#[derive(Debug)]
pub(super) struct Links {
    /// One for each of the object's needs.
    pub(super) targets: Vec<NeedTarget>,
    /// The directories of its own `DT_RPATH`, which what it loads inherits.
    pub(super) rpath: Rc<[Dir]>,
}

/// Searches for one image's objects.
pub(super) struct Search<'a> {
    pub(super) image: Image<'a>,
    /// One for each ABI, where the image has one.
    pub(super) loaders: Vec<Option<Loader>>,
    cache: HashMap<&'a [u8], Vec<&'a Library>>,
    has_hwcaps: bool,
    links: HashMap<InstanceNo, Rc<Links>>,
    shared: HashMap<(usize, Name, bool), SearchHit>,
    copies: HashMap<(usize, Name), Rc<[ObjectNo]>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        image: Image<'a>,
        loaders: Vec<Option<Loader>>,
        cache: &'a [Library],
    ) -> Self {
        let mut by_name: HashMap<&[u8], Vec<&Library>> = HashMap::new();
        for library in cache {
            by_name.entry(&library.soname).or_default().push(library);
        }
        Self {
            image,
            loaders,
            has_hwcaps: cache.iter().any(|library| library.hwcaps.is_some()),
            cache: by_name,
            links: HashMap::new(),
            shared: HashMap::new(),
            copies: HashMap::new(),
        }
    }

    pub(super) fn loader(&self, instance: InstanceNo) -> Option<&Loader> {
        // Objects of an ABI that turns up during the search have no loader.
        self.loaders.get(self.image.object(instance).abi)?.as_ref()
    }

    /// Looks for all that an instance needs.
    pub(super) fn links(&mut self, instance: InstanceNo) -> Result<Rc<Links>, Stop> {
        if let Some(links) = self.links.get(&instance) {
            return Ok(links.clone());
        }
        let object = self.image.object(instance);
        let (abi, nodeflib) = (object.abi, object.nodeflib);
        let needed = object.needed.clone();
        let (rpath, runpath) = (object.rpath.clone(), object.runpath.clone());
        let rpath = self.path_list(instance, rpath.as_deref())?;
        let has_runpath = runpath.is_some();
        let runpath = self.path_list(instance, runpath.as_deref())?;
        let mut targets = Vec::with_capacity(needed.len());
        for name in needed {
            self.image.budget.charge(1)?;
            let slashed = self.image.names.text(name).contains(&b'/');
            let (own, mut inherits) = match slashed {
                true => (self.by_path(instance, name)?, false),
                false => {
                    let own = self.image.first_of(&rpath, name, abi)?;
                    (own, own == SearchHit::Nothing && !has_runpath)
                }
            };
            let mut hit = own;
            if hit == SearchHit::Nothing && !slashed {
                hit = self.image.first_of(&runpath, name, abi)?;
            }
            if hit == SearchHit::Nothing && !slashed {
                hit = self.in_system(abi, name, nodeflib)?;
            }
            // The loader itself is there before anything is searched for.
            if let Some(loader) = self.loaders.get(abi).and_then(Option::as_ref)
                && loader.soname == Some(name)
            {
                (hit, inherits) = (SearchHit::Found(loader.instance), false);
            }
            targets.push(NeedTarget {
                found: match hit {
                    SearchHit::Found(found) => Some(found),
                    _ => None,
                },
                inherits,
            });
        }
        let links = Rc::new(Links { targets, rpath });
        self.links.insert(instance, links.clone());
        Ok(links)
    }

    fn expand(&self, instance: InstanceNo, text: &[u8]) -> Option<Vec<u8>> {
        let loader = self.loader(instance)?;
        let origin = self.image.instances[instance].origin;
        let origin = [b"/", self.image.dir_path(origin)].concat();
        let abi = self.image.object(instance).abi;
        let tokens = Tokens {
            origin: &origin,
            lib: &loader.lib,
            platform: self.image.abis[abi].platform(),
        };
        tokens.expand(text)
    }

    /// The existing directories of a path list. Relative ones are left out: they depend on who
    /// starts the program where.
    fn path_list(&mut self, instance: InstanceNo, list: Option<&str>) -> Result<Rc<[Dir]>, Stop> {
        let mut dirs: Vec<Dir> = Vec::new();
        for text in list.unwrap_or_default().split(':') {
            self.image.budget.charge(1)?;
            let Some(path) = self.expand(instance, text.as_bytes()) else {
                continue;
            };
            if path.starts_with(b"/")
                && dirs.len() < DIRS_LIMIT
                && let Some(dir) = self.image.dir(&path)?
                && !dirs.contains(&dir)
            {
                dirs.push(dir);
            }
        }
        Ok(dirs.into())
    }

    fn by_path(&mut self, instance: InstanceNo, name: Name) -> Result<SearchHit, Stop> {
        let abi = self.image.object(instance).abi;
        match self.expand(instance, self.image.names.text(name)) {
            Some(path) if path.starts_with(b"/") => self.image.find_at(&path, abi),
            _ => Ok(SearchHit::Nothing),
        }
    }

    /// Looks into the cache and the default directories.
    pub(super) fn in_system(
        &mut self,
        abi: usize,
        name: Name,
        nodeflib: bool,
    ) -> Result<SearchHit, Stop> {
        if let Some(hit) = self.shared.get(&(abi, name, nodeflib)) {
            return Ok(*hit);
        }
        let Some(loader) = self.loaders.get(abi).and_then(Option::as_ref) else {
            return Ok(SearchHit::Nothing);
        };
        let system_dirs = loader.system_dirs.clone();
        let is_default = |path: &[u8]| {
            system_dirs.iter().any(|dir| {
                path.strip_prefix(dir.as_slice())
                    .is_some_and(|rest| rest.starts_with(b"/"))
            })
        };
        let cached = self.cached(abi, name, &|library| library.hwcaps.is_none());
        let path = cached
            .first()
            .map(|library| &library.path)
            .filter(|path| !nodeflib || !is_default(path));
        let mut hit = match path {
            Some(path) => self.image.find_at(path, abi)?,
            None => SearchHit::Nothing,
        };
        if hit == SearchHit::Nothing && !nodeflib {
            let mut dirs = Vec::new();
            for path in system_dirs.iter() {
                dirs.extend(self.image.dir(path)?);
            }
            hit = self.image.first_of(&dirs, name, abi)?;
        }
        self.shared.insert((abi, name, nodeflib), hit);
        Ok(hit)
    }

    /// The lines of the cache that a loader of the ABI looks at, the exact ones first
    /// (elf/dl-cache.c).
    fn cached(
        &self,
        abi: usize,
        name: Name,
        wanted: &dyn Fn(&Library) -> bool,
    ) -> Vec<&'a Library> {
        const UNKNOWN_LIBC: u32 = 1;
        let flags = self.image.abis[abi].flags;
        let lines = self.cache.get(self.image.names.text(name));
        let lines = lines.into_iter().flatten().copied();
        let mut lines: Vec<&Library> = lines
            .filter(|library| wanted(library))
            .filter(|library| Some(library.flags) == flags || library.flags == UNKNOWN_LIBC)
            .collect();
        lines.sort_by_key(|library| Some(library.flags) != flags);
        lines
    }

    /// The real directories that any program's loader searches.
    pub(super) fn public_dirs(&self) -> BTreeSet<Vec<u8>> {
        let system = self.loaders.iter().flatten();
        let system = system.flat_map(|loader| loader.system_dirs.iter().map(Vec::as_slice));
        let libraries = self.cache.values().flatten();
        let cached = libraries.map(|library| parent(&library.path));
        let dirs: BTreeSet<&[u8]> = system.chain(cached).collect();
        let view = self.image.view;
        dirs.into_iter()
            .filter_map(|dir| resolve(view, dir))
            .collect()
    }

    /// The copies of a library for newer processors, which the loader of such a machine takes
    /// instead of `object`.
    pub(super) fn copies(
        &mut self,
        object: ObjectNo,
        soname: Name,
    ) -> Result<Rc<[ObjectNo]>, Stop> {
        let abi = self.image.objects[object].abi;
        if !self.has_hwcaps {
            return Ok(Rc::new([]));
        }
        match self.in_system(abi, soname, false)? {
            SearchHit::Found(found) if self.image.instances[found].object == object => {}
            _ => return Ok(Rc::new([])),
        }
        if let Some(copies) = self.copies.get(&(abi, soname)) {
            return Ok(copies.clone());
        }
        let mut copies = Vec::new();
        for library in self.cached(abi, soname, &|library| library.hwcaps.is_some()) {
            if let SearchHit::Found(found) = self.image.find_at(&library.path, abi)? {
                copies.push(self.image.instances[found].object);
            }
        }
        let copies: Rc<[ObjectNo]> = copies.into();
        self.copies.insert((abi, soname), copies.clone());
        Ok(copies)
    }

    /// Says whether `object`, which `file` led to, and all its copies have a version.
    pub(super) fn offers(
        &mut self,
        object: ObjectNo,
        file: Name,
        version: Name,
    ) -> Result<Option<ObjectNo>, Stop> {
        if !self.image.objects[object].offers(version) {
            return Ok(Some(object));
        }
        let copies = self.copies(object, file)?;
        let lacks = |copy: &&ObjectNo| !self.image.objects[**copy].offers(version);
        Ok(copies.iter().find(lacks).copied())
    }
}

impl Image<'_> {
    /// What a loader of an ABI finds as `name` in a list of directories.
    pub(super) fn first_of(
        &mut self,
        dirs: &[Dir],
        name: Name,
        abi: usize,
    ) -> Result<SearchHit, Stop> {
        for dir in dirs {
            let hit = self.find_in(*dir, name, abi)?;
            if hit != SearchHit::Nothing {
                return Ok(hit);
            }
        }
        Ok(SearchHit::Nothing)
    }
}
