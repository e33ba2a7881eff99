//! The main job by the real program on real Debian packages: lock, build, deploy, update, roll back, and what goes wrong.
//!
//! The repository of `recipes/web.toml` is built once a run. Each test works in a fork of it: its own references and
//! caches, hard links to the objects, which nothing writes to. Package files outlive the run, so that the next one needs
//! the network for the archives' indexes only. Needs root, mmdebstrap and bwrap.

mod ahead;
mod build;
mod deploy;
mod derive;
mod etc;
mod evidence;
mod fresh;
mod laws;
mod messages;
mod oracle;
mod payload;
mod publish;
mod refuse;
mod repair;
mod shared;
mod stop;
mod swap;
mod world;
