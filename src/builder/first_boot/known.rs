//! What Debian's packages make at installation and each machine must make for itself, by the
//! packages' own ways.
//!
//! `{}` in a text stands for the path that matched, and `{1}`, `{2}` for what the first and second
//! `*` of the pattern matched.

use super::FirstBootWork;
use crate::glob::Glob;
use crate::layout::{FACTORY, SYSIMAGE, join, within};
use crate::path::RelPath;
use crate::tree::Tree;

/// Something that packages make.
struct Known {
    /// A pattern.
    path: &'static str,
    /// Without this program the line says nothing; empty: it always holds.
    program: &'static str,
    /// The shell command; empty: the package's own program makes it when it starts.
    run: &'static str,
    /// Further paths that it makes.
    also: &'static [&'static str],
}

/// What must not be the same on two machines.
#[rustfmt::skip]
const SECRETS: [Known; 12] = [
    // bind9.postinst.
    Known { path: "etc/bind/rndc.key", program: "", run: "rndc-confgen -a -u bind -c /etc/bind/rndc.key", also: &[] },
    // open-iscsi.postinst.
    Known {
        path: "etc/iscsi/initiatorname.iscsi",
        program: "",
        run: "umask 077; name=$(iscsi-iname -p iqn.1993-08.org.debian:01) && \
              printf '## DO NOT EDIT OR REMOVE THIS FILE!\\nInitiatorName=%s\\n' \"$name\" >{}",
        also: &[],
    },
    // munge.postinst.
    Known { path: "etc/munge/munge.key", program: "", run: "runuser -u munge -- mungekey --create", also: &[] },
    // nsd.postinst and unbound.postinst.
    Known {
        path: "etc/nsd/nsd_server.key", program: "", run: "nsd-control-setup",
        also: &["etc/nsd/nsd_server.pem", "etc/nsd/nsd_control.key", "etc/nsd/nsd_control.pem"],
    },
    Known {
        path: "etc/unbound/unbound_server.key", program: "", run: "unbound-control-setup",
        also: &["etc/unbound/unbound_server.pem", "etc/unbound/unbound_control.key", "etc/unbound/unbound_control.pem"],
    },
    // phpmyadmin.postinst: the key of its cookies, 32 characters.
    Known {
        path: "var/lib/phpmyadmin/blowfish_secret.inc.php",
        program: "",
        run: "umask 027; key=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \\n') && \
              printf \"<?php\\n\\$cfg['blowfish_secret'] = '%s';\\n\" \"$key\" >{} && chgrp www-data {} \
              || { rm -f {}; exit 1; }",
        also: &[],
    },
    // openssh-server.postinst; which kinds of keys there are depends on the release.
    Known { path: "etc/ssh/ssh_host_*_key", program: "", run: "ssh-keygen -A", also: &["{}.pub"] },
    // ssl-cert.postinst.
    Known {
        path: "etc/ssl/private/ssl-cert-snakeoil.key", program: "", run: "make-ssl-cert generate-default-snakeoil",
        also: &["etc/ssl/certs/ssl-cert-snakeoil.pem"],
    },
    // varnish's tmpfiles.d; older ones did it in the postinst.
    Known { path: "etc/varnish/secret", program: "", run: "umask 077; cat /proc/sys/kernel/random/uuid >{}", also: &[] },
    // rabbitmq-server.postinst: the cookie that Erlang itself makes can be guessed.
    Known {
        path: "var/lib/rabbitmq/.erlang.cookie",
        program: "",
        run: "umask 077; openssl rand -base64 -out {} 42 && chown rabbitmq:rabbitmq {}",
        also: &[],
    },
    Known { path: "var/lib/*/.erlang.cookie", program: "", run: "", also: &[] },
    Known { path: "root/.erlang.cookie", program: "", run: "", also: &[] },
];

