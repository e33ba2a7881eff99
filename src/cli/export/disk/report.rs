//! What `layerset export disk` says when it is done.

use crate::cli::ui;
use crate::export::{DiskReport, SizeReport};

/// Describes a report to people.
pub(super) fn text(report: &DiskReport) -> String {
    let rows: Vec<Vec<String>> = report
        .partitions
        .iter()
        .map(|part| {
            vec![
                part.number.to_string(),
                part.name.clone(),
                ui::size(part.start),
                ui::size(part.bytes),
                part.used.map_or_else(String::new, ui::size),
            ]
        })
        .collect();
    let mut text = ui::table(&["", "partition", "start", "size", "used"], &rows);
    text.push_str(&format!(
        "{} boots kernel {} from a disk of {}, {} of it in use\n",
        report.image.short(),
        report.kernel,
        ui::size(report.virtual_bytes),
        ui::size(report.used_bytes)
    ));
    for remark in &report.remarks {
        text.push_str(&format!("note: {remark}\n"));
    }
    if let Some(sizes) = &report.sizes {
        text.push_str(&describe_sizes(sizes));
    }
    for output in &report.outputs {
        text.push_str(&format!(
            "{}: {}, {}\n",
            output.path.display(),
            output.format,
            ui::size(output.bytes)
        ));
    }
    let what = if report.is_dry_run {
        "nothing was written; decided"
    } else {
        "exported"
    };
    text.push_str(&format!("{what} in {}\n", ui::seconds(report.seconds)));
    text
}

fn describe_sizes(sizes: &SizeReport) -> String {
    let rows: Vec<Vec<String>> = sizes
        .layers
        .iter()
        .filter(|layer| layer.content > 0)
        .map(|layer| {
            let name = match layer.name.as_str() {
                "" => "(composing)",
                name => name,
            };
            vec![
                name.to_owned(),
                ui::size(layer.content),
                ui::size(layer.compressed),
            ]
        })
        .collect();
    let mut text = ui::table(&["layer", "content", "compressed"], &rows);
    text.push_str(&format!(
        "{} of content, {} of metadata and filesystems, {} free\n",
        ui::size(sizes.content),
        ui::size(sizes.overhead),
        ui::size(sizes.free)
    ));
    text
}
