//! Tokens that services mark by a prefix: what may follow it, how much of it, and the checksum
//! where there is one. The shapes are those that the services document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::plausible::{is_example, is_random};

/// What a token is made of after its prefix.
#[derive(Debug, Clone, Copy)]
enum Alphabet {
    /// Digits and letters.
    Letters,
    /// Digits, letters, `-` and `_`.
    Url,
    /// Hexadecimal digits, small.
    Hex,
    /// As `Url`, with points.
    Dotted,
}

/// How the end of a token proves the rest.
#[derive(Debug, Clone, Copy)]
enum Checksum {
    None,
    /// The last 6 characters are the CRC-32 of those between prefix and them, in base 62.
    Base62,
    /// The last 8, after `_`, are the CRC-32 of those before the `_`, in hexadecimal digits.
    Hex,
}

/// One kind of token.
#[derive(Debug)]
pub(super) struct TokenShape {
    /// What it begins with.
    pub(super) prefix: &'static str,
    kind: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
    checksum: Checksum,
}

const fn shape(
    prefix: &'static str,
    kind: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
) -> TokenShape {
    TokenShape {
        prefix,
        kind,
        alphabet,
        least,
        most,
        checksum: Checksum::None,
    }
}

const fn checked(shape: TokenShape, checksum: Checksum) -> TokenShape {
    TokenShape { checksum, ..shape }
}

use Alphabet::{Dotted, Hex, Letters, Url};

/// All kinds of tokens.
pub(super) const TOKENS: &[TokenShape] = &[
    checked(
        shape("ghp_", "a GitHub token", Letters, 36, 36),
        Checksum::Base62,
    ),
    checked(
        shape("gho_", "a GitHub token", Letters, 36, 36),
        Checksum::Base62,
    ),
    checked(
        shape("ghu_", "a GitHub token", Letters, 36, 36),
        Checksum::Base62,
    ),
    checked(
        shape("ghs_", "a GitHub token", Letters, 36, 36),
        Checksum::Base62,
    ),
    shape("ghr_", "a GitHub token", Letters, 36, 76),
    shape("github_pat_", "a GitHub token", Url, 82, 82),
    shape("glpat-", "a GitLab token", Dotted, 20, 60),
    shape("gldt-", "a GitLab token", Url, 20, 60),
    shape("glrt-", "a GitLab token", Dotted, 20, 60),
    shape("glptt-", "a GitLab token", Hex, 40, 40),
    shape("glcbt-", "a GitLab token", Url, 20, 64),
    shape("glsoat-", "a GitLab token", Url, 20, 40),
    shape("glagent-", "a GitLab token", Url, 50, 60),
    shape("xoxb-", "a Slack token", Url, 40, 120),
    shape("xoxp-", "a Slack token", Url, 40, 120),
    shape("xoxa-", "a Slack token", Url, 30, 120),
    shape("xoxr-", "a Slack token", Url, 30, 120),
    shape("xoxs-", "a Slack token", Url, 30, 120),
    shape("xapp-", "a Slack token", Url, 60, 160),
    shape("sk_live_", "a Stripe key", Letters, 20, 250),
    shape("rk_live_", "a Stripe key", Letters, 20, 250),
    shape("whsec_", "a Stripe key", Letters, 32, 80),
    shape("npm_", "an npm token", Letters, 36, 36),
    shape("pypi-AgEIcHlwaS5vcmc", "a PyPI token", Url, 50, 1000),
    shape("pypi-AgENdGVzdC5weXBpLm9yZw", "a PyPI token", Url, 50, 1000),
    shape("AIza", "a Google API key", Url, 35, 35),
    shape("GOCSPX-", "a Google client secret", Url, 28, 28),
    shape("ya29.", "a Google access token", Url, 60, 2000),
    shape("dckr_pat_", "a Docker Hub token", Url, 27, 27),
    shape("hf_", "a Hugging Face token", Letters, 34, 34),
    shape("sk-ant-", "an Anthropic key", Url, 80, 120),
    shape("sk-proj-", "an OpenAI key", Url, 40, 200),
    shape("SG.", "a SendGrid key", Dotted, 66, 66),
    shape("dop_v1_", "a DigitalOcean token", Hex, 64, 64),
    shape("doo_v1_", "a DigitalOcean token", Hex, 64, 64),
    shape("dor_v1_", "a DigitalOcean token", Hex, 64, 64),
    shape("shpat_", "a Shopify token", Hex, 32, 32),
    shape("shpss_", "a Shopify token", Hex, 32, 32),
    shape("hvs.", "a Vault token", Url, 80, 200),
    shape("hvb.", "a Vault token", Url, 80, 300),
    shape("lin_api_", "a Linear key", Letters, 40, 40),
    checked(
        shape("glsa_", "a Grafana token", Url, 41, 41),
        Checksum::Hex,
    ),
    shape("glc_", "a Grafana token", Letters, 60, 400),
    shape("dp.pt.", "a Doppler token", Letters, 43, 43),
    shape("tskey-auth-", "a Tailscale key", Url, 24, 80),
    shape("tskey-api-", "a Tailscale key", Url, 24, 80),
    shape("rubygems_", "a RubyGems key", Hex, 48, 48),
    shape("NRAK-", "a New Relic key", Letters, 27, 27),
    shape("pul-", "a Pulumi token", Hex, 40, 40),
    shape("pscale_tkn_", "a PlanetScale token", Url, 32, 64),
    shape("PMAK-", "a Postman key", Url, 59, 59),
    shape("ATATT3xFfGF0", "an Atlassian token", Url, 150, 250),
    shape("sntrys_", "a Sentry token", Url, 60, 400),
    shape("sntryu_", "a Sentry token", Hex, 64, 64),
];