/// Data without which a service does not start: the file that tells whether it is there.
#[rustfmt::skip]
const DATA: [Known; 3] = [
    // mariadb-server.postinst. What failed half-way is made again.
    Known {
        path: "var/lib/mysql/ibdata1",
        program: "usr/bin/mariadb-install-db",
        run: "install -d -o mysql -g mysql -m 0755 /var/lib/mysql && TMPDIR= mariadb-install-db --rpm \
              --cross-bootstrap --user=mysql --disable-log-bin --skip-test-db >/dev/null || { rm -f {}; exit 1; }",
        also: &[],
    },
    // MySQL's reference manual, 2.9.1; a data directory that is not empty is refused.
    Known {
        path: "var/lib/mysql/ibdata1",
        program: "usr/sbin/mysqld",
        run: "install -d -o mysql -g mysql -m 0700 /var/lib/mysql && mysqld --initialize-insecure --user=mysql \
              || { find /var/lib/mysql -mindepth 1 -delete; exit 1; }",
        also: &[],
    },
    // pg_createcluster(1), which would want to make the settings too: those stay in the image.
    Known {
        path: "var/lib/postgresql/*/*/PG_VERSION",
        program: "usr/lib/postgresql/{1}/bin/initdb",
        run: "cd / && data=/var/lib/postgresql/{1}/{2} && install -d -o postgres -g postgres -m 0755 \
              /var/lib/postgresql/{1} && install -d -o postgres -g postgres -m 0700 $data && runuser -u postgres -- \
              /usr/lib/postgresql/{1}/bin/initdb --pgdata=$data --auth-local=peer --auth-host=scram-sha-256 \
              >/dev/null && rm -f $data/postgresql.conf $data/pg_hba.conf $data/pg_ident.conf \
              || { rm -rf $data; exit 1; }",
        also: &[],
    },
];

/// Directories of services that make their data when they start and find none.
const SELF_MADE: [&str; 22] = [
    "var/lib/aide",
    "var/lib/chrony",
    "var/lib/cassandra",
    "var/lib/containerd",
    "var/lib/docker",
    "var/lib/elasticsearch",
    "var/lib/etcd",
    "var/lib/fail2ban",
    "var/lib/grafana",
    "var/lib/influxdb",
    "var/lib/ldap",
    "var/lib/mongodb",
    "var/lib/mosquitto",
    "var/lib/ntpsec",
    "var/lib/opensearch",
    "var/lib/prometheus",
    "var/lib/rabbitmq",
    "var/lib/redis",
    "var/lib/samba",
    "var/lib/tor",
    "var/lib/unbound",
    "var/lib/valkey",
];

/// Returns the work that makes the secret at `path`, wherever the image holds it; with an empty
/// command where its own program makes it.
pub(in crate::builder) fn secret(path: &RelPath, tree: &Tree) -> Option<FirstBootWork> {
    let mut lines = SECRETS.iter();
    lines.find_map(|line| line.work(machine_path(path.as_bytes()), tree))
}

/// Returns the work that makes the data of a service, of which `path` is the file that tells
/// whether it is there.
pub(in crate::builder) fn data(path: &RelPath, tree: &Tree) -> Option<FirstBootWork> {
    let mut lines = DATA.iter();
    lines.find_map(|line| line.work(path.as_bytes(), tree))
}

/// Says whether a service makes the data at `path` itself.
pub(in crate::builder) fn is_self_made(path: &[u8]) -> bool {
    SELF_MADE.iter().any(|dir| within(path, dir.as_bytes()))
}

/// Returns where a machine has what an image holds at `path`.
fn machine_path(path: &[u8]) -> &[u8] {
    let homes = [FACTORY, SYSIMAGE].into_iter();
    let mut inner =
        homes.filter_map(|home| path.strip_prefix(join(home.as_bytes(), b"").as_slice()));
    inner.next().unwrap_or(path)
}

