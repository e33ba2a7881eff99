//! Files that are known by their names, and how each of them is read.

use super::accounts::{self, Found};
use super::{Place, Secret, settings, stores};

/// How a file is read.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Whatever it holds is a secret.
    Whole,
    /// Whatever it holds is a secret, if it is one of Samba's databases.
    Tdb,
    /// A word of base64 or of random characters is a secret.
    Key,
    Lines(fn(&[u8]) -> Vec<Found>),
    /// Settings with these names.
    Settings(&'static [&'static str]),
    /// The same, apart by blanks too.
    Words(&'static [&'static str]),
    /// The word in this column, counted from 0.
    Column(usize),
}

/// A file that is known by its name.
#[derive(Debug)]
pub(super) struct Named {
    /// A name, or the end of a path. `*` stands at the start or at the end of the name, and is for
    /// any characters. A slash at the end is for all files below.
    path: &'static str,
    kind: &'static str,
    how: How,
}

const fn named(path: &'static str, kind: &'static str, how: How) -> Named {
    Named { path, kind, how }
}

use How::{Column, Key, Lines, Settings, Tdb, Whole, Words};

const PASSWORD: &[&str] = &["password", "passwd", "pass"];
const HISTORY: &str = "what somebody typed";
const CLOUD: &str = "a credential of a cloud";

