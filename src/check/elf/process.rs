//! What is loaded into one process, in the order of the loader, and what is not found for it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::image::{Dir, InstanceNo, ObjectNo, SearchHit};
use super::names::{Name, Stop};
use super::search::Search;

/// The most directories inherited from all `DT_RPATH`s above an object.
const INHERITED_LIMIT: usize = 1024;

/// Something that an object does not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum MissingNeed {
    /// A library.
    Library {
        /// Who needs it.
        object: ObjectNo,
        /// Its name.
        name: Name,
    },
    /// A version of a library.
    Version {
        /// Who needs it.
        object: ObjectNo,
        /// The name of the library.
        file: Name,
        /// The version.
        version: Name,
        /// What has that name; `None` if it is not among what is loaded.
        provider: Option<ObjectNo>,
    },
}

impl MissingNeed {
    pub(super) fn object(&self) -> ObjectNo {
        match self {
            Self::Library { object, .. } | Self::Version { object, .. } => *object,
        }
    }

    /// What identifies it. The provider does not: it may differ from process to process.
    pub(super) fn key(&self) -> (ObjectNo, Name, Option<Name>) {
        match *self {
            Self::Library { object, name } => (object, name, None),
            Self::Version {
                object,
                file,
                version,
                ..
            } => (object, file, Some(version)),
        }
    }
}

/// The result of loading one process.
pub(super) struct Process {
    /// What was loaded.
    pub(super) members: Vec<(ObjectNo, InstanceNo)>,
    /// What was not found, in order.
    pub(super) lacks: Vec<MissingNeed>,
}

/// An object of the process.
struct Member {
    instance: InstanceNo,
    /// The `DT_RPATH`s of what loaded it, the nearest first.
    inherited: Rc<[Dir]>,
}

/// Loads an object and all that it needs, breadth first (elf/dl-deps.c), into an empty process.
pub(super) fn start(
    search: &mut Search,
    root: InstanceNo,
    interp: Option<ObjectNo>,
) -> Result<Process, Stop> {
    let mut names: HashMap<Name, Option<InstanceNo>> = HashMap::new();
    let mut loaded: HashSet<ObjectNo> = HashSet::new();
    let mut lacks = Vec::new();
    let soname = search.image.object(root).soname;
    names.extend(soname.map(|soname| (soname, Some(root))));
    // The loader is there from the start, under its name.
    if let Some(loader) = search.loader(root) {
        let (instance, soname) = (loader.instance, loader.soname);
        let own = match interp {
            Some(interp) if interp != search.image.instances[instance].object => {
                search.image.instance(interp, 0)?
            }
            _ => instance,
        };
        names.extend(soname.map(|soname| (soname, Some(own))));
    }
    loaded.insert(search.image.instances[root].object);
    let mut members = vec![Member {
        instance: root,
        inherited: Rc::new([]),
    }];
    let mut at = 0;
    while let Some(member) = members.get(at) {
        at += 1;
        let (instance, inherited) = (member.instance, member.inherited.clone());
        let links = search.links(instance)?;
        let object = search.image.instances[instance].object;
        let abi = search.image.objects[object].abi;
        search
            .image
            .budget
            .charge(links.rpath.len() + inherited.len())?;
        let below = passed_on(&links.rpath, &inherited);
        for (index, target) in links.targets.iter().enumerate() {
            search.image.budget.charge(1)?;
            let name = search.image.objects[object].needed[index];
            // A name that was not found is searched for again: this object may have a path to it.
            // The loader itself would have given up.
            if names.get(&name).is_some_and(Option::is_some) {
                continue;
            }
            let mut found = target.found;
            if target.inherits && !inherited.is_empty() {
                match search.image.first_of(&inherited, name, abi)? {
                    SearchHit::Nothing => {}
                    SearchHit::Fatal => found = None,
                    SearchHit::Found(other) => found = Some(other),
                }
            }
            names.insert(name, found);
            let Some(found) = found else {
                lacks.push(MissingNeed::Library { object, name });
                continue;
            };
            if loaded.insert(search.image.instances[found].object) {
                if let Some(soname) = search.image.object(found).soname {
                    names.entry(soname).or_default().get_or_insert(found);
                }
                members.push(Member {
                    instance: found,
                    inherited: below.clone(),
                });
            }
        }
    }
    let object_of = |instance: InstanceNo| (search.image.instances[instance].object, instance);
    let members: Vec<_> = members
        .iter()
        .map(|member| object_of(member.instance))
        .collect();
    for (object, _) in &members {
        versions(search, *object, &names, &mut lacks)?;
    }
    Ok(Process { members, lacks })
}

fn passed_on(own: &Rc<[Dir]>, inherited: &Rc<[Dir]>) -> Rc<[Dir]> {
    if own.is_empty() || **own == **inherited {
        return inherited.clone();
    }
    if inherited.is_empty() {
        return own.clone();
    }
    let mut seen = HashSet::new();
    own.iter()
        .chain(inherited.iter())
        .copied()
        .filter(|dir| seen.insert(*dir))
        .take(INHERITED_LIMIT)
        .collect()
}

/// Looks for the versions that an object needs in what its process has under the names of their
/// files (`_dl_check_map_versions` in elf/dl-version.c).
fn versions(
    search: &mut Search,
    object: ObjectNo,
    names: &HashMap<Name, Option<InstanceNo>>,
    lacks: &mut Vec<MissingNeed>,
) -> Result<(), Stop> {
    for index in 0..search.image.objects[object].wants.len() {
        search.image.budget.charge(1)?;
        let (file, version) = search.image.objects[object].wants[index];
        let provider = match names.get(&file) {
            // The library itself is missing, which is another problem.
            Some(None) => continue,
            Some(Some(instance)) => {
                let provider = search.image.instances[*instance].object;
                match search.offers(provider, file, version)? {
                    None => continue,
                    lacking => lacking,
                }
            }
            None => None,
        };
        lacks.push(MissingNeed::Version {
            object,
            file,
            version,
            provider,
        });
    }
    Ok(())
}
