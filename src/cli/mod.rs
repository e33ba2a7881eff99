//! The command line: parses, calls, prints. [`ui`] is the only printing, `error` the only exit.

mod authority;
mod build;
mod check;
mod compose;
mod debs;
mod diff;
mod error;
mod export;
mod follow;
mod forget;
mod fsck;
mod gc;
mod init;
mod list;
mod lock;
mod machine;
mod meter;
mod new;
mod publish;
mod pull;
mod reference;
mod remotes;
mod secrets;
mod serve;
mod show;
mod targets;
mod timeouts;
mod trust;
pub mod ui;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use self::error::CliError;
use self::ui::Ui;
use crate::deploy::{Booted, MACHINE_ROOT, Machine};
use crate::durable::{Disk, LockMode, RealDisk};
use crate::store::{LockWait, Repository, RepositoryOptions};

/// Builds operating-system images in content-addressed layers, and updates machines with them
/// atomically.
#[derive(Debug, Parser)]
#[command(
    name = "layerset",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "A first image:
  layerset init
  layerset lock recipes/web.toml
  layerset build recipes/web.toml
  layerset deploy web --target /srv/web

Exit status: 0 done (or nothing to do), 1 failed, 2 wrong usage, 3 a check refused, 4 damaged data,
5 nothing new (update --check), 70 a bug, 130 interrupted.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Global {
    /// The repository [default: the machine's own on a machine made of layers, else /var/lib/layerset for
    /// root, $XDG_DATA_HOME/layerset for others]
    #[arg(long, global = true, env = "LAYERSET_REPO", value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but errors; with --json, the document
    #[arg(long, short, global = true)]
    quiet: bool,
    /// How long to wait for another layerset command, in seconds
    #[arg(long, global = true, default_value_t = 600, value_name = "SECONDS")]
    lock_timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a repository
    Init(init::Init),
    /// Write a layer or a recipe to start from
    New(new::New),
    /// Resolve the packages of a recipe to exact files, and write its lock
    Lock(lock::Lock),
    /// Build what changed of a recipe's layers, and compose its image
    Build(build::Build),
    /// Check whether a set of layers is sound
    Check(check::Check),
    /// Compose the layers of a recipe as they are built, and say what the checks find
    Compose(compose::Compose),
    /// List the images and layers of the repository
    List(list::List),
    /// Show an image, a layer, a tree or an object
    Show(show::Show),
    /// Compare two images, or two generations of a target
    Diff(diff::Diff),
    /// Say which layer and package something comes from, and since when
    Why(why::Why),
    /// Publish an image or a layer to channels of a remote
    Publish(publish::Publish),
    /// Bring what a channel of a remote points at into the repository
    Pull(pull::Pull),
    /// Write images for use elsewhere: disks that boot, and bundles for machines offline
    Export(export::Export),
    /// Put an image on a target and switch to it
    Deploy(targets::Deploy),
    /// Update a target from its channel, or with one layer rebuilt
    Update(targets::Update),
    /// Switch a target back to an earlier deployment
    Rollback(targets::Rollback),
    /// Show the deployments of a target
    Status(targets::Status),
    /// Show every change of a target
    History(targets::History),
    /// Keep a deployment, whatever the policy says, or stop keeping it
    Pin(targets::Pin),
    /// Mark the image of a deployment as bad, so that nothing chooses it by itself
    MarkBad(targets::MarkBad),
    /// Take the mark of a bad image back
    MarkGood(targets::MarkGood),
    /// Mount the deployments of a target again, e.g. after a reboot of the host
    Activate(targets::Activate),
    /// Unmount the deployments of a target
    Deactivate(targets::Deactivate),
    /// Run a command in the current deployment of a target
    Run(targets::Run),
    /// Run the health checks of what is current on a target
    Health(targets::Health),
    /// Follow the channel of a target: one round, for a timer
    Agent(targets::Agent),
    /// Make an ordinary Debian the host of a target
    AdoptHost(targets::AdoptHost),
    /// Say whether this start of the machine was good; a unit of the machine does it
    SettleBoot(targets::SettleBoot),
    /// Release what a target or a recipe that is gone still holds
    Forget(forget::Forget),
    /// Remove what no image and no deployment needs
    Gc(gc::Gc),
    /// Verify every byte of the repository, and repair it
    Fsck(fsck::Fsck),
    /// Serve the directory of a remote over HTTP, for labs
    Serve(serve::Serve),
    /// Manage who may publish what on a remote
    Trust(trust::Trust),
    /// Print what a file may say, as JSON Schema
    Schema(reference::Schema),
    /// Print shell completions
    Completions(reference::Completions),
    /// Write the manual pages
    Man(reference::Man),
}

/// What every command works with.
pub(crate) struct Context {
    ui: Ui,
    repo: PathBuf,
    disk: Arc<dyn Disk>,
    patience: Duration,
    cancel: Arc<AtomicBool>,
    /// What runs, where this is a machine that runs from a deployment.
    booted: Option<Booted>,
    machine: OnceLock<Arc<Machine>>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    doing: Box<dyn Fn(&str) + Send + Sync>,
}

