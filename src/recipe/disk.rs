//! STUB
#[allow(missing_docs)]
#[derive(Debug, Clone)]
pub struct DiskSection {
    pub layout: crate::disk::Layout,
    pub devices: crate::disk::Devices,
    pub kernel_arguments: Vec<String>,
    pub consoles: Vec<String>,
}
#[allow(missing_docs)]
impl DiskSection {
    pub fn default_for(architecture: &str) -> Self {
        use crate::disk::*;
        Self {
            layout: Layout::Updatable,
            devices: layout_devices(
                Layout::Updatable,
                TableKind::Gpt,
                SectorSize::B512,
                architecture,
            ),
            kernel_arguments: vec![],
            consoles: vec!["tty0".into(), "ttyS0".into()],
        }
    }
    pub fn disk(&self) -> &crate::disk::Disk {
        &self.devices.disks[0]
    }
    pub fn override_with(
        &mut self,
        layout: Option<&str>,
        _size: Option<&str>,
        architecture: &str,
    ) -> Result<(), String> {
        use crate::disk::*;
        match layout {
            Some("plain") => {
                self.layout = Layout::Plain;
                self.devices = layout_devices(
                    Layout::Plain,
                    TableKind::Gpt,
                    SectorSize::B512,
                    architecture,
                );
            }
            Some("egi") => {
                self.layout = Layout::Plain;
                self.devices = layout_devices(
                    Layout::Plain,
                    TableKind::Mbr,
                    SectorSize::B512,
                    architecture,
                );
            }
            _ => {}
        }
        Ok(())
    }
}
