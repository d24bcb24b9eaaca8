// SPDX-License-Identifier: GPL-2.0

//! Directories made to measure: what mke2fs will not make in reasonable time, or at all.

use rext4::engine::dir::DirFormat;
use rext4::engine::dirhash::DirHash;
use rext4::ondisk::crc::crc32c;
use rext4::ondisk::dir::EntryLimits;
use rext4::ondisk::dx::DxFormat;

use super::memory::MemDir;

/// Numbers that are as good as random and the same each time.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub block_size: u32,
    pub version: u8,
    pub checksums: bool,
    pub large_dir: bool,
    /// Most pairs to put into a node, to get many levels from few names.
    pub pairs: usize,
    /// Most entries to put into a leaf.
    pub entries: usize,
}

pub const PLAN: Plan = Plan {
    block_size: 1024,
    version: 1,
    checksums: true,
    large_dir: false,
    pairs: usize::MAX,
    entries: usize::MAX,
};

pub const SEED: u32 = 0x1234_5678;
const HASH_SEED: [u32; 4] = [1, 2, 3, 4];

pub fn format(plan: Plan) -> DirFormat {
    DirFormat {
        limits: EntryLimits {
            block_size: plan.block_size,
            inodes_count: 1 << 20,
        },
        dx: DxFormat {
            block_size: plan.block_size,
            checksums: plan.checksums,
            large_dir: plan.large_dir,
        },
        dir_index: true,
        file_types: true,
        hash_unsigned: false,
        hash_seed: HASH_SEED,
        default_hash: DirHash::new(plan.version, false, &HASH_SEED),
    }
}

fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

pub fn put_rec_len(b: &mut [u8], at: usize, len: usize, block_size: usize) {
    let stored = if len == block_size && len > 0xffff {
        0xffff
    } else {
        len as u16
    };
    put(b, at, &stored.to_le_bytes());
}

/// A leaf with these entries; the last one takes the rest of the block.
pub fn leaf(plan: Plan, entries: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let block_size = plan.block_size as usize;
    let end = block_size - if plan.checksums { 12 } else { 0 };
    let mut b = vec![0u8; block_size];
    let mut at = 0;
    let mut last = 0;
    for (ino, name) in entries {
        put(&mut b, at, &ino.to_le_bytes());
        b[at + 6] = name.len() as u8;
        b[at + 7] = 1;
        put(&mut b, at + 8, name);
        last = at;
        at += (8 + name.len()).next_multiple_of(4).max(12);
        put_rec_len(&mut b, last + 4, at - last, block_size);
    }
    assert!(at <= end);
    put_rec_len(&mut b, last + 4, end - last, block_size);
    seal_leaf(plan, &mut b);
    b
}

pub fn seal_leaf(plan: Plan, b: &mut [u8]) {
    if !plan.checksums {
        return;
    }
    let at = b.len() - 12;
    put(b, at, &[0, 0, 0, 0, 12, 0, 0, 0xde]);
    let sum = crc32c(SEED, &b[..at]);
    put(b, at + 8, &sum.to_le_bytes());
}

pub fn seal_index(plan: Plan, b: &mut [u8], start: usize) {
    if !plan.checksums {
        return;
    }
    let word = |at: usize| usize::from(u16::from_le_bytes([b[at], b[at + 1]]));
    let (limit, count) = (word(start), word(start + 2));
    let tail = start + limit * 8;
    if count > limit || tail + 8 > b.len() {
        return; // Damaged on purpose: there is no place for it.
    }
    let sum = crc32c(SEED, &b[..start + count * 8]);
    let sum = crc32c(sum, &b[tail..tail + 4]);
    let sum = crc32c(sum, &[0; 4]);
    put(b, tail + 4, &sum.to_le_bytes());
}

