//! What a command would do, for people.

use super::deploy::{etc_text, var_text};
use crate::cli::{follow, ui};
use crate::deploy::{DeployReport, ImageChanges, PackageChange, ServiceRestart};
use crate::transfer::ChannelForecast;

/// Describes what bringing an image onto a target would do.
pub(super) fn describe(planned: &DeployReport, forecast: Option<&ChannelForecast>) -> String {
    let DeployReport::Planned {
        image,
        is_current,
        etc,
        var,
        changes,
        way,
    } = planned
    else {
        return String::new();
    };
    if *is_current {
        let taken = var_text(var, true);
        let rest = match var.taken.is_empty() {
            true => "nothing would change",
            false => "another deployment of it would be made",
        };
        return format!(
            "{taken}image {} is already current: {rest}\n",
            image.short()
        );
    }
    let ImageChanges { packages, services } = changes;
    let mut text = package_table(packages);
    text.push_str(&restarts(services));
    text.push_str(&etc_text(etc));
    text.push_str(&var_text(var, true));
    if let Some(way) = way {
        text.push_str(&format!("the switch would be {way}\n"));
    }
    text.push_str(&match forecast {
        Some(forecast) => follow::describe_forecast(forecast),
        None => format!("would deploy {}; nothing was changed\n", image.short()),
    });
    text
}

/// Lists packages that move, with the CVEs that their changelogs name.
pub(super) fn package_table(packages: &[PackageChange]) -> String {
    if packages.is_empty() {
        return String::new();
    }
    let side = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = packages
        .iter()
        .map(|package| {
            let cves: Vec<&str> = package.cves.iter().map(String::as_str).collect();
            vec![
                package.name.clone(),
                package.layer.clone(),
                side(&package.before),
                side(&package.after),
                cves.join(" "),
            ]
        })
        .collect();
    ui::table(&["package", "layer", "before", "after", "fixes"], &rows)
}

/// Lists services to restart.
pub(super) fn restarts(services: &[ServiceRestart]) -> String {
    if services.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = services
        .iter()
        .map(|service| vec![service.unit.clone(), service.reason.clone()])
        .collect();
    ui::table(&["to restart", "because"], &rows)
}
