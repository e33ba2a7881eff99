//! Bad descriptions of disks, each with the one error that it gets, and good ones with what they
//! mean.

use super::*;
use crate::disk::{
    Devices, DiskSize, FilesystemKind, Fstab, MIB, Margin, PartSize, PartitionKind, Role,
    SectorSize, Share, UPDATABLE, VolumeSize,
};

/// The first lines of every recipe here, so that a description starts in line 3.
const HEAD: &str = "layers = ['debian']\n[disk]\n";

fn parse(text: &str) -> Result<DiskSection, String> {
    let source = SourceFile::new("web.toml", format!("{HEAD}{text}"));
    let recipe = Recipe::parse(&source, "web", "amd64").map_err(|error| error.to_string())?;
    Ok(recipe.disk.unwrap())
}

/// Holds that each description is refused at its place.
fn check(bad: &[(&str, &str)]) {
    let said = |text| parse(text).err().unwrap_or_else(|| "nothing".into());
    let wrong = bad
        .iter()
        .filter(|(text, expected)| said(text) != *expected);
    let wrong: Vec<String> = wrong
        .map(|(text, expected)| format!("{text}\n  said     {}\n  expected {expected}", said(text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_the_disk_is_told_at_its_place() {
    check(&[
        ("layot = 'plain'",
         "web.toml:3:1: unknown key 'layot' (did you mean 'layout'?)"),
        ("colour = 'red'",
         "web.toml:3:1: unknown key 'colour' (known: layout, table, size, margin, sector, align, profile, kernel_arguments, console, partitions, physical_volumes, volume_groups, volumes)"),
        ("layout = 'plane'",
         "web.toml:3:10: unknown value 'plane' of 'layout' (did you mean 'plain'?)"),
        ("layout = 7",
         "web.toml:3:10: 'disk.layout' must be a string, not an integer"),
        ("table = 'msdos'",
         "web.toml:3:9: unknown value 'msdos' of 'table' (known: gpt, mbr)"),
        ("table = 'mbr'",
         "web.toml:3:9: an updatable disk has a gpt table (write table = \"gpt\", or layout = \"plain\")"),
        ("size = 10",
         "web.toml:3:8: 'disk.size' must be a string, not an integer"),
        ("size = '10gib'",
         "web.toml:3:8: 'gib' is not a unit of size (did you mean 'GiB'?)"),
        ("size = '10Gib'",
         "web.toml:3:8: 'Gib' is not a unit of size (did you mean 'GiB'?)"),
        ("size = '10 apples'",
         "web.toml:3:8: 'apples' is not a unit of size (use MiB or GiB)"),
        ("size = 'big'",
         "web.toml:3:8: 'big' is not a size (write e.g. \"512MiB\" or \"10GiB\")"),
        ("size = '-1GiB'",
         "web.toml:3:8: '-1GiB' is not a size (write e.g. \"512MiB\" or \"10GiB\")"),
        ("size = '0'",
         "web.toml:3:8: '0' is nothing (write e.g. \"512MiB\" or \"10GiB\")"),
        ("size = '1.GiB'",
         "web.toml:3:8: '1.GiB' is not a size (write e.g. \"512MiB\" or \"10GiB\")"),
        ("size = '9000000TiB'",
         "web.toml:3:8: '9000000TiB' is more than a disk can have (write e.g. \"512MiB\" or \"10GiB\")"),
        ("size = '100MiB'",
         "web.toml:3:8: the disk has 100 MiB, and what is on it needs 260 MiB (write size = \"auto\", or at least \"260MiB\")"),
        ("size = '10GiB'\nmargin = '10%'",
         "web.toml:4:1: 'margin' goes with size = \"auto\" only (leave one of them out)"),
        ("margin = '120%'",
         "web.toml:3:10: '120%' is more than all (write a percentage above 0% and up to 100%)"),
        ("margin = '0%'",
         "web.toml:3:10: '0%' is nothing (write a percentage above 0% and up to 100%)"),
        ("margin = 'some'",
         "web.toml:3:10: 'some' is not a size (write e.g. \"512MiB\" or \"10GiB\")"),
        ("margin = true",
         "web.toml:3:10: 'disk.margin' must be a string, not a boolean"),
        ("sector = 1024",
         "web.toml:3:10: a sector has 512 or 4096 bytes, not 1024"),
        ("sector = '512'",
         "web.toml:3:10: 'disk.sector' must be an integer, not a string"),
        ("align = '3MiB'",
         "web.toml:3:9: partitions cannot be aligned to 3 MiB (use a power of two from 4 KiB to 1 GiB; 1 MiB is usual)"),
        ("align = '1KiB'",
         "web.toml:3:9: partitions cannot be aligned to 1 KiB (use a power of two from 4 KiB to 1 GiB; 1 MiB is usual)"),
        ("profile = 'openstack'",
         "web.toml:3:11: 'disk.profile' must be a list, not a string"),
        ("profile = ['aws', 'aws']",
         "web.toml:3:19: 'aws' is listed twice"),
        ("profile = ['Open Stack']",
         "web.toml:3:12: 'Open Stack' is not a name: use up to 64 of a-z, 0-9, '+', '.', '-', '_', starting with a letter or digit"),
        ("kernel_arguments = ['root=/dev/sda1']",
         "web.toml:3:21: 'root=/dev/sda1' is said by the layout"),
        ("kernel_arguments = ['console=ttyS0']",
         "web.toml:3:21: 'console=ttyS0' goes into 'console'"),
        ("kernel_arguments = ['quiet splash']",
         "web.toml:3:21: 'quiet splash' holds a space: list arguments one by one"),
        ("kernel_arguments = ['']",
         "web.toml:3:21: '' is empty"),
        ("console = 'ttyS0'",
         "web.toml:3:11: 'disk.console' must be a list, not a string"),
        ("console = ['ttyS0 115200']",
         "web.toml:3:12: 'ttyS0 115200' is not a console: write e.g. \"tty0\" or \"ttyS0,115200\""),
        ("console = ['0']",
         "web.toml:3:12: '0' is not a console: write e.g. \"tty0\" or \"ttyS0,115200\""),
        ("layout = 'plain'\ntable = 'mbr'\nsize = '3TiB'",
         "web.toml:5:8: an mbr table reaches 2048 GiB of a disk with sectors of 512 bytes, not 3072 GiB (write table = \"gpt\")"),
        ("layout = 'plain'\ntable = 'mbr'\nmargin = '2TiB'",
         "web.toml:4:9: the disk needs 2097154 MiB, and an mbr table reaches 2048 GiB (write table = \"gpt\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'a', size = '4000000TiB' },\n  { name = 'b', size = '4000000TiB' },\n  { name = 'c', size = '4000000TiB' },\n]",
         "web.toml:4:14: what is on it needs more than a disk can have (write smaller partitions or volumes)"),
        ("partitions = 'root'",
         "web.toml:3:14: 'disk.partitions' must be a list, not a string"),
        ("layout = 'plain'\npartitions = []",
         "web.toml:2:1: the disk has no partition (add [[disk.partitions]])"),
    ]);
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_partitions_is_told_at_its_place() {
    check(&[
        ("layout = 'plain'\npartitions = [\n  { size = 'rest' },\n]",
         "web.toml:5:3: missing key 'disk.partitions.name'"),
        ("layout = 'plain'\npartitions = [\n  { name = 'root' },\n]",
         "web.toml:5:3: missing key 'disk.partitions.size'"),
        ("layout = 'plain'\npartitions = [\n  { name = 'root', sise = 'rest' },\n]",
         "web.toml:5:20: unknown key 'sise' (did you mean 'size'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'my root', size = 'rest' },\n]",
         "web.toml:5:12: 'my root' is not a name (use up to 64 of a-z, A-Z, 0-9, '+', '.', '_' and '-', and no '-' in front)"),
        ("layout = 'plain'\npartitions = [\n  { name = '', size = 'rest' },\n]",
         "web.toml:5:12: '' is not a name (use up to 64 of a-z, A-Z, 0-9, '+', '.', '_' and '-', and no '-' in front)"),
        ("layout = 'plain'\npartitions = [\n  { name = '-a', size = 'rest' },\n]",
         "web.toml:5:12: '-a' is not a name (use up to 64 of a-z, A-Z, 0-9, '+', '.', '_' and '-', and no '-' in front)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'root', size = '1GiB' },\n]",
         "web.toml:7:12: there are two devices called 'root' (give one of them another 'name')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = 'all' },\n]",
         "web.toml:7:24: 'all' is not a size (write e.g. \"512MiB\" or \"10GiB\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '101%' },\n]",
         "web.toml:7:24: '101%' is more than all (write a percentage above 0% and up to 100%)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = 'x%' },\n]",
         "web.toml:7:24: 'x%' is not a size (write a percentage above 0% and up to 100%)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = 'rest' },\n]",
         "web.toml:7:24: 'a' takes the rest, and so does 'root' (give one of them a size)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '100' },\n]",
         "web.toml:7:24: 'a' has 100 bytes, which is less than a sector (write a unit, e.g. \"512MiB\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = 'lunix' },\n]",
         "web.toml:7:39: unknown type of partition 'lunix' (did you mean 'linux'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = 'ntfs-data' },\n]",
         "web.toml:7:39: 'ntfs-data' is not a GUID: it has 32 hexadecimal digits, as 8-4-4-4-12"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = '0x83' },\n]",
         "web.toml:7:39: '0x83' is no type of a gpt table (write a word such as \"linux\", which both tables know)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = '8399' },\n]",
         "web.toml:7:39: unknown type of partition '8399' (write e.g. \"linux\", \"esp\", \"bios\", \"swap\", \"lvm\", or a code)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = '0FC63DAF-8483-4772-8E79' },\n]",
         "web.toml:7:39: '0FC63DAF-8483-4772-8E79' is not a GUID: it has 32 hexadecimal digits, as 8-4-4-4-12"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', flags = ['active'] },\n]",
         "web.toml:7:41: unknown value 'active' of 'flags' (known: boot, primary)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', flags = ['primary'] },\n]",
         "web.toml:7:40: 'a' is primary, which only partitions of an mbr table are (leave it out, or write table = \"mbr\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', logical = true },\n]",
         "web.toml:7:42: 'a' is logical, which only partitions of an mbr table are (leave it out, or write table = \"mbr\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', logical = 'yes' },\n]",
         "web.toml:7:42: 'disk.partitions.logical' must be true or false, not a string"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['boot'] },\n  { name = 'a', size = '1GiB', flags = ['boot'] },\n]",
         "web.toml:7:40: 'a' has the flag 'boot', and so does 'root' (one partition is booted)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1MiB', type = 'bios' },\n]",
         "web.toml:7:39: 'a' is of type 'bios', and so is 'bios' (firmware looks for one)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'esp', size = '100MiB', type = 'esp' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '100MiB', type = 'esp' },\n]",
         "web.toml:7:41: 'a' is of type 'esp', and so is 'esp' (firmware looks for one)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', label = 'the label of this partition is too long' },\n]",
         "web.toml:7:40: 'the label of this partition is too long' has 39 characters, and a gpt table holds 36 of a name"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'the-name-of-this-partition-is-too-long', size = '1GiB' },\n]",
         "web.toml:7:12: 'the-name-of-this-partition-is-too-long' has 38 characters, and a gpt table holds 36 of a name (give it a shorter 'label')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', label = '' },\n]",
         "web.toml:7:40: '' is no name for a partition"),
        ("layout = 'plain'\npartitions = [\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:2:1: no firmware boots this disk (add a partition of type \"esp\" (UEFI), of type \"bios\" (BIOS), or both)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4' },\n]",
         "web.toml:2:1: nothing is mounted at '/' (write mount = \"/\" for one partition)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'esp', size = '20MiB', type = 'esp' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:5:26: 'esp' has 20 MiB, and needs 33 MiB (write at least \"33MiB\", or \"rest\")"),
        ("layout = 'plain'\nsector = 4096\npartitions = [\n  { name = 'esp', size = '256MiB', type = 'esp' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:6:26: 'esp' has 256 MiB, and needs 257 MiB (write at least \"257MiB\", or \"rest\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'esp', size = '100MiB', type = 'esp', filesystem = 'ext4' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:5:63: firmware reads no other filesystem on 'esp' than vfat (write filesystem = { type = \"vfat\" })"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'a', size = '100%' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:7:27: the partitions before 'root' leave 0 bytes of any disk, and it needs 513 MiB (shares are of what is still free: 100% leaves nothing)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'a', size = '100%' },\n  { name = 'root', size = '1GiB', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:7:27: the partitions before 'root' leave 0 bytes of any disk, and it needs 1 GiB (shares are of what is still free: 100% leaves nothing)"),
        ("layout = 'plain'\nsize = '2GiB'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '3GiB' },\n]",
         "web.toml:4:8: the disk has 2 GiB, and what is on it needs 3076 MiB (write size = \"auto\", or at least \"3076MiB\")"),
        ("layout = 'plain'\nmargin = '1GiB'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = '1GiB', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:4:10: no partition can use the margin: each has a size of its own (write size = \"rest\" for one)"),
    ]);
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_an_mbr_is_told_at_its_place() {
    check(&[
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'a', size = '1GiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:6:39: 'bios' is no type of a mbr table (GRUB needs no partition there: leave it out)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'a', size = '1GiB', type = '8301' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:6:39: '8301' is no type of a mbr table (write a word such as \"linux\", which both tables know)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:2:1: no partition has the flag 'boot', which a BIOS looks for (write flags = [\"boot\"] for one partition)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'p0', size = '1GiB' },\n  { name = 'p1', size = '1GiB' },\n  { name = 'p2', size = '1GiB' },\n  { name = 'p3', size = '1GiB' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['boot'] },\n]",
         "web.toml:10:3: 'root' is one too many: an mbr table has four entries (write logical = true for the last ones, which take one entry together)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'p0', size = '1GiB' },\n  { name = 'p1', size = '1GiB' },\n  { name = 'p2', size = '1GiB' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['boot'] },\n  { name = 'l', size = '1GiB', logical = true },\n]",
         "web.toml:10:3: 'l' is one too many: an mbr table has four entries (write logical = true for the last ones, which take one entry together)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'l', size = '1GiB', logical = true },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['boot'] },\n]",
         "web.toml:7:3: 'root' is primary, and stands after the logical partition 'l' (list the primary partitions first)"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['primary', 'boot'], logical = true },\n]",
         "web.toml:6:98: a partition is primary or logical, not both"),
        ("layout = 'plain'\ntable = 'mbr'\npartitions = [\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/', flags = ['boot'], label = 'root' },\n]",
         "web.toml:6:95: an mbr table has no label for 'root' (label its filesystem, or write table = \"gpt\")"),
    ]);
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_filesystems_is_told_at_its_place() {
    check(&[
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext5' },\n]",
         "web.toml:7:45: unknown filesystem 'ext5' (did you mean 'ext2'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'zfs' },\n]",
         "web.toml:7:45: unknown filesystem 'zfs' (did you mean 'xfs'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'fat32' },\n]",
         "web.toml:7:45: unknown filesystem 'fat32' (did you mean 'vfat'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = true },\n]",
         "web.toml:7:45: 'disk.partitions.filesystem' must be a string, not a boolean"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { label = 'a' } },\n]",
         "web.toml:7:45: missing key 'disk.partitions.filesystem.type'"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', lable = 'a' } },\n]",
         "web.toml:7:62: unknown key 'lable' (did you mean 'label'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', label = 'seventeen-letters' } },\n]",
         "web.toml:7:70: 'seventeen-letters' has 17 bytes, and a label of ext4 has 16 at most"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'xfs', label = 'thirteen-long' } },\n]",
         "web.toml:7:69: 'thirteen-long' has 13 bytes, and a label of xfs has 12 at most"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'vfat', label = 'TWELVE-LONG-' } },\n]",
         "web.toml:7:70: 'TWELVE-LONG-' has 12 bytes, and a label of vfat has 11 at most"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'swap', label = 'seventeen-letters' } },\n]",
         "web.toml:7:70: 'seventeen-letters' has 17 bytes, and a label of swap has 16 at most"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'vfat', label = 'A.B' } },\n]",
         "web.toml:7:70: 'A.B' holds '.', which a label of vfat cannot (use letters, digits, '_' and '-')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', label = 'a b' } },\n]",
         "web.toml:7:70: 'a b' holds a space or a '/', which no device link takes (use '_' or '-')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', label = ' ' } },\n]",
         "web.toml:7:70: the label is empty (leave it out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', label = 'x' } },\n  { name = 'b', size = '1GiB', filesystem = { type = 'xfs', label = 'x' } },\n]",
         "web.toml:8:69: 'b' is labelled 'x', and so is 'a' (a label finds one filesystem)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', label = 'Data' } },\n  { name = 'b', size = '1GiB', filesystem = { type = 'vfat', label = 'DATA' } },\n]",
         "web.toml:8:70: 'b' is labelled 'DATA', and so is 'a' (a label finds one filesystem)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', uuid = '1234-ABCD' } },\n]",
         "web.toml:7:69: '1234-ABCD' is no identifier of ext4 (write 32 hexadecimal digits as 8-4-4-4-12, or leave 'uuid' out to have one made)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'vfat', uuid = '0fc63daf-8483-4772-8e79-3d69d8477de4' } },\n]",
         "web.toml:7:69: '0fc63daf-8483-4772-8e79-3d69d8477de4' is no identifier of vfat (write 8 hexadecimal digits as \"1234-ABCD\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', uuid = 'random' } },\n]",
         "web.toml:7:69: 'random' is no identifier of ext4 (write 32 hexadecimal digits as 8-4-4-4-12, or leave 'uuid' out to have one made)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'vfat', uuid = '0000-0001' } },\n  { name = 'b', size = '1GiB', filesystem = { type = 'vfat', uuid = '0000-0001' } },\n]",
         "web.toml:8:69: 'b' has the identifier of 'a' (leave 'uuid' out to have one made)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', options = ['-m', 0] } },\n]",
         "web.toml:7:79: 'disk.partitions.filesystem.options' must be a string, not an integer"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', options = '-m 0' } },\n]",
         "web.toml:7:72: 'disk.partitions.filesystem.options' must be a list, not a string"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'ext4', options = ['-m', '0', '-O', '^has_journal'] } },\n]",
         "web.toml:7:72: '-O' is an option of mkfs.ext4 that nothing here follows ('-m', '-i' and '-J size=' are followed)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = { type = 'vfat', options = ['-F 32'] } },\n]",
         "web.toml:7:72: '-F 32' is an option of mkfs.vfat that nothing here follows (leave it out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '20B', type = 'swap' },\n]",
         "web.toml:7:24: 'a' has 20 bytes, which is less than a sector (write a unit, e.g. \"512MiB\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '100MiB', filesystem = 'xfs' },\n]",
         "web.toml:7:24: 'a' has 100 MiB, and needs 300 MiB (write at least \"300MiB\", or \"rest\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '100MiB', filesystem = 'btrfs' },\n]",
         "web.toml:7:24: 'a' has 100 MiB, and needs 110 MiB (write at least \"110MiB\", or \"rest\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'xfs', mount = '/' },\n]",
         "web.toml:6:48: no tool fills xfs with a whole system without mounting it (write filesystem = { type = \"ext4\" } for '/')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'btrfs', mount = '/' },\n]",
         "web.toml:6:48: no tool fills btrfs with a whole system without mounting it (write filesystem = { type = \"ext4\" } for '/')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'vfat', mount = '/' },\n]",
         "web.toml:6:48: vfat has no owners and modes, which a whole system needs (write filesystem = { type = \"ext4\" } for '/')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'swap', mount = '/' },\n]",
         "web.toml:6:64: 'root' is swap, which is mounted nowhere (leave 'mount' out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = 'swap', filesystem = 'ext4' },\n]",
         "web.toml:7:39: 'a' is of type 'swap', and holds a filesystem (leave 'type' out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = 'linux', filesystem = 'swap' },\n]",
         "web.toml:7:39: 'a' holds swap, and its type says otherwise (leave 'type' out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', type = 'lvm', filesystem = 'ext4' },\n]",
         "web.toml:7:59: 'a' holds a physical volume, and no filesystem (leave 'filesystem' out, or write another 'type')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios', filesystem = 'ext4' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:5:63: 'bios' holds GRUB's core image, and no filesystem (leave 'filesystem' out, or write another 'type')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', mount = '/srv' },\n]",
         "web.toml:7:32: 'mount' needs a filesystem (add filesystem = \"ext4\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', fstab = { pass = 2 } },\n]",
         "web.toml:7:32: 'fstab' needs a filesystem (add filesystem = \"ext4\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', fstab = { pass = 2 } },\n]",
         "web.toml:7:61: 'a' has a line in fstab, and no mount point (add 'mount', or leave 'fstab' out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = 'srv' },\n]",
         "web.toml:7:61: the mount point 'srv' is not absolute (write \"/srv\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv/' },\n]",
         "web.toml:7:61: the mount point '/srv/' has an empty part, '.' or '..' (write the path as `realpath` prints it)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv/../etc' },\n]",
         "web.toml:7:61: the mount point '/srv/../etc' has an empty part, '.' or '..' (write the path as `realpath` prints it)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/my data' },\n]",
         "web.toml:7:61: the mount point '/my data' holds a space (use another folder)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/run/x' },\n]",
         "web.toml:7:61: '/run/x' lies in '/run', which a running system mounts by itself (use another folder)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:7:61: 'a' is mounted at '/', and so is 'root' (give one of them another 'mount')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv', fstab = { options = 'a b' } },\n]",
         "web.toml:7:89: 'a b' are no mount options (separate them by commas, e.g. \"defaults,noatime\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv', fstab = { pass = 3 } },\n]",
         "web.toml:7:86: fsck has no pass 3 (0 is never, 1 the root, 2 all others)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv', fstab = { pas = 2 } },\n]",
         "web.toml:7:79: unknown key 'pas' (did you mean 'pass'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv', fstab = { dump = -1 } },\n]",
         "web.toml:7:86: 'disk.partitions.fstab.dump' is out of range: -1"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'root', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', size = '1GiB', filesystem = 'ext4', mount = '/srv', fstab = 'defaults' },\n]",
         "web.toml:7:77: 'disk.partitions.fstab' must be a table, not a string"),
    ]);
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_an_updatable_disk_is_told_at_its_place() {
    check(&[
        ("partitions = [\n  { name = 'root', size = '1GiB', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:4:64: 'root' cannot be mounted at '/' of an updatable machine, which has its own there (use a folder below /var or /srv, or write layout = \"plain\")"),
        ("partitions = [\n  { name = 'srv', size = '1GiB', filesystem = 'ext4', mount = '/var' },\n]",
         "web.toml:4:63: 'srv' cannot be mounted at '/var' of an updatable machine, which has its own there (use a folder below /var or /srv, or write layout = \"plain\")"),
        ("partitions = [\n  { name = 'local', size = '1GiB', filesystem = 'ext4', mount = '/usr/local' },\n]",
         "web.toml:4:65: 'local' cannot be mounted at '/usr/local': it would hide a part of the image (use a folder below /var or /srv)"),
        ("partitions = [\n  { name = 'more', filesystem = 'ext4' },\n]",
         "web.toml:4:3: missing key 'disk.partitions.size'"),
        ("partitions = [\n  { name = 'data', filesystem = 'xfs' },\n]",
         "web.toml:4:33: the deployments of an updatable machine lie on ext4 (write filesystem = { type = \"ext4\" } for 'data', or leave it out)"),
        ("partitions = [\n  { name = 'data', mount = '/data' },\n]",
         "web.toml:4:28: an updatable machine mounts 'data' itself (leave 'mount' out)"),
        ("partitions = [\n  { name = 'esp', type = 'linux' },\n]",
         "web.toml:4:26: 'esp' is of type 'esp' on an updatable disk (leave 'type' out)"),
        ("partitions = [\n  { name = 'esp', size = '16MiB' },\n]",
         "web.toml:4:26: 'esp' has 16 MiB, and needs 33 MiB (write at least \"33MiB\", or \"rest\")"),
        ("partitions = [\n  { name = 'more', size = 'rest' },\n]",
         "web.toml:4:27: 'data' takes the rest, and so does 'more' (give one of them a size)"),
        ("partitions = [\n  { name = 'data' },\n  { name = 'data' },\n]",
         "web.toml:5:12: there are two devices called 'data' (give one of them another 'name')"),
    ]);
}

