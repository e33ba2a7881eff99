//! What OpenStack's image service is told of an image ("useful image properties" of Glance, and
//! `POST /v2/images` of its API).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::export::formats::{DiskFormat, Firmware};

/// What is said of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlanceFacts {
    /// Its name.
    pub name: String,
    /// The format of the file.
    pub format: DiskFormat,
    /// The disk's size in bytes.
    pub virtual_size: u64,
    /// The least memory in MiB.
    pub memory_mib: u32,
    /// `ID` of os-release, such as `debian`.
    pub os_id: String,
    /// `VERSION_ID` of os-release, such as `13`.
    pub os_version: String,
    /// The account that cloud-init gives keys to.
    pub admin_user: Option<String>,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// What the disk can be started by.
    pub firmware: Vec<Firmware>,
    /// `qemu-guest-agent` is installed.
    pub has_guest_agent: bool,
}

/// Returns the description of an image as JSON in lines, such as the API takes it; it lies beside
/// the image as `<image>.glance.json`. `None` for a format that Glance has no name for.
pub fn glance_properties(facts: &GlanceFacts) -> Option<String> {
    let disk_format = match facts.format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vmdk => "vmdk",
        DiskFormat::Vhd => "vhd",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Vdi => "vdi",
        DiskFormat::Ova | DiskFormat::Gcp | DiskFormat::RawGzip => return None,
    };
    let architecture = match &*facts.architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    let mut properties: BTreeMap<&str, Value> = BTreeMap::from([
        ("name", json!(facts.name)),
        ("disk_format", json!(disk_format)),
        ("container_format", json!("bare")),
        ("min_disk", json!(facts.virtual_size.div_ceil(1 << 30))),
        ("min_ram", json!(facts.memory_mib)),
        ("architecture", json!(architecture)),
        ("hypervisor_type", json!("qemu")),
        ("os_type", json!("linux")),
        ("os_distro", json!(facts.os_id)),
        ("os_version", json!(facts.os_version)),
        ("hw_disk_bus", json!("virtio")),
        ("hw_vif_model", json!("virtio")),
        ("hw_rng_model", json!("virtio")),
        // Our boot loader carries no signature that machines know.
        ("os_secure_boot", json!("disabled")),
    ]);
    if architecture == "x86_64" {
        properties.insert("hw_machine_type", json!("q35"));
    }
    // Where both will do, the cloud's default stays.
    match facts.firmware[..] {
        [Firmware::Bios] => drop(properties.insert("hw_firmware_type", json!("bios"))),
        [Firmware::Uefi] => drop(properties.insert("hw_firmware_type", json!("uefi"))),
        _ => {}
    }
    if let Some(user) = &facts.admin_user {
        properties.insert("os_admin_user", json!(user));
    }
    if facts.has_guest_agent {
        properties.insert("hw_qemu_guest_agent", json!("yes"));
        properties.insert("os_require_quiesce", json!("yes"));
    }
    let mut text = serde_json::to_string_pretty(&properties).ok()?;
    text.push('\n');
    Some(text)
}
