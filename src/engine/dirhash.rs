// SPDX-License-Identifier: GPL-2.0

//! Hashes of file names, by which indexed directories are ordered.
//!
//! Three functions exist: half MD4 (what mkfs chooses), TEA, and the legacy hash of early
//! htree. Each treats a name's bytes as signed or unsigned, a mistake of history: the superblock
//! says which, since the same disk may travel between machines whose `char` differs. Encrypted
//! and casefolded directories use SipHash with a key that the caller has; it computes the hash
//! itself and has it brought into shape by [`NameHash::from_siphash`].
//!
//! The major hash orders the index and is even: bit 0 is the index's continuation mark. The
//! value just below 2^32 is left free to mean the end of the directory. The minor hash only
//! tells names of equal major hash apart in readdir positions; the legacy hash has none.
//!
//! Format: `Documentation/filesystems/ext4/directory.rst`, "Hash Tree Directories".

/// Which function hashes names (`DX_HASH_*` without the distinction of signed and unsigned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// The first one, 31 bits and easily steered into collisions.
    Legacy,
    /// MD4 cut down to three rounds of eight steps.
    HalfMd4,
    /// The Tiny Encryption Algorithm as a compression function.
    Tea,
}

/// A name's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameHash {
    /// Orders the index; even, and never 0xffff_fffe.
    pub major: u32,
    /// Orders names of equal major hash.
    pub minor: u32,
}

impl NameHash {
    /// Brings a raw hash into shape: clears the continuation bit and avoids the end's value.
    #[inline]
    const fn new(hash: u32, minor: u32) -> Self {
        const END: u32 = 0xffff_fffe;
        let even = hash & !1;
        let major = if even == END { END - 2 } else { even };
        Self { major, minor }
    }

    /// The hash of a name in an encrypted and casefolded directory, from the 64-bit SipHash of
    /// the folded name under the directory's key.
    #[inline]
    pub const fn from_siphash(hash: u64) -> Self {
        Self::new((hash >> 32) as u32, hash as u32)
    }

    /// Both parts as one number that orders as readdir does.
    #[inline]
    pub const fn key(self) -> u64 {
        ((self.major as u64) << 32) | self.minor as u64
    }
}

/// A hash function with its secret.
#[derive(Clone, Copy, Debug)]
pub struct DirHash {
    kind: HashKind,
    /// The bits of four packed bytes that are signs: none if bytes are unsigned.
    signs: u32,
    seed: [u32; 4],
}

/// The initial state where the superblock has no secret (MD4's).
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

impl DirHash {
    /// The function that a stored version stands for. 0 to 2 are signed or unsigned as the
    /// superblock says (`unsigned`), 3 to 5 are unsigned. `None` for a version that does not
    /// exist or that needs a key (6, SipHash).
    #[inline]
    pub fn new(version: u8, unsigned: bool, seed: &[u32; 4]) -> Option<Self> {
        let kind = match version {
            0 | 3 => HashKind::Legacy,
            1 | 4 => HashKind::HalfMd4,
            2 | 5 => HashKind::Tea,
            _ => return None,
        };
        Some(Self {
            kind,
            signs: if unsigned || version > 2 {
                0
            } else {
                0x8080_8080
            },
            seed: if *seed == [0; 4] { DEFAULT_SEED } else { *seed },
        })
    }

    /// Which function this is.
    #[inline]
    pub fn kind(&self) -> HashKind {
        self.kind
    }

    /// Hashes a name.
    #[inline]
    pub fn hash(&self, name: &[u8]) -> NameHash {
        match self.kind {
            HashKind::HalfMd4 => self.hash_half_md4(name),
            HashKind::Tea => self.hash_tea(name),
            HashKind::Legacy => self.hash_legacy(name),
        }
    }

    fn hash_half_md4(&self, name: &[u8]) -> NameHash {
        // Nearly all names fit one pass.
        let [_, b, c, _] = if matches!(name.len(), 1..=32) {
            half_md4(self.seed, &pack::<8>(name, self.signs))
        } else {
            self.half_md4_passes(name)
        };
        NameHash::new(b, c)
    }

    #[cold]
    fn half_md4_passes(&self, name: &[u8]) -> [u32; 4] {
        let mut state = self.seed;
        let mut rest = name;
        while !rest.is_empty() {
            state = half_md4(state, &pack::<8>(rest, self.signs));
            rest = rest.get(32..).unwrap_or_default();
        }
        state
    }

    fn hash_tea(&self, name: &[u8]) -> NameHash {
        let [mut a, mut b, ..] = self.seed;
        let mut rest = name;
        while !rest.is_empty() {
            (a, b) = tea(a, b, &pack::<4>(rest, self.signs));
            rest = rest.get(16..).unwrap_or_default();
        }
        NameHash::new(a, b)
    }

    fn hash_legacy(&self, name: &[u8]) -> NameHash {
        let (mut last, mut before) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
        for &byte in name {
            let value = extend(byte, self.signs).wrapping_mul(7_152_373);
            let mut hash = before.wrapping_add(last ^ value);
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            before = last;
            last = hash;
        }
        NameHash::new(last.wrapping_shl(1), 0)
    }
}