#[test]
#[rustfmt::skip] // One description, one line.
fn what_is_wrong_with_volumes_is_told_at_its_place() {
    check(&[
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'a', grup = 'vg', size = '1GiB' },\n]",
         "web.toml:13:17: unknown key 'grup' (did you mean 'group'?)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pw'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:23: 'pw' of the group 'vg' is no physical volume (there is none)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = [] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:23: the group 'vg' has no physical volume (name partitions of type 'lvm')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = 'pv' },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:23: 'disk.volume_groups.on' must be a list, not a string"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['root'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:23: the group 'vg' lies on the logical volume 'root' (a group lies on partitions)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv', 'pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:30: 'pv' is listed twice"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'], extent = '3MiB' },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:40: extents cannot have 3 MiB (use a power of two from 128 KiB to 1 GiB; 4 MiB is usual)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'], options = ['--clustered'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:41: '--clustered' is an option of vgcreate that nothing here follows (leave it out: volumes are written without LVM's tools)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'pv', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:12: there are two devices called 'pv' (give one of them another 'name')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'a_tdata', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'a_tdata', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:12: LVM keeps the name 'a_tdata' for itself (use another one)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n  { name = 'vh', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:10:23: 'pv' is in the group 'vh', and also in 'vg' (a physical volume is in one group)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:6:3: 'pv' holds a physical volume, and its type says otherwise (write type = \"lvm\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nphysical_volumes = [\n  { name = 'p', on = 'root' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['p'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:22: 'p' lies on the volume 'root', which lies in the group 'vg' (a physical volume lies on a partition)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nphysical_volumes = [\n  { name = 'p', on = 'nothing' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['p'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:22: 'p' lies on 'nothing', which is no partition (known: bios, pv)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nphysical_volumes = [\n  { name = 'p', on = 'pv' },\n  { name = 'q', on = 'pv' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['p', 'q'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:10:22: 'q' lies on 'pv', and so does 'p' (a partition holds one physical volume)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n  { name = 'pv2', size = '1GiB', type = 'lvm' },\n]\nphysical_volumes = [\n  { name = 'p', on = 'pv' },\n  { name = 'q', on = 'pv2' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['p'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:11:3: no group uses the physical volume 'q' (name it in 'on' of a group)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nphysical_volumes = [\n  { name = 'p', on = 'pv', options = ['--dataalignment', '4m'] },\n]\nvolume_groups = [\n  { name = 'vg', on = ['p'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:38: '--dataalignment' is an option of pvcreate that nothing here follows (leave it out: volumes are written without LVM's tools)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vq', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:12:28: 'root' lies in 'vq', which is no group (known: vg)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'snapshot1', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:12:12: LVM keeps the name 'snapshot1' for itself (use another one)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = 'rest' },\n]",
         "web.toml:13:38: 'b' takes the rest, and so does 'root' (give one of them a size)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg' },\n]",
         "web.toml:13:3: missing key 'disk.volumes.size'"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', extents = 3 },\n]",
         "web.toml:13:46: a volume has 'size' or 'extents', not both"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', extents = 'many' },\n]",
         "web.toml:13:41: 'many' are no extents (write a number, or e.g. \"30%VG\" or \"100%FREE\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', extents = '30%PVS' },\n]",
         "web.toml:13:41: '30%PVS' are no extents (write a number, or e.g. \"30%VG\" or \"100%FREE\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', extents = 0 },\n]",
         "web.toml:13:41: '0' are no extents (write a number, or e.g. \"30%VG\" or \"100%FREE\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', type = 'thin-pool' },\n]",
         "web.toml:13:53: 'b' is thin, which needs a running device-mapper to write (leave 'type' out for an ordinary volume)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', type = 'thin', pool = 'c' },\n]",
         "web.toml:13:53: 'b' is thin, which needs a running device-mapper to write (leave 'type' out for an ordinary volume)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', type = 'thin' },\n]",
         "web.toml:13:3: missing key 'disk.volumes.pool'"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', pool = 'c' },\n]",
         "web.toml:13:46: only a thin volume has a pool (write type = \"thin\", or leave 'pool' out)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', type = 'raid1' },\n]",
         "web.toml:13:53: unknown type of volume 'raid1' (known: linear, thin, thin-pool)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '1GiB', options = ['--mirrors', '1'] },\n]",
         "web.toml:13:56: '--mirrors' is an option of lvcreate that nothing here follows (leave it out: volumes are written without LVM's tools)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'root', group = 'vg', size = '1GiB' },\n]",
         "web.toml:13:12: there are two devices called 'root' (give one of them another 'name')"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = '1GiB', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '2GiB' },\n]",
         "web.toml:9:3: the volumes of 'vg' need 2052 MiB, and its physical volumes have 1020 MiB (make a partition larger, or a volume smaller)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', extents = '100%VG' },\n]",
         "web.toml:12:41: 'root' gets 0 bytes of any group, and needs 4 MiB (make another volume of the group smaller)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = '100MiB', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '100MiB', filesystem = 'xfs' },\n]",
         "web.toml:13:38: 'b' has 100 MiB, and needs 300 MiB (write more, or \"rest\")"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = 'rest', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = '100%', filesystem = 'ext4', mount = '/' },\n  { name = 'b', group = 'vg', size = '100MiB' },\n]",
         "web.toml:13:38: 'b' gets 0 bytes of any group, and needs 100 MiB (make another volume of the group smaller)"),
        ("layout = 'plain'\npartitions = [\n  { name = 'bios', size = '1MiB', type = 'bios' },\n  { name = 'pv', size = '2MiB', type = 'lvm' },\n]\nvolume_groups = [\n  { name = 'vg', on = ['pv'] },\n]\nvolumes = [\n  { name = 'root', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/' },\n]",
         "web.toml:9:3: the volumes of 'vg' need 4 MiB, and its physical volumes have 0 bytes (make a partition larger, or a volume smaller)"),
    ]);
}

