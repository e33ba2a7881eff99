//! What a delta between two directories costs, without repositories, remotes and network: bytes by kind, time, and memory.
//!
//! ```text
//! delta encode OLD NEW FILE [THREADS [LEVEL]]   makes the delta of a layer that is the whole root, and of its image
//! delta apply OLD FILE OUT [THREADS]            makes its objects in the folder OUT, and checks their digests
//! delta list OLD FILE NEW                       shows what each object costs: bytes in the delta, its size, its path
//! ```
//!
//! Each prints one JSON object, but for `list`. Run it below `/usr/bin/time -v` for CPU and peak memory.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use layerset::delta::{
    self, Delta, DeltaItem, DeltaLimits, DeltaRequest, EncodeOptions, Fill, ObjectReader, PutError,
    ReadSeek,
};
use layerset::format::delta::Piece;
use layerset::format::{Baseline, BuildFacts, Health, Layer, RebuildRule, to_canonical_json};
use layerset::id::{BuildKey, LayerId, ObjectId, TreeId};
use layerset::materialise::{FileMeta, ObjectSink, PasswdIds, ScanOptions, scan};
use layerset::path::RelPath;
use layerset::tree::{Changeset, Node, Tree};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["encode", old, new, file, rest @ ..] => encode(old, new, file, rest),
        ["apply", old, file, out, rest @ ..] => apply(old, file, out, rest),
        ["list", old, file, new] => list(old, file, new),
        // What `cargo bench` says; the work is driven from outside.
        ["--bench"] => Ok(()),
        _ => Err("usage: delta encode|apply|list ...; see benches/delta.rs".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = layerset::causes::chain(&*error);
            // With standard error gone, the status has to do.
            let _ = writeln!(io::stderr(), "delta: {text}");
            ExitCode::FAILURE
        }
    }
}

/// A root directory: objects are read where they stand.
struct Root {
    tree: Tree,
    files: Mutex<HashMap<ObjectId, PathBuf>>,
    dir: PathBuf,
}

impl Root {
    fn read(dir: &str) -> Result<Self> {
        let dir = PathBuf::from(dir);
        let passwd = std::fs::read(dir.join("etc/passwd"))?;
        let group = std::fs::read(dir.join("etc/group"))?;
        let ids = PasswdIds::parse(&passwd, &group);
        let mut root = Self {
            tree: Tree::new(),
            files: Mutex::default(),
            dir,
        };
        root.tree = scan(&root.dir, &ScanOptions::default(), &ids, &root)?;
        Ok(root)
    }

    fn changeset(&self) -> Changeset {
        Changeset::between(&Tree::new(), &self.tree)
    }

    fn items(&self) -> BTreeMap<ObjectId, DeltaItem> {
        let mut items = BTreeMap::new();
        for (path, inode) in self.tree.iter() {
            if let Node::File { object, size } = &inode.node {
                let item = items.entry(*object).or_insert_with(|| DeltaItem {
                    id: *object,
                    size: *size,
                    paths: Vec::new(),
                });
                item.paths.push(path.clone());
            }
        }
        items
    }

    fn file(&self, id: &ObjectId) -> io::Result<Option<File>> {
        let path = lock(&self.files).get(id).cloned();
        path.map(File::open).transpose()
    }
}

impl ObjectSink for Root {
    fn put_file(&self, mut file: File, _: &FileMeta, path: &Path) -> io::Result<ObjectId> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file)?;
        let id = ObjectId::from_digest(*hasher.finalize().as_bytes());
        lock(&self.files).insert(id, self.dir.join(path));
        Ok(id)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The objects of both roots.
struct Both<'a>([&'a Root; 2]);

