//! What monitoring reads: a file in the text format of Prometheus, for the textfile collector of its
//! node exporter ("Exposition formats", version 0.0.4).

use std::fmt::Write as _;
use std::path::Path;

use crate::durable::{Disk, DurableError, replace_file};

/// What is known of a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::agent) struct Metrics {
    /// The target.
    pub(in crate::agent) target: String,
    /// Its current image: the recipe's name, and the id.
    pub(in crate::agent) image: Option<(String, String)>,
    /// The channel that it follows, and the release that it has.
    pub(in crate::agent) release: Option<(String, u64)>,
    /// The current deployment.
    pub(in crate::agent) generation: Option<u64>,
    /// When the channel was last asked with success, in seconds since 1970.
    pub(in crate::agent) last_contact: Option<i64>,
    /// When all was last as it should be: nothing new, or what was new is current.
    pub(in crate::agent) last_success: Option<i64>,
    /// When the target was last switched.
    pub(in crate::agent) last_switch: Option<i64>,
    /// What the health checks said; none where they did not run.
    pub(in crate::agent) healthy: Option<bool>,
    /// Whether a release is there that is not current.
    pub(in crate::agent) is_pending: bool,
    /// For how long it has been there, in seconds.
    pub(in crate::agent) behind_seconds: i64,
    /// Bytes fetched by the agent, all in all.
    pub(in crate::agent) received_bytes: u64,
    /// How many paths of `/etc` are not as the image has them.
    pub(in crate::agent) edited_paths: Option<u64>,
    /// How many images are marked bad.
    pub(in crate::agent) bad_images: u64,
}

/// Writes the file at `path`, at once: the collector never reads half of it.
pub(in crate::agent) fn write_metrics(
    disk: &dyn Disk,
    path: &Path,
    metrics: &Metrics,
) -> Result<(), DurableError> {
    // The exporter runs as a user of its own.
    replace_file(disk, path, 0o644, text(metrics).as_bytes())
}

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    let target = format!("target=\"{}\"", escape(&metrics.target));
    let mut add = |name: &str, kind: &str, help: &str, labels: &str, value: Option<f64>| {
        let Some(value) = value else { return };
        let labels = match labels {
            "" => target.clone(),
            more => format!("{target},{more}"),
        };
        let _ = writeln!(
            text,
            "# HELP layerset_{name} {help}\n# TYPE layerset_{name} {kind}\nlayerset_{name}{{{labels}}} {value}"
        );
    };
    let number = |n: i64| n as f64;
    if let Some((name, id)) = &metrics.image {
        let (channel, serial) = metrics.release.clone().unwrap_or_default();
        let labels = format!(
            "name=\"{}\",image=\"{}\",channel=\"{}\",serial=\"{serial}\"",
            escape(name),
            escape(id),
            escape(&channel)
        );
        add("info", "gauge", "What is current.", &labels, Some(1.0));
    }
    let generation = metrics.generation.map(|n| n as f64);
    add(
        "generation",
        "gauge",
        "The current deployment.",
        "",
        generation,
    );
    for (name, help, at) in [
        (
            "last_contact_timestamp_seconds",
            "When the channel was last asked with success.",
            metrics.last_contact,
        ),
        (
            "last_success_timestamp_seconds",
            "When what the channel has was last current.",
            metrics.last_success,
        ),
        (
            "last_switch_timestamp_seconds",
            "When the target was last switched.",
            metrics.last_switch,
        ),
    ] {
        add(name, "gauge", help, "", at.map(number));
    }
    let healthy = metrics.healthy.map(|yes| f64::from(u8::from(yes)));
    add(
        "healthy",
        "gauge",
        "Whether all health checks passed.",
        "",
        healthy,
    );
    add(
        "update_pending",
        "gauge",
        "Whether the channel has a release that is not current.",
        "",
        Some(f64::from(u8::from(metrics.is_pending))),
    );
    add(
        "behind_seconds",
        "gauge",
        "For how long that release has been there.",
        "",
        Some(number(metrics.behind_seconds)),
    );
    add(
        "received_bytes_total",
        "counter",
        "Bytes that the agent fetched.",
        "",
        Some(metrics.received_bytes as f64),
    );
    let edited = metrics.edited_paths.map(|n| n as f64);
    add(
        "edited_paths",
        "gauge",
        "Paths of /etc that are not as the image has them.",
        "",
        edited,
    );
    add(
        "bad_images",
        "gauge",
        "Images that are marked bad on the target.",
        "",
        Some(metrics.bad_images as f64),
    );
    text
}

