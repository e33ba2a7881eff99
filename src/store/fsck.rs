//! `fsck`: verifies every byte, and says for each damaged thing what uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::baseline::BASELINES;
use super::{Repository, StoreError};
use crate::id::{ImageId, LayerId, ObjectId};
use crate::path::RelPath;

/// What is wrong with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Something needs it and it is not there.
    Missing,
    /// Its bytes have another digest.
    Corrupt,
    /// It cannot be read or does not parse.
    Unreadable,
}

/// Who needs a damaged thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependent {
    /// `image web`, `layer nginx`, `ref images/web`.
    pub name: String,
    /// The path there, for objects.
    pub path: Option<RelPath>,
}

/// One damaged thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedThing {
    /// `object`, `tree`, `layer`, `image`, `baseline` or `ref`.
    pub what: &'static str,
    /// Its id or name.
    pub name: String,
    /// What is wrong.
    pub damage: Damage,
    /// Who needs it; empty when nothing does.
    pub users: Vec<Dependent>,
}

/// How to check.
#[derive(Clone, Copy)]
pub struct FsckOptions<'a> {
    /// Threads that hash.
    pub threads: usize,
    /// Told objects done and in all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Objects read.
    pub objects: usize,
    /// Trees, layers, images and baselines read.
    pub manifests: usize,
    /// What is damaged.
    pub damaged: Vec<DamagedThing>,
}

#[derive(Default)]
struct FsckWalk {
    report: FsckReport,
    /// Users by object, of everything reachable.
    needed: BTreeMap<ObjectId, Vec<Dependent>>,
    seen: BTreeSet<String>,
}

impl FsckWalk {
    fn damaged(&mut self, what: &'static str, name: String, error: &StoreError, user: &str) {
        let damage = match error {
            StoreError::NotFound { .. } => Damage::Missing,
            StoreError::Corrupt { .. } => Damage::Corrupt,
            _ => Damage::Unreadable,
        };
        let users = vec![Dependent {
            name: user.to_owned(),
            path: None,
        }];
        self.report.damaged.push(DamagedThing {
            what,
            name,
            damage,
            users,
        });
    }

    fn need(&mut self, object: ObjectId, user: &str, path: Option<&RelPath>) {
        let users = self.needed.entry(object).or_default();
        // A handful says enough; an empty file may be needed ten thousand times.
        if users.len() < 8 {
            users.push(Dependent {
                name: user.to_owned(),
                path: path.cloned(),
            });
        }
    }
}

impl Repository {
    /// Verifies every byte of the repository.
    pub fn fsck(&self, options: FsckOptions<'_>) -> Result<FsckReport, StoreError> {
        let mut walk = FsckWalk::default();
        for (name, id) in self.refs()? {
            let user = format!("ref {name}");
            if name.is_layer() {
                match id.parse::<LayerId>() {
                    Ok(id) => self.walk_layer(&id, &user, &mut walk),
                    Err(_) => walk.report.damaged.push(unreadable_ref(name.as_str())),
                }
            } else {
                match id.parse::<ImageId>() {
                    Ok(id) => self.walk_image(&id, &user, &mut walk),
                    Err(_) => walk.report.damaged.push(unreadable_ref(name.as_str())),
                }
            }
        }
        // Manifests and trees that no ref needs are checked too: they may be needed again by their
        // build key.
        for (dir, what) in [("images", "image"), ("layers", "layer"), ("trees", "tree")] {
            for hex in self.names_in(dir)? {
                if walk.seen.insert(format!("{dir}/{hex}")) {
                    walk.report.manifests += 1;
                    self.check_loose(dir, what, &hex, &mut walk);
                }
            }
        }
        for hex in self.names_in(BASELINES)? {
            walk.report.manifests += 1;
            self.check_baseline(&hex, &mut walk);
        }
        self.check_objects(options, &mut walk)?;
        walk.report
            .damaged
            .sort_by(|a, b| (a.what, &a.name).cmp(&(b.what, &b.name)));
        Ok(walk.report)
    }

    /// Lists a directory. One that is gone counts as empty: its users report what should be in it
    /// as missing.
    fn names_in(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let path = self.root.join(dir);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(|error| StoreError::io("list", &path, error))?,
        };
        let names = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn check_loose(&self, dir: &'static str, what: &'static str, hex: &str, walk: &mut FsckWalk) {
        let path = self.named_path(dir, hex);
        let problem = match std::fs::read(&path) {
            Err(_) => Some(Damage::Unreadable),
            Ok(bytes) if crate::id::hex(blake3::hash(&bytes).as_bytes()) != hex => {
                Some(Damage::Corrupt)
            }
            Ok(_) => None,
        };
        if let Some(damage) = problem {
            let users = Vec::new();
            walk.report.damaged.push(DamagedThing {
                what,
                name: format!("b3:{hex}"),
                damage,
                users,
            });
        }
    }