impl Context {
    fn new(global: &Global, booted: Option<Booted>) -> Result<Self, CliError> {
        let repo = match &global.repo {
            Some(repo) => repo.clone(),
            None if booted.is_some() => PathBuf::from(MACHINE_ROOT).join("layerset/repo"),
            None => default_repository()?,
        };
        // Links and mounts are made from it, and the working directory of tools differs.
        let repo = std::path::absolute(&repo)
            .map_err(|error| CliError::io("cannot find the repository", error))?;
        let ui = Ui::new(global.json, global.quiet);
        let (speaker, worker) = (ui.clone(), ui.clone());
        Ok(Self {
            doing: Box::new(move |what| worker.doing(what)),
            tell: Box::new(move |holder| speaker.remark(&format!("waiting for {holder}"))),
            ui,
            repo,
            disk: Arc::new(RealDisk),
            patience: Duration::from_secs(global.lock_timeout),
            cancel: Arc::new(AtomicBool::new(false)),
            booted,
            machine: OnceLock::new(),
        })
    }

    /// Opens the repository; `title` is what others read while they wait.
    fn open(&self, mode: LockMode, title: &str) -> Result<Repository, CliError> {
        self.machine(&self.repo)?;
        let waiting = |holder: &str| self.ui.remark(&format!("waiting for {holder}"));
        let options = RepositoryOptions {
            mode,
            title,
            patience: self.patience,
            waiting: &waiting,
        };
        Ok(Repository::open(
            &self.repo,
            Arc::clone(&self.disk),
            options,
        )?)
    }

    /// Opens the repository to look at it: waits for nobody, and needs nothing but to read. `mode` is
    /// what the work would take; without it, that is told.
    fn look(&self, title: &str, mode: LockMode) -> Result<Repository, CliError> {
        self.machine(&self.repo)?;
        let (repository, alone) =
            Repository::look(&self.repo, Arc::clone(&self.disk), mode, title)?;
        if !alone {
            self.ui.remark(
                "another layerset command uses the repository: what it does meanwhile may be seen half done",
            );
        }
        Ok(repository)
    }

    /// Says who holds a lock, and waits as long as the command line allows.
    fn store_waiting(&self) -> LockWait<'_> {
        LockWait {
            patience: self.patience,
            tell: &*self.tell,
        }
    }

    /// From now on, one interrupt asks the work to stop cleanly; a second one kills it.
    fn catch_interrupts(&self) -> Result<(), CliError> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let install =
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&self.cancel))
                    .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&self.cancel)));
            install.map_err(|error| CliError::io("cannot catch interrupts", error))?;
        }
        Ok(())
    }
}

fn default_repository() -> Result<PathBuf, CliError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/layerset"));
    }
    let data = std::env::var_os("XDG_DATA_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    data.or_else(home)
        .map(|dir| dir.join("layerset"))
        .ok_or_else(|| {
            CliError::usage("neither XDG_DATA_HOME nor HOME is set")
                .with_hint("name the repository with --repo")
        })
}

/// Where this user's configuration is: `/etc/layerset` for root.
fn config_dir() -> Result<PathBuf, CliError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/etc/layerset"));
    }
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    config
        .or_else(home)
        .map(|dir| dir.join("layerset"))
        .ok_or_else(|| CliError::usage("neither XDG_CONFIG_HOME nor HOME is set"))
}

/// Runs the command line and returns the process's exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let booted = Booted::look();
    let command = match booted {
        Some(_) => machine::with_own_target(Cli::command()),
        None => Cli::command(),
    };
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return ui::clap_exit(&error),
    };
    let context = match Context::new(&cli.global, booted) {
        Ok(context) => context,
        Err(error) => return Ui::new(cli.global.json, cli.global.quiet).fail(&error),
    };
    match cli.command.run(&context) {
        Ok(()) => ui::success(),
        Err(error) => {
            let interrupted = context.cancel.load(std::sync::atomic::Ordering::Relaxed);
            context.ui.fail(&if interrupted {
                error.interrupted()
            } else {
                error
            })
        }
    }
}

impl Command {
    fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(command) => command.run(context),
            Self::New(command) => command.run(context),
            Self::Lock(command) => command.run(context),
            Self::Build(command) => command.run(context),
            Self::Check(command) => command.run(context),
            Self::Compose(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Diff(command) => command.run(context),
            Self::Why(command) => command.run(context),
            Self::Publish(command) => command.run(context),
            Self::Pull(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Deploy(command) => command.run(context),
            Self::Update(command) => command.run(context),
            Self::Rollback(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::History(command) => command.run(context),
            Self::Pin(command) => command.run(context),
            Self::MarkBad(command) => command.run(context),
            Self::MarkGood(command) => command.run(context),
            Self::Activate(command) => command.run(context),
            Self::Deactivate(command) => command.run(context),
            Self::Run(command) => command.run(context),
            Self::Health(command) => command.run(context),
            Self::Agent(command) => command.run(context),
            Self::AdoptHost(command) => command.run(context),
            Self::SettleBoot(command) => command.run(context),
            Self::Forget(command) => command.run(context),
            Self::Gc(command) => command.run(context),
            Self::Fsck(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::Trust(command) => command.run(context),
            Self::Schema(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Man(command) => command.run(context),
        }
    }
}

/// The architecture of this machine, in Debian's words.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}
