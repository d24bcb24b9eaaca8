// SPDX-License-Identifier: GPL-2.0

//! Attributes that debugfs wrote.

use std::collections::BTreeMap;

use rext4::engine::mapping::MapKind;
use rext4::engine::xattr_find;
use rext4::ondisk::acl::{Acl, AclTag};
use rext4::ondisk::xattr::{
    self, block_hash, entry_hash, index, verify_block, verify_inode, EaInode, EaKind, XattrArea,
    XattrError, XattrRules, XattrValue,
};
use rext4::ondisk::{FsBlock, Ino};

use crate::common::{self, Image};
use crate::disk::{le32, Fs, Inode};

/// Attributes by their full names.
pub type Attrs = BTreeMap<String, Vec<u8>>;

/// What is behind the extra fields of an inode.
pub fn space(fs: &Fs, inode: &Inode) -> Vec<u8> {
    if fs.geometry.inode_size() == 128 {
        return Vec::new();
    }
    let extra = usize::from(u16::from_le_bytes([inode.raw[128], inode.raw[129]]));
    inode.raw[128 + extra..].to_vec()
}

/// The number of the attribute block, 0 for none.
pub fn block_of(inode: &Inode) -> u64 {
    let high = u64::from(u16::from_le_bytes([inode.raw[0x76], inode.raw[0x77]]));
    u64::from(le32(&inode.raw, 0x68)) | (high << 32)
}

fn contents(fs: &Fs, inode: &Inode) -> Vec<u8> {
    let mut all = Vec::new();
    let blocks = inode.size.div_ceil(u64::from(fs.geometry.block_size()));
    for lblk in 0..blocks as u32 {
        let mapping = fs.lookup(inode, lblk).expect("mapping");
        let MapKind::Written(start) = mapping.kind else {
            panic!("hole");
        };
        all.extend_from_slice(fs.block(start.get() + u64::from(lblk - mapping.lblk.get())));
    }
    all.truncate(inode.size as usize);
    all
}

/// The value of an attribute, with all checks on the way.
fn value_of(fs: &Fs, owner: u32, value: XattrValue<'_>) -> Vec<u8> {
    let reference = match value {
        XattrValue::Here(value) => return value.to_vec(),
        XattrValue::EaInode(reference) => reference,
    };
    let inode = fs.inode(reference.ino.get());
    assert_ne!(le32(&inode.raw, 0x20) & 0x20_0000, 0, "EA inode flag");
    let ea = EaInode {
        links: u16::from_le_bytes([inode.raw[0x1a], inode.raw[0x1b]]).into(),
        size: inode.size,
        hash: le32(&inode.raw, 8),
        references: (u64::from(le32(&inode.raw, 12)) << 32) | u64::from(le32(&inode.raw, 0x24)),
        parent: le32(&inode.raw, 16),
        generation: le32(&inode.raw, 0x64),
    };
    let owner_inode = fs.inode(owner);
    let owner = Ino::new(owner).unwrap();
    assert_eq!(reference.check_owner(owner), Ok(()));
    let generation = le32(&owner_inode.raw, 0x64);
    let kind = reference.check_inode(&ea, owner, generation);
    assert_eq!(kind, Ok(EaKind::Hashed));
    let mut value = contents(fs, &inode);
    let seed = fs.geometry.ea_hash_seed();
    assert_eq!(reference.verify_value(&value, &ea, seed), Ok(()));
    value[0] ^= 1;
    let bad = reference.verify_value(&value, &ea, seed);
    assert_eq!(bad, Err(XattrError::EaInodeHash));
    value[0] ^= 1;
    value
}

/// All attributes of an inode, verified and read; and how many were in a block and in inodes.
pub fn read(fs: &Fs, ino: u32) -> (Attrs, usize, usize) {
    let rules = XattrRules::new(&fs.geometry);
    let inode = fs.inode(ino);
    let mut attrs = Attrs::new();
    let (mut in_block, mut in_inodes) = (0, 0);
    let mut take = |area: &XattrArea<'_>| -> usize {
        let mut count = 0;
        for xattr in area.iter() {
            let xattr = xattr.expect("attribute");
            let prefix = xattr::prefix(xattr.index).expect("prefix");
            let name = prefix.to_string() + std::str::from_utf8(xattr.name).unwrap();
            let value = value_of(fs, ino, xattr.value);
            assert_eq!(value.len(), xattr.value.len());
            in_inodes += usize::from(matches!(xattr.value, XattrValue::EaInode(_)));
            let found = xattr_find::find(area, xattr.index, xattr.name).unwrap();
            assert_eq!(found, Some(xattr));
            let mut other = xattr.name.to_vec();
            other.push(b'~');
            assert_eq!(xattr_find::find(area, xattr.index, &other), Ok(None));
            assert!(attrs.insert(name, value).is_none(), "twice");
            count += 1;
        }
        count
    };
    let space = space(fs, &inode);
    assert_eq!(verify_inode(&space, rules), Ok(()));
    if let Some(area) = XattrArea::in_inode(&space, rules) {
        take(&area);
    }
    let number = block_of(&inode);
    if number != 0 {
        let block = fs.block(number);
        let seed = fs.geometry.csum_seed();
        verify_block(block, FsBlock::new(number), rules, seed).expect("block");
        let area = XattrArea::in_block(block, rules).unwrap();
        in_block = take(&area);
        check_hashes(block, &area);
    }
    (attrs, in_block, in_inodes)
}

