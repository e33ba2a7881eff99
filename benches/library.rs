//! The part of the benchmarks that only the library can do; `benches/run.sh` calls it and makes the table.
//!
//! ```text
//! library ingest ROOT REPOSITORY NAME       a root directory becomes the image NAME, as `build` does after a bootstrap
//! library switch TARGET ONE OTHER COUNT     switches between two deployments, each switch a turn of its own
//! library compose REPOSITORY IMAGE COUNT     composes the layers of an image and checks them, each turn anew
//! library rename DIRECTORY COUNT            what the medium takes for the same durable steps, with no program around
//! ```
//!
//! Each prints one JSON object. Times are of this process's work, without its start.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerset::builder::{BuildSink, Composer, SilentBuild};
use layerset::compose::{Member, judge};
use layerset::deploy::{BadPolicy, HistoryAction, Note, RecordedVerdict, Target};
use layerset::durable::RealDisk;
use layerset::format::{Baseline, BuildFacts, Health, Image, ImageLayer, Layer, RebuildRule};
use layerset::id::BuildKey;
use layerset::materialise::{PasswdIds, ScanOptions, scan};
use layerset::store::{RefName, Repository, RepositoryOptions};
use layerset::time::SystemClock;
use layerset::tree::{Changeset, Tree};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let done = match words.as_slice() {
        ["ingest", root, repository, name] => ingest(Path::new(root), Path::new(repository), name),
        ["switch", target, one, other, count] => switch(Path::new(target), [one, other], count),
        ["compose", repository, image, count] => compose(Path::new(repository), image, count),
        ["rename", dir, count] => rename(Path::new(dir), count),
        // What `cargo bench` says; the work is driven from outside.
        ["--bench"] => say("run `make bench`"),
        _ => Err("usage: library ingest|switch|compose|rename ...; see benches/library.rs".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = layerset::causes::chain(&*error);
            // With standard error gone, the status has to do.
            let _ = writeln!(std::io::stderr(), "library: {text}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn ingest(root: &Path, repository: &Path, name: &str) -> Result<()> {
    let repository =
        Repository::open(repository, Arc::new(RealDisk), RepositoryOptions::default())?;
    let started = Instant::now();
    let transaction = repository.begin()?;
    let passwd = std::fs::read(root.join("etc/passwd"))?;
    let group = std::fs::read(root.join("etc/group"))?;
    let ids = PasswdIds::parse(&passwd, &group);
    let sink = BuildSink::new(&transaction);
    let tree = scan(root, &ScanOptions::default(), &ids, &sink)?;
    let scanned = started.elapsed();
    let layer = Layer {
        format: 1,
        name: name.to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        changeset: transaction.put_changeset(&Changeset::between(&Tree::new(), &tree))?,
        pre_images: Vec::new(),
        build: BuildFacts {
            key: BuildKey::of(name.as_bytes()),
            on: Vec::new(),
            epoch: 0,
            builder: layerset::builder::BUILDER_VERSION,
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
    let image = Image {
        format: 1,
        name: name.to_owned(),
        architecture: layer.architecture.clone(),
        layers: vec![ImageLayer {
            name: layer.name.clone(),
            id: transaction.put_layer(&layer)?,
            version: layer.version.clone(),
        }],
        tree: transaction.put_tree(&tree)?,
        bytes: tree.bytes(),
        entries: tree.len() as u64,
        keep: 3,
        waivers: Vec::new(),
    };
    let id = transaction.put_image(&image)?;
    let encoded = started.elapsed();
    let committed = transaction.commit(&RefName::image(name)?, &id.to_string())?;
    let (files, bytes) = sink_taken(&tree);
    say(&serde_json::to_string(&serde_json::json!({
        "image": id,
        "entries": tree.len(),
        "files": files,
        "bytes": bytes,
        "new_objects": committed.new_objects,
        "bytes_written": committed.bytes_written,
        "scan_ms": milliseconds(scanned),
        "encode_ms": milliseconds(encoded - scanned),
        "commit_ms": milliseconds(started.elapsed() - encoded),
    }))?)
}

/// Facts about files are known from the first turn on, as they are after a build.
fn compose(repository: &Path, image: &str, count: &str) -> Result<()> {
    let repository =
        Repository::open(repository, Arc::new(RealDisk), RepositoryOptions::default())?;
    let image = repository.read_image(&repository.resolve_image(image)?)?;
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let composer = Composer::new(&repository, &cancel, &SilentBuild);
    let (mut compose, mut check, mut problems) = (Vec::new(), Vec::new(), 0);
    for turn in 0..=count.parse::<usize>()? {
        let started = Instant::now();
        let members = image
            .layers
            .iter()
            .map(|layer| Member::read(&repository, &layer.id))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let transaction = repository.begin()?;
        let composition = composer.compose(&image.name, &members, &transaction)?;
        let composed = started.elapsed();
        let found = composer.examine(&composition, &members, &transaction)?;
        problems = found.len();
        let judgement = judge(found, &members);
        if turn > 0 {
            compose.push(composed);
            check.push(started.elapsed() - composed);
        }
        drop(judgement);
    }
    compose.sort();
    check.sort();
    say(&serde_json::to_string(&serde_json::json!({
        "bytes": image.bytes,
        "entries": image.entries,
        "problems": problems,
        "compose_ms": milliseconds(compose[compose.len() / 2]),
        "check_ms": milliseconds(check[check.len() / 2]),
    }))?)
}

fn sink_taken(tree: &Tree) -> (usize, u64) {
    let files = tree.iter().filter(|(_, inode)| inode.object().is_some());
    (files.count(), tree.bytes())
}

fn switch(target: &Path, generations: [&str; 2], count: &str) -> Result<()> {
    let target = Target::open(target, Arc::new(RealDisk), Arc::new(SystemClock))?;
    let generations = [generations[0].parse()?, generations[1].parse()?];
    let note = Note {
        who: "bench".to_owned(),
        verdict: RecordedVerdict::Unchecked,
        reason: String::new(),
        checks: Vec::new(),
    };
    let switch = |index: usize| -> Result<()> {
        let change = target.change("layerset bench")?;
        let to = generations[index % 2];
        let switched = change.switch(to, HistoryAction::Rollback, BadPolicy::Refuse, &note)?;
        if switched.from == Some(to) {
            return Err(format!("generation {to} was current already").into());
        }
        Ok(())
    };
    // The first one may find nothing to do, so it only sets the stage.
    let first = usize::from(target.current()? == Some(generations[0]));
    switch(first)?;
    time(count, |index| switch(first + index + 1))
}

fn rename(dir: &Path, count: &str) -> Result<()> {
    use std::fs::{self, File, OpenOptions};
    let (link, beside, log): (PathBuf, PathBuf, PathBuf) =
        (dir.join("current"), dir.join(".new"), dir.join("log"));
    let line = [b'x'; 400];
    time(count, |_| {
        std::os::unix::fs::symlink("deployments/1", &beside)?;
        fs::rename(&beside, &link)?;
        File::open(dir)?.sync_all()?;
        let mut log = OpenOptions::new().append(true).create(true).open(&log)?;
        log.write_all(&line)?;
        log.sync_data()?;
        Ok(())
    })
}

/// Times each of `count` steps, and prints their quantiles.
fn time(count: &str, mut step: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let count: usize = count.parse()?;
    let mut times = Vec::with_capacity(count);
    for index in 0..count {
        let started = Instant::now();
        step(index)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len().max(1) - 1) * percent / 100);
    let at = |percent| at(percent).copied().map_or(0.0, milliseconds);
    say(&serde_json::to_string(&serde_json::json!({
        "count": count, "p50_ms": at(50), "p90_ms": at(90), "p99_ms": at(99), "max_ms": at(100),
    }))?)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
