//! The hash by which large directories are sorted: half MD4, with names as signed bytes.

/// How a superblock and the root of an index call this hash.
pub(super) const HALF_MD4: u8 = 1;

/// No name has this hash: it marks the end of a directory.
const END: u32 = 0xffff_fffe;

/// The two numbers by which a name is sorted; the index uses the first one, which is even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameHash {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// Hashes a name. A seed of zeros stands for the constants of MD4.
pub(super) fn hash(name: &[u8], seed: &[u8; 16]) -> NameHash {
    let mut state = if *seed == [0; 16] {
        [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    } else {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words
    };
    let mut rest = name;
    while !rest.is_empty() {
        mix(&mut state, &words(rest));
        rest = rest.get(32..).unwrap_or(&[]);
    }
    let major = state[1] & !1;
    NameHash {
        major: if major == END { END - 2 } else { major },
        minor: state[2],
    }
}

/// Packs up to 32 bytes into eight words; what is missing repeats the length of all that is left.
fn words(rest: &[u8]) -> [u32; 8] {
    let length = rest.len() as u32;
    let pad = (length | length << 8) & 0xffff;
    let pad = pad | pad << 16;
    let mut out = [pad; 8];
    for (word, bytes) in out.iter_mut().zip(rest.chunks(4)) {
        for byte in bytes {
            *word = (*word << 8).wrapping_add(i32::from(*byte as i8) as u32);
        }
    }
    out
}

/// One block of MD4 with eight words instead of sixteen (RFC 1320 has the rounds).
fn mix(state: &mut [u32; 4], x: &[u32; 8]) {
    type Round = (fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);
    const ROUNDS: [Round; 3] = [
        (choose, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (
            majority,
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            parity,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (function, constant, order, turns) in ROUNDS {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a
                .wrapping_add(function(b, c, d))
                .wrapping_add(x[word])
                .wrapping_add(constant)
                .rotate_left(turns[step % 4]);
            (a, b, c, d) = (d, sum, b, c);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

fn choose(x: u32, y: u32, z: u32) -> u32 {
    x & y | !x & z
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    x & y | x & z | y & z
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_debugfs() {
        // debugfs -R 'dx_hash -h half_md4 [-s SEED] NAME'
        let seed = std::array::from_fn(|index| index as u8);
        let long = "a-name-of-more-than-thirty-two-bytes-for-two-rounds";
        for (name, seed, major, minor) in [
            ("hello", [0; 16], 0x1746_da32, 0x4200_13b5),
            ("hello", seed, 0xaf3d_0524, 0x4eeb_19be),
            (long, seed, 0x2608_1baa, 0x4554_1087),
            ("naïve-é", [0; 16], 0x50db_ac24, 0xc29c_07e3),
        ] {
            assert_eq!(
                hash(name.as_bytes(), &seed),
                NameHash { major, minor },
                "{name}"
            );
        }
    }
}