/// In the order in which they are tried.
const NAMED: &[Named] = &[
    // Accounts. Longer names come first.
    named("chap-secrets", "a password of PPP", Column(2)),
    named("pap-secrets", "a password of PPP", Column(2)),
    named("*shadow*", "", Lines(accounts::shadow)),
    named("passwd", "", Lines(accounts::passwd)),
    named("passwd-", "", Lines(accounts::passwd)),
    named("group", "", Lines(accounts::passwd)),
    named("group-", "", Lines(accounts::passwd)),
    named("*htpasswd*", "", Lines(accounts::htpasswd)),
    named("*htdigest*", "", Lines(accounts::htdigest)),
    named("*.passwd", "", Lines(accounts::htpasswd)),
    // Clients.
    named(".netrc", "a password", Lines(accounts::netrc)),
    named("_netrc", "a password", Lines(accounts::netrc)),
    named("netrc", "a password", Lines(accounts::netrc)),
    named(
        "etc/apt/auth.conf",
        "a password of an archive",
        Lines(accounts::netrc),
    ),
    named(
        "etc/apt/auth.conf.d/",
        "a password of an archive",
        Lines(accounts::netrc),
    ),
    named("etc/apt/", "", Lines(settings::addresses)),
    named(
        ".pgpass",
        "a password of a database",
        Lines(accounts::pgpass),
    ),
    named(".my.cnf", "a password of a database", Settings(PASSWORD)),
    named("my.cnf", "a password of a database", Settings(PASSWORD)),
    named("debian.cnf", "a password of a database", Settings(PASSWORD)),
    named(".mylogin.cnf", "a password of a database", Whole),
    named("etc/mysql/", "a password of a database", Settings(PASSWORD)),
    named(
        ".git-credentials",
        "a password of a git server",
        Lines(settings::addresses),
    ),
    named(".gitconfig", "", Lines(settings::addresses)),
    named("gitconfig", "", Lines(settings::addresses)),
    named(".git/config", "", Lines(settings::addresses)),
    named(
        "git/credentials",
        "a password of a git server",
        Lines(settings::addresses),
    ),
    named(
        ".npmrc",
        "a token of a package registry",
        Settings(&["*_authtoken", "*_auth", "*_password"]),
    ),
    named(
        "npmrc",
        "a token of a package registry",
        Settings(&["*_authtoken", "*_auth", "*_password"]),
    ),
    named(
        ".yarnrc.yml",
        "a token of a package registry",
        Settings(&["npmauthtoken", "npmauthident"]),
    ),
    named(
        ".pypirc",
        "a token of a package registry",
        Settings(PASSWORD),
    ),
    named("pip.conf", "", Lines(settings::addresses)),
    named(
        ".cargo/credentials",
        "a token of a package registry",
        Settings(&["token"]),
    ),
    named(
        ".cargo/credentials.toml",
        "a token of a package registry",
        Settings(&["token"]),
    ),
    named(
        ".gem/credentials",
        "a token of a package registry",
        Settings(&["*api_key"]),
    ),
    named(
        "auth.json",
        "a password of a registry",
        Settings(&["auth", "identitytoken", "registrytoken", "password"]),
    ),
    named(
        ".docker/config.json",
        "a password of a registry",
        Settings(&["auth", "identitytoken", "registrytoken", "password"]),
    ),
    named(
        "kubelet/config.json",
        "a password of a registry",
        Settings(&["auth", "identitytoken", "registrytoken", "password"]),
    ),
    named(
        ".dockercfg",
        "a password of a registry",
        Settings(&["auth", "identitytoken", "registrytoken", "password"]),
    ),
    named(
        ".dockerconfigjson",
        "a password of a registry",
        Settings(&["auth", "identitytoken", "registrytoken", "password"]),
    ),
    named(
        ".kube/config",
        "a key of a cluster",
        Settings(&["token", "password", "client-key-data"]),
    ),
    named(
        "kubeconfig",
        "a key of a cluster",
        Settings(&["token", "password", "client-key-data"]),
    ),
    named(
        "*.kubeconfig",
        "a key of a cluster",
        Settings(&["token", "password", "client-key-data"]),
    ),
    named(
        "etc/kubernetes/",
        "a key of a cluster",
        Settings(&["token", "password", "client-key-data"]),
    ),
    named("rancher/k3s/server/node-token", "a key of a cluster", Whole),
    named(".cvspass", "a password", Whole),
    named("auth/svn.simple/", "a password", Whole),
    named(".smbcredentials", "a password", Settings(PASSWORD)),
    named("*.smbcredentials", "a password", Settings(PASSWORD)),
    named("*credentials.smb", "a password", Settings(PASSWORD)),
    named("davfs2/secrets", "a password", Column(2)),
    named(".davfs2/secrets", "a password", Column(2)),
    named("rsyncd.secrets", "a password", Lines(accounts::pairs)),
    named("passwd.client", "a password", Lines(accounts::pairs)),
    named("sasl_passwd", "a password", Lines(accounts::pairs)),
    named(".msmtprc", "a password", Words(PASSWORD)),
    named("msmtprc", "a password", Words(PASSWORD)),
    named(".fetchmailrc", "a password", Words(PASSWORD)),
    named("fetchmailrc", "a password", Words(PASSWORD)),
    named(".vnc/passwd", "a password", Whole),
    named(
        ".config/gh/hosts.yml",
        "a GitHub token",
        Settings(&["oauth_token"]),
    ),
    named(".vault-token", "a Vault token", Whole),
    named(
        "credentials.tfrc.json",
        "a Terraform token",
        Settings(&["token"]),
    ),
    named(".terraformrc", "a Terraform token", Settings(&["token"])),
    // Clouds.
    named(
        ".aws/credentials",
        CLOUD,
        Settings(&["aws_secret_access_key", "aws_session_token"]),
    ),
    named(
        ".aws/config",
        CLOUD,
        Settings(&["aws_secret_access_key", "aws_session_token"]),
    ),
    named(".s3cfg", CLOUD, Settings(&["secret_key", "access_token"])),
    named(".passwd-s3fs", CLOUD, Lines(accounts::pairs)),
    named("passwd-s3fs", CLOUD, Lines(accounts::pairs)),
    named(
        ".boto",
        CLOUD,
        Settings(&[
            "aws_secret_access_key",
            "gs_oauth2_refresh_token",
            "gs_secret_access_key",
        ]),
    ),
    named(
        "rclone.conf",
        CLOUD,
        Settings(&[
            "pass",
            "token",
            "secret_access_key",
            "client_secret",
            "key",
            "password",
        ]),
    ),
    named("gcloud/credentials.db", CLOUD, Whole),
    named("gcloud/access_tokens.db", CLOUD, Whole),
    named("gcloud/legacy_credentials/", CLOUD, Whole),
    named(
        "application_default_credentials.json",
        CLOUD,
        Settings(&["refresh_token", "private_key", "client_secret"]),
    ),
    named(
        ".azure/accessTokens.json",
        CLOUD,
        Settings(&["accesstoken", "refreshtoken"]),
    ),
    named(".azure/msal_token_cache.json", CLOUD, Settings(&["secret"])),
    named(".azure/msal_token_cache.bin", CLOUD, Whole),
    named(
        ".azure/service_principal_entries.json",
        CLOUD,
        Settings(&["client_secret", "secret"]),
    ),
    named(
        ".config/openstack/clouds.yaml",
        CLOUD,
        Settings(&["password", "application_credential_secret"]),
    ),
    named(
        "etc/openstack/clouds.yaml",
        CLOUD,
        Settings(&["password", "application_credential_secret"]),
    ),
    named(
        "terraform.tfstate",
        CLOUD,
        Settings(&["*password", "*secret_key", "*private_key"]),
    ),
    named(
        ".env",
        "a password or key",
        Settings(&[
            "*password",
            "*passwd",
            "*secret",
            "*token",
            "*api_key",
            "*secret_key",
            "*private_key",
        ]),
    ),
    named(
        "*.env",
        "a password or key",
        Settings(&[
            "*password",
            "*passwd",
            "*secret",
            "*token",
            "*api_key",
            "*secret_key",
            "*private_key",
        ]),
    ),
    named(
        "wp-config.php",
        "a password of a database",
        Words(&["db_password"]),
    ),
    // Networks.
    named(
        "wpa_supplicant*",
        "a password of Wi-Fi",
        Settings(&[
            "psk",
            "password",
            "wep_key0",
            "sae_password",
            "private_key_passwd",
        ]),
    ),
    named(
        "NetworkManager/system-connections/",
        "a password of a network",
        Settings(&[
            "psk",
            "password",
            "wep-key0",
            "private-key-password",
            "leap-password",
            "secret",
            "pin",
        ]),
    ),
    named(
        "*.nmconnection",
        "a password of a network",
        Settings(&[
            "psk",
            "password",
            "wep-key0",
            "private-key-password",
            "leap-password",
            "secret",
            "pin",
        ]),
    ),
    named(
        "var/lib/iwd/",
        "a password of Wi-Fi",
        Settings(&["passphrase", "presharedkey", "eap-password"]),
    ),
    named(
        "var/lib/connman/",
        "a password of Wi-Fi",
        Settings(&["passphrase"]),
    ),
    named(
        "hostapd.conf",
        "a password of Wi-Fi",
        Settings(&["wpa_passphrase", "wpa_psk", "sae_password"]),
    ),
    named(
        "etc/netplan/",
        "a password of a network",
        Settings(&["password"]),
    ),
    named(
        "etc/network/",
        "a password of Wi-Fi",
        Words(&["wpa-psk", "wireless-key"]),
    ),
    named(
        "ipsec.secrets",
        "a key of IPsec",
        Words(&["psk", "xauth", "eap", "pin"]),
    ),
    named("etc/wireguard/", "a WireGuard private key", Key),
    named("snmpd.conf", "a password of SNMP", Words(&["createuser"])),
    // Servers.
    named(".erlang.cookie", "an Erlang cookie", Whole),
    named("munge.key", "a munge key", Whole),
    named(".k5.*", "a Kerberos master key", Whole),
    named("krb5kdc/stash", "a Kerberos master key", Whole),
    named("secrets.tdb", "secrets of Samba", Tdb),
    named("passdb.tdb", "passwords of Samba", Tdb),
    named("smbpasswd", "passwords of Samba", Lines(smbpasswd)),
    named("slapd.conf", "slapd's root password", Words(&["rootpw"])),
    named("ldap.secret", "a password of a directory", Whole),
    named("pam_ldap.secret", "a password of a directory", Whole),
    named("libnss-ldap.secret", "a password of a directory", Whole),
    named(
        "redis.conf",
        "a password of a database",
        Words(&["requirepass", "masterauth"]),
    ),
    named("cryptsetup-keys.d/", "a key of an encrypted disk", Whole),
    named("cryptsetup-initramfs/", "a key of an encrypted disk", Key),
    named("*.luks.key", "a key of an encrypted disk", Whole),
    named("luks-keyfile", "a key of an encrypted disk", Whole),
    // First boot.
    named("user-data", "a password of a user", Lines(settings::cloud)),
    named(
        "user-data.*",
        "a password of a user",
        Lines(settings::cloud),
    ),
    named("etc/cloud/", "a password of a user", Lines(settings::cloud)),
    named(
        "var/lib/cloud/",
        "a password of a user",
        Lines(settings::cloud),
    ),
    named("preseed.cfg", "a password of a user", Lines(preseed)),
    named("*.ks", "a password of a user", Lines(kickstart)),
    named("ks.cfg", "a password of a user", Lines(kickstart)),
    named("passwd.hashed-password.*", "a password of a user", Whole),
    named("passwd.plaintext-password.*", "a password of a user", Whole),
    // What people typed.
    named(".bash_history", HISTORY, Whole),
    named(".zsh_history", HISTORY, Whole),
    named(".ash_history", HISTORY, Whole),
    named(".sh_history", HISTORY, Whole),
    named(".history", HISTORY, Whole),
    named(".histfile", HISTORY, Whole),
    named("fish_history", HISTORY, Whole),
    named(".python_history", HISTORY, Whole),
    named(".mysql_history", HISTORY, Whole),
    named(".mariadb_history", HISTORY, Whole),
    named(".psql_history", HISTORY, Whole),
    named(".sqlite_history", HISTORY, Whole),
    named(".rediscli_history", HISTORY, Whole),
    named(".node_repl_history", HISTORY, Whole),
    named(".irb_history", HISTORY, Whole),
    named(".lesshst", HISTORY, Whole),
    named(".viminfo", HISTORY, Whole),
    // Copies of a database; some names above begin so too.
    named("passwd.*", "", Lines(accounts::passwd)),
];

