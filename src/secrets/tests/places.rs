use super::found;

#[test]
fn files_that_are_known_by_name_are_read_as_their_programs_read_them() {
    for (path, content, line) in [
        (
            "root/.netrc",
            "machine a.example login bob password hunter42\n",
            1,
        ),
        (
            "etc/apt/auth.conf.d/shop.conf",
            "machine a.example\nlogin bob\npassword hunter42\n",
            3,
        ),
        (
            "etc/apt/sources.list.d/shop.list",
            "deb https://bob:hunter42@a.org/debian x main\n",
            1,
        ),
        ("home/bob/.pgpass", "# h\ndb:5432:shop:bob:hunter42\n", 2),
        (
            "root/.my.cnf",
            "[client]\nuser = root\npassword = \"hunter42\"\n",
            3,
        ),
        ("etc/mysql/debian.cnf", "[client]\npassword=hunter42\n", 2),
        (
            "root/.aws/credentials",
            "[default]\naws_session_token = hunter42hunter\n",
            2,
        ),
        (
            "root/.docker/config.json",
            "{\"auths\": {\"a.org\": {\n  \"auth\": \"Ym9iOmh1bnRlcjQy\"}}}\n",
            2,
        ),
        (
            "root/.npmrc",
            "registry=https://a.org\n//a.org/:_authToken=hunter42-hunter\n",
            2,
        ),
        (
            "root/.pypirc",
            "[shop]\nusername: bob\npassword: hunter42\n",
            3,
        ),
        ("root/.git-credentials", "https://bob:hunter42@a.org\n", 1),
        (
            "srv/app/.git/config",
            "[remote \"origin\"]\n\turl = https://bob:hunter42@a.org/x.git\n",
            2,
        ),
        (
            "etc/wpa_supplicant/wpa_supplicant.conf",
            "network={\n  ssid=\"home\"\n  psk=\"hunter42hunter\"\n}\n",
            3,
        ),
        (
            "etc/NetworkManager/system-connections/home.nmconnection",
            "[wifi-security]\npsk=hunter42hunter\n",
            2,
        ),
        (
            "var/lib/cloud/seed/nocloud/user-data",
            "#cloud-config\npassword: hunter42\n",
            2,
        ),
        (
            "etc/cloud/cloud.cfg.d/90.cfg",
            "chpasswd:\n  list: |\n    root:hunter42\n    bob:RANDOM\n",
            3,
        ),
        (
            "etc/ldap/slapd.conf",
            "rootdn cn=admin\nrootpw hunter42\n",
            2,
        ),
        (
            "etc/ppp/chap-secrets",
            "# client server secret\nbob * hunter42 *\n",
            2,
        ),
        ("etc/ipsec.secrets", ": PSK \"hunter42hunter\"\n", 1),
        (
            "srv/preseed.cfg",
            "d-i passwd/root-password password hunter42\n",
            1,
        ),
        ("srv/a.ks", "lang en\nrootpw --plaintext hunter42\n", 2),
        ("srv/shop/.env", "DB_HOST=db\nDB_PASSWORD=hunter42\n", 2),
        ("etc/exim4/passwd.client", "*.a.org:bob:hunter42\n", 1),
        ("etc/redis/redis.conf", "port 1\nrequirepass hunter42\n", 2),
        (
            "usr/share/factory/var/lib/iwd/home.psk",
            "[Security]\nPassphrase=hunter42hunter\n",
            2,
        ),
    ] {
        let lines: Vec<String> = found(path, content.as_bytes());
        assert_eq!(lines.len(), 1, "{path}: {lines:?}");
        assert!(
            lines[0].starts_with(&format!("line {line}: ")),
            "{path}: {lines:?}"
        );
        assert!(!lines[0].contains("hunter42"), "{path}");
        // The same text means nothing in a file of another name.
        assert!(
            found("usr/share/x/readme", content.as_bytes()).is_empty(),
            "{path}"
        );
        for nothing in [
            "CHANGEME",
            "${PASSWORD}",
            "{{ password }}",
            "xxxxxxxx",
            "<password>",
            "your-password",
        ] {
            let content = content
                .replace("hunter42hunter", nothing)
                .replace("hunter42", nothing)
                .replace("Ym9iOmh1bnRlcjQy", "");
            assert_eq!(
                found(path, content.as_bytes()),
                Vec::<String>::new(),
                "{path}: {content}"
            );
        }
    }
}

#[test]
fn files_that_are_a_secret_whatever_they_hold_are_found_by_their_name() {
    for path in [
        "var/lib/rabbitmq/.erlang.cookie",
        "etc/munge/munge.key",
        "root/.bash_history",
        "home/bob/.psql_history",
        "etc/cryptsetup-keys.d/data.key",
        "etc/krb5kdc/.k5.EXAMPLE.COM",
        "root/.config/gcloud/credentials.db",
    ] {
        assert_eq!(found(path, b"some words\n").len(), 1, "{path}");
        assert!(found(path, b"").is_empty(), "{path}");
    }
    assert_eq!(
        found("var/lib/samba/private/secrets.tdb", b"TDB file\n\0\0").len(),
        1
    );
    let keys = crate::secrets::crypttab_keys(
        b"# x\na UUID=1 /etc/keys/a.key luks\nb /dev/b none\nc /dev/c /dev/urandom swap\n",
    );
    assert_eq!(keys, [b"etc/keys/a.key".to_vec()]);
}
