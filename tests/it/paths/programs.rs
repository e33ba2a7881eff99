//! What is said of names in configuration, against what the programs say that read it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use layerset::check::paths;
use layerset::id::ObjectId;
use layerset::path::RelPath;
use layerset::tree::{Inode, Tree};

use super::view::{DirView, tree_of};
use crate::debian::{PATH, ServerDebian};

/// A file that is put into a root, and what comes of it.
struct Trap {
    /// Its path and its text.
    file: (&'static str, &'static str),
    /// The program that reads it, with its arguments.
    program: &'static str,
    /// What the program then says or ends with: whether it fails.
    fails: bool,
    /// The ends of the ids of what is found.
    found: &'static [&'static str],
}

const fn trap(
    file: (&'static str, &'static str),
    program: &'static str,
    fails: bool,
    found: &'static [&'static str],
) -> Trap {
    Trap {
        file,
        program,
        fails,
        found,
    }
}

const NGINX: &str = "nginx -t";
const APACHE: &str = "apachectl configtest";
const SUDO: &str = "visudo -c";
const LOGS: &str = "logrotate --state /tmp/state /etc/logrotate.conf";
const LOGIN: &str = "pamtester trap root authenticate";
const TMPFILES: &str = "systemd-tmpfiles --create trap.conf";

const POOL: &str = "php-fpm8.4 -t";
const NAMES: &str = "getent passwd root";

const POOL_AT: &str = "etc/php/8.4/fpm/pool.d/trap.conf";
const NAMES_AT: &str = "etc/nsswitch.conf";
const NGINX_AT: &str = "etc/nginx/conf.d/trap.conf";
const NGINX_MODULE: &str = "etc/nginx/modules-enabled/trap.conf";
const APACHE_AT: &str = "etc/apache2/conf-enabled/trap.conf";
const SUDO_AT: &str = "etc/sudoers.d/trap";
const LOGS_AT: &str = "etc/logrotate.d/trap";
const LOGIN_AT: &str = "etc/pam.d/trap";
const TMPFILES_AT: &str = "etc/tmpfiles.d/trap.conf";

// One line for each.
#[rustfmt::skip]
const TRAPS: [Trap; 42] = [
    trap((NGINX_AT, "include none.conf;"), NGINX, true, &["/etc/nginx/none.conf"]),
    trap((NGINX_AT, "include none/*.conf;"), NGINX, false, &[]),
    trap((NGINX_AT, "include mime.type[s];"), NGINX, false, &[]),
    trap((NGINX_AT, "# include none.conf;"), NGINX, false, &[]),
    trap((NGINX_MODULE, "load_module modules/none.so;"), NGINX, true, &["/usr/share/nginx/modules/none.so"]),
    trap((APACHE_AT, "Include none.conf\n"), APACHE, true, &["/etc/apache2/none.conf"]),
    trap((APACHE_AT, "Include none/*.conf\n"), APACHE, true, &["/etc/apache2/none/*.conf"]),
    trap((APACHE_AT, "Include mods-enabled/*.none\n"), APACHE, true, &["/etc/apache2/mods-enabled/*.none"]),
    trap((APACHE_AT, "IncludeOptional none.conf\n"), APACHE, false, &[]),
    trap((APACHE_AT, "IncludeOptional none/*.conf\n"), APACHE, false, &[]),
    trap((APACHE_AT, "Include conf-available\n"), APACHE, false, &[]),
    trap((APACHE_AT, "LoadModule x_module none.so\n"), APACHE, true, &["/etc/apache2/none.so"]),
    trap((APACHE_AT, "LoadFile /none.so\n"), APACHE, true, &["/none.so"]),
    trap((APACHE_AT, "User ghost\n"), APACHE, true, &["user:ghost"]),
    trap((APACHE_AT, "Group ghost\n"), APACHE, true, &["group:ghost"]),
    trap((APACHE_AT, "<IfModule none_module>\nInclude x\n</IfModule>\n"), APACHE, false, &[]),
    trap((APACHE_AT, "<IfModule !mod_none.c>\nInclude x\n</IfModule>\n"), APACHE, true, &["/etc/apache2/x"]),
    trap((APACHE_AT, "<IfModule mod_alias.c>\nInclude \\\n x\n</IfModule>\n"), APACHE, true, &["/etc/apache2/x"]),
    trap((SUDO_AT, "@include none\n"), SUDO, true, &["/etc/sudoers.d/none"]),
    trap((SUDO_AT, "@includedir none\n"), SUDO, false, &[]),
    trap((SUDO_AT, "#include /etc/none\n"), SUDO, true, &["/etc/none"]),
    trap((LOGS_AT, "/var/log/x {\n missingok\n su ghost adm\n}\n"), LOGS, true, &["user:ghost"]),
    trap((LOGS_AT, "/var/log/x {\n missingok\n create 640 root ghost\n}\n"), LOGS, true, &["group:ghost"]),
    trap((LOGS_AT, "/var/log/x {\n missingok\n su root adm\n create 640 root adm\n}\n"), LOGS, false, &[]),
    trap((LOGIN_AT, "auth required pam_permit.so\n"), LOGIN, false, &[]),
    trap((LOGIN_AT, "auth required pam_permit.so\nauth required pam_none.so\n"), LOGIN, true, &["pam_none.so"]),
    trap((LOGIN_AT, "auth required pam_permit.so\n-auth required pam_none.so\n"), LOGIN, true, &["pam_none.so"]),
    trap((LOGIN_AT, "auth required pam_permit.so\n-auth optional pam_none.so\n"), LOGIN, false, &[]),
    trap((LOGIN_AT, "auth [success=1 default=ignore] pam_none.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n"), LOGIN, true, &["pam_none.so"]),
    trap((LOGIN_AT, "auth required pam_permit.so # \\\nauth required pam_none.so\n"), LOGIN, true, &["pam_none.so"]),
    trap((LOGIN_AT, "auth required pam_permit.so\n@include none\n"), LOGIN, true, &["none"]),
    trap((LOGIN_AT, "auth required pam_permit.so\nauth substack none\n"), LOGIN, true, &["none"]),
    trap((TMPFILES_AT, "d /run/trap 0755 ghost root\n"), TMPFILES, true, &["user:ghost"]),
    trap((TMPFILES_AT, "L /run/trap - - :ghost - /x\n"), TMPFILES, true, &["group:ghost"]),
    trap((TMPFILES_AT, "d /run/trap 0755 root root\n"), TMPFILES, false, &[]),
    trap(("etc/ssh/sshd_config.d/trap.conf", "Include none/*.conf\n"), "sshd -t", false, &[]),
    trap(("etc/udev/rules.d/trap.rules", "KERNEL==\"x\", GROUP=\"ghost\"\n"), "udevadm verify /etc/udev/rules.d/trap.rules", true, &["group:ghost"]),
    trap(("etc/udev/rules.d/trap.rules", "KERNEL==\"x\", GROUP=\"adm\"\n"), "udevadm verify /etc/udev/rules.d/trap.rules", false, &[]),
    trap((POOL_AT, "[trap]\nuser = ghost\nlisten = /x\npm = static\npm.max_children = 1\n"), POOL, true, &["user:ghost"]),
    trap((POOL_AT, "[trap]\nuser = www-data\nlisten = /x\npm = static\npm.max_children = 1\n"), POOL, false, &[]),
    trap((NAMES_AT, "passwd: none [UNAVAIL=return] files\n"), NAMES, true, &["passwd:none"]),
    trap((NAMES_AT, "passwd: files [UNAVAIL=return]\n"), NAMES, false, &[]),
];