fn devices(text: &str) -> Devices {
    parse(text).unwrap().devices
}

#[test]
fn a_recipe_without_disk_has_none_and_an_empty_one_the_default() {
    let source = SourceFile::new("web.toml", "layers = ['debian']");
    let recipe = Recipe::parse(&source, "web", "amd64").unwrap();
    assert_eq!(recipe.disk, None);
    let (empty, none) = (parse("").unwrap(), DiskSection::new("amd64"));
    assert_eq!((empty.layout, &empty.devices), (none.layout, &none.devices));
    assert!(empty.has_usual_consoles() && empty.kernel_arguments.is_empty());
    let disk = parse("").unwrap();
    assert_eq!(disk.consoles, ["tty0", "ttyS0,115200"]);
    let names = disk.devices.disks[0].partitions.iter();
    assert_eq!(names.map(|part| &*part.name).collect::<Vec<_>>(), UPDATABLE);
}

#[test]
fn an_updatable_disk_takes_more_partitions_before_the_one_that_grows() {
    let text = "sector = 4096
        profile = ['openstack', 'aws']
        kernel_arguments = ['net.ifnames=0', 'dyndbg=\"file x +p\"']
        console = ['ttyS1,9600n8']
        margin = '20%'
        [[disk.partitions]]
        name = 'postgres'
        size = '10GiB'
        filesystem = { type = 'xfs', label = 'pg' }
        mount = '/var/lib/postgresql'
        [[disk.partitions]]
        name = 'esp'
        size = '1GiB'
        [[disk.partitions]]
        name = 'swap'
        size = '2GB'
        type = 'swap'";
    let disk = parse(text).unwrap();
    let of = &disk.devices.disks[0];
    let parts = of.partitions.iter().map(|part| (&*part.name, part.size));
    let expected = [
        ("bios", PartSize::Bytes(MIB)),
        ("esp", PartSize::Bytes(1 << 30)),
        ("postgres", PartSize::Bytes(10 << 30)),
        ("swap", PartSize::Bytes(2_000_000_000)),
        ("data", PartSize::Rest),
    ];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
    assert_eq!(
        of.size,
        DiskSize::Auto(Margin::Share(Share::parse("20%").unwrap()))
    );
    assert_eq!(of.sector, SectorSize::B4096);
    assert_eq!(disk.profiles, ["openstack", "aws"]);
    let postgres = of.partitions[2].filesystem.as_ref().unwrap();
    assert_eq!(postgres.fstab.as_ref().map(|line| line.pass), Some(0));
    assert_eq!(
        of.partitions[1]
            .filesystem
            .as_ref()
            .unwrap()
            .label
            .as_deref(),
        Some("ESP")
    );
    assert_eq!(of.partitions[3].kind, PartitionKind::SWAP);
}

