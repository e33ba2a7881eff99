//! Names in configuration that lead nowhere: what a program reads when it starts, when somebody
//! logs in, or when a table says that it is time.
//!
//! Each reader knows one format as far as it names files, programs and accounts. It is total: what
//! it does not understand it leaves alone. The problem belongs to the file that names what is
//! missing. It is grave where something does not start, or somebody cannot log in.

mod alternatives;
mod apache;
mod apt;
mod cron;
mod faults;
mod image;
mod logrotate;
mod nginx;
mod nss;
mod pam;
mod php;
mod rsyslog;
mod shells;
mod sshd;
mod sudo;
mod tmpfiles;
mod udev;
mod zone;

use self::faults::Faults;
use self::image::Image;
use super::accounts::Accounts;
use crate::check::Problem;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// A reader of one kind of configuration.
type Check = fn(&Image<'_>, &mut Faults) -> Result<(), ViewError>;

const CHECKS: [Check; 16] = [
    alternatives::check,
    apache::check,
    apt::check,
    cron::check,
    logrotate::check,
    nginx::check,
    nss::check,
    pam::check,
    php::check,
    rsyslog::check,
    shells::check,
    sshd::check,
    sudo::check,
    tmpfiles::check,
    udev::check,
    zone::check,
];

/// Finds the names in configuration that lead nowhere, sorted by id.
pub fn config(tree: &Tree, view: &dyn ImageView) -> Result<Vec<Problem>, ViewError> {
    let accounts = Accounts::of(tree, view)?;
    let image = Image {
        tree,
        view,
        accounts: &accounts,
    };
    let mut faults = Faults::default();
    for check in CHECKS {
        check(&image, &mut faults)?;
    }
    Ok(faults.into_sorted())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
