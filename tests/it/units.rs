//! systemd's own judgement on every unit that comes with the source, lies in a layer of it, or is
//! printed or generated: `systemd-analyze verify` has nothing to say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerset::builder::first_boot_unit;
use layerset::deploy::{activation_unit, update_units};

use crate::debian::{self, ServerDebian};
use crate::deploy::{World, base};
use crate::session::Session;

const SYSTEM: &str = "etc/systemd/system";

/// Returns what systemd says of units of the root; nothing where all is well.
///
/// Its status says less: a setting that it does not know is only printed.
fn said_of(root: &Path, units: &[String]) -> String {
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(units.iter().map(String::as_str));
    let output = debian::run(root, "systemd-analyze", &arguments);
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn copy_into(from: &Path, to: &Path) {
    let from = from.join(".");
    let mut cp = Command::new("cp");
    cp.args(["-a", "--no-preserve=ownership"]);
    let output = cp.arg(&from).arg(to).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Installs units that were printed one after another, each under a line `# PATH`, or one of that
/// name; returns their names.
fn install(root: &Path, text: &str, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut unit = String::new();
    let mut current = name.to_owned();
    let mut put = |name: &str, unit: &mut String| {
        if !unit.trim().is_empty() {
            fs::write(root.join(SYSTEM).join(name), &*unit).unwrap();
            names.push(name.to_owned());
        }
        unit.clear();
    };
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("# /etc/systemd/system/") {
            put(&current, &mut unit);
            current = path.to_owned();
        }
        unit.push_str(line);
        unit.push('\n');
    }
    put(&current, &mut unit);
    names
}

/// A unit of an image, as its own machine and as another host would run it.
const SHOP: &str = "[Unit]\nDescription=A shop, 100%% \"sound\"\nAfter=network.target\n\
    [Service]\nType=simple\nUser=www\nGroup=www\nExecStart=/usr/bin/env FOO=a%%b \"two words\" ${HOME}\n\
    Environment=\"A=b c\"\nRuntimeDirectory=shop\nStateDirectory=shop\nRestart=on-failure\n\
    ProtectSystem=strict\nReadWritePaths=-/run\n[Install]\nWantedBy=multi-user.target\n";

/// Prints the unit by which a host runs a service of a target.
fn unit_of_a_target() -> String {
    let world = World::new();
    let mut spec = base();
    for dir in [
        "usr/bin",
        "usr/lib",
        "usr/lib/systemd",
        "usr/lib/systemd/system",
    ] {
        spec.insert(dir, "d".to_owned());
    }
    spec.insert("usr/lib/systemd/system/shop.service", format!("f {SHOP}"));
    world.image("1", &spec);
    let session = Session::new(world.dir.path(), world.repository.root());
    session.run("deploy images/1 --target target").expect(0);
    let words = ["run", "--target", "target", "--print-unit", "shop.service"];
    let output = session.command(&words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Gives the files of a layer the modes that its definition says.
fn set_modes(layer: &Path, root: &Path) {
    let text = fs::read_to_string(layer.join("layer.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let modes = table.get("files").and_then(|files| files.get("mode"));
    for (path, mode) in modes
        .and_then(|modes| modes.as_table())
        .into_iter()
        .flatten()
    {
        let output = Command::new("chmod")
            .arg(mode.as_str().unwrap())
            .arg(root.join(path))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn systemd_has_nothing_to_say_about_any_unit() {
    let Some(own) = ServerDebian::new("systemd_has_nothing_to_say_about_any_unit") else {
        return;
    };
    let root = own.root();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut units: BTreeSet<String> = BTreeSet::new();
    fs::write(root.join("usr/bin/layerset"), "#!/bin/sh\n").unwrap();
    Command::new("chmod")
        .arg("0755")
        .arg(root.join("usr/bin/layerset"))
        .status()
        .unwrap();
    // What layers have, with the programs that their units start.
    let mut layers: Vec<PathBuf> = fs::read_dir(top.join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("files"))
        .filter(|files| files.join("usr/lib/systemd/system").exists())
        .collect();
    layers.sort();
    assert!(layers.len() >= 5, "{layers:?}");
    let kinds = [
        "service",
        "timer",
        "mount",
        "automount",
        "socket",
        "path",
        "target",
    ];
    for files in &layers {
        copy_into(files, &root);
        set_modes(files.parent().unwrap(), &root);
        for entry in fs::read_dir(files.join("usr/lib/systemd/system")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            // Drop-ins are judged with their units, where these are there.
            let unit = name.strip_suffix(".d").unwrap_or(&name).to_owned();
            let is_unit = kinds.iter().any(|kind| unit.ends_with(&format!(".{kind}")));
            let known = ["usr/lib/systemd/system", SYSTEM].map(|dir| root.join(dir).join(&unit));
            if is_unit && (entry.path().is_file() || known.iter().any(|path| path.exists())) {
                units.insert(unit.replace("@.", "@srv-web."));
            }
        }
    }
    // The server itself is in another layer.
    fs::write(
        root.join(SYSTEM).join("postgresql.service"),
        "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    )
    .unwrap();
    // What is installed with the program.
    let mut shipped = 0;
    let all = fs::read_dir(top.join("units")).unwrap();
    let is_unit =
        |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().ends_with(b".catalog");
    for entry in all.map(|entry| entry.unwrap()).filter(is_unit) {
        let name = entry.file_name().into_string().unwrap();
        fs::copy(top.join("units").join(&name), root.join(SYSTEM).join(&name)).unwrap();
        units.insert(name.replace("@.", "@srv-web."));
        shipped += 1;
    }
    assert!(shipped >= 3, "{shipped}");
    // What is printed, for a target whose name means something to systemd, and what is generated.
    let program = Path::new("/usr/bin/layerset");
    let (odd, repository) = (
        Path::new("/srv/100% \"x\" $Y"),
        Path::new("/var/lib/layer set"),
    );
    let printed = [
        (
            activation_unit(odd, repository, program),
            "activated.service",
        ),
        (
            update_units(Path::new("/srv/shop"), repository, program),
            "none.service",
        ),
        (unit_of_a_target(), "target-shop.service"),
        (
            first_boot_unit(
                &crate::support::path(b"etc/x/a.key"),
                "umask 077; echo \"$A\" 100% 'x\\y' > /etc/x/a.key && test -n ${B:-c}",
            ),
            "layerset-first-boot-etc-x-a.key.service",
        ),
    ];
    for (text, name) in &printed {
        let names = install(&root, text, name);
        assert!(!names.is_empty(), "{text}");
        units.extend(names);
    }
    assert!(units.contains("layerset-update-shop.timer"), "{units:?}");
    let units: Vec<String> = units.into_iter().collect();
    let wrong: Vec<String> = units
        .iter()
        .map(|unit| said_of(&root, std::slice::from_ref(unit)))
        .filter(|said| !said.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // It would say so.
    let bad = "[Service]\nType=oneshott\nExecStart=/bin/true\n";
    let names = install(&root, bad, "bad.service");
    assert!(said_of(&root, &names).contains("oneshott"));
}