impl Named {
    /// Returns what is known of the file at `path`.
    pub(super) fn of(path: &[u8]) -> Option<&'static Self> {
        // Content for `/var` lies elsewhere in an image.
        let path = ["usr/share/factory/", "usr/lib/sysimage/"]
            .iter()
            .find_map(|home| path.strip_prefix(home.as_bytes()))
            .unwrap_or(path);
        NAMED.iter().find(|named| named.matches(path))
    }

    fn matches(&self, path: &[u8]) -> bool {
        let pattern = self.path.as_bytes();
        if let Some(dir) = pattern.strip_suffix(b"/") {
            let mut places = memchr::memmem::find_iter(path, dir);
            return places.any(|at| {
                (at == 0 || path[at - 1] == b'/') && path.get(at + dir.len()) == Some(&b'/')
            });
        }
        if pattern.contains(&b'/') {
            let start = path.len().checked_sub(pattern.len());
            return start
                .is_some_and(|at| path.ends_with(pattern) && (at == 0 || path[at - 1] == b'/'));
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        match (pattern.strip_prefix(b"*"), pattern.strip_suffix(b"*")) {
            (Some(end), None) => name.ends_with(end) && name.len() > end.len(),
            (None, Some(start)) => name.starts_with(start),
            (Some(_), Some(_)) => {
                memchr::memmem::find(name, &pattern[1..pattern.len() - 1]).is_some()
            }
            (None, None) => name == pattern,
        }
    }

    /// Reads the start of the file. A file without a byte holds nothing.
    pub(super) fn read(&self, text: &[u8], found: &mut Vec<Secret>) {
        let is_there = !text.trim_ascii().is_empty();
        let lines = match self.how {
            Whole if is_there => vec![(0, self.kind)],
            Tdb if stores::is_tdb(text) => vec![(0, self.kind)],
            Whole | Tdb => Vec::new(),
            Key => key(text).map_or(Vec::new(), |line| vec![(line, self.kind)]),
            Lines(read) => read(text),
            Settings(keys) => settings::settings(text, keys, false),
            Words(keys) => settings::settings(text, keys, true),
            Column(column) => accounts::columns(text, column),
        };
        found.extend(lines.into_iter().map(|(line, kind)| Secret {
            place: if line == 0 {
                Place::File
            } else {
                Place::Line(line)
            },
            kind: if self.kind.is_empty() {
                kind
            } else {
                self.kind
            },
        }));
    }
}