/// Runs a program in a root, with what it needs of a running system.
fn run(root: &Path, program: &str) -> Output {
    let script = format!(
        "mount -t proc proc \"$0/proc\" && mount --bind /dev \"$0/dev\" && mkdir -p \"$0/run/sshd\" && \
         exec chroot \"$0\" /usr/bin/env -i PATH={PATH} LC_ALL=C {program}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command.arg(root).output().unwrap()
}

/// Returns the ids of what is found in the configuration of a tree.
fn ids(tree: &Tree, root: &Path) -> Vec<String> {
    let problems = paths::config(tree, &DirView(root.to_owned())).unwrap();
    let ids = problems.iter().map(|problem| problem.id.to_string());
    ids.collect()
}

#[test]
fn what_is_said_of_configuration_is_what_its_programs_say() {
    const TEST: &str = "what_is_said_of_configuration_is_what_its_programs_say";
    let Some(debian) = ServerDebian::new(TEST) else {
        return;
    };
    let root = debian.root();
    let plain = tree_of(&root);
    assert_eq!(
        ids(&plain, &root),
        [""; 0],
        "Debian itself has nothing that is missing"
    );
    for program in [NGINX, APACHE, SUDO, LOGS, "sshd -t"] {
        let output = run(&root, program);
        assert!(output.status.success(), "{program}: {output:?}");
    }
    let mut wrong = Vec::new();
    for trap in TRAPS {
        let (at, text) = trap.file;
        let path = root.join(at);
        let before = fs::read(&path).ok();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o440);
        fs::set_permissions(&path, rights).unwrap();
        let mut tree = plain.clone();
        let inode = Inode::file(ObjectId::of(text.as_bytes()), text.len() as u64, 0o440);
        tree.insert(RelPath::from_text(at).unwrap(), inode);

        let output = run(&root, trap.program);
        if output.status.success() == trap.fails {
            wrong.push(format!("{text:?}: {output:?}"));
        }
        let found = ids(&tree, &root);
        let is_it = found.len() == trap.found.len()
            && found
                .iter()
                .zip(trap.found)
                .all(|(id, end)| id.ends_with(&format!("/{at}:{end}")));
        if !is_it {
            wrong.push(format!("{text:?}: {found:?} and not {:?}", trap.found));
        }
        match before {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    units(&root, &plain);
}

/// Units that `systemd-analyze verify` refuses.
fn units(root: &Path, plain: &Tree) {
    for (text, fails, found) in [
        ("[Service]\nExecStart=/usr/bin/true\n", false, &[][..]),
        (
            "[Service]\nExecStart=/usr/bin/none\n",
            true,
            &["/usr/bin/none"],
        ),
        (
            "[Unit]\nRequires=none.service\n[Service]\nExecStart=/usr/bin/true\n",
            true,
            &["requires:none.service"],
        ),
    ] {
        let at = "etc/systemd/system/trap.service";
        fs::write(root.join(at), text).unwrap();
        let mut tree = plain.clone();
        let inode = Inode::file(ObjectId::of(text.as_bytes()), text.len() as u64, 0o644);
        tree.insert(RelPath::from_text(at).unwrap(), inode);
        let output = run(root, "systemd-analyze verify --man=no trap.service");
        assert_eq!(output.status.success(), !fails, "{text}: {output:?}");
        let problems = paths::units(&tree, &DirView(root.to_owned())).unwrap();
        let ids: Vec<String> = problems
            .iter()
            .filter_map(|problem| {
                problem
                    .id
                    .place()
                    .strip_prefix(&format!("/{at}:"))
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(ids, found, "{text}");
    }
    fs::remove_file(root.join("etc/systemd/system/trap.service")).unwrap();
}
