//! UUIDs as Microsoft's and VirtualBox's formats store them.

/// Turns a UUID from the order of its text into that of a GUID: the first three fields are
/// little-endian.
pub(super) fn stored(uuid: [u8; 16]) -> [u8; 16] {
    let mut stored = uuid;
    stored[0..4].reverse();
    stored[4..6].reverse();
    stored[6..8].reverse();
    stored
}

/// Reads a GUID as it stands in a specification, and returns it as it is stored.
pub(super) const fn guid(text: &str) -> [u8; 16] {
    let text = text.as_bytes();
    let mut stored = [0; 16];
    // Where each byte of the stored form stands in the text.
    let places = [6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut at = 0;
    while at < 16 {
        let place = places[at];
        stored[at] = nibble(text[place]) << 4 | nibble(text[place + 1]);
        at += 1;
    }
    stored
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_stored_with_its_first_fields_reversed() {
        let text = guid("00112233-4455-6677-8899-aAbBccddeeff");
        let uuid = [
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
            0xee, 0xff,
        ];
        assert_eq!(text, stored(uuid));
        assert_eq!(text[..8], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
    }
}
