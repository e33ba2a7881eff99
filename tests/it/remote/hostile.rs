//! What hostile remotes do.