impl Known {
    fn work(&self, path: &[u8], tree: &Tree) -> Option<FirstBootWork> {
        // A pattern also matches what lies below what it matches.
        let is_it = Glob::new(self.path).is_ok_and(|glob| glob.matches(path));
        let depth = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
        let reaches = self.path.contains("**") || depth(path) == depth(self.path.as_bytes());
        if !is_it || !reaches {
            return None;
        }
        let text = std::str::from_utf8(path).ok()?;
        let stars: Vec<&str> = self
            .path
            .split('/')
            .zip(text.split('/'))
            .filter(|(pattern, _)| *pattern == "*")
            .map(|(_, part)| part)
            .collect();
        // A command is a shell's text.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._/@".contains(c);
        if !text.chars().all(is_plain) {
            return None;
        }
        let fill = |template: &str, slash: &str| {
            let mut filled = template.replace("{}", &format!("{slash}{text}"));
            for (number, star) in stars.iter().enumerate() {
                filled = filled.replace(&format!("{{{}}}", number + 1), star);
            }
            filled
        };
        let program = fill(self.program, "");
        if !program.is_empty() && tree.resolve(program.as_bytes()).is_none() {
            return None;
        }
        let also = self.also.iter();
        let also = also.filter_map(|path| RelPath::from_text(&fill(path, "")).ok());
        Some(FirstBootWork {
            path: RelPath::new(path).ok()?,
            run: fill(self.run, "/"),
            also: also.collect(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::tree::Inode;

    fn path(text: &str) -> RelPath {
        RelPath::from_text(text).unwrap()
    }

    #[test]
    fn every_pattern_is_one_and_every_place_is_filled() {
        for known in SECRETS.iter().chain(&DATA) {
            assert!(Glob::new(known.path).is_ok(), "{}", known.path);
            let all: Vec<&str> = [known.program, known.run]
                .into_iter()
                .chain(known.also.iter().copied())
                .collect();
            let stars = known.path.split('/').filter(|part| *part == "*").count();
            for number in stars + 1..9 {
                let place = format!("{{{number}}}");
                assert!(
                    all.iter().all(|text| !text.contains(&place)),
                    "{}",
                    known.path
                );
            }
        }
    }

    #[test]
    fn secrets_are_known_by_pattern_wherever_the_image_holds_them() {
        let work = |text: &str| secret(&path(text), &Tree::new());
        for kind in ["rsa", "ed25519", "mldsa44_ed25519"] {
            let key = format!("etc/ssh/ssh_host_{kind}_key");
            let found = work(&key).unwrap();
            assert_eq!(found.path, path(&key));
            assert_eq!(found.also, [path(&format!("{key}.pub"))]);
        }
        for other in [
            "etc/ssh/ssh_host_key",
            "etc/ssh/ssh_host_a_key/b",
            "etc/ssh/sshd_config",
        ] {
            assert_eq!(work(other), None, "{other}");
        }
        let cookie = work("usr/share/factory/var/lib/rabbitmq/.erlang.cookie").unwrap();
        assert_eq!(cookie.path, path("var/lib/rabbitmq/.erlang.cookie"));
        assert!(
            cookie
                .run
                .contains("-out /var/lib/rabbitmq/.erlang.cookie 42"),
            "{}",
            cookie.run
        );
        assert_eq!(work("var/lib/ejabberd/.erlang.cookie").unwrap().run, "");
        assert!(work("etc/munge/munge.key").is_some() && work("etc/varnish/secret").is_some());
        assert!(work("var/lib/phpmyadmin/blowfish_secret.inc.php").is_some());
    }

    #[test]
    fn data_is_made_by_the_program_of_its_version() {
        let mut tree = Tree::new();
        let version = path("var/lib/postgresql/17/main/PG_VERSION");
        assert_eq!(data(&version, &tree), None);
        for program in [
            "usr/lib/postgresql/17/bin/initdb",
            "usr/bin/mariadb-install-db",
        ] {
            let above: Vec<RelPath> =
                std::iter::successors(path(program).parent(), RelPath::parent).collect();
            for dir in above {
                tree.insert(dir, Inode::directory(0o755));
            }
            tree.insert(path(program), Inode::file(ObjectId::of(b""), 0, 0o755));
        }
        let work = data(&version, &tree).unwrap();
        assert!(
            work.run.contains("/usr/lib/postgresql/17/bin/initdb"),
            "{}",
            work.run
        );
        assert!(
            work.run.contains("data=/var/lib/postgresql/17/main "),
            "{}",
            work.run
        );
        let strange = path("var/lib/postgresql/17/$(x)/PG_VERSION");
        assert_eq!(data(&strange, &tree), None);
        let mysql = data(&path("var/lib/mysql/ibdata1"), &tree).unwrap();
        assert!(mysql.run.contains("mariadb-install-db"), "{}", mysql.run);
        assert!(is_self_made(b"var/lib/redis/dump.rdb") && !is_self_made(b"var/lib/mysql/x"));
    }
}
