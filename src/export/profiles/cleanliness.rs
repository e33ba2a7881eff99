//! The rules about what must not be in an image: credentials anywhere, and traces of the machine
//! that built it where a cloud's guide lists them.

use super::rules::Problems;
use super::{Description, Profile, RuleProblem, RuleWeight};

use RuleWeight::{Must, Should};

/// A rule about files: its name, which files break it, and the fix.
struct Leftover {
    rule: &'static str,
    weight: RuleWeight,
    what: &'static str,
    matches: fn(&str, u64) -> bool,
    fix: &'static str,
}

/// What is a secret, or makes machines the same that must differ: everywhere.
const EVERYWHERE: &[Leftover] = &[
    Leftover {
        rule: "no-host-keys",
        weight: Must,
        what: "every machine would have the same SSH host key",
        matches: |path, _| {
            path.strip_prefix("etc/ssh/ssh_host_")
                .is_some_and(|rest| rest.ends_with("_key") || rest.ends_with("_key.pub"))
        },
        fix: "remove it in the layer that installs the server; the first boot makes one",
    },
    Leftover {
        rule: "no-machine-id",
        weight: Must,
        what: "every machine would have the same identity",
        matches: |path, size| {
            // `uninitialized` and a line end are 14 bytes.
            let is_id = matches!(path, "etc/machine-id" | "var/lib/dbus/machine-id");
            is_id && size > 14
        },
        fix: "empty it in the layer that makes it; the first boot fills it",
    },
    Leftover {
        rule: "no-authorized-keys",
        weight: Must,
        what: "somebody's key lets into every machine",
        matches: |path, size| {
            let is_home = path.starts_with("root/") || path.starts_with("home/");
            size > 0 && is_home && path.contains("/.ssh/authorized_keys")
        },
        fix: "remove it, and let cloud-init set keys",
    },
    Leftover {
        rule: "no-private-keys",
        weight: Must,
        what: "a private key of a user is in the image",
        matches: |path, size| {
            let is_key = [
                "/.ssh/id_rsa",
                "/.ssh/id_ed25519",
                "/.ssh/id_ecdsa",
                "/.ssh/id_dsa",
            ]
            .iter()
            .any(|end| path.ends_with(end));
            is_key && size > 0
        },
        fix: "remove it from the layer",
    },
    Leftover {
        rule: "no-random-seed",
        weight: Must,
        what: "every machine would start with the same random numbers",
        matches: |path, _| {
            matches!(
                path,
                "var/lib/systemd/random-seed"
                    | "boot/loader/random-seed"
                    | "boot/efi/loader/random-seed"
                    | "efi/loader/random-seed"
                    | "loader/random-seed"
                    | "var/lib/systemd/credential.secret"
            )
        },
        fix: "remove it from the layer; each machine makes its own",
    },
    Leftover {
        rule: "no-history",
        weight: Should,
        what: "somebody's shell history is in the image",
        matches: |path, size| {
            let is_history = [
                ".bash_history",
                ".zsh_history",
                ".python_history",
                ".lesshst",
            ]
            .iter()
            .any(|end| path.rsplit('/').next() == Some(end));
            is_history && size > 0
        },
        fix: "remove it from the layer",
    },
];

/// What the clean-up roles of EGI's own images remove too.
const EGI: &[Leftover] = &[
    Leftover {
        rule: "no-logs",
        weight: Must,
        what: "logs of the build are in the image",
        matches: |path, size| path.starts_with("var/log/") && size > 0,
        fix: "remove it from the layer, or say that /var/log is transient",
    },
    Leftover {
        rule: "no-cloud-state",
        weight: Must,
        what: "cloud-init would take a new machine for one that it has set up",
        matches: |path, _| path.starts_with("var/lib/cloud/"),
        fix: "run 'cloud-init clean --logs' at the end of the layer",
    },
    Leftover {
        rule: "no-persistent-net",
        weight: Must,
        what: "the network cards of the build machine are named",
        matches: |path, size| {
            let name = path.strip_prefix("etc/udev/rules.d/");
            size > 0 && name.is_some_and(|name| name.contains("persistent-net"))
        },
        fix: "remove it from the layer",
    },
    Leftover {
        rule: "no-machine-info",
        weight: Must,
        what: "the build machine is described",
        matches: |path, _| path == "etc/machine-info",
        fix: "remove it from the layer",
    },
    Leftover {
        rule: "no-package-lists",
        weight: Should,
        what: "package lists make the image large, and are soon old",
        matches: |path, size| {
            let lists = path.starts_with("var/lib/apt/lists/");
            let debs = path.starts_with("var/cache/apt/archives/") && path.ends_with(".deb");
            size > 0 && (lists || debs) && !path.ends_with("/lock")
        },
        fix: "remove it from the layer",
    },
    Leftover {
        rule: "no-temporary-files",
        weight: Should,
        what: "temporary files of the build are in the image",
        matches: |path, _| path.starts_with("tmp/") || path.starts_with("var/tmp/"),
        fix: "remove it from the layer",
    },
];

pub(super) fn check(profile: Profile, description: &Description) -> Vec<RuleProblem> {
    let mut problems = Problems::new(profile);
    let is_egi = profile == Profile::Egi;
    let more = if is_egi { EGI } else { &[] };
    for leftover in EVERYWHERE.iter().chain(more) {
        files(leftover, description, &mut problems);
    }
    if !description.passwords.is_empty() {
        let what = format!(
            "a password, or none, opens {}",
            description.passwords.join(", ")
        );
        let fix =
            "lock it with 'passwd -l' in the layer that makes it, and let cloud-init set keys";
        problems.add("no-passwords", Must, what, fix);
    }
    ssh(is_egi, description, &mut problems);
    problems.finish()
}

/// Names the first file that breaks a rule, and how many more do.
fn files(leftover: &Leftover, description: &Description, problems: &mut Problems) {
    let mut found = description
        .files
        .iter()
        .filter(|(path, size)| (leftover.matches)(path, **size))
        .map(|(path, _)| path);
    let Some(first) = found.next() else {
        return;
    };
    let more = match found.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let what = format!("{}: '/{first}'{more}", leftover.what);
    problems.add(leftover.rule, leftover.weight, what, leftover.fix);
}

fn ssh(is_egi: bool, description: &Description, problems: &mut Problems) {
    let Some(ssh) = description.ssh else {
        return;
    };
    if ssh.root_by_password {
        let what = "sshd lets root in by password".to_owned();
        problems.add(
            "no-root-login",
            Must,
            what,
            "say 'PermitRootLogin no' in /etc/ssh/sshd_config.d",
        );
    }
    if ssh.by_password {
        let weight = if is_egi { Must } else { Should };
        let what = "sshd lets users in by password".to_owned();
        let fix = "say 'PasswordAuthentication no' in /etc/ssh/sshd_config.d";
        problems.add("no-password-login", weight, what, fix);
    }
}