#[test]
fn a_plain_disk_with_an_mbr_is_one_partition_that_is_booted() {
    let devices = devices("layout = 'plain'\ntable = 'mbr'\nsize = '8GiB'");
    let [root] = devices.disks[0].partitions.as_slice() else {
        panic!("{devices:?}");
    };
    let filesystem = root.filesystem.as_ref().unwrap();
    assert_eq!(
        (root.is_boot, filesystem.mount.as_deref()),
        (true, Some("/"))
    );
    assert_eq!(filesystem.kind, FilesystemKind::Ext4);
}

#[test]
fn logical_partitions_and_what_they_hold_are_read() {
    let text = "layout = 'plain'
        table = 'mbr'
        size = '20GiB'
        partitions = [
          { name = 'root', size = '40%', filesystem = 'ext4', mount = '/', flags = ['boot', 'primary'] },
          { name = 'swap', size = '512MiB', filesystem = 'swap', logical = true },
          { name = 'srv', size = 'rest', filesystem = { type = 'ext4', uuid = '0fc63daf-8483-4772-8e79-3d69d8477de4', options = ['-m', '0'] }, mount = '/srv', fstab = { options = 'noatime', dump = 1 }, logical = true },
          { name = 'win', size = '1.5GiB', type = '0x07', filesystem = 'vfat', mount = '/mnt', fstab = false, logical = true },
        ]";
    let disk = &devices(text).disks[0];
    let roles: Vec<Role> = disk.partitions.iter().map(|part| part.role).collect();
    assert_eq!(
        roles,
        [Role::Primary, Role::Logical, Role::Logical, Role::Logical]
    );
    let swap = disk.partitions[1].filesystem.as_ref().unwrap();
    assert_eq!(swap.fstab.as_ref().unwrap().options, "sw");
    let srv = disk.partitions[2].filesystem.as_ref().unwrap();
    assert_eq!(srv.options, ["-m", "0"]);
    let expected = Fstab {
        options: "noatime".into(),
        dump: 1,
        pass: 2,
    };
    assert_eq!(srv.fstab, Some(expected));
    let last = disk.partitions[3].filesystem.as_ref().unwrap();
    assert_eq!(
        (last.fstab.as_ref(), disk.partitions[3].kind.mbr),
        (None, Some(7))
    );
}