fn index(plan: Plan, pairs: &[(u32, u32)], root: Option<u8>) -> Vec<u8> {
    let block_size = plan.block_size as usize;
    let mut b = vec![0u8; block_size];
    let start = if let Some(levels) = root {
        put(&mut b, 0, &[12, 0, 0, 0, 12, 0, 1, 2, b'.']);
        put(&mut b, 12, &[2, 0, 0, 0, 0, 0, 2, 2, b'.', b'.']);
        put_rec_len(&mut b, 16, block_size - 12, block_size);
        put(&mut b, 28, &[plan.version, 8, levels, 0]);
        32
    } else {
        put_rec_len(&mut b, 4, block_size, block_size);
        8
    };
    let tail = if plan.checksums { 8 } else { 0 };
    let limit = (block_size - start - tail) / 8;
    assert!(pairs.len() <= limit, "{} pairs", pairs.len());
    for (i, (hash, block)) in pairs.iter().enumerate() {
        put(&mut b, start + i * 8, &hash.to_le_bytes());
        put(&mut b, start + i * 8 + 4, &block.to_le_bytes());
    }
    put(&mut b, start, &(limit as u16).to_le_bytes());
    put(&mut b, start + 2, &(pairs.len() as u16).to_le_bytes());
    seal_index(plan, &mut b, start);
    b
}

/// An indexed directory of these (inode, name) pairs.
pub fn htree(plan: Plan, names: &[(u32, Vec<u8>)]) -> MemDir {
    let format = format(plan);
    let hash = format.hash(plan.version).expect("hash version");
    let mut rng = Lcg(names.len() as u64);
    let mut sorted: Vec<_> = names
        .iter()
        .map(|(ino, name)| (hash.hash(name).key(), *ino, name.clone()))
        .collect();
    sorted.sort();
    let room = plan.block_size as usize - if plan.checksums { 12 } else { 0 };

    // Leaves in the order of the index: the hash they start at, and their entries.
    type Leaf = (u32, Vec<(u32, Vec<u8>)>);
    let mut leaves: Vec<Leaf> = vec![(0, Vec::new())];
    let (mut used, mut last) = (0, 0);
    for (key, ino, name) in sorted {
        let len = (8 + name.len()).next_multiple_of(4).max(12);
        let major = (key >> 32) as u32;
        let (_, leaf) = leaves.last_mut().unwrap();
        if used + len > room || leaf.len() >= plan.entries {
            leaves.push((major | u32::from(major == last), Vec::new()));
            used = 0;
        }
        leaves.last_mut().unwrap().1.push((ino, name));
        used += len;
        last = major;
    }

    // Blocks: the root, then everything else in no order at all.
    let tail = if plan.checksums { 8 } else { 0 };
    let node_limit = ((plan.block_size as usize - 8 - tail) / 8).min(plan.pairs);
    let root_limit = ((plan.block_size as usize - 32 - tail) / 8).min(plan.pairs);
    let mut blocks = vec![None];
    let mut level: Vec<(u32, u32)> = Vec::new();
    let mut order: Vec<usize> = (0..leaves.len()).collect();
    rng.shuffle(&mut order);
    let mut places = vec![0; leaves.len()];
    for nr in order {
        let entries = &mut leaves[nr].1;
        rng.shuffle(entries);
        places[nr] = blocks.len() as u32;
        blocks.push(Some(leaf(plan, entries)));
    }
    for ((hash, _), place) in leaves.iter().zip(places) {
        level.push((*hash, place));
    }
    let mut levels = 0;
    while level.len() > root_limit {
        let chunks: Vec<_> = level.chunks(node_limit).map(<[_]>::to_vec).collect();
        level.clear();
        for chunk in chunks {
            level.push((chunk[0].0, blocks.len() as u32));
            blocks.push(Some(index(plan, &chunk, None)));
        }
        levels += 1;
    }
    blocks[0] = Some(index(plan, &level, Some(levels)));
    let mut dir = MemDir::new(format, blocks);
    dir.indexed = true;
    dir.seed = plan.checksums.then_some(SEED);
    dir
}

/// Names of varied length, all different, with inodes from 100 on.
pub fn names(n: u32) -> Vec<(u32, Vec<u8>)> {
    let mut rng = Lcg(n.into());
    (0..n)
        .map(|i| {
            let pad = rng.below(if i % 50 == 0 { 200 } else { 20 });
            let name = format!("{i:x}{}", "\u{e9}x".repeat(pad / 3));
            (100 + i, name.into_bytes())
        })
        .collect()
}
