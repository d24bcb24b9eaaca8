// SPDX-License-Identifier: GPL-2.0

//! Just enough of an allocator for images: runs of blocks and inodes of the first group.

use rext4::ondisk::group::{
    block_bitmap_checksum, inode_bitmap_checksum, set_block_bitmap_checksum,
    set_inode_bitmap_checksum, update_checksum, GroupDesc,
};
use rext4::ondisk::{Geometry, Group};

use crate::disk::{le32, Fs};
use crate::edited::edit_super;

const FREE_BLOCKS: usize = 0x0c;
const FREE_INODES: usize = 0x0e;
const ITABLE_UNUSED: usize = 0x1c;

/// Which of the two bitmaps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Blocks,
    Inodes,
}

/// Sets or clears bits of a group's bitmap, and counts and checksums with it.
fn change(fs: &mut Fs, group: Group, of: Of, first: u32, count: u32, used: bool) {
    let geo = fs.geometry.clone();
    let size = geo.block_size() as usize;
    let (block, offset) = geo.desc_location(group).unwrap();
    let at = block.get() as usize * size + offset as usize;
    let bytes = &fs.bytes[at..at + usize::from(geo.desc_size())];
    let desc = GroupDesc::parse(&geo, group, bytes).expect("descriptor");
    let (map, mut free) = match of {
        Of::Blocks => (desc.block_bitmap(), desc.free_clusters()),
        Of::Inodes => (desc.inode_bitmap(), desc.free_inodes()),
    };
    let unused = desc.itable_unused();
    let map = map.get() as usize * size;
    for bit in first as usize..(first + count) as usize {
        let byte = &mut fs.bytes[map + bit / 8];
        assert_eq!((*byte >> (bit % 8)) & 1 != 0, !used, "bit {bit}");
        *byte ^= 1 << (bit % 8);
        free = if used { free - 1 } else { free + 1 };
    }
    let bitmap = fs.bytes[map..map + size].to_vec();
    let desc = &mut fs.bytes[at..at + usize::from(geo.desc_size())];
    let mut put = |at: usize, value: u32| {
        desc[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    };
    match of {
        Of::Blocks => put(FREE_BLOCKS, free),
        Of::Inodes => {
            put(FREE_INODES, free);
            let end = geo.inodes_per_group().get() - (first + count);
            put(ITABLE_UNUSED, unused.min(end));
        }
    }
    let sum = match of {
        Of::Blocks => block_bitmap_checksum(&geo, &bitmap),
        Of::Inodes => inode_bitmap_checksum(&geo, &bitmap),
    };
    if let Some(sum) = sum {
        match of {
            Of::Blocks => set_block_bitmap_checksum(&geo, desc, sum),
            Of::Inodes => set_inode_bitmap_checksum(&geo, desc, sum),
        }
    }
    update_checksum(&geo, group, desc);
    edit_super(fs, |sb| {
        let blocks = sb.free_blocks_count();
        let inodes = sb.free_inodes_count();
        let count = if used { count.wrapping_neg() } else { count };
        match of {
            Of::Blocks => sb.set_free_counts(blocks.wrapping_add(count as i32 as u64), inodes),
            Of::Inodes => sb.set_free_counts(blocks, inodes.wrapping_add(count)),
        }
    });
}

fn find(fs: &Fs, map: u64, bits: u32, count: u32) -> u32 {
    let map = fs.block(map);
    let free = |bit: u32| (map[bit as usize / 8] >> (bit % 8)) & 1 == 0;
    (0..bits - count)
        .find(|&first| (first..first + count).all(free))
        .expect("free bits")
}

fn places(fs: &Fs) -> (u64, u64) {
    let (block, offset) = fs.geometry.desc_location(Group::new(0)).unwrap();
    let desc = &fs.block(block.get())[offset as usize..];
    (le32(desc, 0).into(), le32(desc, 4).into())
}

/// Allocates a run of blocks.
pub fn allocate(fs: &mut Fs, count: u32) -> u64 {
    let bits = fs.geometry.group_clusters(Group::new(0));
    let first = find(fs, places(fs).0, bits, count);
    change(fs, Group::new(0), Of::Blocks, first, count, true);
    u64::from(first + fs.geometry.first_data_block())
}

/// Frees a run of blocks.
pub fn free(fs: &mut Fs, block: u64, count: u32) {
    let (group, first) = location(&fs.geometry, block);
    change(fs, group, Of::Blocks, first, count, false);
}

fn location(geo: &Geometry, block: u64) -> (Group, u32) {
    geo.block_location(rext4::ondisk::FsBlock::new(block))
}

/// Allocates an inode.
pub fn allocate_inode(fs: &mut Fs) -> u32 {
    let bits = fs.geometry.inodes_per_group().get();
    let index = find(fs, places(fs).1, bits, 1);
    change(fs, Group::new(0), Of::Inodes, index, 1, true);
    index + 1
}

/// Frees an inode of the first group.
pub fn free_inode(fs: &mut Fs, ino: u32) {
    change(fs, Group::new(0), Of::Inodes, ino - 1, 1, false);
}
