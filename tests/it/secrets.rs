//! Secrets as the real tools make them, however they are packed, against the detector.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerset::secrets::Scanner;

use crate::support::skip;

/// A secret: what the detector calls it, the program that makes it, and the command, which writes it
/// to `$OUT`, a file of its own.
struct Sample {
    kind: &'static str,
    program: &'static str,
    command: &'static str,
    path: &'static str,
}

const fn sample(kind: &'static str, program: &'static str, command: &'static str) -> Sample {
    Sample {
        kind,
        program,
        command,
        path: "srv/sample",
    }
}

const fn at(
    path: &'static str,
    kind: &'static str,
    program: &'static str,
    command: &'static str,
) -> Sample {
    Sample {
        path,
        ..sample(kind, program, command)
    }
}

/// Keys in a text, which may be packed in another one.
const ARMOURED: &[Sample] = &[
    sample(
        "an RSA private key",
        "openssl",
        "openssl genrsa -traditional -out $OUT 2048",
    ),
    sample(
        "a private key",
        "openssl",
        "openssl genpkey -algorithm rsa -out $OUT",
    ),
    sample(
        "a private key",
        "openssl",
        "openssl genpkey -algorithm ed25519 -out $OUT",
    ),
    sample(
        "an EC private key",
        "openssl",
        "openssl ecparam -name prime256v1 -genkey -noout -out $OUT",
    ),
    sample(
        "an encrypted private key",
        "openssl",
        "openssl genpkey -algorithm rsa -aes256 -pass pass:abcdef -out $OUT",
    ),
    sample(
        "an encrypted private key",
        "openssl",
        "openssl genrsa 2048 | openssl rsa -traditional -aes128 -passout pass:abcdef -out $OUT",
    ),
    sample(
        "an OpenSSH private key",
        "ssh-keygen",
        "ssh-keygen -q -t ed25519 -N '' -f $OUT",
    ),
    sample(
        "an OpenSSH private key",
        "ssh-keygen",
        "ssh-keygen -q -t rsa -N abcdef -f $OUT",
    ),
    sample(
        "an RSA private key",
        "ssh-keygen",
        "ssh-keygen -q -t rsa -m PEM -N '' -f $OUT",
    ),
    sample(
        "an EC private key",
        "ssh-keygen",
        "ssh-keygen -q -t ecdsa -m PEM -N '' -f $OUT",
    ),
    sample(
        "an OpenPGP private key",
        "gpg",
        "$GPG --armor --export-secret-keys > $OUT",
    ),
    sample(
        "an OpenPGP private key",
        "gpg",
        "$GPG --export-secret-keys | gpg --enarmor | sed 's/ARMORED FILE/PRIVATE KEY BLOCK/' > $OUT",
    ),
    sample(
        "a PuTTY private key",
        "puttygen",
        "puttygen -q -t ed25519 -O private --new-passphrase /dev/null -o $OUT",
    ),
    sample("an OpenVPN key", "openvpn", "openvpn --genkey secret $OUT"),
];

