//! The MD5 compression function over several messages in lock step, one message a lane.
//!
//! A message's blocks depend on one another, those of different messages do not. The words of one block of
//! each message are laid side by side, so that a loop over lanes is one vector instruction a step. The
//! compiler writes those instructions: the code below is the portable one and knows no instruction set. It is
//! compiled for the target's baseline (four lanes: SSE2, NEON) and once more for AVX2 (eight), which is taken
//! where the processor has it.
//!
//! `benches/md5.rs` shows what it gives; should a compiler stop to vectorise it, that bench shows it first.
//!
//! What is not here: where a message begins and ends, its padding, its length (`message`).

/// Blocks of 64 bytes.
pub(super) type Blocks<'a> = &'a [[u8; 64]];

/// The words A, B, C, D with which every message begins. RFC 1321 §3.3.
pub(super) const INITIAL_WORDS: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Most lanes that any processor has.
pub(super) const LANES_MAX: usize = 8;

/// Lanes of the target's baseline: 128 bits.
const BASELINE_LANES: usize = 4;

/// How many messages this processor advances at the price of one.
pub(super) fn lanes() -> usize {
    if has_avx2() { LANES_MAX } else { BASELINE_LANES }
}

/// Adds blocks to messages: `blocks[i]` to the message whose words are `words[i]`.
///
/// # Panics
///
/// When there are no messages, more of them than [`lanes`], or not as many blocks for each: the caller's own
/// mistake.
pub(super) fn compress(words: &mut [[u32; 4]], blocks: &[Blocks<'_>]) {
    assert!(words.len() == blocks.len() && (1..=lanes()).contains(&words.len()));
    assert!(blocks.iter().all(|of_lane| of_lane.len() == blocks[0].len()));
    match words.len() {
        1 => in_lanes::<1>(words, blocks, compress_baseline),
        _ if has_avx2() => in_lanes::<LANES_MAX>(words, blocks, compress_avx2),
        _ => in_lanes::<BASELINE_LANES>(words, blocks, compress_baseline),
    }
}

/// Words of all lanes, side by side: `[word][lane]`.
type Side<const LANES: usize, const WORDS: usize> = [[u32; LANES]; WORDS];

/// Lays the words of messages side by side for `compress`. Lanes without a message repeat the first one's.
fn in_lanes<const LANES: usize>(
    words: &mut [[u32; 4]],
    blocks: &[Blocks<'_>],
    compress: fn(&mut Side<LANES, 4>, &[Blocks<'_>; LANES]),
) {
    let lane_blocks = std::array::from_fn(|lane| *blocks.get(lane).unwrap_or(&blocks[0]));
    let mut side = [[0; LANES]; 4];
    for (lane, message) in words.iter().enumerate() {
        for (word, value) in message.iter().enumerate() {
            side[word][lane] = *value;
        }
    }
    compress(&mut side, &lane_blocks);
    for (lane, message) in words.iter_mut().enumerate() {
        *message = std::array::from_fn(|word| side[word][lane]);
    }
}

fn compress_baseline<const LANES: usize>(words: &mut Side<LANES, 4>, blocks: &[Blocks<'_>; LANES]) {
    compress_blocks(words, blocks);
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the only way to call a function that is compiled for AVX2; docs/decisions/0010"
)]
fn compress_avx2(words: &mut Side<LANES_MAX, 4>, blocks: &[Blocks<'_>; LANES_MAX]) {
    #[target_feature(enable = "avx2")]
    fn compiled_for_avx2(words: &mut Side<LANES_MAX, 4>, blocks: &[Blocks<'_>; LANES_MAX]) {
        compress_blocks(words, blocks);
    }
    assert!(has_avx2());
    // SAFETY: the processor has AVX2, as was just asserted; nothing else is asked of the caller.
    unsafe { compiled_for_avx2(words, blocks) }
}

#[cfg(not(target_arch = "x86_64"))]
fn compress_avx2(words: &mut Side<LANES_MAX, 4>, blocks: &[Blocks<'_>; LANES_MAX]) {
    compress_baseline(words, blocks);
}

#[inline(always)]
fn compress_blocks<const LANES: usize>(words: &mut Side<LANES, 4>, blocks: &[Blocks<'_>; LANES]) {
    let mut block_words = [[0; LANES]; 16];
    for index in 0..blocks[0].len() {
        for (lane, of_lane) in blocks.iter().enumerate() {
            let block = &of_lane[index];
            for (word, of_lanes) in block_words.iter_mut().enumerate() {
                let at = 4 * word;
                of_lanes[lane] = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            }
        }
        compress_block(words, &block_words);
    }
}

/// RFC 1321 §3.4. The steps are written out, so that what remains is one loop over lanes: the form that
/// compilers vectorise.
#[inline(always)]
fn compress_block<const LANES: usize>(words: &mut Side<LANES, 4>, block: &Side<LANES, 16>) {
    for lane in 0..LANES {
        let start = [words[0][lane], words[1][lane], words[2][lane], words[3][lane]];
        let mut now = start;
        macro_rules! steps {
            ($($index:literal)*) => { $(
                now = step::<$index>(now, block[word_of_step($index)][lane]);
            )* };
        }
        steps! {
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
            16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
            48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
        }
        for (word, of_lanes) in words.iter_mut().enumerate() {
            of_lanes[lane] = start[word].wrapping_add(now[word]);
        }
    }
}

/// Which word of the block a step adds.
const fn word_of_step(step: usize) -> usize {
    match step / 16 {
        0 => step,
        1 => (5 * step + 1) % 16,
        2 => (3 * step + 5) % 16,
        _ => (7 * step) % 16,
    }
}

/// One of the 64 steps.
#[inline(always)]
fn step<const INDEX: usize>([a, b, c, d]: [u32; 4], word: u32) -> [u32; 4] {
    let mixed = match INDEX / 16 {
        0 => d ^ (b & (c ^ d)),
        // The RFC has `or` here. No bit is in both terms, so the sum is the same, and shortens the chain from b.
        1 => (c & !d).wrapping_add(b & d),
        2 => b ^ c ^ d,
        _ => c ^ (b | !d),
    };
    let sum = a.wrapping_add(mixed).wrapping_add(word.wrapping_add(SINES[INDEX]));
    [d, b.wrapping_add(sum.rotate_left(ROTATIONS[INDEX / 16][INDEX % 4])), b, c]
}

const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The table T of RFC 1321 §3.4: the whole part of 2^32 × |sin(i)|, i from 1 to 64 in radians.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{BASELINE_LANES, Blocks, INITIAL_WORDS, SINES, compress, compress_baseline, in_lanes, lanes};

    #[test]
    fn the_table_is_that_of_sines() {
        for (index, sine) in (1u32..).zip(SINES) {
            assert_eq!(sine, (f64::from(index).sin().abs() * 4_294_967_296.0) as u32, "step {index}");
        }
    }

    /// What md-5 says of whole blocks is the digest of a message: the padding block is added here.
    fn digest_of(words: [u32; 4], length_bytes: usize) -> [u8; 16] {
        let mut padding = [0; 64];
        padding[0] = 0x80;
        padding[56..].copy_from_slice(&(8 * length_bytes as u64).to_le_bytes());
        let mut words = [words];
        compress(&mut words, &[&[padding]]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(words[0]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    fn messages(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        (1..=most, 0usize..9).prop_flat_map(|(messages, blocks)| {
            prop::collection::vec(prop::collection::vec(any::<u8>(), 64 * blocks), messages)
        })
    }

    fn check(messages: &[Vec<u8>], compress: impl Fn(&mut [[u32; 4]], &[Blocks<'_>])) {
        let blocks: Vec<Blocks<'_>> = messages.iter().map(|message| message.as_chunks().0).collect();
        let mut words = vec![INITIAL_WORDS; messages.len()];
        compress(&mut words, &blocks);
        for (words, message) in words.iter().zip(messages) {
            let expected: [u8; 16] = Md5::digest(message).into();
            assert_eq!(digest_of(*words, message.len()), expected);
        }
    }

    proptest! {
        /// Whatever the messages and however many lanes are used, every lane has the MD5 of its own.
        #[test]
        fn every_lane_agrees_with_md_5(messages in messages(lanes())) {
            check(&messages, compress);
        }

        /// The same on a processor without AVX2.
        #[test]
        fn every_lane_of_the_baseline_agrees_with_md_5(messages in messages(BASELINE_LANES)) {
            check(&messages, |words, blocks| {
                in_lanes::<BASELINE_LANES>(words, blocks, compress_baseline);
            });
        }
    }
}
