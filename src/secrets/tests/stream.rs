use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{found, pem, text_of};

/// Text without a secret, in lines of 60 characters.
fn prose(length: usize, seed: u64) -> String {
    let text = text_of(b"abcdefghijklmnopqrstuvwxyz ,.", length, seed);
    text.as_bytes()
        .chunks(60)
        .map(|line| format!("{}\n", str::from_utf8(line).unwrap()))
        .collect()
}

#[test]
fn a_key_is_found_on_both_sides_of_every_block() {
    let key = pem(2);
    let block = 1 << 20;
    for end in [
        block,
        block + (8 << 10),
        block + (40 << 10),
        2 * block + (40 << 10),
        3 * block,
    ] {
        for before in [0, 1, 20, key.len() / 2, key.len()] {
            let text = "-".repeat(end - before - 1) + "\n" + &key + &prose(2000, 1);
            assert_eq!(
                found("srv/log", text.as_bytes()),
                ["line 2: a private key"],
                "{end} {before}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_in_random_text_is_found_however_it_is_packed(
        before in 0usize..200_000, after in 0usize..5_000, seed in any::<u64>(), how in 0usize..9,
    ) {
        let key = pem(seed);
        let packed = match how {
            0 => key,
            1 => key.lines().map(|line| format!("        {line}\n")).collect(),
            2 => format!("\"key\": {}\n", serde_json::to_string(&key).unwrap()),
            3 => format!("KEY={}\n", STANDARD.encode(key)),
            4 => format!("x: {}\n", STANDARD.encode(format!("k{key}"))),
            5 => format!("x: {}\n", STANDARD.encode(format!("k:{key}"))),
            6 => key.replace('\n', "\r\n"),
            7 => key.lines().map(|line| format!("  \"{line}\\n\" +\n")).collect(),
            _ => format!("# {}\n", key.trim_end().replace('\n', "\n# ")),
        };
        let text = format!("{}{packed}{}", prose(before, seed), prose(after, seed ^ 1));
        let lines = found("srv/log", text.as_bytes());
        prop_assert_eq!(lines.len(), 1, "{} {:?}", how, lines);
        prop_assert!(lines[0].ends_with(": a private key"), "{:?}", lines);
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..3000), path in "[a-z./]{0,20}") {
        let _ = found(&path, &bytes);
    }
}

#[test]
fn a_key_that_was_cut_off_between_its_first_and_last_line_is_still_told() {
    let text = pem(3);
    let line = text.lines().nth(1).unwrap();
    let cut = text.replace(line, &line[..24]);
    assert_eq!(
        found("etc/site.key", cut.as_bytes()),
        ["line 1: a private key"]
    );
}