/// Secrets that stand in a text of their own kind.
const TEXTS: &[Sample] = &[
    sample("an age identity", "age-keygen", "age-keygen -o $OUT"),
    sample(
        "a WireGuard private key",
        "wg",
        "printf '[Interface]\\nPrivateKey = %s\\n' $(wg genkey) > $OUT",
    ),
    sample(
        "a WireGuard preshared key",
        "wg",
        "printf '[Peer]\\nPresharedKey = %s\\n' $(wg genpsk) > $OUT",
    ),
    sample(
        "a TSIG key",
        "openssl",
        "printf 'key \"x\" {\\n algorithm hmac-sha256;\\n secret \"%s\";\\n};\\n' $(openssl rand -base64 32) > $OUT",
    ),
    sample(
        "a TSIG key",
        "openssl",
        "printf 'key:\\n - id: x\\n   algorithm: hmac-sha256\\n   secret: %s\\n' $(openssl rand -base64 32) > $OUT",
    ),
    // The program's package would start a name server.
    sample(
        "a TSIG key",
        "apt-get",
        "cd $TOOLS; [ -d bind9 ] || { rm -rf new; mkdir new; cd new; \
         apt-get -q download bind9 bind9-libs bind9-utils >&2; for deb in *.deb; do dpkg-deb -x $deb .; done; \
         cd ..; mv new bind9; }; \
         LD_LIBRARY_PATH=$(echo bind9/usr/lib/*-linux-gnu) $(echo bind9/usr/*bin/tsig-keygen) shop > $OUT",
    ),
    sample(
        "a DNSSEC private key",
        "dnssec-keygen",
        "dnssec-keygen -a ed25519 shop.example; cat K*.private > $OUT",
    ),
    sample(
        "a password hash",
        "openssl",
        "printf 'x:%s\\n' $(openssl passwd -6 abcdef) > $OUT",
    ),
    sample(
        "a password hash",
        "htpasswd",
        "htpasswd -cbB $OUT bob abcdef",
    ),
    sample(
        "a password hash",
        "htpasswd",
        "htpasswd -cbm $OUT bob abcdef",
    ),
    sample(
        "a password hash",
        "htpasswd",
        "htpasswd -cbs $OUT bob abcdef",
    ),
    at(
        "etc/nginx/.htpasswd",
        "a password hash",
        "htpasswd",
        "htpasswd -cbd $OUT bob abcdef",
    ),
    sample(
        "a password hash",
        "mkpasswd",
        "mkpasswd -m yescrypt abcdef > $OUT",
    ),
    sample(
        "a password hash",
        "mkpasswd",
        "mkpasswd -m sha256crypt abcdef > $OUT",
    ),
    sample(
        "a password hash",
        "mkpasswd",
        "mkpasswd -m md5crypt abcdef > $OUT",
    ),
    sample(
        "a password hash",
        "mkpasswd",
        "mkpasswd -m bcrypt abcdef > $OUT",
    ),
    at(
        "etc/shadow",
        "a password hash",
        "mkpasswd",
        "printf 'bob:!%s:1:0:99999:7:::\\n' $(mkpasswd -m descrypt abcdef) > $OUT",
    ),
    at(
        "etc/shadow",
        "a password hash",
        "mkpasswd",
        "printf 'bob:%s:1:0:99999:7:::\\n' $(mkpasswd -m bsdicrypt abcdef) > $OUT",
    ),
];

/// Files that are a secret as a whole.
const BINARY: &[Sample] = &[
    sample(
        "an RSA private key",
        "openssl",
        "openssl genrsa 2048 | openssl rsa -traditional -outform DER -out $OUT",
    ),
    sample(
        "a private key",
        "openssl",
        "openssl genpkey -algorithm ed25519 -outform DER -out $OUT",
    ),
    sample(
        "an EC private key",
        "openssl",
        "openssl ecparam -name secp384r1 -genkey -noout -outform DER -out $OUT",
    ),
    sample(
        "an encrypted private key",
        "openssl",
        "openssl genrsa 2048 | openssl pkcs8 -topk8 -outform DER -passout pass:abcdef -out $OUT",
    ),
    sample(
        "a private key in a PKCS#12 store",
        "openssl",
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out crt && \
         openssl pkcs12 -export -inkey key -in crt -passout pass:abcdef -out $OUT",
    ),
    sample(
        "a private key in a Java key store",
        "keytool",
        "keytool -genkeypair -storetype JKS -keystore $OUT -storepass abcdef -keypass abcdef -alias x -dname CN=x -keyalg RSA",
    ),
    sample(
        "an OpenPGP secret keyring",
        "gpg",
        "$GPG --export-secret-keys > $OUT",
    ),
    sample(
        "a private key of gpg-agent",
        "gpg",
        "$GPG --list-keys; for key in home/private-keys-v1.d/*.key; do cp $key $OUT; done",
    ),
    sample(
        "a Kerberos keytab",
        "ktutil",
        "printf 'addent -password -p host/a@SHOP.EXAMPLE -k 1 -e aes256-cts\\nabcdef\\nwkt %s\\n' $OUT | ktutil",
    ),
    sample(
        "a LUKS header",
        "cryptsetup",
        "truncate -s 32M $OUT; printf abcdef | cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $OUT -",
    ),
    at(
        "etc/munge/munge.key",
        "a munge key",
        "dd",
        "dd if=/dev/urandom of=$OUT bs=128 count=1",
    ),
];