/// The entries' hashes are what e2fsprogs stored, the block's (which it does not) follows from
/// them.
fn check_hashes(block: &[u8], area: &XattrArea<'_>) {
    let mut at = 32;
    let mut hash = 0u32;
    for xattr in area.iter() {
        let xattr = xattr.unwrap();
        if let XattrValue::Here(value) = xattr.value {
            assert_eq!(entry_hash(xattr.name, value), le32(block, at + 12));
        }
        hash = hash.rotate_left(16) ^ le32(block, at + 12);
        at += (16 + xattr.name.len()).next_multiple_of(4);
    }
    assert_eq!(block_hash(area), Ok(hash));
    let header = xattr::header(block).unwrap();
    assert_eq!(header.refcount.get(), 1);
}

fn file(bytes: &[u8]) -> Image {
    let file = Image::empty("value");
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Writes a file `/f` with these attributes; returns its inode.
pub fn write(image: &Image, attrs: &Attrs) -> u32 {
    let empty = file(b"contents");
    let values: Vec<_> = attrs.values().map(|value| file(value)).collect();
    let mut commands = vec![format!("write {} f", empty.path().display())];
    for (name, value) in attrs.keys().zip(&values) {
        commands.push(format!("ea_set -f {} f {name}", value.path().display()));
    }
    commands.push("stat f".into());
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let out = common::debugfs(image, &commands);
    let at = out.find("Inode: ").expect("Inode:") + 7;
    let digits: String = out[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

pub fn bytes(len: usize, salt: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ salt)
        .collect()
}

#[test]
fn in_inode_and_block() {
    for (args, in_inode) in [
        (&["-b", "4096"][..], true),
        (&["-b", "1024", "-I", "512", "-O", "^metadata_csum"], true),
        (&["-b", "2048", "-I", "128"], false),
        (&["-b", "65536", "-O", "64bit"], true),
    ] {
        let mut attrs = Attrs::new();
        for (i, prefix) in ["user.", "trusted.", "security."].iter().enumerate() {
            for (j, len) in [0usize, 1, 3, 4, 5, 40, 100].iter().enumerate() {
                let name = format!("{prefix}n{}", "\u{e9}".repeat(j));
                attrs.insert(name, bytes(*len, (i * 16 + j) as u8));
            }
        }
        let image = common::mkfs(args, "32M");
        let ino = write(&image, &attrs);
        let fs = Fs::open(&image);
        let (read, in_block, in_inodes) = read(&fs, ino);
        assert_eq!(read, attrs);
        assert!(in_block > 0);
        assert_eq!(in_block < attrs.len(), in_inode);
        assert_eq!(in_inodes, 0);
    }
}

#[test]
fn in_inodes_of_their_own() {
    // debugfs takes values of up to a block, which do not fit one with its header.
    for (args, block_size) in [
        (&["-b", "1024", "-O", "ea_inode"][..], 1024),
        (&["-b", "4096", "-O", "ea_inode,^metadata_csum"], 4096),
    ] {
        let attrs: Attrs = [
            ("user.small", 10),
            ("user.large", block_size),
            ("user.gr\u{f6}\u{df}er", block_size - 1),
            ("trusted.other", block_size - 30),
        ]
        .iter()
        .map(|(name, len)| (name.to_string(), bytes(*len, 7)))
        .collect();
        let image = common::mkfs(args, "16M");
        let ino = write(&image, &attrs);
        let fs = Fs::open(&image);
        let (read, _, in_inodes) = read(&fs, ino);
        assert_eq!(read, attrs);
        assert_eq!(in_inodes, 3);
    }
}

#[test]
fn access_control_lists() {
    // Version 2, the form that user space and debugfs know: tag, permissions, number.
    let entries: [(u16, u16, u32); 7] = [
        (0x01, 6, u32::MAX),
        (0x02, 4, 1000),
        (0x02, 7, 70_000),
        (0x04, 4, u32::MAX),
        (0x08, 5, 100),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&perm.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    let attrs: Attrs = [("system.posix_acl_access".to_string(), value)].into();
    let image = common::mkfs(&[], "16M");
    let ino = write(&image, &attrs);
    let fs = Fs::open(&image);
    let rules = XattrRules::new(&fs.geometry);
    let space = space(&fs, &fs.inode(ino));
    let area = XattrArea::in_inode(&space, rules).unwrap();
    let found = xattr_find::find(&area, index::POSIX_ACL_ACCESS, b"").unwrap();
    let XattrValue::Here(value) = found.expect("ACL").value else {
        panic!("in an inode");
    };
    let acl = Acl::parse(value).unwrap().unwrap();
    assert_eq!(acl.count(), entries.len());
    for (entry, (tag, perm, id)) in acl.iter().zip(entries) {
        let expected = match tag {
            0x01 => AclTag::UserObj,
            0x02 => AclTag::User(id),
            0x04 => AclTag::GroupObj,
            0x08 => AclTag::Group(id),
            0x10 => AclTag::Mask,
            _ => AclTag::Other,
        };
        assert_eq!((entry.tag, entry.perm), (expected, perm));
    }
    let mut names = Vec::new();
    xattr_find::list::<XattrError>(&area, |_, prefix, rest| {
        names.push((prefix, rest.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(names, [("system.posix_acl_access", vec![])]);
}
