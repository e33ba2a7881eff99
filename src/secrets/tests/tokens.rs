use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{BASE62, found, random, text_of};

const HEX: &[u8] = b"0123456789abcdef";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn crc(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

fn github(prefix: &str) -> String {
    let body = text_of(BASE62, 30, 5);
    let mut end = String::new();
    let mut value = crc(&body);
    for _ in 0..6 {
        end.insert(0, char::from(BASE62[(value % 62) as usize]));
        value /= 62;
    }
    format!("{prefix}{body}{end}")
}

fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signature = URL_SAFE_NO_PAD.encode(random(32, 9));
    format!(
        "{}.{}.{signature}",
        part(r#"{"alg":"HS256","typ":"JWT"}"#),
        part(claims)
    )
}

#[test]
fn tokens_are_found_in_settings_scripts_and_programs() {
    let letters = |count| text_of(BASE62, count, 11);
    let tokens = [
        (github("ghp_"), "a GitHub token"),
        (github("ghs_"), "a GitHub token"),
        (
            format!("github_pat_{}_{}", letters(22), letters(59)),
            "a GitHub token",
        ),
        (format!("glpat-{}", letters(20)), "a GitLab token"),
        (
            format!("xoxb-{}-{}-{}", "281734650917", "730918265402", letters(24)),
            "a Slack token",
        ),
        (format!("sk_live_{}", letters(24)), "a Stripe key"),
        (format!("npm_{}", letters(36)), "an npm token"),
        (
            format!("pypi-AgEIcHlwaS5vcmc{}", letters(120)),
            "a PyPI token",
        ),
        (format!("AIza{}", letters(35)), "a Google API key"),
        (format!("dckr_pat_{}", letters(27)), "a Docker Hub token"),
        (format!("hf_{}", letters(34)), "a Hugging Face token"),
        (
            format!("SG.{}.{}", letters(22), letters(43)),
            "a SendGrid key",
        ),
        (
            format!("dop_v1_{}", text_of(HEX, 64, 2)),
            "a DigitalOcean token",
        ),
        (format!("hvs.{}", letters(95)), "a Vault token"),
        (
            format!(
                "https://hooks.slack.com/services/T{0}/B{0}/{1}",
                text_of(UPPER, 8, 4),
                letters(24)
            ),
            "the address of a Slack hook",
        ),
        (
            format!("AccountKey={};", STANDARD.encode(random(64, 1))),
            "an Azure storage key",
        ),
        (
            jwt(r#"{"sub":"shop","exp":1999999999}"#),
            "a JSON web token",
        ),
        (
            format!("AKIA{} and {}", text_of(UPPER, 16, 6), letters(40)),
            "an AWS key",
        ),
        (
            format!("aws_secret_access_key = {}", letters(40)),
            "an AWS key",
        ),
    ];
    for (token, kind) in tokens {
        for content in [
            format!("first\nTOKEN={token}\n"),
            format!("first\n  token: \"{token}\"\n"),
            format!("first\n{{\"token\":\"{token}\"}}"),
            format!("first\ncurl -H 'Authorization: Bearer {token}'\n"),
        ] {
            let lines = found("opt/app/settings", content.as_bytes());
            assert_eq!(lines, [format!("line 2: {kind}")], "{content}");
            assert!(!lines[0].contains(&token));
        }
    }
}

#[test]
fn what_fails_its_checksum_or_is_an_example_is_no_token() {
    let real = github("ghp_");
    let other = if real.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{other}", &real[..real.len() - 1]);
    let letters = |count| text_of(BASE62, count, 11);
    for text in [
        wrong,
        format!("prefix{real}"),
        format!("ghp_{}", "x".repeat(36)),
        format!("glpat-{}", "0123456789abcdefghij"),
        format!("npm_{}", "config_cache_directory_of_the_project"),
        format!(
            "AKIAIOSFODNN7{} wJalrXUtnFEMI/K7MDENG/bPxRfiCY{0}KEY",
            "EXAMPLE"
        ),
        format!("AKIA{} alone", text_of(UPPER, 16, 6)),
        format!("hf_{}", "transformers_model_for_masked_lm_x"),
        format!("xoxb-{}", letters(8)),
        jwt(r#"{"sub":"1234567890","name":"John Doe"}"#),
        format!("aws_secret_access_key = {}", "A".repeat(40)),
    ] {
        assert_eq!(
            found("opt/app/settings", text.as_bytes()),
            Vec::<String>::new(),
            "{text}"
        );
    }
}

#[test]
fn a_key_of_a_zone_that_looks_clamped_is_no_key_of_wireguard() {
    let mut key = random(32, 21);
    key[0] &= 0xf8;
    key[31] = key[31] & 0x3f | 0x40;
    let key = STANDARD.encode(key);
    let zone = format!(
        "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: {key}\nCreated: 20270101000000\n"
    );
    assert_eq!(
        found("etc/bind/Kx.private", zone.as_bytes()),
        ["line 1: a DNSSEC private key"]
    );
    let tunnel = format!("[Interface]\nPrivateKey = {key}\n");
    assert_eq!(
        found("etc/x.conf", tunnel.as_bytes()),
        ["line 2: a WireGuard private key"]
    );
}
