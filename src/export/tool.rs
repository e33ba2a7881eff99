//! Filesystems that other programs make: empty ones of XFS and btrfs.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use super::ExportError;
use super::assemble::Common;
use super::draft::Frame;
use super::output::NewFile;
use crate::disk::{FilesystemId, FilesystemKind, Medium};

/// What is copied at once.
const CHUNK: usize = 1 << 20;

/// Lets `program` make an empty filesystem in a file, and copies what is not zero.
pub(super) fn make(
    program: &'static str,
    frame: &Frame,
    id: FilesystemId,
    common: &Common<'_>,
    medium: &mut dyn Medium,
) -> Result<(), ExportError> {
    let fail = |reason: String| ExportError::Tool {
        program,
        name: frame.name.clone(),
        reason,
    };
    // Removed when it is dropped.
    let scratch = NewFile::create(&common.output.with_added_extension("mkfs"))?;
    let sized = scratch.file().set_len(medium.size());
    sized.map_err(|error| fail(error.to_string()))?;
    let mut command = Command::new(program);
    let label = frame.filesystem.label.as_deref();
    match frame.filesystem.kind {
        FilesystemKind::Xfs => {
            let size = common.sector.bytes();
            command.args(["-q", "-f", "-s", &format!("size={size}")]);
            command.args(["-m", &format!("uuid={id}")]);
        }
        _ => {
            command.args(["-q", "-f", "-U", &id.to_string()]);
        }
    }
    if let Some(label) = label {
        command.args(["-L", label]);
    }
    command
        .args(&frame.filesystem.options)
        .arg(scratch.beside());
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail("it is not installed".to_owned()),
        _ => fail(error.to_string()),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        return Err(fail(last.unwrap_or("it says nothing").trim().to_owned()));
    }
    copy(scratch.beside(), medium).map_err(|error| fail(error.to_string()))
}

fn copy(path: &std::path::Path, medium: &mut dyn Medium) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        for (index, block) in buffer[..count].chunks(4096).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                medium.write_at(at + index as u64 * 4096, block)?;
            }
        }
        at += count as u64;
    }
}