    /// A baseline is named by its layer or image and carries a digest of its own.
    fn check_baseline(&self, hex: &str, walk: &mut FsckWalk) {
        let id = format!("b3:{hex}");
        let of_layer = id.parse().map(|id| self.read_baseline(&id));
        let of_image = id.parse().map(|id| self.read_image_baseline(&id));
        let damage = match (of_layer, of_image) {
            (Ok(Ok(_)), _) | (_, Ok(Ok(_))) => return,
            (Ok(Err(StoreError::Format { .. })), _) => Damage::Corrupt,
            _ => Damage::Unreadable,
        };
        walk.report.damaged.push(DamagedThing {
            what: "baseline",
            name: format!("b3:{hex}"),
            damage,
            users: Vec::new(),
        });
    }

    fn walk_image(&self, id: &ImageId, user: &str, walk: &mut FsckWalk) {
        if !walk.seen.insert(format!("images/{}", id.to_hex())) {
            return;
        }
        walk.report.manifests += 1;
        let image = match self.read_image(id) {
            Ok(image) => image,
            Err(error) => return walk.damaged("image", id.to_string(), &error, user),
        };
        let me = format!("image {} ({})", image.name, id.short());
        if walk.seen.insert(format!("trees/{}", image.tree.to_hex())) {
            walk.report.manifests += 1;
            match self.read_tree(&image.tree) {
                Ok(tree) => {
                    for (path, inode) in tree.iter() {
                        if let Some(object) = inode.object() {
                            walk.need(object, &me, Some(path));
                        }
                    }
                }
                Err(error) => walk.damaged("tree", image.tree.to_string(), &error, &me),
            }
        }
        for layer in &image.layers {
            self.walk_layer(&layer.id, &me, walk);
        }
    }

    fn walk_layer(&self, id: &LayerId, user: &str, walk: &mut FsckWalk) {
        if !walk.seen.insert(format!("layers/{}", id.to_hex())) {
            return;
        }
        walk.report.manifests += 1;
        let layer = match self.read_layer(id) {
            Ok(layer) => layer,
            Err(error) => return walk.damaged("layer", id.to_string(), &error, user),
        };
        let me = format!("layer {} ({})", layer.name, id.short());
        for object in &layer.pre_images {
            walk.need(*object, &me, None);
        }
        walk.seen
            .insert(format!("trees/{}", layer.changeset.to_hex()));
        walk.report.manifests += 1;
        match self.read_changeset(&layer.changeset) {
            Ok(changeset) => {
                for (path, change) in changeset.iter() {
                    if let Some(object) = change.post.as_ref().and_then(crate::tree::Inode::object)
                    {
                        walk.need(object, &me, Some(path));
                    }
                }
            }
            Err(error) => walk.damaged("changeset", layer.changeset.to_string(), &error, &me),
        }
    }

    fn check_objects(
        &self,
        options: FsckOptions<'_>,
        walk: &mut FsckWalk,
    ) -> Result<(), StoreError> {
        let mut ids: BTreeSet<ObjectId> = walk.needed.keys().copied().collect();
        for byte in 0..=255u8 {
            let first = format!("{byte:02x}");
            for rest in self.names_in(&format!("objects/{first}"))? {
                match format!("b3:{first}{rest}").parse() {
                    Ok(id) => drop(ids.insert(id)),
                    Err(_) => walk.report.damaged.push(DamagedThing {
                        what: "object",
                        name: format!("objects/{first}/{rest}"),
                        damage: Damage::Unreadable,
                        users: Vec::new(),
                    }),
                }
            }
        }
        let ids: Vec<ObjectId> = ids.into_iter().collect();
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..options.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(id) = ids.get(index) else { break };
                        if let Err(error) = self.verify_object(id) {
                            found
                                .lock()
                                .unwrap_or_else(std::sync::PoisonError::into_inner)
                                .push((*id, error));
                        }
                        if index % 256 == 0 {
                            (options.progress)(index, ids.len());
                        }
                    }
                });
            }
        });
        walk.report.objects = ids.len();
        for (id, error) in found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            let damage = match error {
                StoreError::NotFound { .. } => Damage::Missing,
                StoreError::Corrupt { .. } => Damage::Corrupt,
                _ => Damage::Unreadable,
            };
            let users = walk.needed.remove(&id).unwrap_or_default();
            walk.report.damaged.push(DamagedThing {
                what: "object",
                name: id.to_string(),
                damage,
                users,
            });
        }
        Ok(())
    }
}

fn unreadable_ref(name: &str) -> DamagedThing {
    DamagedThing {
        what: "ref",
        name: name.to_owned(),
        damage: Damage::Unreadable,
        users: Vec::new(),
    }
}
