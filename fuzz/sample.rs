//! Two small versions of some files, between which deltas lead: texts, what looks like code, and compressed ones.

/// A path and its contents.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The documents before and after.
pub const DOCUMENTS: [&[u8]; 2] = [b"the old manifest", b"the new manifest"];

/// The files of version 1 or 2.
pub fn version(number: u32) -> Files {
    let text: String = (0..200)
        .map(|line| {
            format!(
                "line {line} of a file, {}\n",
                if line % 40 == number { number } else { 0 }
            )
        })
        .collect();
    let code: Vec<u8> = (0..4096u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ (n % 97 / 96 * number)).to_le_bytes())
        .collect();
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("memory can be written");
    vec![
        ("usr/share/doc/text", text.clone().into_bytes()),
        ("usr/lib/libcode.so.1", code),
        ("usr/share/text.zst", zstd),
    ]
}
