//! What readers take and what schemas take is the same, as far as a schema can say it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::recipe::shapes::*;
use crate::recipe::words;
use crate::shape::Word;
use crate::shape::testing::{Judge, mutants, unused};

const BASE: &str = "
[bootstrap]
suite = 'trixie'
components = ['main', 'contrib']
pockets = ['updates', 'security']
variant = 'apt'
packages = ['systemd']
snapshots = ['https://snapshot.example/debian/20260101T000000Z/', 'file:/srv/snapshots']
[[bootstrap.sources]]
uris = ['https://deb.example/debian', 'http://[::1]:8080']
suites = ['trixie', 'trixie-updates', 'trixie-security']
components = ['main', 'contrib']
architectures = ['amd64', 'arm64']
signed_by = 'keys/corp.asc'
trusted = false
check_valid_until = false
";

/// A layer with archives of its own.
const ARCHIVES: &str = "
on = ['debian']
[apt]
packages = ['shop']
snapshots = ['https://snapshot.example/shop']
[[apt.sources]]
uris = ['https://shop.example/deb']
suites = ['stable']
components = ['main']
architectures = ['amd64']
check_valid_until = true
signed_by = '''
-----BEGIN PGP PUBLIC KEY BLOCK-----

AAAA
-----END PGP PUBLIC KEY BLOCK-----
'''
[[apt.sources]]
uris = ['file:/srv/flat']
suites = ['./']
trusted = true
";

const LAYERS: [&str; 5] = [HELLO, BASE, ARCHIVES, TIMEOUT, ALLOWED];

/// The rest of what a layer and a recipe may say.
const TIMEOUT: &str = "on = ['debian']\n[run]\nscripts = ['a']\ntimeout = '20m'\n[health]\nchecks = [\n\
    { tcp = '[::1]:5432' },\n{ file = '/run/hello/ready' },\n{ reachable = 'gateway' },\n]\n";

const ALLOWED: &str = "on = ['debian']\n[files]\n[secrets]\nallow = [{ path = '/usr/share/x/**', reason = 'a sample' }]\n";

const RECIPE_OF_ALL: &str = "
name = 'web'
description = 'All'
architecture = 'amd64'
layers = ['debian', 'nginx']
[policy]
keep = 4
[[waivers]]
finding = 'elf:/usr/bin/x:libc.so.6'
reason = 'it is so'
expires = 2027-01-31
";

const UPDATABLE_DISK: &str = "
layers = ['debian']
[disk]
layout = 'updatable'
table = 'gpt'
size = 'auto'
margin = '20%'
sector = 4096
align = '2MiB'
profile = ['openstack', 'aws']
kernel_arguments = ['net.ifnames=0', 'quiet']
console = ['tty0', 'ttyS1,9600n8']
[[disk.partitions]]
name = 'postgres'
size = '10GiB'
label = 'pg'
filesystem = { type = 'xfs', label = 'pg' }
mount = '/var/lib/postgresql'
";

const MBR_DISK: &str = "
layers = ['debian']
[disk]
layout = 'plain'
table = 'mbr'
size = '20GiB'
partitions = [
  { name = 'root', size = '40%', filesystem = 'ext4', mount = '/', flags = ['boot', 'primary'] },
  { name = 'swap', size = '512MiB', type = '0x82', filesystem = 'swap', logical = true },
  { name = 'srv', size = 'rest', filesystem = { type = 'ext4', uuid = '0fc63daf-8483-4772-8e79-3d69d8477de4', options = ['-m', '0'] }, mount = '/srv', fstab = { options = 'noatime', dump = 1, pass = 2 }, logical = true },
]
";

const LVM_DISK: &str = "
layers = ['debian']
[disk]
layout = 'plain'
partitions = [
  { name = 'esp', size = '256MiB', type = 'esp' },
  { name = 'one', size = '10GiB', type = 'lvm' },
  { name = 'two', size = 'rest', type = '8e00' },
]
physical_volumes = [{ name = 'pv', on = 'two', options = ['--force'] }]
volume_groups = [{ name = 'vg', on = ['one', 'pv'], extent = '8MiB', options = ['--force'] }]
volumes = [
  { name = 'root', group = 'vg', size = '40%', filesystem = { type = 'ext4', label = 'r', uuid = '0fc63daf-8483-4772-8e79-3d69d8477de4', options = ['-m', '0'] }, mount = '/' },
  { name = 'var', group = 'vg', extents = '20%VG', filesystem = 'ext4', mount = '/var', fstab = { options = 'noatime', dump = 1, pass = 2 } },
  { name = 'a', group = 'vg', extents = 100, type = 'linear', options = [] },
]
";