/// Escapes the value of a label.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let metrics = Metrics {
            target: "/srv/a\"b".to_owned(),
            ..Metrics::default()
        };
        insta::assert_snapshot!(text(&metrics), @r#"
        # HELP layerset_update_pending Whether the channel has a release that is not current.
        # TYPE layerset_update_pending gauge
        layerset_update_pending{target="/srv/a\"b"} 0
        # HELP layerset_behind_seconds For how long that release has been there.
        # TYPE layerset_behind_seconds gauge
        layerset_behind_seconds{target="/srv/a\"b"} 0
        # HELP layerset_received_bytes_total Bytes that the agent fetched.
        # TYPE layerset_received_bytes_total counter
        layerset_received_bytes_total{target="/srv/a\"b"} 0
        # HELP layerset_bad_images Images that are marked bad on the target.
        # TYPE layerset_bad_images gauge
        layerset_bad_images{target="/srv/a\"b"} 0
        "#);
    }

    #[test]
    fn all_that_is_known_is_said() {
        let metrics = Metrics {
            target: "/srv/web".to_owned(),
            image: Some(("web".to_owned(), "b3:12".to_owned())),
            release: Some(("images/web/stable".to_owned(), 4)),
            generation: Some(3),
            last_contact: Some(1_800_000_000),
            last_success: Some(1_800_000_001),
            last_switch: Some(1_700_000_000),
            healthy: Some(true),
            is_pending: true,
            behind_seconds: 86_400,
            received_bytes: 12_345_678_901,
            edited_paths: Some(2),
            bad_images: 1,
        };
        insta::assert_snapshot!(text(&metrics), @r#"
        # HELP layerset_info What is current.
        # TYPE layerset_info gauge
        layerset_info{target="/srv/web",name="web",image="b3:12",channel="images/web/stable",serial="4"} 1
        # HELP layerset_generation The current deployment.
        # TYPE layerset_generation gauge
        layerset_generation{target="/srv/web"} 3
        # HELP layerset_last_contact_timestamp_seconds When the channel was last asked with success.
        # TYPE layerset_last_contact_timestamp_seconds gauge
        layerset_last_contact_timestamp_seconds{target="/srv/web"} 1800000000
        # HELP layerset_last_success_timestamp_seconds When what the channel has was last current.
        # TYPE layerset_last_success_timestamp_seconds gauge
        layerset_last_success_timestamp_seconds{target="/srv/web"} 1800000001
        # HELP layerset_last_switch_timestamp_seconds When the target was last switched.
        # TYPE layerset_last_switch_timestamp_seconds gauge
        layerset_last_switch_timestamp_seconds{target="/srv/web"} 1700000000
        # HELP layerset_healthy Whether all health checks passed.
        # TYPE layerset_healthy gauge
        layerset_healthy{target="/srv/web"} 1
        # HELP layerset_update_pending Whether the channel has a release that is not current.
        # TYPE layerset_update_pending gauge
        layerset_update_pending{target="/srv/web"} 1
        # HELP layerset_behind_seconds For how long that release has been there.
        # TYPE layerset_behind_seconds gauge
        layerset_behind_seconds{target="/srv/web"} 86400
        # HELP layerset_received_bytes_total Bytes that the agent fetched.
        # TYPE layerset_received_bytes_total counter
        layerset_received_bytes_total{target="/srv/web"} 12345678901
        # HELP layerset_edited_paths Paths of /etc that are not as the image has them.
        # TYPE layerset_edited_paths gauge
        layerset_edited_paths{target="/srv/web"} 2
        # HELP layerset_bad_images Images that are marked bad on the target.
        # TYPE layerset_bad_images gauge
        layerset_bad_images{target="/srv/web"} 1
        "#);
    }
}
