//! Patches: zstd frames of what differs from a prefix, bytes that the reader has.
//!
//! New bytes that stand against alike old ones (module `diff`) are runs: equal bytes are counted,
//! the others are kept as their differences. A patch is two numbers and a zstd frame. The frame
//! holds the data (new bytes, and differences), and then for each run: how many new bytes stand
//! before it, by how much its old bytes stand elsewhere than where the last one's ended (zigzag),
//! its length, and until that is reached in turns how many bytes are equal and how many differ. The
//! two numbers are the sizes of the data and of the whole frame. All numbers are LEB128. New bytes
//! behind the last run end the patch.
//!
//! zstd sees neither the prefix, where it found nothing more in twice the time, nor the zeros of
//! equal bytes: without them it takes a quarter of the time, for less output.
//!
//! Patches carry neither size nor checksum: whoever stores them says how many bytes they make, and
//! checks the result by its digest. That size is checked against a bound before anything is
//! allocated.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::diff::{AlignedRun, common, runs};

/// Tells what does not compress: a high level would only take longer.
const QUICK_LEVEL: i32 = 1;
/// Equal bytes from this many on are counted; fewer are differences of zero.
const SAME: usize = 2;

/// Compresses `raw` against `prefix`.
pub fn compress(raw: &[u8], prefix: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let (mut data, mut ops) = split(raw, prefix);
    if data.len() + ops.len() > bound(raw.len()) {
        // Many short runs cost more than they save.
        (data, ops) = (raw.to_vec(), Vec::new());
    }
    let mut patch = Vec::new();
    put(&mut patch, data.len());
    data.append(&mut ops);
    put(&mut patch, data.len());
    let quick = pack(&data, level.min(QUICK_LEVEL))?;
    let is_hopeless = quick.len() > data.len() - data.len() / 64;
    if is_hopeless || level <= QUICK_LEVEL {
        patch.extend(quick);
    } else {
        patch.extend(pack(&data, level)?);
    }
    Ok(patch)
}

/// Says whether a patch has runs: without, any prefix makes the same of it.
pub fn needs_prefix(mut patch: &[u8]) -> bool {
    take(&mut patch) != take(&mut patch)
}

/// Returns the data and the runs.
fn split(raw: &[u8], prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut ops) = (Vec::new(), Vec::new());
    let (mut at, mut from) = (0, 0);
    for AlignedRun {
        at: start,
        from: old,
        len,
    } in runs(raw, prefix)
    {
        data.extend_from_slice(&raw[at..start]);
        put(&mut ops, start - at);
        let step = old as i64 - from as i64;
        put(&mut ops, ((step << 1) ^ (step >> 63)) as usize);
        put(&mut ops, len);
        (at, from) = (start + len, old + len);
        let (mut new, mut old) = (&raw[start..at], &prefix[old..from]);
        while !new.is_empty() {
            let same = common(new, old);
            put(&mut ops, same);
            (new, old) = (&new[same..], &old[same..]);
            if new.is_empty() {
                break;
            }
            let count = differing(new, old);
            put(&mut ops, count);
            let pairs = new[..count].iter().zip(old);
            data.extend(pairs.map(|(new, old)| new.wrapping_sub(*old)));
            (new, old) = (&new[count..], &old[count..]);
        }
    }
    data.extend_from_slice(&raw[at..]);
    (data, ops)
}

/// Returns how many bytes there are until enough equal ones follow.
fn differing(new: &[u8], old: &[u8]) -> usize {
    let mut equal = 0;
    for (n, (new, old)) in new.iter().zip(old).enumerate() {
        equal = if new == old { equal + 1 } else { 0 };
        if equal == SAME {
            return n + 1 - SAME;
        }
    }
    new.len()
}

fn put(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn pack(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut context = CCtx::create();
    let window = (usize::BITS - bytes.len().leading_zeros()).clamp(10, 27);
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut packed, bytes).map_err(failed)?;
    packed.shrink_to_fit();
    Ok(packed)
}

/// The most bytes that are packed for `size` bytes: with one run for every few bytes.
const fn bound(size: usize) -> usize {
    size.saturating_add(size / 2).saturating_add(64)
}

/// Makes exactly `size` bytes of a patch and the prefix that it was compressed with; `size` was
/// checked against a bound.
pub fn decompress(mut packed: &[u8], prefix: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let data = take(&mut packed).filter(|data| *data <= size);
    let declared = take(&mut packed).filter(|declared| *declared <= bound(size));
    let (data, declared) = data
        .zip(declared)
        .filter(|(data, declared)| data <= declared)
        .ok_or_else(|| damaged("it declares an impossible size".to_owned()))?;
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    let mut bytes = buffer(declared)?;
    let made = context.decompress(&mut bytes, packed).map_err(failed)?;
    if made != declared {
        return Err(damaged(format!(
            "it holds {made} bytes, not the {declared} declared"
        )));
    }
    let (data, ops) = bytes.split_at(data);
    let mut out = buffer(size)?;
    join(&mut out, data, ops, prefix, size)
        .ok_or_else(|| damaged("its runs are not sound".to_owned()))?;
    Ok(out)
}

fn buffer(size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(size);
    reserved.map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(bytes)
}

