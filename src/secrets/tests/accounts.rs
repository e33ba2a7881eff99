use super::{CRYPT, found, text_of};

fn hash(mark: &str, length: usize) -> String {
    format!("{mark}{}", text_of(CRYPT, length, 7))
}

#[test]
fn what_opens_an_account_is_found_in_every_database() {
    let sha = hash("$6$saltsalt$", 86);
    let des = hash("", 13);
    let shadow = |field: &str| format!("daemon:*:1::::::\nbob:{field}:20000:0:99999:7:::\n");
    let hashes = [
        sha.clone(),
        hash("$1$salt$", 22),
        hash("$5$rounds=5000$salt$", 43),
        hash("$y$j9T$saltsaltsalt$", 43),
        hash("$2b$12$", 53),
        des.clone(),
        hash("_", 19),
    ];
    for hash in &hashes {
        for lock in ["", "!", "!!", "*"] {
            for path in [
                "etc/shadow",
                "etc/shadow-",
                "srv/backup/shadow.bak",
                "var/lib/extrausers/shadow",
            ] {
                let line = shadow(&format!("{lock}{hash}"));
                assert_eq!(
                    found(path, line.as_bytes()),
                    ["line 2: a password hash"],
                    "{line}"
                );
            }
        }
        let line =
            format!("root:x:0:0:root:/root:/bin/sh\nbob:{hash}:1000:1000::/home/bob:/bin/sh\n");
        assert_eq!(
            found("etc/passwd", line.as_bytes()),
            ["line 2: a password hash"],
            "{line}"
        );
        let line = format!("root:*::\nstaff:{hash}::bob\n");
        assert_eq!(
            found("etc/gshadow", line.as_bytes()),
            ["line 2: a password hash"],
            "{line}"
        );
        let line = format!("staff:{hash}:50:bob\n");
        assert_eq!(
            found("etc/group", line.as_bytes()),
            ["line 1: a password hash"],
            "{line}"
        );
    }
    for name in ["root", "bob"] {
        let line = format!("{name}::20000:0:99999:7:::\n");
        assert_eq!(
            found("etc/shadow", line.as_bytes()),
            ["line 1: an account that opens without a password"]
        );
        let line = format!("{name}::0:0::/root:/bin/sh\n");
        assert_eq!(
            found("etc/passwd", line.as_bytes()),
            ["line 1: an account that opens without a password"]
        );
    }
    for field in ["*", "!", "!!", "!*", "x", "*LK*", "NP", "!locked"] {
        assert_eq!(
            found("etc/shadow", shadow(field).as_bytes()),
            Vec::<String>::new(),
            "{field}"
        );
    }
    assert!(
        found("etc/gshadow", b"staff:::\nusers:!::\n").is_empty(),
        "an empty field opens no group"
    );
    assert!(
        found(
            "usr/share/bash-completion/completions/passwd",
            b"_passwd()\n{ local a:b::c\n}\n"
        )
        .is_empty()
    );
}

#[test]
fn hashes_of_web_servers_and_directories_are_found_wherever_they_stand() {
    let des = hash("", 13);
    for line in [
        format!("bob:{}\n", hash("$apr1$saltsalt$", 22)),
        format!("bob:{}\n", hash("$2y$05$", 53)),
        format!("bob:{}=\n", hash("{SHA}", 26) + "g"),
    ] {
        for path in ["etc/nginx/.htpasswd", "etc/nginx/users"] {
            assert_eq!(
                found(path, line.as_bytes()),
                ["line 1: a password hash"],
                "{line}"
            );
        }
    }
    assert_eq!(
        found("srv/htpasswd", format!("bob:{des}\n").as_bytes()),
        ["line 1: a password hash"]
    );
    let ssha = format!("{{SSHA}}{}", text_of(b"ABCDEFabcdef0123456789", 32, 3));
    for line in [
        format!("olcRootPW: {ssha}"),
        "olcRootPW: horse-staple".into(),
        "olcRootPW:: e1NTSEF9cUFtR0".into(),
    ] {
        let ldif = format!("dn: olcDatabase={{1}}mdb\n{line}\n");
        assert_eq!(
            found("etc/ldap/slapd.d/x.ldif", ldif.as_bytes()),
            ["line 2: slapd's root password"],
            "{line}"
        );
    }
    let user = format!("dn: uid=bob\nuserPassword: {ssha}\n");
    assert_eq!(
        found("srv/users.ldif", user.as_bytes()),
        ["line 2: a password hash"]
    );
    let seed = format!(
        "users:\n- name: bob\n  passwd: {}\n",
        hash("$6$saltsalt$", 86)
    );
    assert_eq!(
        found("srv/anything.yaml", seed.as_bytes()),
        ["line 3: a password hash"]
    );
}
