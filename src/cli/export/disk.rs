//! `layerset export disk`.

mod description;
mod report;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, secrets};
use crate::disk::{Layout, TableKind};
use crate::durable::LockMode;
use crate::export::formats::{Appliance, Codec, DiskFormat, Hypervisor};
use crate::export::profiles::{Profile, Wants};
use crate::export::{DiskOutput, DiskRequest, Hooks, export_disk};
use crate::id::LayerId;
use crate::transfer::TransferProgress as _;

/// How a qcow2 is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// Small, and fast to read; QEMU 5.1 and newer
    Zstd,
    /// What every reader of qcow2 knows
    Zlib,
    /// None: larger, and the fastest to start
    None,
}

/// Who runs an OVA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HypervisorName {
    /// VMware ESXi, vCenter, Workstation
    Vsphere,
    /// Oracle VirtualBox
    Virtualbox,
}

fn layout(text: &str) -> Result<Layout, String> {
    word(text, &Layout::ALL)
}

fn table(text: &str) -> Result<TableKind, String> {
    word(text, &TableKind::ALL)
}

fn word<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let known = all
        .iter()
        .map(|(word, _)| *word)
        .collect::<Vec<_>>()
        .join(" or ");
    let found = all.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or(format!("it is {known}"))
}

impl Compression {
    fn codec(self) -> Option<Codec> {
        match self {
            Self::Zstd => Some(Codec::Zstd(3)),
            Self::Zlib => Some(Codec::Deflate(6)),
            Self::None => None,
        }
    }
}

/// Writes an image as a disk that boots.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset export disk web -o web.qcow2
  layerset export disk web -o web.raw -o web.ova          # both from one disk
  layerset export disk web -o web.qcow2 --layout plain    # an ordinary, writable root
  layerset export disk web -o web.qcow2 --dry-run         # its partitions and sizes
  qemu-system-x86_64 -m 1G -nographic -drive file=web.qcow2,if=virtio

The disk boots by UEFI and by BIOS. The image needs a kernel and a boot loader, as the layers
'kernel' and 'machine' bring them. [disk] of the recipe describes the disk; without it, an updatable
one is made: BIOS boot, ESP, and one filesystem for the deployments and the machine's data.

