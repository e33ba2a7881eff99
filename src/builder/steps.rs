//! The steps of a build that work on a view: packages, files, owners and scripts.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::inputs::LayerInputs;
use super::{BuildError, BuildOptions, files};
use crate::apt::{InstallPlan, LocalRepo, StatusLine};
use crate::recipe::{LayerContent, LayerLock, RunSection, ScriptStart};
use crate::sandbox::{
    Limits, MountedView, ReadOnlyBind, Sandbox, SandboxError, SandboxRun, ViewRoot,
};

/// How long the packages of a layer may take together; thousands of them take less.
const INSTALL_TIME: Duration = Duration::from_secs(6 * 60 * 60);

/// Runs the steps of a build in one view.
pub(super) struct StepRunner<'a> {
    /// How to build.
    pub options: &'a BuildOptions<'a>,
    /// Where output goes.
    pub log: &'a Path,
    /// The view.
    pub view: &'a MountedView,
    /// The layer, for progress and messages.
    pub layer: &'a str,
    /// The source-date-epoch.
    pub epoch: i64,
}

impl StepRunner<'_> {
    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.view.merged(), self.view.scratch(), self.epoch)
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        what: &str,
        command: &[&OsStr],
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let run = SandboxRun {
            command,
            log: self.log,
            on_line,
            cancel: self.options.cancel,
        };
        sandbox.run(run).map_err(|source| match source {
            SandboxError::Cancelled { .. } => BuildError::Interrupted,
            source => BuildError::Step {
                layer: self.layer.to_owned(),
                step: what.to_owned(),
                source: Box::new(source),
            },
        })
    }

    /// Installs the locked packages.
    pub(super) fn packages(
        &self,
        lock: &LayerLock,
        architecture: &str,
        repo: &LocalRepo,
    ) -> Result<(), BuildError> {
        let plan = InstallPlan::new(&lock.packages, &lock.requested, architecture);
        let mut sandbox = self.sandbox().with_limits(Limits {
            time: INSTALL_TIME,
            ..Limits::default()
        });
        for (path, contents) in &plan.files {
            let name = path.rsplit('/').next().unwrap_or(path);
            let source = self.view.scratch().join(format!("plan-{name}"));
            std::fs::write(&source, contents).map_err(|error| BuildError::Source {
                verb: "write",
                path: source.clone(),
                source: error,
            })?;
            sandbox = sandbox.with_bind(ReadOnlyBind {
                source,
                name: name.into(),
            });
        }
        sandbox = sandbox.with_bind(ReadOnlyBind {
            source: repo.path().to_owned(),
            name: "repo".into(),
        });
        for (name, value) in &plan.env {
            sandbox = sandbox.with_variable(name.as_ref(), value.as_ref());
        }
        let command: Vec<&OsStr> = plan.argv.iter().map(OsStr::new).collect();
        let progress = self.options.progress;
        self.run(&sandbox, "installing packages", &command, &mut |line| {
            if let Some(status) = StatusLine::parse(line) {
                progress.step(self.layer, "installing packages", Some(status.fraction));
            }
        })
    }

    /// Applies what a layer has beside its packages: files, their owners, scripts.
    pub(super) fn own(&self, input: &LayerInputs) -> Result<(), BuildError> {
        let LayerContent::Upper(upper) = &input.definition.content else {
            return Ok(());
        };
        let root = self.view.merged();
        if let Some(wanted) = &upper.files {
            files::copy(
                &input.files,
                &input.dir,
                &input.definition,
                root,
                input.epoch,
            )?;
            files::own(&wanted.owner, root, files::OwnerPass::Known)?;
        }
        if let Some(run) = &upper.run {
            self.scripts(run, input)?;
        }
        if let Some(wanted) = &upper.files {
            files::own(&wanted.owner, root, files::OwnerPass::All)?;
        }
        Ok(())
    }

    /// Fails where the layers below lack the program that a script names; the kernel would say that
    /// the script is not there.
    fn has(&self, program: Option<&str>, script: &str) -> Result<(), BuildError> {
        let root = ViewRoot::open(self.view.merged())?;
        match program {
            Some(program) if !root.has(program)? => Err(BuildError::NoInterpreter {
                layer: self.layer.to_owned(),
                script: script.to_owned(),
                program: program.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Runs the layer's scripts, in their order.
    fn scripts(&self, run: &RunSection, input: &LayerInputs) -> Result<(), BuildError> {
        for (script, start) in run.scripts.iter().zip(&input.starts) {
            let text = script.to_string();
            let text = text.trim_start_matches('/');
            self.options
                .progress
                .step(self.layer, &format!("running {text}"), None);
            let source =
                std::path::absolute(input.dir.join(script.as_path())).map_err(|source| {
                    BuildError::Source {
                        verb: "find",
                        path: script.as_path().to_owned(),
                        source,
                    }
                })?;
            let name = OsStr::new("script");
            let mut sandbox = self.sandbox().with_bind(ReadOnlyBind {
                source: source.clone(),
                name: name.into(),
            });
            if let Some(time) = run.timeout_ms {
                sandbox = sandbox.with_limits(Limits {
                    time: Duration::from_millis(time),
                    ..Limits::default()
                });
            }
            for (name, value) in &run.env {
                sandbox = sandbox.with_variable(name.as_ref(), value.as_ref());
            }
            let (program, mut command) = match start {
                ScriptStart::Itself(program) => (program.as_deref(), Vec::new()),
                ScriptStart::Shell => (None, vec!["/bin/sh", "-e"]),
                ScriptStart::Words(words) => (
                    words.first().map(String::as_str),
                    words.iter().map(String::as_str).collect(),
                ),
            };
            self.has(program, text)?;
            command.push("/run/layerset/script");
            let command: Vec<&OsStr> = command.into_iter().map(OsStr::new).collect();
            self.run(&sandbox, text, &command, &mut |_| {})?;
        }
        Ok(())
    }
}