impl TokenShape {
    /// Says which token stands at `at`, where the prefix is.
    pub(super) fn read(&self, text: &[u8], at: usize) -> Option<&'static str> {
        let is_of = |byte: &u8| match self.alphabet {
            Letters => byte.is_ascii_alphanumeric(),
            Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
        };
        let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if at > 0 && is_inside(&text[at - 1]) && !is_after_escape(text, at) {
            return None;
        }
        let rest = &text[at + self.prefix.len()..];
        let length = rest
            .iter()
            .take(self.most + 1)
            .take_while(|byte| is_of(byte))
            .count();
        // A full stop ends a sentence.
        let ends = rest[..length]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'.')
            .count();
        let body = &rest[..length - ends];
        let is_end = rest.get(length).is_none_or(|byte| !is_inside(byte));
        let fits = is_end && (self.least..=self.most).contains(&body.len());
        let is_proved = match self.checksum {
            Checksum::None => is_random(body),
            Checksum::Base62 => fits && base62_checksum(body),
            Checksum::Hex => fits && hex_checksum(body),
        };
        (fits && is_proved && !is_example(body)).then_some(self.kind)
    }
}

/// Says whether the letter before `at` belongs to an escape, as in `\nghp_…`.
fn is_after_escape(text: &[u8], at: usize) -> bool {
    at >= 2 && text[at - 2] == b'\\' && matches!(text[at - 1], b'n' | b't' | b'r')
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// GitHub, "Behind GitHub's new authentication token formats".
fn base62_checksum(body: &[u8]) -> bool {
    let Some((random, end)) = body.split_last_chunk::<6>() else {
        return false;
    };
    let mut value = crc32(random);
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut expect = [b'0'; 6];
    for place in expect.iter_mut().rev() {
        *place = digits[(value % 62) as usize];
        value /= 62;
    }
    *end == expect
}

fn hex_checksum(body: &[u8]) -> bool {
    let Some((random, end)) = body.split_last_chunk::<8>() else {
        return false;
    };
    let Some(random) = random.strip_suffix(b"_") else {
        return false;
    };
    let name = [b"glsa_".as_slice(), random].concat();
    let hex = |bytes| format!("{:08x}", crc32(bytes)).into_bytes();
    hex(random) == end || hex(&name) == end
}

/// Says whether a signed JSON web token (RFC 7519) begins at `at`.
pub(super) fn jwt(text: &[u8], at: usize) -> Option<&'static str> {
    let is_of = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if at > 0 && is_of(&text[at - 1]) && !is_after_escape(text, at) {
        return None;
    }
    let length = text[at..].iter().take_while(|byte| is_of(byte)).count();
    let mut parts = text[at..at + length].split(|byte| *byte == b'.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let header: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let algorithm = header.get("alg")?.as_str()?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&payload).ok()?;
    let is_signed = !algorithm.eq_ignore_ascii_case("none") && signature.len() >= 42;
    // The claims of the examples in RFC 7515 to 7519 and of those that everybody copies.
    let is_sample = is_example(&payload)
        || [b"John Doe".as_slice(), b"\"joe\""]
            .iter()
            .any(|word| memchr::memmem::find(&payload, word).is_some());
    (is_signed && !is_sample && !claims.is_empty()).then_some("a JSON web token")
}

/// Says whether the id of an AWS key at `at` has the key itself near it.
pub(super) fn aws_pair(text: &[u8], at: usize) -> Option<&'static str> {
    let is_of = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7');
    let id = text.get(at..at + 20)?;
    let is_inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_id = id.iter().all(is_of)
        && !is_example(id)
        && !is_inside(text.get(at + 20))
        && (at == 0 || !is_inside(text.get(at - 1)));
    if !is_id {
        return None;
    }
    let near = &text[at.saturating_sub(300)..text.len().min(at + 320)];
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let mut words = near.split(|byte| !is_of_key(byte));
    words.any(is_aws_secret).then_some("an AWS key")
}

/// Says whether a word is the secret half of an AWS key.
pub(super) fn is_aws_secret(word: &[u8]) -> bool {
    let has_both =
        word.iter().any(u8::is_ascii_lowercase) && word.iter().any(u8::is_ascii_uppercase);
    word.len() == 40 && has_both && !word.starts_with(b"/") && is_random(word)
}
