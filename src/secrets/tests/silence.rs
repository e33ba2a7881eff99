use super::{found, pem, text_of};

#[test]
fn what_only_speaks_of_keys_is_no_key() {
    let key = pem(1);
    let mark = "-----BEGIN RSA PRIVATE KEY-----";
    let certificate = key.replace("PRIVATE KEY", "CERTIFICATE");
    let public = key.replace("PRIVATE KEY", "PUBLIC KEY");
    for text in [
        certificate,
        public,
        format!("if (strstr(line, \"{mark}\") == NULL)\n  return -1;\n"),
        format!("{mark}\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n"),
        format!("{mark}\n<your key>\n-----END RSA PRIVATE KEY-----\n"),
        format!("{mark}\n{}\n-----END RSA PRIVATE KEY-----\n", "A".repeat(64)),
        format!("{mark}\n{}\n-----END RSA PRIVATE KEY-----\n", text_of(b"abcdefgh", 64, 1)),
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: x\n\nlQOYBF...\n-----END PGP PRIVATE KEY BLOCK-----\n".into(),
        "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\n".into(),
        "[Interface]\nPrivateKey = <key of this machine>\n".into(),
        "PrivateKey key = factory.getPrivateKey();\n".into(),
        "[Interface]\nPrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".into(),
        "key \"x\" { algorithm hmac-sha256; secret \"changeme\"; };\n".into(),
        "AGE-SECRET-KEY-1 followed by 58 characters\n".into(),
        "hashes look like $6$salt$hash and $2b$12$salt, cost $1$2\n".into(),
        "awk '{ print $1$2 }' \"$y$z\"\n".into(),
    ] {
        assert_eq!(found("usr/share/x/text", text.as_bytes()), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn samples_of_packages_are_known_by_the_names_of_their_directories() {
    for (path, expect) in [
        ("usr/share/doc/x/key.pem", true),
        ("usr/lib/python3.13/test/certdata/keycert.pem", true),
        ("usr/share/gocode/src/x/jws_test.go", true),
        ("usr/share/rust-rustls/test-ca/rsa-2048/ca.key", true),
        (
            "usr/lib/python3/dist-packages/pyjwt-2.10.1.dist-info/METADATA",
            true,
        ),
        ("usr/lib/shop/key.pem", false),
        ("usr/lib/latest/key.pem", false),
        ("etc/shop/tests/key.pem", false),
        ("opt/app/test/key.pem", false),
    ] {
        assert_eq!(crate::secrets::is_sample(path.as_bytes()), expect, "{path}");
    }
}
