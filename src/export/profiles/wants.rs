//! What each profile wants, in one table.

use super::{Layout, Profile, Table};
use crate::export::formats::{Codec, DiskFormat, Firmware, Hypervisor};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a profile wants: defaults, and the limits that its rules check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// The formats that are taken, the usual ones first.
    pub formats: &'static [DiskFormat],
    /// How many of them are written when nobody asked for one.
    pub usual_formats: usize,
    /// How a qcow2 is compressed.
    pub codec: Option<Codec>,
    /// The disk's size is a multiple of so many bytes.
    pub size_unit: u64,
    /// The largest disk in bytes, where there is a limit.
    pub most_bytes: Option<u64>,
    /// Arguments for the kernel; consoles are among them.
    pub kernel_arguments: &'static [&'static str],
    /// Arguments that hide what is asked for when a machine does not start.
    pub unwanted_arguments: &'static [&'static str],
    /// The table, where only one will do.
    pub table: Option<Table>,
    /// The layout, where only one will do.
    pub layout: Option<Layout>,
    /// What starts machines there; one of it is enough.
    pub firmware: &'static [Firmware],
    /// Modules without which the root disk is not found.
    pub disk_modules: &'static [&'static str],
    /// Modules that are wanted early, or without which there is no network.
    pub other_modules: &'static [&'static str],
    /// Packages of which one must be there to set the machine up.
    pub one_of: &'static [&'static str],
    /// Packages that are of use there.
    pub useful: &'static [&'static str],
    /// Where cloud-init looks for its data, for `datasource_list`.
    pub datasources: &'static [&'static str],
    /// Whether swap, LVM and a partition of `/boot` are refused.
    pub is_simple: bool,
    /// Whose appliance an OVA is.
    pub hypervisor: Hypervisor,
}

use DiskFormat::{Gcp, Ova, Qcow2, Raw, RawGzip, Vdi, Vhd, Vhdx, Vmdk};

/// A virtual machine of KVM; others differ from it.
const KVM: Wants = Wants {
    formats: &[Qcow2, Raw],
    usual_formats: 1,
    codec: Some(Codec::Zstd(3)),
    size_unit: MIB,
    most_bytes: None,
    kernel_arguments: &["console=tty0", "console=ttyS0,115200"],
    unwanted_arguments: &[],
    table: None,
    layout: None,
    firmware: &[Firmware::Bios, Firmware::Uefi],
    disk_modules: &["virtio_pci", "virtio_blk"],
    other_modules: &["virtio_net", "virtio_scsi"],
    one_of: &[],
    useful: &["qemu-guest-agent"],
    datasources: &["NoCloud", "None"],
    is_simple: false,
    hypervisor: Hypervisor::VSphere,
};

/// Sites may run a QEMU older than 5.1, and other readers than QEMU: deflate.
const DEFLATE: Option<Codec> = Some(Codec::Deflate(6));

pub(super) fn of(profile: Profile) -> Wants {
    match profile {
        Profile::Kvm => KVM,
        Profile::OpenStack => Wants {
            // Glance looks into an image (oslo.utils, format_inspector), and takes a fixed VHD for
            // a raw disk: it is refused where the formats must agree.
            formats: &[Qcow2, Raw, Vmdk, Vhdx, Vdi],
            codec: DEFLATE,
            one_of: &["cloud-init"],
            datasources: &["ConfigDrive", "OpenStack", "None"],
            ..KVM
        },
        Profile::Egi => Wants {
            formats: &[Ova, Qcow2, Raw],
            usual_formats: 2,
            codec: DEFLATE,
            table: Some(Table::Mbr),
            layout: Some(Layout::Plain),
            firmware: &[Firmware::Bios],
            one_of: &["cloud-init"],
            useful: &[],
            datasources: &["ConfigDrive", "OpenStack", "OpenNebula", "Ec2", "None"],
            is_simple: true,
            ..KVM
        },
        Profile::Aws => Wants {
            formats: &[Raw, Vhd, Vhdx, Vmdk, Ova],
            size_unit: GIB,
            kernel_arguments: &[
                "console=tty0",
                "console=ttyS0,115200n8",
                "net.ifnames=0",
                "nvme_core.io_timeout=4294967295",
            ],
            disk_modules: &["nvme", "xen_blkfront"],
            other_modules: &["ena"],
            one_of: &["cloud-init"],
            useful: &[],
            datasources: &["Ec2", "None"],
            ..KVM
        },
        Profile::Azure => Wants {
            formats: &[Vhd],
            most_bytes: Some(1023 * GIB),
            kernel_arguments: &[
                "rootdelay=300",
                "console=tty1",
                "console=ttyS0",
                "earlyprintk=ttyS0",
                "net.ifnames=0",
                "nvme_core.io_timeout=240",
            ],
            unwanted_arguments: &["quiet", "rhgb", "crashkernel=auto"],
            disk_modules: &["hv_vmbus", "hv_storvsc"],
            other_modules: &["hv_netvsc"],
            one_of: &["cloud-init", "waagent", "walinuxagent"],
            useful: &[],
            datasources: &["Azure", "None"],
            is_simple: true,
            ..KVM
        },
        Profile::Gcp => Wants {
            formats: &[Gcp],
            size_unit: GIB,
            kernel_arguments: &["console=ttyS0,38400n8d", "net.ifnames=0"],
            disk_modules: &["virtio_pci", "virtio_scsi"],
            other_modules: &["virtio_net", "nvme"],
            one_of: &["cloud-init", "google-guest-agent"],
            useful: &[],
            datasources: &["GCE", "None"],
            ..KVM
        },
        Profile::VSphere => Wants {
            formats: &[Ova, Vmdk],
            disk_modules: &["vmw_pvscsi"],
            other_modules: &["vmxnet3"],
            useful: &["open-vm-tools", "cloud-init"],
            datasources: &["VMware", "OVF", "None"],
            ..KVM
        },
        Profile::VirtualBox => Wants {
            formats: &[Ova, Vdi, Vmdk, Vhd],
            disk_modules: &["ahci"],
            other_modules: &["e1000"],
            useful: &[],
            hypervisor: Hypervisor::VirtualBox,
            ..KVM
        },
        Profile::BareMetal => Wants {
            formats: &[Raw, RawGzip],
            disk_modules: &[],
            other_modules: &["ahci", "nvme", "usb_storage"],
            useful: &[],
            ..KVM
        },
    }
}

impl Wants {
    /// Returns the formats that are written when nobody asked for one.
    pub fn usual(&self) -> &'static [DiskFormat] {
        &self.formats[..self.usual_formats.min(self.formats.len())]
    }

    /// Rounds a disk's size in bytes up to what is taken.
    pub fn round_size(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.size_unit)
    }
}