/// A byte as a C `char` of the file system's signedness becomes a 32-bit number.
#[inline]
fn extend(byte: u8, signs: u32) -> u32 {
    let byte = u32::from(byte);
    byte.wrapping_sub((byte & signs & 0x80) << 1)
}

/// Packs the start of `rest` into `N` big-endian words. What does not fill a word goes into the
/// low bytes of one that has the padding above it; the words behind are padding, which repeats
/// the length of `rest`.
#[inline(always)]
fn pack<const N: usize>(rest: &[u8], signs: u32) -> [u32; N] {
    // Names are at most 255 bytes; a casefolded name may be longer, and then spills into the
    // second byte here as it does in C.
    let len = rest.len() as u32;
    let pad = len | (len << 8);
    let pad = pad | (pad << 16);
    let mut words = [pad; N];
    let mut more = rest;
    let mut seen = 0;
    for slot in words.iter_mut() {
        let Some((word, behind)) = more.split_first_chunk::<4>() else {
            if !more.is_empty() {
                *slot = pack_odd(rest, more, pad, signs);
            }
            break;
        };
        let word = u32::from_be_bytes(*word);
        seen |= word;
        *slot = word;
        more = behind;
    }
    if seen & signs != 0 {
        // With signed bytes a high bit subtracts 1 from the byte above it. Names are rarely
        // like that, so the common path does without.
        for (slot, _) in words.iter_mut().zip(rest.chunks_exact(4)) {
            *slot = slot.wrapping_sub((*slot & signs) << 1);
        }
    }
    words
}

/// The word for `odd`, the last 1 to 3 bytes of `rest`.
#[inline]
fn pack_odd(rest: &[u8], odd: &[u8], pad: u32, signs: u32) -> u32 {
    match rest.last_chunk::<4>() {
        Some(last) => {
            let bits = (odd.len() as u32 & 3) << 3;
            let word = u32::from_be_bytes(*last) & 1u32.wrapping_shl(bits).wrapping_sub(1);
            let word = word.wrapping_sub((word & signs) << 1);
            pad.wrapping_shl(bits).wrapping_add(word)
        }
        None => odd.iter().fold(pad, |word, &byte| {
            (word << 8).wrapping_add(extend(byte, signs))
        }),
    }
}

/// One TEA pass of 16 rounds over four words of input, added to the state.
fn tea(a: u32, b: u32, input: &[u32; 4]) -> (u32, u32) {
    let &[k0, k1, k2, k3] = input;
    let (mut x, mut y, mut sum) = (a, b, 0u32);
    let mix = |v: u32, sum: u32, k: u32, l: u32| {
        (v << 4).wrapping_add(k) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(l)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        x = x.wrapping_add(mix(y, sum, k0, k1));
        y = y.wrapping_add(mix(x, sum, k2, k3));
    }
    (a.wrapping_add(x), b.wrapping_add(y))
}