#[test]
fn volumes_lie_on_partitions_that_are_named_or_not() {
    let text = "layout = 'plain'
        partitions = [
          { name = 'esp', size = '256MiB', type = 'esp' },
          { name = 'one', size = '10GiB', type = 'lvm' },
          { name = 'two', size = 'rest', type = '8e00' },
        ]
        physical_volumes = [{ name = 'pv', on = 'two', options = ['--force'] }]
        volume_groups = [{ name = 'vg', on = ['one', 'pv'], extent = '8MiB' }]
        volumes = [
          { name = 'root', group = 'vg', size = '40%', filesystem = 'ext4', mount = '/' },
          { name = 'var', group = 'vg', extents = '20%VG', filesystem = 'ext4', mount = '/var' },
          { name = 'a', group = 'vg', extents = 100 },
          { name = 'b', group = 'vg', extents = '50%FREE' },
          { name = 'home', group = 'vg', size = 'rest', filesystem = 'ext4', mount = '/home' },
        ]";
    let devices = devices(text);
    let on: Vec<_> = devices
        .physical_volumes
        .iter()
        .map(|pv| (&*pv.name, &*pv.on))
        .collect();
    assert_eq!(on, [("pv", "two"), ("one", "one")]);
    assert_eq!(devices.groups[0].extent, 8 * MIB);
    let sizes: Vec<_> = devices.volumes.iter().map(|volume| volume.size).collect();
    let share = |text| Share::parse(text).unwrap();
    let expected = [
        VolumeSize::OfFree(share("40%")),
        VolumeSize::OfGroup(share("20%")),
        VolumeSize::Extents(100),
        VolumeSize::OfFree(share("50%")),
        VolumeSize::Rest,
    ];
    assert_eq!(sizes, expected);
}

