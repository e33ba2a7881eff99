//! `layerset export disk`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::meter::Meter;
use crate::cli::{CliError, Context, host_architecture, ui};
use crate::durable::LockMode;
use crate::export::formats::{Appliance, Codec, DiskFormat, Hypervisor};
use crate::export::{DiskOutput, DiskReport, DiskRequest, Hooks, export_disk};
use crate::recipe::{DiskSection, Recipe, SourceFile};
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
    /// The recipe whose [disk] describes it [default: recipes/IMAGE.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The layout, in place of what the recipe says: updatable or plain
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
    /// The size of the disk, in place of what the recipe says: "auto" or e.g. 10GiB
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// An argument for the kernel, beside those of the recipe; may be given more than once
    #[arg(long, value_name = "ARGUMENT")]
    kernel_argument: Vec<String>,
    /// How clusters of a qcow2 are compressed
    #[arg(long, value_enum, default_value_t = Compression::Zstd, value_name = "METHOD")]
    compression: Compression,
    /// Who shall run an OVA: vsphere or virtualbox
    #[arg(long, default_value = "vsphere", value_name = "HYPERVISOR")]
    hypervisor: String,
    /// Replace this output, if it exists; may be given more than once
    #[arg(long, value_name = "FILE")]
    force_overwrite: Vec<PathBuf>,
    /// Decide everything, print it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Disk {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        context.catch_interrupts()?;
        let outputs = self.outputs()?;
        let disk = self.description()?;
        let repository = context.open(LockMode::Shared, "layerset export disk")?;
        let image = repository.resolve_image(&self.image)?;
        let name = self.name();
        let hypervisor = match self.hypervisor.as_str() {
            "vsphere" => Hypervisor::VSphere,
            "virtualbox" => Hypervisor::VirtualBox,
            other => {
                return Err(CliError::usage(format!("unknown hypervisor '{other}'"))
                    .with_hint("the hypervisors are vsphere and virtualbox"));
            }
        };
        let meter = Meter::new(&context.ui);
        let report = export_disk(
            &repository,
            &DiskRequest {
                image,
                name: &name,
                disk: &disk,
                outputs: &outputs,
                replace: &self.force_overwrite,
                round_to: 1 << 20,
                qcow2: self.compression.codec(),
                appliance: &Appliance::new(&name, hypervisor),
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
        context.ui.print(&text(&report));
        Ok(())
    }

    /// Returns what the disk is called: the image as it was asked for, where that is a name.
    fn name(&self) -> String {
        let last = self.image.rsplit('/').next().unwrap_or_default();
        match last.contains(':') || last.is_empty() {
            true => "image".to_owned(),
            false => last.to_owned(),
        }
    }

    fn outputs(&self) -> Result<Vec<DiskOutput>, CliError> {
        let given = self.format.as_deref().map(DiskFormat::from_name).transpose();
        let given = given.map_err(|error| CliError::usage(error.to_string()))?;
        let outputs = self.output.iter().map(|path| {
            let format = match (given, DiskFormat::from_path(path)) {
                // With one output there is no doubt which one is meant.
                (Some(format), _) if self.output.len() == 1 => format,
                (_, Ok(format)) => format,
                (Some(format), Err(_)) => format,
                (None, Err(error)) => {
                    return Err(CliError::usage(error.to_string())
                        .with_hint("name the format with --format"));
                }
            };
            Ok(DiskOutput {
                path: path.clone(),
                format,
            })
        });
        outputs.collect()
    }

    fn description(&self) -> Result<DiskSection, CliError> {
        let default = PathBuf::from(format!("recipes/{}.toml", self.image));
        let path = match &self.recipe {
            Some(path) => Some(path.as_path()),
            None => Some(default.as_path()).filter(|path| path.is_file()),
        };
        let section = match path {
            Some(path) => read_section(path)?,
            None => None,
        };
        let mut section = match section {
            Some(section) => section,
            None => DiskSection::default_for(host_architecture()),
        };
        section
            .override_with(self.layout.as_deref(), self.size.as_deref(), host_architecture())
            .map_err(CliError::usage)?;
        section.kernel_arguments.extend(self.kernel_argument.iter().cloned());
        Ok(section)
    }
}

fn read_section(path: &Path) -> Result<Option<DiskSection>, CliError> {
    let source = SourceFile::read(path)?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    Ok(Recipe::parse(&source, stem, host_architecture())?.disk)
}

fn text(report: &DiskReport) -> String {
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
    for output in &report.outputs {
        text.push_str(&format!(
            "{}: {}, {}\n",
            output.path.display(),
            output.format,
            ui::size(output.bytes)
        ));
    }
    let what = if report.is_dry_run { "nothing was written; decided" } else { "exported" };
    text.push_str(&format!("{what} in {}\n", ui::seconds(report.seconds)));
    text
}
