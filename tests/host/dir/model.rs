// SPDX-License-Identifier: GPL-2.0

//! What C ext4 does, written down a second time and without regard to cost.
//!
//! C ext4 puts the entries of a chain of leaves into a tree ordered by (major, minor) hash, where
//! an entry that finds its hash taken goes behind the first one of the list there.

use std::collections::BTreeMap;

use rext4::engine::dirhash::DirHash;

use super::memory::MemDir;

/// An entry that readdir must give: hash key, inode, name.
pub type Expected = (u64, u32, Vec<u8>);

type Tree = BTreeMap<u64, Vec<(u32, Vec<u8>)>>;

fn insert(tree: &mut Tree, key: u64, ino: u32, name: &[u8]) {
    let list = tree.entry(key).or_default();
    let at = list.len().min(1);
    list.insert(at, (ino, name.to_vec()));
}

fn flatten(tree: Tree) -> Vec<Expected> {
    let lists = tree.into_iter();
    lists
        .flat_map(|(key, list)| list.into_iter().map(move |(ino, name)| (key, ino, name)))
        .collect()
}

/// All entries of a small directory (one block, or the names given) in C ext4's order.
pub fn small(entries: &[(u32, Vec<u8>)], hash: &DirHash) -> Vec<Expected> {
    let mut tree = Tree::new();
    for (ino, name) in entries {
        insert(&mut tree, hash.hash(name).key(), *ino, name);
    }
    flatten(tree)
}

fn le32(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn le16(b: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([b[at], b[at + 1]]))
}

/// The leaves of an index in its order, each with whether it continues the one before.
pub fn leaves(dir: &MemDir) -> Vec<(u32, bool)> {
    let root = dir.blocks[0].as_ref().expect("root");
    let levels = root[0x1e];
    let mut pairs = pairs(root, 0x20);
    for _ in 0..levels {
        pairs = pairs
            .into_iter()
            .flat_map(|(lblk, continues)| {
                let node = dir.blocks[lblk as usize].as_ref().expect("node");
                let mut below = self::pairs(node, 8);
                below[0].1 = continues;
                below
            })
            .collect();
    }
    pairs
}

fn pairs(block: &[u8], at: usize) -> Vec<(u32, bool)> {
    let count = le16(block, at + 2);
    (0..count)
        .map(|i| {
            let hash = if i == 0 { 0 } else { le32(block, at + i * 8) };
            (le32(block, at + 4 + i * 8), hash & 1 == 1)
        })
        .collect()
}

/// All entries of an indexed directory in C ext4's order.
pub fn indexed(dir: &MemDir, hash: &DirHash) -> Vec<Expected> {
    let root = dir.blocks[0].as_ref().expect("root");
    let mut by_block: BTreeMap<u32, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
    for (lblk, _, ino, name) in dir.raw_entries() {
        by_block.entry(lblk).or_default().push((ino, name));
    }
    let mut all = Vec::new();
    let mut tree = Tree::new();
    insert(&mut tree, 0, le32(root, 0), b".");
    insert(&mut tree, 2 << 32, le32(root, 12), b"..");
    for (lblk, continues) in leaves(dir) {
        if !continues {
            all.extend(flatten(std::mem::take(&mut tree)));
        }
        for (ino, name) in by_block.get(&lblk).map_or(&[][..], |v| &v[..]) {
            insert(&mut tree, hash.hash(name).key(), *ino, name);
        }
    }
    all.extend(flatten(tree));
    all
}