/// Finds a line that is a key of 32 bytes or more, and nothing else.
fn key(text: &[u8]) -> Option<u64> {
    let mut lines = text.split(|byte| *byte == b'\n').zip(1..);
    let is_key = |line: &[u8]| {
        let bytes = super::armour::base64(line.trim_ascii());
        line.len() >= 43 && bytes.is_some_and(|bytes| super::plausible::is_random_bytes(&bytes))
    };
    lines
        .find(|(line, _)| is_key(line))
        .map(|(_, number)| number)
}

/// Reads lines of debconf's preseeding for passwords of the installer.
fn preseed(text: &[u8]) -> Vec<Found> {
    const KEYS: [&str; 4] = [
        "passwd/root-password",
        "passwd/user-password",
        "passwd/root-password-crypted",
        "passwd/user-password-crypted",
    ];
    let text = String::from_utf8_lossy(text);
    let is_set = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let value = words
            .iter()
            .position(|word| KEYS.contains(word))
            .and_then(|at| words.get(at + 2));
        !line.trim_start().starts_with('#')
            && value.is_some_and(|value| !super::plausible::is_placeholder(value) && *value != "!")
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| is_set(line));
    lines.map(|(_, number)| (number, "a password")).collect()
}

/// Reads `rootpw` and `user --password` of kickstart files.
fn kickstart(text: &[u8]) -> Vec<Found> {
    let text = String::from_utf8_lossy(text);
    let is_set = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("rootpw") => {
                words.any(|word| !word.starts_with("--") && !super::plausible::is_placeholder(word))
            }
            Some("user") => words.any(|word| {
                word.strip_prefix("--password=")
                    .is_some_and(|word| !super::plausible::is_placeholder(word))
            }),
            _ => false,
        }
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| is_set(line));
    lines.map(|(_, number)| (number, "a password")).collect()
}