Needs no root, no loop device and no mount. The same image gives the same bytes, on every machine.
Formats, by extension: .raw .img .qcow2 .vmdk .vhd .vhdx .vdi .ova .tar.gz (Google Compute Engine).")]
pub(super) struct Disk {
    /// The image: a recipe's name, a ref, an id or an abbreviation of one
    image: String,
    /// A file to write; may be given more than once
    #[arg(long, short, value_name = "FILE", required = true)]
    output: Vec<PathBuf>,
    /// The format of outputs whose extension does not say it
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The recipe whose [disk] describes it [default: recipes/NAME.toml of the image's name, where there is one]
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The layout, in place of what the recipe says: updatable or plain
    #[arg(long, value_name = "LAYOUT", value_parser = layout)]
    layout: Option<Layout>,
    /// The partition table, in place of what the recipe says: gpt or mbr
    #[arg(long, value_name = "TABLE", value_parser = table)]
    table: Option<TableKind>,
    /// A cloud or hypervisor whose rules the disk keeps, in place of those of the recipe: openstack,
    /// aws, azure, gcp, vsphere, virtualbox, egi, kvm or baremetal; may be given more than once
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
    /// The size of the disk, in place of what the recipe says: "auto" or e.g. 10GiB
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// An argument for the kernel, beside those of the recipe; may be given more than once
    #[arg(long, value_name = "ARGUMENT")]
    kernel_argument: Vec<String>,
    /// How clusters of a qcow2 are compressed [default: zstd, or what the profiles read]
    #[arg(long, value_enum, value_name = "METHOD")]
    compression: Option<Compression>,
    /// Who shall run an OVA [default: vsphere, or what the profiles say]
    #[arg(long, value_enum, value_name = "HYPERVISOR")]
    hypervisor: Option<HypervisorName>,
    /// Replace this output, if it exists; may be given more than once
    #[arg(long, value_name = "FILE")]
    force_overwrite: Vec<PathBuf>,
    /// Say where the bytes come from, by layer
    #[arg(long)]
    report: bool,
    /// Decide everything, print it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Disk {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let repository = context.open(LockMode::Shared, "layerset export disk")?;
        let image = repository.resolve_image(&self.image)?;
        let manifest = repository.read_image(&image)?;
        let layers: Vec<LayerId> = manifest.layers.iter().map(|layer| layer.id).collect();
        secrets::refuse(context, &repository, &layers, &|| {
            Ok(manifest.waivers.clone())
        })?;
        let name = manifest.name;
        let (disk, profiles) = self.description(&name)?;
        let outputs = self.outputs(&profiles)?;
        let wants: Vec<Wants> = profiles.iter().map(|profile| profile.wants()).collect();
        let usual = wants
            .iter()
            .find(|wants| wants.formats.contains(&DiskFormat::Ova));
        let hypervisor = match self.hypervisor {
            Some(HypervisorName::Vsphere) => Hypervisor::VSphere,
            Some(HypervisorName::Virtualbox) => Hypervisor::VirtualBox,
            None => usual.map_or(Hypervisor::VSphere, |wants| wants.hypervisor),
        };
        let codec = match self.compression {
            Some(compression) => compression.codec(),
            // What every one of them reads.
            None => wants
                .iter()
                .map(|wants| wants.codec)
                .find(|codec| matches!(codec, Some(Codec::Deflate(_))))
                .unwrap_or(Compression::Zstd.codec()),
        };
        let units = wants.iter().map(|wants| wants.size_unit);
        let units = units.chain(outputs.iter().map(|output| output.format.size_unit()));
        let meter = Meter::new(&context.ui);
        let report = export_disk(
            &repository,
            &DiskRequest {
                image,
                name: &name,
                disk: &disk,
                outputs: &outputs,
                replace: &self.force_overwrite,
                profiles: &profiles,
                round_to: units.max().unwrap_or(1 << 20),
                qcow2: codec,
                appliance: &Appliance::new(&plain_name(&name), hypervisor),
                measures: self.report,
                is_dry_run: self.dry_run,
            },
            &Hooks {
                phase: &|what, bytes| meter.phase(what, bytes),
                advance: &|bytes| meter.advance(bytes),
                cancel: &context.cancel,
                threads: std::thread::available_parallelism().map_or(1, usize::from),
            },
        )?;
        context.ui.print_json(&report)?;
        context.ui.print(&report::text(&report));
        Ok(())
    }

    fn outputs(&self, profiles: &[Profile]) -> Result<Vec<DiskOutput>, CliError> {
        let given = self
            .format
            .as_deref()
            .map(DiskFormat::from_name)
            .transpose();
        let given = given.map_err(|error| CliError::usage(error.to_string()))?;
        let usual = profiles
            .first()
            .and_then(|profile| profile.wants().usual().first().copied());
        let outputs = self.output.iter().map(|path| {
            if path.as_os_str() == "-" {
                let error = CliError::usage("a disk cannot be written to standard output");
                return Err(error.with_hint("name a file; './-' is one, too"));
            }
            let format = match (given, DiskFormat::from_path(path)) {
                // With one output there is no doubt which one is meant.
                (Some(format), _) if self.output.len() == 1 => format,
                (_, Ok(format)) => format,
                (given, Err(error)) => given.or(usual).ok_or_else(|| {
                    CliError::usage(error.to_string()).with_hint("name the format with --format")
                })?,
            };
            Ok(DiskOutput {
                path: path.clone(),
                format,
            })
        });
        outputs.collect()
    }
}

/// Returns the name of an image as one of files and machines.
fn plain_name(name: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '-',
    };
    let name: String = name.chars().map(plain).take(80).collect();
    match name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        true => name,
        false => format!("image{name}"),
    }
}