const RECIPES: [&str; 4] = [RECIPE_OF_ALL, UPDATABLE_DISK, MBR_DISK, LVM_DISK];

/// What a layer's reader refuses and no schema can: what depends on other values, and on numbers.
const BEYOND_LAYERS: [&str; 12] = [
    "differs from the folder's name",
    "cannot be built on itself",
    "is given twice",
    "there are two checks called",
    "takes no components",
    "needs components",
    "has the component",
    "says nothing where",
    "holds credentials",
    // A day is the most, and a path has an end.
    "is not a duration",
    "longer than",
    "must be a string, not a date",
];

/// The same for recipes: names that other tables give, and what the numbers and types of a disk mean
/// together.
const BEYOND_RECIPES: [&str; 43] = [
    "differs from the file's name",
    "is waived twice",
    // In the schema, a date is text that looks like one.
    "must be a date, not a string",
    "must be a string, not a date",
    "must be a day",
    "is an option of",
    "missing key 'disk.partitions.size'",
    "missing key 'disk.partitions.filesystem.type'",
    "missing key 'disk.volumes.filesystem.type'",
    "there are two devices called",
    "no group uses the physical volume",
    "which is no group",
    "is no physical volume",
    "which no device link takes",
    "are no mount options",
    "which is less than a sector",
    "nothing is mounted at",
    "takes the rest, and so does",
    "the mount point",
    "needs a filesystem",
    "which is no partition",
    "which a BIOS looks for",
    "is no type of a",
    "more than a disk can have",
    "the disk has",
    "a BIOS finds no kernel on a logical volume",
    "is no name for a partition",
    "holds a space: list arguments",
    "its type says otherwise",
    "has a line in fstab, and no mount point",
    "goes with size = \"auto\" only",
    "cannot be aligned to",
    "extents cannot have",
    "an updatable disk has a gpt table",
    "which only partitions of an mbr table are",
    "stands after the logical partition",
    "is more than all",
    "is nothing",
    "no identifier of",
    "a partition is primary or logical, not both",
    "needs at least",
    "the margin",
    "are no extents",
];

pub(super) fn read_layer(text: &str) -> Result<(), String> {
    let source = SourceFile::new("layers/hello/layer.toml", text);
    let read = Definition::parse(&source, "hello");
    read.map(|_| ()).map_err(|error| error.to_string())
}

fn read_recipe(text: &str) -> Result<(), String> {
    let source = SourceFile::new("recipes/web.toml", text);
    let read = Recipe::parse(&source, "web", "amd64");
    read.map(|_| ()).map_err(|error| error.to_string())
}

/// Holds that schema and reader agree about each of the texts.
fn hold<'t>(
    shape: &'static crate::shape::Shape,
    read: impl Fn(&str) -> Result<(), String>,
    beyond: &[&str],
    texts: impl IntoIterator<Item = &'t str>,
) {
    let judge = Judge::new(shape);
    let wrong: Vec<String> = texts
        .into_iter()
        .filter_map(|text| judge.contradicts(text, read(text), beyond))
        .collect();
    // What is said, once each, and one text to look at.
    let said: BTreeSet<&str> = wrong
        .iter()
        .filter_map(|text| text.lines().next())
        .collect();
    let said: Vec<&str> = said.into_iter().collect();
    let first = wrong.first().map_or("", String::as_str);
    assert!(wrong.is_empty(), "{}\n\n{first}", said.join("\n"));
}

#[test]
fn the_texts_of_these_tests_give_every_key() {
    assert_eq!(unused(&LAYER, &LAYERS), Vec::<String>::new());
    // A pool is refused as long as thin volumes are.
    assert_eq!(unused(&RECIPE, &RECIPES), ["disk.volumes.pool"]);
    for text in LAYERS {
        read_layer(text).unwrap();
    }
    for text in RECIPES {
        read_recipe(text).unwrap();
    }
}

#[test]
fn a_layer_with_one_mistake_is_refused_by_reader_and_schema() {
    let texts: Vec<String> = LAYERS.map(mutants).concat();
    assert!(texts.len() > 1000, "{}", texts.len());
    hold(
        &LAYER,
        read_layer,
        &BEYOND_LAYERS,
        texts.iter().map(String::as_str),
    );
}

#[test]
fn a_recipe_with_one_mistake_is_refused_by_reader_and_schema() {
    let texts: Vec<String> = RECIPES.map(mutants).concat();
    assert!(texts.len() > 1000, "{}", texts.len());
    hold(
        &RECIPE,
        read_recipe,
        &BEYOND_RECIPES,
        texts.iter().map(String::as_str),
    );
}

