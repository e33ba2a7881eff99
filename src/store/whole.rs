//! Whether a layer or an image is there with all that it needs, as far as that shows without reading
//! contents; and what is harmed by damage.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{DamagedThing, Repository};
use crate::id::{ImageId, LayerId, ObjectId};
use crate::tree::{Inode, Node};

/// From so many objects on, several threads look at them: each takes a system call.
const MANY: usize = 4096;

/// Objects, with their sizes, that were found untouched in the course of one command: layers and
/// their image have the same ones, and none is looked at twice.
#[derive(Debug, Default)]
pub struct Untouched(Mutex<HashSet<(ObjectId, u64)>>);

/// The layers and images that a ref needs and that damage harms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Harmed {
    /// The layers.
    pub layers: BTreeSet<LayerId>,
    /// The images: by their own files, not by those of their layers.
    pub images: BTreeSet<ImageId>,
}

impl Repository {
    /// Says whether a layer is there with its changes and its objects. Nobody wrote to these since
    /// they were put; their bytes are not read.
    pub fn is_layer_whole(&self, id: &LayerId) -> bool {
        self.is_layer_whole_given(id, &Untouched::default())
    }

    /// Says the same, given what this command looked at before; adds to that.
    pub fn is_layer_whole_given(&self, id: &LayerId, untouched: &Untouched) -> bool {
        let Ok(layer) = self.read_layer(id) else {
            return false;
        };
        let Ok(changeset) = self.read_changeset(&layer.changeset) else {
            return false;
        };
        let before: BTreeSet<ObjectId> = layer.pre_images.into_iter().collect();
        let is_kept = |inode: &&Inode| inode.object().is_some_and(|id| before.contains(&id));
        let needed = changeset.iter().flat_map(|(_, change)| {
            let pre = change.pre.iter().filter(is_kept);
            pre.chain(&change.post).filter_map(content)
        });
        self.are_untouched(needed, untouched)
    }

    /// Says the same of an image, its tree and its objects; its layers have their own.
    pub fn is_image_whole(&self, id: &ImageId) -> bool {
        self.is_image_whole_given(id, &Untouched::default())
    }

    /// Says the same, given what this command looked at before; adds to that.
    pub fn is_image_whole_given(&self, id: &ImageId, untouched: &Untouched) -> bool {
        let tree = self
            .read_image(id)
            .and_then(|image| self.read_tree(&image.tree));
        tree.is_ok_and(|tree| {
            let needed = tree.iter().filter_map(|(_, inode)| content(inode));
            self.are_untouched(needed, untouched)
        })
    }

    fn are_untouched(
        &self,
        needed: impl Iterator<Item = (ObjectId, u64)>,
        untouched: &Untouched,
    ) -> bool {
        let new: Vec<(ObjectId, u64)> = {
            let known = untouched.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut seen = HashSet::new();
            needed
                .filter(|one| !known.contains(one) && seen.insert(*one))
                .collect()
        };
        let threads = match new.len() {
            0..MANY => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
        };
        let is_whole = AtomicBool::new(true);
        let look = |part: &[(ObjectId, u64)]| {
            for (object, size) in part {
                if !is_whole.load(Ordering::Relaxed) {
                    return;
                }
                if !self.is_untouched(object, *size) {
                    is_whole.store(false, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let mut parts = new.chunks(new.len().div_ceil(threads).max(1));
            let own = parts.next();
            for part in parts {
                scope.spawn(|| look(part));
            }
            own.into_iter().for_each(look);
        });
        if is_whole.load(Ordering::Relaxed) {
            let mut known = untouched.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(new);
            return true;
        }
        false
    }

    /// Finds what of all that refs need is harmed by `damaged`.
    pub fn harmed(&self, damaged: &[DamagedThing]) -> Harmed {
        let names: BTreeSet<&str> = damaged.iter().map(|thing| thing.name.as_str()).collect();
        let mut search = HarmSearch {
            repository: self,
            names,
            seen: BTreeSet::new(),
            found: Harmed::default(),
        };
        for (name, id) in self.refs().unwrap_or_default() {
            if name.is_layer() {
                id.parse().into_iter().for_each(|id| search.layer(id));
            } else {
                id.parse().into_iter().for_each(|id| search.image(id));
            }
        }
        search.found
    }
}

/// Returns the content of a file, with its size.
fn content(inode: &Inode) -> Option<(ObjectId, u64)> {
    match inode.node {
        Node::File { object, size } => Some((object, size)),
        _ => None,
    }
}

struct HarmSearch<'a> {
    repository: &'a Repository,
    /// The damaged things, as fsck names them.
    names: BTreeSet<&'a str>,
    seen: BTreeSet<String>,
    found: Harmed,
}

impl HarmSearch<'_> {
    fn is_damaged(&self, name: &impl ToString) -> bool {
        self.names.contains(name.to_string().as_str())
    }

    fn layer(&mut self, id: LayerId) {
        if !self.seen.insert(id.to_string()) {
            return;
        }
        let repository = self.repository;
        let changes = repository.read_layer(&id).and_then(|layer| {
            let changes = repository.read_changeset(&layer.changeset)?;
            Ok((changes.post_objects().into_iter(), layer.pre_images))
        });
        let is_sound = changes
            .is_ok_and(|(post, pre)| post.chain(pre).all(|object| !self.is_damaged(&object)));
        if !is_sound {
            self.found.layers.insert(id);
        }
    }

    fn image(&mut self, id: ImageId) {
        if !self.seen.insert(id.to_string()) {
            return;
        }
        let Ok(image) = self.repository.read_image(&id) else {
            self.found.images.insert(id);
            return;
        };
        let tree = self.repository.read_tree(&image.tree);
        let is_sound = tree.is_ok_and(|tree| {
            let mut objects = tree.objects().into_iter();
            objects.all(|object| !self.is_damaged(&object))
        });
        if !is_sound {
            self.found.images.insert(id);
        }
        for layer in image.layers {
            self.layer(layer.id);
        }
    }
}
