// SPDX-License-Identifier: GPL-2.0

//! Reads the text that dumpe2fs prints.

use std::collections::BTreeMap;

use crate::common;
use crate::common::Image;

/// The paragraph of one group.
#[derive(Debug, Default)]
pub struct GroupText {
    pub first: u64,
    pub last: u64,
    pub csum: Option<u16>,
    pub flags: Vec<String>,
    pub superblock: Option<u64>,
    /// First and last block of the descriptors.
    pub descs: Option<(u64, u64)>,
    pub reserved: Option<(u64, u64)>,
    pub block_bitmap: u64,
    pub block_bitmap_csum: Option<u32>,
    pub inode_bitmap: u64,
    pub inode_bitmap_csum: Option<u32>,
    pub inode_table: (u64, u64),
    pub free_clusters: u32,
    pub free_inodes: u32,
    pub directories: u32,
    pub unused_inodes: u32,
}

/// All that dumpe2fs says about an image.
pub struct Dump {
    text: String,
    pub groups: BTreeMap<u32, GroupText>,
}

/// `12-15` or `12`, whatever follows.
fn range(text: &str) -> (u64, u64) {
    let text = text.split([' ', ',', ')']).next().expect("a word");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    (
        first.parse().expect("a number"),
        last.parse().expect("a number"),
    )
}

/// The value of `csum 0x1234` in a line.
fn csum(line: &str) -> Option<u32> {
    let hex = line.split_once("csum 0x")?.1;
    let end = hex
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(hex.len());
    Some(u32::from_str_radix(&hex[..end], 16).expect("a hex number"))
}

impl Dump {
    pub fn new(img: &Image) -> Self {
        let text = common::dumpe2fs(img);
        let mut groups: BTreeMap<u32, GroupText> = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Group ") {
                let Some((number, rest)) = rest.split_once(": (Blocks ") else {
                    continue;
                };
                let (first, last) = range(rest);
                let flags = rest
                    .split_once('[')
                    .map_or("", |(_, f)| f.trim_end_matches(']'));
                let group = GroupText {
                    first,
                    last,
                    csum: csum(line).map(|c| c as u16),
                    flags: flags.split(", ").map(String::from).collect(),
                    ..GroupText::default()
                };
                groups.insert(number.parse().expect("a group number"), group);
                continue;
            }
            let Some(group) = groups.values_mut().next_back() else {
                continue;
            };
            let line = line.trim();
            for part in line.split(", ") {
                if let Some((_, at)) = part.split_once("superblock at ") {
                    group.superblock = Some(range(at).0);
                } else if let Some((_, at)) = part.split_once("roup descriptor at ") {
                    group.descs = Some(range(at));
                } else if let Some((_, at)) = part.split_once("roup descriptors at ") {
                    group.descs = Some(range(at));
                }
            }
            if let Some(at) = line.strip_prefix("Reserved GDT blocks at ") {
                group.reserved = Some(range(at));
            } else if let Some(at) = line.strip_prefix("Block bitmap at ") {
                // Without flex_bg the inode bitmap is on the same line.
                let (block, inode) = at.split_once("Inode bitmap at ").unwrap_or((at, ""));
                group.block_bitmap = range(block).0;
                group.block_bitmap_csum = csum(block);
                if !inode.is_empty() {
                    group.inode_bitmap = range(inode).0;
                    group.inode_bitmap_csum = csum(inode);
                }
            } else if let Some(at) = line.strip_prefix("Inode bitmap at ") {
                group.inode_bitmap = range(at).0;
                group.inode_bitmap_csum = csum(at);
            } else if let Some(at) = line.strip_prefix("Inode table at ") {
                group.inode_table = range(at);
            } else if line.contains(" free inodes, ") {
                for part in line.split(", ") {
                    let (number, what) = part.split_once(' ').expect("a number and a name");
                    let number = number.parse().expect("a number");
                    match what.trim() {
                        "free blocks" | "free clusters" => group.free_clusters = number,
                        "free inodes" => group.free_inodes = number,
                        "directories" => group.directories = number,
                        "unused inodes" => group.unused_inodes = number,
                        other => panic!("dumpe2fs says {other:?}"),
                    }
                }
            }
        }
        Self { text, groups }
    }

    pub fn field(&self, name: &str) -> &str {
        self.optional(name)
            .unwrap_or_else(|| panic!("dumpe2fs does not say {name:?}"))
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        common::field(&self.text, name)
    }

    pub fn number(&self, name: &str) -> u64 {
        let value = self.field(name).split(' ').next().expect("a word");
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value:?} is no number"))
    }
}
