//! Images for use elsewhere: disks.
