//! A repository with small images and one target, by the program itself.

use std::path::PathBuf;

use serde_json::Value;

use crate::deploy::{World, base, with};
use crate::session::{Ran, Session};

pub struct Scene {
    world: World,
    session: Session,
}

impl Scene {
    pub fn new() -> Self {
        let world = World::new();
        let session = Session::new(world.dir.path(), &world.dir.path().join("repo"));
        Self { world, session }
    }

    /// Makes an image of that name: the usual small one, whose `usr/app` says `version NAME`, with changes.
    pub fn image(&self, name: &str, changes: &[(&'static str, &str)]) -> String {
        let app = format!("f version {name}\n");
        let spec = with(with(base(), &[("usr/app", &app)]), changes);
        self.world.image(name, &spec).to_string()
    }

    /// Makes an image and deploys it.
    pub fn deployed(&self, name: &str, changes: &[(&'static str, &str)]) {
        self.image(name, changes);
        self.run(&format!("deploy {name}")).expect(0);
    }

    /// Runs a command on the target.
    pub fn run(&self, line: &str) -> Ran {
        self.session.run(&format!("{line} --target target"))
    }

    /// Runs a command with the umask that a shell may have.
    pub fn run_under(&self, umask: &str, line: &str) -> Ran {
        let program = self.session.command::<&str>(&[]);
        let mut shell = std::process::Command::new("sh");
        shell
            .args([
                "-c",
                &format!("umask {umask}; exec \"$0\" {line} --target target"),
            ])
            .arg(program.get_program())
            .current_dir(self.world.dir.path())
            .env_clear();
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        let output = shell.output().unwrap();
        self.session.ran(line, output)
    }

    pub fn status(&self) -> Value {
        self.run("status --json").expect(0).json()
    }

    /// Returns the generations with what the status says of each under `key`.
    pub fn each(&self, key: &str) -> Vec<(u64, Value)> {
        let status = self.status();
        let deployments = status["deployments"].as_array().unwrap().iter();
        let mut each: Vec<_> = deployments
            .map(|one| (one["generation"].as_u64().unwrap(), one[key].clone()))
            .collect();
        each.sort_by_key(|(generation, _)| *generation);
        each
    }

    pub fn generations(&self) -> Vec<u64> {
        self.each("state")
            .into_iter()
            .map(|(generation, _)| generation)
            .collect()
    }

    /// Says which version is current.
    pub fn version(&self) -> String {
        self.read("usr/app")
            .trim()
            .trim_start_matches("version ")
            .to_owned()
    }

    /// Returns a path of the current deployment.
    pub fn current(&self, path: &str) -> PathBuf {
        self.at("current/root").join(path)
    }

    /// Returns a path of the target.
    pub fn at(&self, path: &str) -> PathBuf {
        self.world.at(path)
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.current(path)).unwrap()
    }

    /// Edits a file as an admin does.
    pub fn edit(&self, path: &str, text: &str) {
        std::fs::write(self.current(path), text).unwrap();
    }

    /// Returns the file of the repository that has these contents.
    pub fn object(&self, contents: &str) -> PathBuf {
        let id = layerset::id::ObjectId::of(contents.as_bytes()).to_hex();
        self.world
            .dir
            .path()
            .join("repo/objects")
            .join(&id[..2])
            .join(&id[2..])
    }
}