#[test]
fn the_layers_and_recipes_of_this_repository_fit_their_schemas() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let judge = |shape| Judge::new(shape);
    let (layer, recipe) = (judge(&LAYER), judge(&RECIPE));
    let mut count = 0;
    for folder in ["", "fixtures/corpus"] {
        for entry in std::fs::read_dir(top.join(folder).join("layers")).unwrap() {
            let file = entry.unwrap().path().join("layer.toml");
            if let Ok(text) = std::fs::read_to_string(&file) {
                assert_eq!(layer.takes(&text), Some(true), "{}", file.display());
                count += 1;
            }
        }
        for entry in std::fs::read_dir(top.join(folder).join("recipes")).unwrap() {
            let file = entry.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let text = std::fs::read_to_string(&file).unwrap();
                assert_eq!(recipe.takes(&text), Some(true), "{}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count} files were seen");
}

/// Each form of a word, and the check that readers use.
type Form = (Word, fn(&str) -> bool);

fn forms() -> Vec<(jsonschema::Validator, Form)> {
    use crate::disk::{Share, SizeError, parse_size};
    use crate::path::RelPath;
    let forms: Vec<Form> = vec![
        (LAYER_NAME, |t| words::layer_name(t).is_none()),
        (PACKAGE, |t| words::package(t).is_none()),
        (SUITE, |t| words::suite(t).is_none()),
        (ARCHIVE_URI, |t| words::archive_uri(t).is_none()),
        (SOURCE_SUITE, |t| words::source_suite(t).is_none()),
        (ARCHITECTURE, |t| words::architecture(t).is_none()),
        (UNIT, |t| words::unit(t).is_none()),
        (VARIABLE, |t| words::variable(t).is_none()),
        (LINE, |t| words::line(t).is_none()),
        (COMMAND, |t| words::command(t).is_none()),
        (HTTP_URL, |t| words::http_url(t).is_none()),
        (ENDPOINT, |t| words::endpoint(t).is_none()),
        (REACHABLE, |t| words::reachable(t).is_none()),
        (ABSOLUTE_PATH, |t| words::absolute_path(t).is_none()),
        (MODE, |t| words::mode(t).is_some()),
        (OWNER, |t| words::owner(t).is_some()),
        (DURATION, |t| words::duration_ms(t).is_some()),
        (IMAGE_PATH, |t| {
            RelPath::from_text(t).is_ok_and(|path| !path.is_root())
        }),
        (BESIDE, |t| {
            !t.starts_with('/') && RelPath::from_text(t).is_ok_and(|path| !path.is_root())
        }),
        (PATTERN, |t| Glob::new(t).is_ok()),
        (STATE_PATTERN, |t| {
            Glob::new(t).is_ok_and(|glob| glob.as_str().starts_with("var/"))
        }),
        (SIZE, |t| {
            !matches!(
                parse_size(t),
                Err(SizeError::NoNumber { .. } | SizeError::Unit { .. })
            )
        }),
        (SHARE, |t| {
            !matches!(Share::parse(t), Err(SizeError::NoNumber { .. }))
        }),
    ];
    let judged = |form: Form| {
        let schema = serde_json::json!({ "type": "string", "pattern": form.0.pattern });
        (jsonschema::draft202012::new(&schema).unwrap(), form)
    };
    forms.into_iter().map(judged).collect()
}

#[test]
fn a_form_and_its_check_take_the_same_words() {
    let forms = forms();
    // Made of what the forms are made of, so that many fit.
    let texts = "[-a-zA0-9+._:=/~#@\\\\%\\[{?* \t\nü]{0,4}|(/?[a*.v]{0,3}){0,4}|/?var/[a*./]{0,5}\
        |[a-z]{1,3}(:[a-z]{0,2})?([=/][a-z0-9./]{0,5})?|[#a0-9]{0,4}:[#a0-9]{0,4}\
        |[0-9]{1,3}(ms|s|m|min| ?[KMGT]?i?B?|%)|[0-9]h|[a-z-]{0,3}\\.(service|timer|x)\
        |http://[a /]{0,4}|(https?:/|file:)/[-a1.:/@%?\\[\\]]{0,6}|[0-7]{2,5}";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(3000));
    let held = runner.run(&texts, |text| {
        for (validator, (word, check)) in &forms {
            let is_taken = validator.is_valid(&serde_json::json!(text));
            prop_assert_eq!(is_taken, check(&text), "{}: {:?}", word.name, text);
        }
        Ok(())
    });
    held.unwrap();
}