/// Makes exactly `size` bytes; none where that does not come out.
fn join(
    out: &mut Vec<u8>,
    mut data: &[u8],
    mut ops: &[u8],
    prefix: &[u8],
    size: usize,
) -> Option<()> {
    let mut from = 0usize;
    while !ops.is_empty() {
        let (gap, step, len) = (take(&mut ops)?, take(&mut ops)?, take(&mut ops)?);
        let (fresh, rest) = data.split_at_checked(gap)?;
        data = rest;
        // What there is room for is checked before it is written.
        if size - out.len() < gap || size - out.len() - gap < len {
            return None;
        }
        out.extend_from_slice(fresh);
        let step = (step >> 1) as isize ^ -((step & 1) as isize);
        from = from.checked_add_signed(step)?;
        let mut old = prefix.get(from..from.checked_add(len)?)?;
        from += len;
        while !old.is_empty() {
            let (same, rest) = old.split_at_checked(take(&mut ops)?)?;
            out.extend_from_slice(same);
            old = rest;
            if old.is_empty() {
                break;
            }
            let count = take(&mut ops)?;
            let (base, rest) = old.split_at_checked(count)?;
            let (differences, left) = data.split_at_checked(count)?;
            (old, data) = (rest, left);
            out.extend(
                differences
                    .iter()
                    .zip(base)
                    .map(|(new, old)| new.wrapping_add(*old)),
            );
        }
    }
    if size - out.len() != data.len() {
        return None;
    }
    out.extend_from_slice(data);
    Some(())
}

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn failed(code: usize) -> io::Error {
    damaged(zstd_safe::get_error_name(code).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Old bytes, and new ones that are made of pieces of them, changed a little, and of others.
    fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let old = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            prop::collection::vec(0u8..3, 0..3000),
        ];
        let pieces = prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                0usize..700,
                prop::collection::vec(any::<u8>(), 0..20),
                1usize..40,
            ),
            0..8,
        );
        (old, pieces).prop_map(|(old, pieces)| {
            let mut new = Vec::new();
            for (from, len, other, every) in pieces {
                if !old.is_empty() {
                    let from = from.index(old.len());
                    let piece = &old[from..(from + len).min(old.len())];
                    let changed = piece.iter().enumerate();
                    new.extend(changed.map(|(n, b)| {
                        if n % every == 5 {
                            b.wrapping_add(1)
                        } else {
                            *b
                        }
                    }));
                }
                new.extend(other);
            }
            (old, new)
        })
    }

    proptest! {
        #[test]
        fn what_was_patched_comes_back((old, new) in pairs(), level in 1i32..5) {
            let patch = compress(&new, &old, level).unwrap();
            prop_assert_eq!(decompress(&patch, &old, new.len()).unwrap(), new);
        }

        #[test]
        fn another_prefix_or_size_gives_an_error_or_that_many_bytes((old, new) in pairs(), size in 0usize..9000, cut in 0usize..3000) {
            let patch = compress(&new, &old, 1).unwrap();
            for prefix in [&old[..], &old[..cut.min(old.len())], &new, &[]] {
                if let Ok(made) = decompress(&patch, prefix, size) {
                    prop_assert_eq!(made.len(), size);
                }
            }
        }

        #[test]
        fn damaged_runs_never_make_more_or_less_than_they_should(
            (old, new) in pairs(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        ) {
            // Damage inside of the frame, which zstd would mostly see.
            let (mut data, ops) = split(&new, &old);
            let fresh = data.len();
            data.extend(ops);
            for (at, flip) in flips {
                if !data.is_empty() {
                    let at = at.index(data.len());
                    data[at] ^= flip;
                }
            }
            let mut patch = Vec::new();
            put(&mut patch, fresh);
            put(&mut patch, data.len());
            patch.extend(pack(&data, 1).unwrap());
            if let Ok(made) = decompress(&patch, &old, new.len()) {
                prop_assert_eq!(made.len(), new.len());
            }
        }

        #[test]
        fn random_bytes_are_no_patch_or_a_sound_one(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 0usize..100_000) {
            if let Ok(made) = decompress(&bytes, b"a prefix", size) {
                prop_assert_eq!(made.len(), size);
            }
        }
    }

    #[test]
    fn a_patch_of_equal_bytes_is_a_few_bytes() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let patch = compress(&bytes, &bytes, 19).unwrap();
        assert!(patch.len() < 40, "{}", patch.len());
    }

    #[test]
    fn a_patch_without_anything_of_its_prefix_does_not_need_it() {
        let new: Vec<u8> = (0..1000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let patch = compress(&new, &[7; 3000], 3).unwrap();
        assert!(!needs_prefix(&patch));
        assert_eq!(decompress(&patch, &[], new.len()).unwrap(), new);
        assert!(needs_prefix(&compress(&new, &new, 3).unwrap()));
    }

    #[test]
    fn numbers_that_all_moved_by_the_same_amount_cost_little() {
        // A table of offsets and addends, as linkers write them.
        let table = |moved: u64| -> Vec<u8> {
            let addend = |n: u64| n.wrapping_mul(2_654_435_761) & 0x000f_ffff;
            let entries = (0..20_000u64).map(|n| [n * 8 + 0x3000, 8, addend(n) + moved]);
            entries.flatten().flat_map(u64::to_le_bytes).collect()
        };
        let (old, new) = (table(0), table(0x40_0000));
        let patch = compress(&new, &old, 19).unwrap();
        assert!(
            patch.len() < new.len() / 50,
            "{} of {}",
            patch.len(),
            new.len()
        );
    }

    #[test]
    fn more_than_the_declared_bound_is_refused_before_it_is_unpacked() {
        let bomb = vec![0; 50 << 20];
        let mut patch = Vec::new();
        put(&mut patch, 10);
        put(&mut patch, 20);
        patch.extend(pack(&bomb, 1).unwrap());
        assert!(decompress(&patch, &[], 10).is_err());
        let mut patch = Vec::new();
        put(&mut patch, bomb.len());
        put(&mut patch, bomb.len());
        patch.extend(pack(&bomb, 1).unwrap());
        let error = decompress(&patch, &[], 10).unwrap_err().to_string();
        assert_eq!(error, "it declares an impossible size");
    }
}