/// Makes a sample; `None`, and a skip, where its program is missing.
fn make(test: &str, sample: &Sample) -> Option<Vec<u8>> {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {}", sample.program)])
        .output()
        .unwrap();
    if !found.status.success() {
        skip(
            test,
            &format!(
                "there is no {}: {} is not tried",
                sample.program, sample.kind
            ),
        );
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sample");
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let script = "set -e\nGPG=\"gpg --homedir $PWD/home --batch --quiet --pinentry-mode loopback --passphrase abcdef\"\n\
        case \"$COMMAND\" in *GPG*) mkdir -m 0700 home; $GPG --quick-generate-key x@shop.example; esac\n\
        eval \"$COMMAND\"\n\
        [ ! -d home ] || gpgconf --homedir $PWD/home --kill all\n";
    let ran = Command::new("sh")
        .args(["-c", script])
        .env("COMMAND", sample.command)
        .env("OUT", &out)
        .env("TOOLS", &tools)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        ran.status.success() && out.is_file(),
        "{}: {said}",
        sample.command
    );
    Some(std::fs::read(out).unwrap())
}

fn kinds(path: &str, content: &[u8]) -> Vec<&'static str> {
    let found = Scanner::new()
        .scan(path.as_bytes(), &mut &content[..])
        .unwrap();
    found.into_iter().map(|secret| secret.kind).collect()
}

fn prose(length: usize) -> String {
    "nothing to hide here, and nothing to see either\n".repeat(length / 48)
}

fn indented(text: &str, by: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        writeln!(out, "{by}{line}").unwrap();
        out
    })
}

/// The same text as people pack it, each with its name.
fn packed(text: &str) -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(text).unwrap();
    vec![
        ("plain", text.to_owned()),
        (
            "in YAML",
            format!("data:\n  key: |\n{}more: 1\n", indented(text, "    ")),
        ),
        ("in JSON", format!("{{\"a\": 1, \"key\": {json}}}")),
        (
            "in JSON within JSON",
            serde_json::to_string(&format!("{{\"key\": {json}}}")).unwrap(),
        ),
        (
            "in a variable of a shell",
            format!("export KEY='{text}'\nexec app\n"),
        ),
        ("in a quoted variable", format!("KEY={json}\n")),
        ("commented out", indented(text, "# ")),
        ("with other line ends", text.replace('\n', "\r\n")),
        ("behind a mebibyte", prose(1 << 20) + text),
        (
            "across the end of a block",
            prose((1 << 20) + (40 << 10) - 200) + text + &prose(5000),
        ),
        (
            "in base64",
            format!("client-key-data: {}\n", STANDARD.encode(text)),
        ),
        (
            "in base64, second",
            format!("x: {}\n", STANDARD.encode(format!("\n{text}"))),
        ),
        (
            "in base64, third",
            format!("x: {}\n", STANDARD.encode(format!("a\n{text}"))),
        ),
        (
            "behind a mebibyte in base64",
            format!("{}x: \"{}\"\n", prose(1 << 20), STANDARD.encode(text)),
        ),
    ]
}

