//! Pulling and publishing by the program while mirrors lie, servers stall, disks are full and processes are killed.
//!
//! A real remote is published by the program; what a test serves of it is real but for what it changes. Whatever happens,
//! the repository stays sound and what is deployed stays as it is.

mod blobs;
mod credentials;
mod heads;
mod kill;
mod mirror;
mod mirrors;
mod proxy;
mod registries;
mod space;
mod stores;
mod tls;
mod updates;
mod world;

use world::World;
