//! Integration tests, one binary: real tools, real filesystems, real mounts.
//!
//! What needs root or a tool that is missing calls `support::skip`, and is counted as skipped by `scripts/test.sh`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod alternatives;
mod apt;
mod architecture;
mod archive;
mod archives;
mod boot;
mod capture;
mod cli;
mod crash;
mod debian;
mod deploy;
mod derive;
mod dirview;
mod disk;
mod documents;
mod dpkg;
mod elfcheck;
mod imports;
mod journey;
mod ldsocache;
mod materialise;
mod paths;
mod remote;
mod reports;
mod sandbox;
mod secrets;
mod serve;
mod session;
mod support;
mod swap;
mod tally;
mod transfer;
mod units;
mod v0;