impl ObjectReader for Both<'_> {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        for root in self.0 {
            if let Some(file) = root.file(id)? {
                return Ok(Box::new(file));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn manifest(changeset: &[u8]) -> Result<Vec<u8>> {
    let layer = Layer {
        format: 1,
        name: "root".to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        changeset: TreeId::of(changeset),
        pre_images: Vec::new(),
        build: BuildFacts {
            key: BuildKey::of(b"root"),
            on: Vec::new(),
            epoch: 0,
            builder: 1,
        },
        packages: Vec::new(),
        first_boot: BTreeMap::new(),
        health: Health::default(),
        restart: Vec::new(),
        forbids_live: false,
        rebuild: RebuildRule { when: Vec::new() },
        sweeps: Vec::new(),
        shipped: Default::default(),
        public_secrets: Default::default(),
        baseline: Baseline::default(),
    };
    Ok(to_canonical_json("layer", &layer)?)
}

fn number(rest: &[&str], n: usize, otherwise: usize) -> Result<usize> {
    Ok(rest
        .get(n)
        .map(|word| word.parse())
        .transpose()?
        .unwrap_or(otherwise))
}

fn encode(old: &str, new: &str, file: &str, rest: &[&str]) -> Result<()> {
    let options = EncodeOptions {
        threads: number(rest, 0, 1)?,
        level: number(rest, 1, EncodeOptions::default().level as usize)? as i32,
        ..EncodeOptions::default()
    };
    let (old, new) = (Root::read(old)?, Root::read(new)?);
    let (held, mut wanted) = (old.items(), new.items());
    wanted.retain(|id, _| !held.contains_key(id));
    let changesets = [&old, &new].map(|root| layerset::format::encode_changeset(&root.changeset()));
    let manifests = [manifest(&changesets[0])?, manifest(&changesets[1])?];
    let (held, wanted): (Vec<DeltaItem>, Vec<DeltaItem>) =
        (held.into_values().collect(), wanted.into_values().collect());
    let sizes: HashMap<ObjectId, u64> = wanted.iter().map(|item| (item.id, item.size)).collect();
    let ids = manifests
        .each_ref()
        .map(|manifest| LayerId::of(manifest).into());
    let request = DeltaRequest {
        from: ids[0],
        to: ids[1],
        manifests: [&manifests[0], &manifests[1]],
        trees: [&changesets[0], &changesets[1]],
        old: &held,
        also: &[],
        new: &wanted,
        full_cost: &|id| sizes.get(id).copied().unwrap_or(0),
    };
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = (peak()?, cpu()?);
    let started = Instant::now();
    let contents = Both([&old, &new]);
    let done = run(&request, &contents, Path::new(file), &options)?;
    let took = (started.elapsed(), cpu()? - before.1, peak()?);
    // The image adds its tree; the objects have come with the layer.
    let trees = [&old, &new].map(|root| layerset::format::encode_tree(&root.tree));
    let all: Vec<DeltaItem> = held.iter().chain(&wanted).cloned().collect();
    let image = DeltaRequest {
        manifests: [&[], &[]],
        trees: [&trees[0], &trees[1]],
        old: &all,
        new: &[],
        ..request
    };
    let image = run(
        &image,
        &contents,
        &Path::new(file).with_extension("image"),
        &options,
    )?;
    let methods: BTreeMap<String, Vec<u64>> = done
        .methods
        .iter()
        .map(|(method, tally)| {
            let figures = vec![tally.objects, tally.bytes, tally.packed];
            (format!("{method:?}"), figures)
        })
        .collect();
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "bytes": done.bytes,
        "index": done.index,
        "documents": done.documents,
        "image": image.bytes,
        "objects": wanted.len(),
        "object_bytes": wanted.iter().map(|item| item.size).sum::<u64>(),
        "methods: objects, bytes, bytes in the delta": methods,
        "ms": took.0.as_millis(),
        "cpu_s": took.1,
        "peak_kb_before": before.0,
        "peak_kb": took.2,
    }))?;
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn run(
    request: &DeltaRequest<'_>,
    contents: &dyn ObjectReader,
    file: &Path,
    options: &EncodeOptions,
) -> Result<delta::EncodedDelta> {
    let mut out = BufWriter::new(File::create(file)?);
    let spooled = file.with_extension("spool");
    let mut spool = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&spooled)?;
    std::fs::remove_file(&spooled)?;
    let cancel = AtomicBool::new(false);
    let done = delta::encode(request, contents, &mut spool, &mut out, options, &cancel)?;
    out.flush()?;
    Ok(done)
}

/// Takes objects into a folder.
struct Made<'a> {
    old: &'a Root,
    out: PathBuf,
    files: Mutex<HashMap<ObjectId, PathBuf>>,
}

impl ObjectReader for Made<'_> {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        if let Some(file) = self.old.file(id)? {
            return Ok(Box::new(file));
        }
        let made = lock(&self.files).get(id).cloned();
        Ok(Box::new(File::open(made.ok_or(io::ErrorKind::NotFound)?)?))
    }
}

impl delta::DeltaSink for Made<'_> {
    fn put(
        &self,
        id: &ObjectId,
        size: u64,
        fill: &mut Fill<'_>,
    ) -> std::result::Result<(), PutError> {
        let path = self.out.join(id.to_string());
        let storage = |error| PutError::Storage(error);
        let mut out = Hashing {
            file: File::create(&path).map_err(storage)?,
            hasher: blake3::Hasher::new(),
            size: 0,
        };
        fill(&mut out).map_err(|error| PutError::Content(error.to_string()))?;
        let found = ObjectId::from_digest(*out.hasher.finalize().as_bytes());
        if found != *id || out.size != size {
            return Err(PutError::Content("other bytes than expected".to_owned()));
        }
        lock(&self.files).insert(*id, path);
        Ok(())
    }
}

struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn apply(old: &str, file: &str, out: &str, rest: &[&str]) -> Result<()> {
    let threads = number(rest, 0, 1)?;
    let old = Root::read(old)?;
    let changeset = layerset::format::encode_changeset(&old.changeset());
    let manifest = manifest(&changeset)?;
    std::fs::create_dir_all(out)?;
    // From here on: the kernel forgets the peak of the preparations.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = peak()?;
    let cpu_before = cpu()?;
    let started = Instant::now();
    let source = File::open(file)?;
    let delta = Delta::open(&source, &manifest, &changeset, &DeltaLimits::default())?;
    let ready = started.elapsed();
    let id: LayerId = LayerId::of(&delta.manifest()?);
    let tree = TreeId::of(&delta.tree()?);
    let documents = started.elapsed() - ready;
    let made = Made {
        old: &old,
        out: PathBuf::from(out),
        files: Mutex::default(),
    };
    let slow = Mutex::new(Vec::new());
    let last = Mutex::new(Instant::now());
    let done = delta.apply(
        &made,
        &made,
        &|_| true,
        threads,
        &|bytes| {
            let now = Instant::now();
            let took = now - std::mem::replace(&mut *lock(&last), now);
            lock(&slow).push((took, bytes));
        },
        &AtomicBool::new(false),
    )?;
    let took = started.elapsed();
    let mut slow = slow.into_inner().unwrap_or_default();
    slow.sort_unstable_by_key(|(took, _)| std::cmp::Reverse(*took));
    let slow: Vec<(f64, u64)> = slow
        .iter()
        .take(12)
        .map(|(took, bytes): &(Duration, u64)| (took.as_secs_f64(), *bytes))
        .collect();
    let text = serde_json::to_string(&serde_json::json!({
        "manifest": id, "tree": tree,
        "made": done.made, "bytes": done.bytes, "failed": done.failed.len(),
        "reasons": done.failed.iter().take(5).map(|(_, reason)| reason).collect::<Vec<_>>(),
        "open_ms": ready.as_millis(), "documents_ms": documents.as_millis(), "ms": took.as_millis(),
        "cpu_s": cpu()? - cpu_before,
        "mb_per_cpu_s": done.bytes as f64 / 1e6 / (cpu()? - cpu_before),
        "peak_kb_before": before, "peak_kb": peak()?,
        "slowest: s, bytes": slow,
    }))?;
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// Returns the most memory that this process had, in KiB.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmHWM")?.parse()?)
}

/// Returns the CPU time of this process in seconds, with that in the kernel.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap_or(0))
        .sum();
    // The kernel shows hundredths on every machine that Debian runs on.
    Ok(ticks as f64 / 100.0)
}

/// Shares the bytes of a frame among its objects by their sizes in it.
fn list(old: &str, file: &str, new: &str) -> Result<()> {
    let (old, new) = (Root::read(old)?, Root::read(new)?);
    let changeset = layerset::format::encode_changeset(&old.changeset());
    let manifest = manifest(&changeset)?;
    let source = File::open(file)?;
    let delta = Delta::open(&source, &manifest, &changeset, &DeltaLimits::default())?;
    let names: HashMap<ObjectId, RelPath> = [&old, &new]
        .into_iter()
        .flat_map(|root| root.items())
        .map(|(id, item)| (id, item.paths[0].clone()))
        .collect();
    let index = delta.index();
    let mut frames = index.frames.iter();
    let (mut left, mut share, mut base) = (0u64, 0.0, String::new());
    let mut out = BufWriter::new(io::stdout().lock());
    for object in &index.objects {
        let mut cost = 0.0;
        let mut bases = Vec::new();
        for piece in object.segments.iter().flat_map(|segment| &segment.pieces) {
            let Piece::Fresh(len) = piece else { continue };
            let mut wanted = *len;
            while wanted > 0 {
                if left == 0 {
                    let Some(frame) = frames.next() else { break };
                    left = frame.size;
                    share = frame.packed as f64 / frame.size as f64;
                    base = frame
                        .prefix
                        .iter()
                        .map(|extent| {
                            let source = extent.source as usize;
                            let id =
                                index.bases.get(source).copied().unwrap_or_else(|| {
                                    index.objects[source - index.bases.len()].id
                                });
                            let name = names.get(&id).map_or(String::new(), |path| {
                                String::from_utf8_lossy(path.as_bytes()).into_owned()
                            });
                            format!("{name}({}+{})", extent.offset, extent.len)
                        })
                        .take(3)
                        .collect::<Vec<_>>()
                        .join(",");
                }
                let taken = wanted.min(left);
                cost += taken as f64 * share;
                (left, wanted) = (left - taken, wanted - taken);
            }
            if bases.last() != Some(&base) {
                bases.push(base.clone());
            }
        }
        let name = names.get(&object.id).map_or(String::new(), |path| {
            String::from_utf8_lossy(path.as_bytes()).into_owned()
        });
        let coding = object
            .segments
            .iter()
            .filter_map(|segment| segment.coding.as_ref())
            .map(|coding| format!("{:?}", coding.form()))
            .collect::<Vec<_>>()
            .join("+");
        writeln!(
            out,
            "{cost:.0}\t{}\t{name}\t{coding}\t{}",
            object.size,
            bases.join(" | ")
        )?;
    }
    Ok(())
}
