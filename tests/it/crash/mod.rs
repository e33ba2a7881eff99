//! Crash tests: every operation is stopped, failed and cut off from power at every call of the durable primitives.
//!
//! After each, the state is exactly the old or the new one, `fsck` is clean, `gc` leaves no strays, and the same
//! operation works. The calls are enumerated, not sampled.

mod disk;
mod machine;
mod repository;
mod target;
mod update;