#[test]
fn keys_of_real_tools_are_found_however_they_are_packed() {
    let test = "keys_of_real_tools_are_found_however_they_are_packed";
    for sample in ARMOURED {
        let Some(content) = make(test, sample) else {
            continue;
        };
        let text = String::from_utf8(content).unwrap();
        for (how, packed) in packed(&text) {
            let is_text_only = matches!(
                sample.kind,
                "a PuTTY private key" | "an OpenVPN key" | "an OpenPGP private key"
            );
            if is_text_only && how.contains("base64") {
                continue;
            }
            assert_eq!(
                kinds(sample.path, packed.as_bytes()),
                [sample.kind],
                "{how}: {}",
                sample.command
            );
        }
        // Without its last lines it is no key any more; nor is its public half.
        let first = text.lines().next().unwrap();
        assert_eq!(
            kinds(sample.path, first.as_bytes()),
            Vec::<&str>::new(),
            "{}",
            sample.command
        );
    }
}

#[test]
fn secrets_of_real_tools_are_found_in_their_own_files() {
    let test = "secrets_of_real_tools_are_found_in_their_own_files";
    for sample in TEXTS {
        let Some(content) = make(test, sample) else {
            continue;
        };
        let text = String::from_utf8(content).unwrap();
        let mut ways = vec![text.clone()];
        if sample.path == "srv/sample" {
            ways.extend([
                indented(&text, "   "),
                prose(1 << 20) + &text,
                text.replace('\n', "\r\n"),
            ]);
        }
        for text in ways {
            assert_eq!(
                kinds(sample.path, text.as_bytes()),
                [sample.kind],
                "{}",
                sample.command
            );
        }
    }
    for sample in BINARY {
        let Some(content) = make(test, sample) else {
            continue;
        };
        assert_eq!(
            kinds(sample.path, &content),
            [sample.kind],
            "{}",
            sample.command
        );
    }
}

#[test]
fn certificates_and_public_keys_of_real_tools_are_no_secrets() {
    let test = "certificates_and_public_keys_of_real_tools_are_no_secrets";
    let public = [
        sample(
            "",
            "openssl",
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out $OUT",
        ),
        sample(
            "",
            "openssl",
            "openssl genrsa 2048 | openssl rsa -pubout -out $OUT",
        ),
        sample(
            "",
            "openssl",
            "openssl genrsa 2048 | openssl rsa -pubout -outform DER -out $OUT",
        ),
        sample(
            "",
            "openssl",
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key -outform DER -out $OUT",
        ),
        sample("", "openssl", "openssl dhparam -out $OUT 512"),
        sample(
            "",
            "ssh-keygen",
            "ssh-keygen -q -t ed25519 -N '' -f k; cp k.pub $OUT",
        ),
        sample("", "gpg", "$GPG --armor --export > $OUT"),
        sample("", "gpg", "$GPG --export > $OUT"),
        sample(
            "",
            "wg",
            "wg genkey | wg pubkey | sed 's/^/PublicKey = /' > $OUT",
        ),
        sample("", "age-keygen", "age-keygen -o k; age-keygen -y k > $OUT"),
        sample(
            "",
            "dnssec-keygen",
            "dnssec-keygen -a ed25519 shop.example; cat K*.key > $OUT",
        ),
        sample(
            "",
            "keytool",
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out crt && \
             keytool -importcert -noprompt -storetype JKS -keystore $OUT -storepass abcdef -alias x -file crt",
        ),
        sample(
            "",
            "openssl",
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out crt && \
             openssl pkcs12 -export -nokeys -in crt -passout pass:abcdef -out $OUT",
        ),
    ];
    for sample in &public {
        let Some(content) = make(test, sample) else {
            continue;
        };
        assert_eq!(
            kinds(sample.path, &content),
            Vec::<&str>::new(),
            "{}",
            sample.command
        );
    }
    for path in [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/passwd",
        "/etc/group",
    ] {
        if let Ok(content) = std::fs::read(Path::new(path)) {
            assert_eq!(
                kinds(path.trim_start_matches('/'), &content),
                Vec::<&str>::new(),
                "{path}"
            );
        }
    }
}
