//! Sessions with the program that need neither root, network nor Debian: what people read, byte by byte.
//!
//! Repositories are made by the library, from constant contents, so that every id below is a golden id.

mod adopt;
mod agent;
mod ahead;
mod channel;
mod damage;
pub(crate) mod fixture;
mod hostile;
mod killed;
mod leaving;
mod messages;
mod new;
mod publish;
mod recipe;
mod reference;
mod released;
mod repair;
mod repository;
mod trust;
mod usage;