/// Reads smbpasswd(5): two hashes of 32 hexadecimal digits.
fn smbpasswd(text: &[u8]) -> Vec<Found> {
    let is_hash = |field: &[u8]| field.len() == 32 && field.iter().all(u8::is_ascii_hexdigit);
    let lines = text.split(|byte| *byte == b'\n').zip(1..);
    lines
        .filter(|(line, _)| {
            line.split(|byte| *byte == b':')
                .skip(2)
                .take(2)
                .any(is_hash)
        })
        .map(|(_, number)| (number, "a password hash"))
        .collect()
}

/// Returns the key files that a crypttab(5) names, as paths in an image. They hold anything.
pub fn crypttab_keys(crypttab: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(crypttab);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let keys = lines.filter_map(|line| line.split_ascii_whitespace().nth(2));
    // `/dev/urandom` makes a new key at each boot.
    let files = keys.filter(|key| key.starts_with('/') && !key.starts_with("/dev/"));
    files
        .map(|key| {
            key.split(':')
                .next()
                .unwrap_or(key)
                .trim_start_matches('/')
                .as_bytes()
                .to_vec()
        })
        .collect()
}

/// Says whether a package's file at `path` documents, shows or tests something, by the names of its
/// directories and its own.
pub fn is_sample(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.next() == Some(b"usr") && parts.any(is_of_sample)
}

/// A word of the name, before its first point, says it: `test-ca`, `jws_test.go`.
fn is_of_sample(name: &[u8]) -> bool {
    const WORDS: [&str; 21] = [
        "doc",
        "docs",
        "man",
        "info",
        "help",
        "example",
        "examples",
        "sample",
        "samples",
        "demo",
        "demos",
        "test",
        "tests",
        "testing",
        "testsuite",
        "testdata",
        "regress",
        "fixture",
        "fixtures",
        "vectors",
        "molecule",
    ];
    let is_word = |word: &[u8]| WORDS.iter().any(|known| known.as_bytes() == word);
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or(name);
    let mut words = stem.split(|byte| matches!(byte, b'-' | b'_'));
    words.any(is_word)
        || name
            .split(|byte| *byte == b'.')
            .skip(1)
            .any(|part| part == b"dist-info")
}