#[test]
fn all_mistakes_of_a_disk_are_named_in_one_run() {
    // What cannot be read: one mistake in every table, and two in some.
    let unreadable = "layout = 'plane'
table = 'mbrr'
size = '10gib'
sector = 1024
profile = ['Open Stack']
kernel_arguments = ['quiet splash', '']
console = ['0']
partitions = [
  { name = 'root', sise = '1', type = 'linuxx', filesystem = 'ext5', fstab = { pass = 'x', dmp = 1 } },
  { name = 7, size = '101%', flags = ['boott'], logical = 'no', filesystem = { type = 'xfs', uuid = '1', options = [7] } },
]
physical_volumes = [{ name = 'pv' }]
volume_groups = [{ name = 'vg', on = 'pv', extent = 'x' }]
volumes = [
  { name = 'a', group = 7, type = 'thick', size = '1' , extents = 1, mount = '/x' },
  { name = 'b' },
]
";
    let places = |text: &str| -> Vec<String> {
        let said = parse(text).unwrap_err();
        let lines = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("web.toml:"));
        let place = |line: &str| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
        lines.map(place).collect()
    };
    let expected = [
        "3:10", "4:9", "5:8", "6:10", "7:12", "8:21", "8:37", "9:12", "11:20", "11:39", "11:62",
        "11:87", "11:92", "12:12", "12:22", "12:39", "12:59", "12:101", "12:117", "14:21", "15:38",
        "15:53", "17:25", "17:35", "17:57", "17:70", "18:3", "18:3",
    ];
    assert_eq!(
        places(unreadable),
        expected,
        "{}",
        parse(unreadable).unwrap_err()
    );

    // What makes no sense: one fault for each partition and volume.
    let senseless = "layout = 'plain'