/// One pass of the cut-down MD4 over eight words of input, added to the state.
///
/// Majority and parity of three words need the same exclusive-or of two of them in neighbouring
/// steps, which is why they are not written as functions.
#[inline(always)]
fn half_md4(state: [u32; 4], input: &[u32; 8]) -> [u32; 4] {
    const K2: u32 = 0x5a82_7999;
    const K3: u32 = 0x6ed9_eba1;
    let [a0, b0, c0, d0] = state;
    let (mut a, mut b, mut c, mut d) = state.into();
    let &[i0, i1, i2, i3, i4, i5, i6, i7] = input;

    macro_rules! step {
        ($a:ident, $w:expr, $mixed:expr, $rotate:literal) => {
            $a = $a.wrapping_add($w).wrapping_add($mixed);
            $a = $a.rotate_left($rotate);
        };
    }
    // Selection: bits of y where x is set, else of z.
    macro_rules! select {
        ($a:ident $x:ident $y:ident $z:ident, $w:ident, $rotate:literal) => {
            step!($a, $w, $z ^ ($x & ($y ^ $z)), $rotate);
        };
    }
    // Majority; `pair` is y ^ z, left by the step before.
    let mut pair;
    macro_rules! majority {
        ($a:ident $x:ident $y:ident $z:ident, $w:ident, $rotate:literal) => {
            let next = $x ^ $y;
            step!($a, $w.wrapping_add(K2), (next & pair) ^ $y, $rotate);
            pair = next;
        };
    }
    // Parity, two steps at a time.
    macro_rules! parity {
        ($a:ident $b:ident $c:ident $d:ident, $w0:ident, $r0:literal, $w1:ident, $r1:literal) => {
            let pair = $b ^ $c;
            step!($a, $w0.wrapping_add(K3), pair ^ $d, $r0);
            step!($d, $w1.wrapping_add(K3), $a ^ pair, $r1);
        };
    }

    select!(a b c d, i0, 3);
    select!(d a b c, i1, 7);
    select!(c d a b, i2, 11);
    select!(b c d a, i3, 19);
    select!(a b c d, i4, 3);
    select!(d a b c, i5, 7);
    select!(c d a b, i6, 11);
    select!(b c d a, i7, 19);

    pair = c ^ d;
    majority!(a b c d, i1, 3);
    majority!(d a b c, i3, 5);
    majority!(c d a b, i5, 9);
    majority!(b c d a, i7, 13);
    majority!(a b c d, i0, 3);
    majority!(d a b c, i2, 5);
    majority!(c d a b, i4, 9);
    majority!(b c d a, i6, 13);
    let _ = pair;

    parity!(a b c d, i3, 3, i7, 9);
    parity!(c d a b, i2, 11, i6, 15);
    parity!(a b c d, i1, 3, i5, 9);
    parity!(c d a b, i0, 11, i4, 15);

    [
        a0.wrapping_add(a),
        b0.wrapping_add(b),
        c0.wrapping_add(c),
        d0.wrapping_add(d),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0xdead_beef, 0x0bad_cafe];

    #[test]
    fn versions() {
        for v in 0..=5u8 {
            let h = DirHash::new(v, false, &SEED).unwrap();
            assert_eq!(h.signs == 0, v > 2);
            assert_eq!(DirHash::new(v, true, &SEED).unwrap().signs, 0);
            let kinds = [HashKind::Legacy, HashKind::HalfMd4, HashKind::Tea];
            assert_eq!(h.kind(), kinds[usize::from(v % 3)]);
        }
        assert!(DirHash::new(6, false, &SEED).is_none());
        assert!(DirHash::new(7, false, &SEED).is_none());
        let zero = DirHash::new(1, false, &[0; 4]).unwrap();
        let default = DirHash::new(1, false, &DEFAULT_SEED).unwrap();
        assert_eq!(zero.hash(b"x"), default.hash(b"x"));
    }

    #[test]
    fn shape() {
        assert_eq!(NameHash::new(0xffff_ffff, 1).major, 0xffff_fffc);
        assert_eq!(NameHash::new(0xffff_fffd, 1).major, 0xffff_fffc);
        assert_eq!(NameHash::new(3, 1).major, 2);
        let sip = NameHash::from_siphash(0x1234_5679_9abc_def0);
        assert_eq!((sip.major, sip.minor), (0x1234_5678, 0x9abc_def0));
        assert_eq!(sip.key(), 0x1234_5678_9abc_def0);
    }

    /// Byte by byte, without the tricks of `pack`.
    fn pack_slowly<const N: usize>(msg: &[u8], signed: bool) -> [u32; N] {
        let ext = |b: u8| {
            if signed {
                b as i8 as i32 as u32
            } else {
                u32::from(b)
            }
        };
        let pad = (msg.len() as u32 & 0xff).wrapping_mul(0x0101_0101);
        let mut out = [pad; N];
        for (slot, chunk) in out.iter_mut().zip(msg.chunks(4)) {
            *slot = chunk
                .iter()
                .fold(pad, |v, &b| (v << 8).wrapping_add(ext(b)));
        }
        out
    }

    #[test]
    fn packing() {
        let mut x = 1u32;
        for len in 0..=255usize {
            let msg: Vec<u8> = (0..len)
                .map(|_| {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (x >> 24) as u8
                })
                .collect();
            for (signed, signs) in [(true, 0x8080_8080), (false, 0)] {
                assert_eq!(pack::<8>(&msg, signs), pack_slowly::<8>(&msg, signed));
                assert_eq!(pack::<4>(&msg, signs), pack_slowly::<4>(&msg, signed));
            }
        }
    }

    /// Values that `debugfs dx_hash` gives for a fixed secret; the host tests compare many more.
    #[test]
    fn known_values() {
        let h =
            |version: u8, name: &[u8]| DirHash::new(version, false, &[0; 4]).unwrap().hash(name);
        for (version, name, major, minor) in KNOWN {
            assert_eq!(
                h(*version, name.as_bytes()),
                NameHash {
                    major: *major,
                    minor: *minor
                },
                "{version} {name}"
            );
        }
    }

    const KNOWN: &[(u8, &str, u32, u32)] = &[
        (0, "a", 0xe74b_53e2, 0),
        (0, "hello.txt", 0x65a0_5776, 0),
        (0, "na\u{ef}ve", 0x442f_7420, 0),
        (3, "na\u{ef}ve", 0x275d_661a, 0),
        (1, "a", 0xd5fa_7d7a, 0xacb4_8187),
        (1, "hello.txt", 0xa26e_1d86, 0x133b_3f98),
        (1, "na\u{ef}ve", 0x1b42_012a, 0xfcf9_d17a),
        (4, "na\u{ef}ve", 0x8262_460a, 0xcd3f_58e1),
        (1, LONG, 0x2eea_49e4, 0x8d84_5a97),
        (2, "a", 0x6d0e_a4c0, 0xc189_22df),
        (2, "na\u{ef}ve", 0x784c_5732, 0x9013_03be),
        (5, "na\u{ef}ve", 0x6811_c436, 0x0ce9_8207),
        (2, LONG, 0x8b06_be02, 0x9608_5f00),
    ];
    const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
}
