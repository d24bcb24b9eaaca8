// SPDX-License-Identifier: GPL-2.0

//! Images damaged at random, walked from end to end; see `flip/walker.rs` for what may not
//! happen. Each failure names the seed with which it can be had again.
//!
//! `FLIPS=N` in the environment makes it N images per kind (default 40), `SEED=N` the first seed.

mod common;

#[path = "flip/walker.rs"]
mod walker;

use common::Image;

/// A small generator, so that a seed means the same for ever (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().filter(|v| !v.is_empty());
    value.map_or(default, |v| v.parse().expect("a number"))
}

/// A tree with each kind of thing that debugfs can make without a mount.
fn image(args: &[&str]) -> Vec<u8> {
    let img = common::mkfs(args, "8M");
    let host = Image::empty("contents");
    let big: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect();
    host.poke(0, &big[..120_000]);
    // Holes between data make several extents.
    let sparse = Image::empty("sparse");
    for n in 0..40 {
        sparse.poke(n * 12_288, &big[..1024]);
    }
    let small = Image::empty("small");
    small.poke(0, b"a few bytes");
    let value = Image::empty("value");
    value.poke(0, &[b'v'; 700]);
    let path = |i: &Image| i.path().display().to_string();
    let mut commands = vec![
        "mkdir d".into(),
        "mkdir d/sub".into(),
        "mkdir many".into(),
        format!("write {} big", path(&host)),
        format!("write {} sparse", path(&sparse)),
        format!("write {} small", path(&small)),
        "symlink fast target".into(),
        format!("symlink slow {}", "t".repeat(150)),
        "mknod pipe p".into(),
        "mknod dev c 4 5".into(),
        "ea_set small user.short value".into(),
        format!("ea_set -f {} big user.long", path(&value)),
        "ea_set d trusted.on-dir value".into(),
    ];
    for n in 0..90 {
        commands.push(format!("symlink many/{n}{} target", "-name".repeat(n % 20)));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    common::debugfs(&img, &commands);
    // Indexes are e2fsck's work; it returns 1 when it has changed something.
    let out = common::tool("e2fsck").arg("-fyD").arg(&img).output();
    let status = out.expect("start e2fsck").status;
    assert!(status.code().is_some_and(|c| c <= 1), "e2fsck: {status}");
    img.bytes()
}

/// Changes between 1 and 64 places in blocks that are not empty.
fn damage(image: &mut [u8], used: &[usize], rng: &mut Rng) {
    const NUMBERS: [u32; 12] = [
        0,
        1,
        2,
        7,
        0xff,
        0x7fff,
        0xffff,
        0x10000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        !0,
    ];
    for _ in 0..1 << rng.below(7) {
        // One in twelve hits the superblock or the descriptors.
        let piece = match rng.below(12) {
            0 => used[rng.below(4)],
            _ => used[rng.below(used.len())],
        };
        let offset = match rng.below(3) {
            0 => rng.below(64),
            _ => rng.below(1020),
        };
        let at = piece + offset;
        match rng.below(5) {
            0 | 1 => image[at] ^= 1 << rng.below(8),
            2 => image[at & !3..][..4].copy_from_slice(&NUMBERS[rng.below(12)].to_le_bytes()),
            3 => image[at] = rng.next() as u8,
            _ => {
                let from = used[rng.below(used.len())] + (offset & !3);
                let len = (4 << rng.below(6)).min(1024 - (offset & !3));
                image.copy_within(from..from + len, at & !3);
            }
        }
    }
}

fn flip(args: &[&str]) {
    let good = image(args);
    let used: Vec<usize> = (0..good.len() / 1024)
        .map(|n| n * 1024)
        .filter(|&at| good[at..at + 1024].iter().any(|b| *b != 0))
        .collect();
    let totals = walker::walk(&good, false);
    assert!(totals.errors.is_empty(), "{args:?}: {totals:?}");
    assert!(
        totals.files > 90 && totals.dirs >= 4,
        "{args:?}: {totals:?}"
    );
    assert!(
        totals.entries > 200 && totals.xattrs >= 3,
        "{args:?}: {totals:?}"
    );
    let first = setting("SEED", 1);
    let mut damaged = 0;
    let mut bad = good.clone();
    for seed in first..first + setting("FLIPS", 40) {
        bad.copy_from_slice(&good);
        damage(&mut bad, &used, &mut Rng(seed));
        for trust in [false, true] {
            let walk = std::panic::AssertUnwindSafe(|| walker::walk(&bad, trust));
            match std::panic::catch_unwind(walk) {
                Ok(totals) => damaged += usize::from(!totals.errors.is_empty()),
                Err(_) => panic!("seed {seed}, trust {trust}, {args:?}"),
            }
        }
    }
    // Damage that nobody notices would mean that this test does not reach what it damages.
    assert!(damaged > 20, "{args:?}: only {damaged} walks met damage");
}

#[test]
fn checksums() {
    flip(&["-t", "ext4", "-b", "1024", "-O", "^resize_inode"]);
}

#[test]
fn no_checksums() {
    flip(&["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"]);
}

#[test]
fn block_maps() {
    flip(&["-t", "ext2", "-b", "1024", "-I", "256"]);
}

#[test]
fn inline_and_ea_inodes() {
    flip(&[
        "-t",
        "ext4",
        "-b",
        "1024",
        "-O",
        "inline_data,ea_inode,^metadata_csum",
    ]);
}

#[test]
fn four_kib_flex() {
    flip(&["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,quota,mmp"]);
}

#[test]
fn groups_everywhere() {
    flip(&[
        "-t",
        "ext4",
        "-b",
        "1024",
        "-g",
        "256",
        "-O",
        "meta_bg,^resize_inode,^metadata_csum,^flex_bg",
    ]);
}
