//! The steps of a layer's build that run in the sandbox: packages and scripts.

use std::ffi::OsStr;

use super::apt::{InstallPlan, LocalRepo, StatusLine};
use super::files;
use super::layer::Place;
use super::{Build, BuildError};
use crate::sandbox::{ReadOnlyBind, Run, Sandbox, SandboxError, View};

/// Running things in one view.
pub struct Step<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) place: &'a Place<'a>,
    pub(super) view: &'a View,
}

impl Step<'_> {
    fn sandbox(&self) -> Sandbox {
        Sandbox::new(
            self.view.merged(),
            self.view.scratch(),
            self.place.input.epoch,
        )
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        what: &str,
        command: &[&OsStr],
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let run = Run {
            command,
            log: &self.place.log,
            on_line,
            cancel: self.build.options.cancel,
        };
        sandbox.run(run).map_err(|source| match source {
            SandboxError::Cancelled { .. } => BuildError::Interrupted,
            source => BuildError::Step {
                layer: self.place.input.name.clone(),
                step: what.to_owned(),
                source: Box::new(source),
            },
        })
    }

    /// Installs the locked packages.
    pub fn packages(&self, requested: &[String], repo: &LocalRepo) -> Result<(), BuildError> {
        let packages = &self.place.input.lock.packages;
        let plan = InstallPlan::new(packages, requested, &self.place.input.architecture);
        let mut sandbox = self.sandbox();
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
        let progress = self.build.options.progress;
        let name = &self.place.input.name;
        self.run(&sandbox, "installing packages", &command, &mut |line| {
            if let Some(status) = StatusLine::parse(line) {
                progress.step(name, "installing packages", Some(status.fraction));
            }
        })
    }

    /// Runs the layer's scripts, in their order.
    pub fn scripts(&self, run: &crate::recipe::Run) -> Result<(), BuildError> {
        for script in &run.scripts {
            let text = script.to_string();
            let text = text.trim_start_matches('/');
            self.build.options.progress.step(
                &self.place.input.name,
                &format!("running {text}"),
                None,
            );
            let source = std::path::absolute(self.place.input.dir.join(script.as_path())).map_err(
                |source| BuildError::Source {
                    verb: "find",
                    path: script.as_path().to_owned(),
                    source,
                },
            )?;
            let name = OsStr::new("script");
            let mut sandbox = self.sandbox().with_bind(ReadOnlyBind {
                source: source.clone(),
                name: name.into(),
            });
            for (name, value) in &run.env {
                sandbox = sandbox.with_variable(name.as_ref(), value.as_ref());
            }
            let command = if files::is_executable(&source) {
                vec![OsStr::new("/run/layerset/script")]
            } else {
                vec![
                    OsStr::new("/bin/sh"),
                    OsStr::new("-e"),
                    OsStr::new("/run/layerset/script"),
                ]
            };
            self.run(&sandbox, text, &command, &mut |_| {})?;
        }
        Ok(())
    }
}
