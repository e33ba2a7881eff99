//! The description of an appliance (OVF 1.0, DSP0243 version 1.1, with VMware's and VirtualBox's
//! additions).

use std::fmt::Write as _;

use super::FormatError;

/// The digests of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestDigest {
    /// What OVF 1.x names; every reader takes it. A manifest is no signature: it finds damage.
    Sha1,
    /// vSphere 6.5, VirtualBox 5 and newer take it; some validators of OVF 1.x do not.
    Sha256,
}

/// Who runs an appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// VMware ESXi, vCenter, Workstation.
    VSphere,
    /// Oracle VirtualBox.
    VirtualBox,
}

/// What the machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// A PC BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// What the system is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestOs {
    /// Debian, 64 bits.
    Debian,
    /// Ubuntu, 64 bits.
    Ubuntu,
    /// Any other Linux, 64 bits.
    Linux,
}

impl GuestOs {
    /// Finds it by `ID` of os-release.
    pub fn from_os_release(id: &str) -> Self {
        match id {
            "debian" => Self::Debian,
            "ubuntu" => Self::Ubuntu,
            _ => Self::Linux,
        }
    }

    /// Returns the number of CIM_OperatingSystem, the name, and those of VMware and VirtualBox.
    fn names(self) -> (u32, &'static str, &'static str, &'static str) {
        match self {
            Self::Debian => (96, "Debian 64-Bit", "debian12_64Guest", "Debian_64"),
            Self::Ubuntu => (94, "Ubuntu 64-Bit", "ubuntu64Guest", "Ubuntu_64"),
            Self::Linux => (101, "Linux 64-Bit", "other5xLinux64Guest", "Linux_64"),
        }
    }
}

/// A machine that a disk is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// Its name, which the files in an archive have too.
    pub name: String,
    /// Who runs it.
    pub hypervisor: Hypervisor,
    /// What starts it.
    pub firmware: Firmware,
    /// What the system is.
    pub os: GuestOs,
    /// How many processors it has.
    pub cpus: u32,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// VMware's version of the virtual hardware.
    pub hardware: u32,
    /// The digests of the manifest.
    pub manifest: ManifestDigest,
}

impl Appliance {
    /// Makes a usual one for `hypervisor`: 2 processors, 2 GiB, hardware of ESXi 6.7 and newer.
    pub fn new(name: &str, hypervisor: Hypervisor) -> Self {
        Self {
            name: name.to_owned(),
            hypervisor,
            firmware: Firmware::Uefi,
            os: GuestOs::Debian,
            cpus: 2,
            memory_mib: 2048,
            hardware: 14,
            manifest: ManifestDigest::Sha1,
        }
    }

    /// Refuses a name that is no plain file name, or too long for an archive.
    pub(super) fn require_name(&self) -> Result<(), FormatError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = (1..=80).contains(&self.name.len())
            && self.name.chars().all(is_plain)
            && !self.name.starts_with(['.', '-']);
        match is_name {
            true => Ok(()),
            false => Err(FormatError::Name {
                name: self.name.clone(),
            }),
        }
    }
}

/// Returns the description of an appliance with one disk of `capacity` bytes, whose file has
/// `disk_size` bytes. It holds no date.
pub(super) fn describe(
    appliance: &Appliance,
    capacity: u64,
    disk_size: u64,
    disk_name: &str,
) -> String {
    let Appliance { name, cpus, .. } = appliance;
    let (os, os_text, vmware_os, virtualbox_os) = appliance.os.names();
    let (network, system, os_attribute) = match appliance.hypervisor {
        Hypervisor::VSphere => (
            "VM Network",
            format!("vmx-{:02}", appliance.hardware),
            format!(" vmw:osType=\"{vmware_os}\""),
        ),
        Hypervisor::VirtualBox => ("NAT", "virtualbox-2.2".to_owned(), String::new()),
    };
    let mut text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vbox="http://www.virtualbox.org/ovf/machine" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <References>
    <File ovf:href="{disk_name}" ovf:id="file1" ovf:size="{disk_size}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network</Info>
    <Network ovf:name="{network}">
      <Description>The network that the machine is connected to</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="{os}"{os_attribute}>
      <Info>The operating system</Info>
      <Description>{os_text}</Description>
"#
    );
    if appliance.hypervisor == Hypervisor::VirtualBox {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            r#"      <vbox:OSType ovf:required="false">{virtualbox_os}</vbox:OSType>"#
        );
    }
    let _ = write!(
        text,
        r#"    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>The hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{system}</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:Description>Number of virtual CPUs</rasd:Description>
        <rasd:ElementName>{cpus} virtual CPUs</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory size</rasd:Description>
        <rasd:ElementName>{memory} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{memory}</rasd:VirtualQuantity>
      </Item>
"#,
        memory = appliance.memory_mib,
    );
    text.push_str(&devices(appliance, network));
    text.push_str("    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n");
    text
}

/// Returns the disk's controller, the disk, the network and what starts the machine.
fn devices(appliance: &Appliance, network: &str) -> String {
    let is_vsphere = appliance.hypervisor == Hypervisor::VSphere;
    let (bus, bus_type, bus_number, host, card) = match appliance.hypervisor {
        Hypervisor::VSphere => ("SCSI", "VirtualSCSI", 6, "ovf:/disk/vmdisk1", "VmxNet3"),
        Hypervisor::VirtualBox => ("SATA", "AHCI", 20, "/disk/vmdisk1", "E1000"),
    };
    let mut text = format!(
        r#"      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>{bus} controller</rasd:Description>
        <rasd:ElementName>{bus} controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>{bus_type}</rasd:ResourceSubType>
        <rasd:ResourceType>{bus_number}</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Disk 0</rasd:ElementName>
        <rasd:HostResource>{host}</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>{network}</rasd:Connection>
        <rasd:Description>{card} network card</rasd:Description>
        <rasd:ElementName>Network card 0</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>{card}</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
"#
    );
    if is_vsphere {
        let firmware = match appliance.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "efi",
        };
        let _ = writeln!(
            text,
            r#"      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{firmware}"/>"#
        );
        if appliance.firmware == Firmware::Uefi {
            text.push_str(
                "      <vmw:Config ovf:required=\"false\" vmw:key=\"bootOptions.efiSecureBootEnabled\" vmw:value=\"false\"/>\n",
            );
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        let check = |name: &str| Appliance::new(name, Hypervisor::VSphere).require_name();
        for good in ["web", "web-1.2_x", &"n".repeat(80)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".web",
            "-web",
            "a/b",
            "a b",
            "a<b",
            "ä",
            &"n".repeat(81),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_description_names_what_each_hypervisor_wants() {
        let mut appliance = Appliance::new("web", Hypervisor::VSphere);
        let text = describe(&appliance, 1 << 30, 7, "web-disk1.vmdk");
        for part in [
            "vmx-14",
            "debian12_64Guest",
            "VmxNet3",
            "vmw:value=\"efi\"",
            "ovf:size=\"7\"",
        ] {
            assert!(text.contains(part), "{part}");
        }
        appliance.hypervisor = Hypervisor::VirtualBox;
        let text = describe(&appliance, 1 << 30, 7, "web-disk1.vmdk");
        for part in ["virtualbox-2.2", "Debian_64", "AHCI", ">/disk/vmdisk1<"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("vmw:key"));
    }
}
