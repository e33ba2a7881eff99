//! Which objects load correctly in every process that loads no other object of the same name. Most
//! do, and need not be looked at in a process of their own.
//!
//! An object is plain if all that it needs is found without inherited paths, has the versions, goes
//! by names that mean the same file throughout the image, and is plain itself. What a plain program
//! loads is then what each of its objects would load alone, so loading it would find nothing.

use std::collections::HashMap;

use super::image::InstanceNo;
use super::names::{Name, Stop};
use super::search::Search;

/// What is known of the instances reached.
#[derive(Debug, Default)]
pub(super) struct PlainObjects {
    /// Those that are not plain by themselves.
    suspects: Vec<bool>,
    /// Those that load one that is not plain.
    tainted: Vec<bool>,
    /// What each name means in each ABI; `None` if not the same everywhere.
    meanings: HashMap<(usize, Name), Option<InstanceNo>>,
}

impl PlainObjects {
    /// Follows all that `roots` need.
    pub(super) fn of(search: &mut Search, roots: &[InstanceNo]) -> Result<Self, Stop> {
        let mut plain = Self::default();
        let mut users: Vec<Vec<InstanceNo>> = Vec::new();
        let mut reached = roots.to_vec();
        let mut seen = vec![false; search.image.instances.len()];
        for root in roots {
            seen[*root] = true;
        }
        let mut at = 0;
        while let Some(instance) = reached.get(at).copied() {
            at += 1;
            let links = search.links(instance)?;
            let count = search.image.instances.len();
            seen.resize(count, false);
            users.resize(count, Vec::new());
            let object = search.image.object(instance);
            let abi = object.abi;
            for (name, target) in object.needed.iter().zip(&links.targets) {
                let Some(found) = target.found else { continue };
                plain.means(abi, *name, found);
                let soname = search.image.object(found).soname;
                if let Some(soname) = soname {
                    plain.means(abi, soname, found);
                }
                users[found].push(instance);
                if !seen[found] {
                    seen[found] = true;
                    reached.push(found);
                }
            }
        }
        let count = search.image.instances.len();
        users.resize(count, Vec::new());
        plain.suspects = vec![false; count];
        for instance in &reached {
            plain.suspects[*instance] = plain.is_suspect(search, *instance)?;
        }
        plain.tainted = plain.suspects.clone();
        plain.tainted.resize(search.image.instances.len(), true);
        let mut todo: Vec<InstanceNo> = reached;
        todo.retain(|instance| plain.suspects[*instance]);
        while let Some(instance) = todo.pop() {
            for user in &users[instance] {
                if !plain.tainted[*user] {
                    plain.tainted[*user] = true;
                    todo.push(*user);
                }
            }
        }
        Ok(plain)
    }

    fn means(&mut self, abi: usize, name: Name, found: InstanceNo) {
        let meaning = self.meanings.entry((abi, name)).or_insert(Some(found));
        if *meaning != Some(found) {
            *meaning = None;
        }
    }

    fn is_suspect(&self, search: &mut Search, instance: InstanceNo) -> Result<bool, Stop> {
        let links = search.links(instance)?;
        if !links.rpath.is_empty() {
            return Ok(true);
        }
        let object = search.image.object(instance);
        let abi = object.abi;
        // Other objects of the process may mean something else by its name.
        let mut names: Vec<Name> = object.soname.into_iter().collect();
        let mut provided: HashMap<Name, InstanceNo> = HashMap::new();
        for (name, target) in object.needed.iter().zip(&links.targets) {
            let Some(found) = target.found else {
                return Ok(true);
            };
            names.push(*name);
            provided.insert(*name, found);
            if let Some(soname) = search.image.object(found).soname {
                names.push(soname);
                provided.entry(soname).or_insert(found);
            }
        }
        let own = search.image.instances[instance].object;
        let differs = |name: &Name| match self.meanings.get(&(abi, *name)) {
            None => false,
            Some(None) => true,
            Some(Some(meant)) => {
                object.soname == Some(*name) && search.image.instances[*meant].object != own
            }
        };
        if names.iter().any(differs) {
            return Ok(true);
        }
        for (file, version) in object.wants.clone() {
            search.image.budget.charge(1)?;
            let Some(provider) = provided.get(&file) else {
                return Ok(true);
            };
            let provider = search.image.instances[*provider].object;
            if search.offers(provider, file, version)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says whether a process that starts with this instance cannot fail.
    pub(super) fn is_plain(&self, instance: InstanceNo) -> bool {
        !self.tainted.get(instance).copied().unwrap_or(true)
    }

    /// Says whether an instance lacks something, or may, before what loads it is known.
    pub(super) fn is_suspect_itself(&self, instance: InstanceNo) -> bool {
        self.suspects.get(instance).copied().unwrap_or(true)
    }
}
