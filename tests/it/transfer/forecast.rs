//! What a pull says beforehand that it would fetch, against what it fetches.

use std::path::Path;

use layerset::transfer::{Delivery, PullForecast, PullOptions};

use super::deltas::two_versions;
use super::world::*;

/// Every path below a directory, with size and the time of the last change.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Forecasts, pulls, and returns the forecast; both must say the same, and the forecast must leave
/// everything as it was.
#[track_caller]
fn assert_comes_true(
    machine: &layerset::store::Repository,
    remote: &MemoryRemote,
    options: &PullOptions<'_>,
) -> PullForecast {
    let before = listing(machine.root());
    let forecast = forecast_stable(machine, remote, options);
    assert_eq!(listing(machine.root()), before, "something was changed");
    remote.log.lock().unwrap().clear();
    let report = pull_stable(machine, remote, options).unwrap();
    let requests = remote.log.lock().unwrap().len() as u64;
    assert_eq!(
        (forecast.bytes, forecast.requests),
        (report.bytes_fetched, requests),
        "{forecast:?} {report:?}"
    );
    let hows = |names: Vec<(&str, Delivery)>| format!("{names:?}");
    let forecast_parts = forecast.parts.iter().map(|part| (&*part.name, part.how));
    let pulled_parts = report.parts.iter().map(|part| (&*part.name, part.how));
    assert_eq!(hows(forecast_parts.collect()), hows(pulled_parts.collect()));
    let sum: u64 = forecast.parts.iter().map(|part| part.bytes).sum();
    assert_eq!(sum, forecast.bytes, "{forecast:?}");
    forecast
}

#[test]
fn a_forecast_says_what_a_pull_fetches_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, _, _, machine) = two_versions(dir.path());
    // Makes compressed files again whatever the line can do, as the forecast reckons.
    let by_delta = PullOptions {
        recompress: Some(true),
        ..pull_options()
    };
    let packs = PullOptions {
        deltas: false,
        ..pull_options()
    };
    let fresh = open(&dir.path().join("fresh"));
    let full = assert_comes_true(&fresh, &remote, &by_delta);
    assert!(full.parts.iter().all(|part| part.how == Delivery::Packs));
    assert!(full.bytes > 2_400_000, "{full:?}");

    let updated = machine("updated");
    let small = assert_comes_true(&updated, &remote, &by_delta);
    assert!(small.parts.iter().all(|part| part.how == Delivery::Delta));
    assert!(small.bytes < 20_000, "{small:?}");
    let nothing = assert_comes_true(&updated, &remote, &by_delta);
    assert_eq!((nothing.bytes, nothing.requests), (0, 0));

    // Objects that are here do not count.
    let half = assert_comes_true(&machine("half"), &remote, &packs);
    assert!(half.bytes < 1_700_000, "{half:?}");
}

#[test]
fn what_arrived_for_a_pull_that_broke_off_is_not_forecast_again() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    publish_image(&publisher, &remote, build(&publisher, 1));
    let whole = forecast_stable(&machine, &remote, &pull_options());
    let blobs: Vec<_> = remote.blobs.lock().unwrap().keys().copied().collect();
    for blob in blobs {
        let fault = vec![Fault::StopAfter(100_000)];
        remote.faults.lock().unwrap().insert(blob, fault);
    }
    pull_stable(&machine, &remote, &pull_options()).unwrap_err();
    remote.faults.lock().unwrap().clear();
    let rest = assert_comes_true(&machine, &remote, &pull_options());
    assert!(rest.bytes + 90_000 < whole.bytes, "{rest:?} of {whole:?}");
}

#[test]
fn an_image_whose_layers_come_by_deltas_is_reckoned_by_its_packs() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, _, _, machine) = two_versions(dir.path());
    let machine = machine("m");
    // The delta of the image starts from an image that is gone here; those of the layers do not.
    let images = machine.root().join("images");
    for entry in std::fs::read_dir(&images).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let options = PullOptions {
        recompress: Some(true),
        ..pull_options()
    };
    let forecast = assert_comes_true(&machine, &remote, &options);
    let image = forecast.parts.last().unwrap();
    assert_eq!(image.how, Delivery::Packs);
    assert!(image.bytes > 0 && image.bytes < 10_000, "{forecast:?}");
}
