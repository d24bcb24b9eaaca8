// SPDX-License-Identifier: GPL-2.0

//! Attributes on damaged images.

use rext4::ondisk::xattr::{verify_block, verify_inode, XattrArea, XattrError, XattrRules};
use rext4::ondisk::FsBlock;

use crate::common;
use crate::disk::Fs;

use super::images::{block_of, bytes, space, write, Attrs};

fn attrs() -> Attrs {
    (0..6)
        .map(|i| (format!("user.name{i}"), bytes(50, i)))
        .collect()
}

#[test]
fn every_changed_byte_of_a_block_fails_its_checksum() {
    let image = common::mkfs(&["-b", "1024"], "16M");
    let ino = write(&image, &attrs());
    let fs = Fs::open(&image);
    let rules = XattrRules::new(&fs.geometry);
    let number = block_of(&fs.inode(ino));
    let seed = fs.geometry.csum_seed();
    assert!(seed.is_some());
    let good = fs.block(number);
    let verify = |block: &[u8]| verify_block(block, FsBlock::new(number), rules, seed);
    assert_eq!(verify(good), Ok(()));
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let expected = match at {
            0..=3 | 8..=11 => XattrError::Header,
            _ => XattrError::Checksum,
        };
        assert_eq!(verify(&bad), Err(expected), "{at}");
    }
    // A block in the wrong place is not this block.
    let moved = verify_block(good, FsBlock::new(number + 1), rules, seed);
    assert_eq!(moved, Err(XattrError::Checksum));
}

/// Without checksums: each change is either harmless or found, and a walk ends in any case.
#[test]
fn changes_without_checksums() {
    let image = common::mkfs(&["-b", "1024", "-O", "^metadata_csum"], "16M");
    let ino = write(&image, &attrs());
    let fs = Fs::open(&image);
    let rules = XattrRules::new(&fs.geometry);
    let inode = fs.inode(ino);
    let good_space = space(&fs, &inode);
    let number = block_of(&inode);
    let good_block = fs.block(number);
    let mut found = 0;
    for at in 0..good_block.len() {
        for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
            let mut block = good_block.to_vec();
            block[at] = value;
            let verdict = verify_block(&block, FsBlock::new(number), rules, None);
            found += u32::from(verdict.is_err());
            if let Ok(area) = XattrArea::in_block(&block, rules) {
                let clean = area.iter().all(|x| x.is_ok());
                assert!(area.iter().count() <= 64);
                // Verification sees all that a walk sees, and overlaps besides.
                assert!(clean || verdict.is_err());
            }
        }
    }
    for at in 4..good_space.len() {
        for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
            let mut space = good_space.clone();
            space[at] = value;
            let verdict = verify_inode(&space, rules);
            found += u32::from(verdict.is_err());
            let area = XattrArea::in_inode(&space, rules).unwrap();
            assert!(area.iter().all(|x| x.is_ok()) || verdict.is_err());
        }
    }
    assert!(found > 100);
}