partitions = [
  { name = 'bios', size = '1MiB', type = 'bios', filesystem = 'ext4' },
  { name = 'root', size = 'rest', filesystem = 'xfs', mount = '/' },
  { name = 'pv', size = '1GiB', type = 'lvm', logical = true },
]
volume_groups = [{ name = 'vg', on = ['pv'], extent = '3MiB' }]
volumes = [
  { name = 'a', group = 'gv', size = '1GiB' },
  { name = 'b', group = 'vg', size = '1GiB', filesystem = 'ext4', mount = 'x' },
]
";
    let expected = ["5:63", "6:48", "7:57", "9:55", "11:25", "12:75"];
    assert_eq!(
        places(senseless),
        expected,
        "{}",
        parse(senseless).unwrap_err()
    );
}

#[test]
fn every_damaged_description_is_read_or_refused_at_a_place() {
    let text = "layout = 'plain'\nsize = '9GiB'\npartitions = [{ name = 'esp', size = '1%', type = 'esp', fstab = { pass = 1 }, mount = '/efi' }, { name = 'pv', size = 'rest', type = 'lvm' }]\nvolume_groups = [{ name = 'vg', on = ['pv'] }]\nvolumes = [{ name = 'root', group = 'vg', size = '40%', filesystem = { type = 'ext4', label = 'r' }, mount = '/' }]";
    assert!(parse(text).is_ok(), "{:?}", parse(text));
    for (at, _) in text.char_indices() {
        for piece in ["", "'", "]", "\n", "9", "%"] {
            let damaged = format!("{}{piece}{}", &text[..at], &text[at + 1..]);
            if let Err(said) = parse(&damaged) {
                let first = said
                    .split_once(":\n  ")
                    .map_or(said.as_str(), |(_, first)| first);
                assert!(first.starts_with("web.toml:"), "{said}");
            }
        }
    }
}
