// SPDX-License-Identifier: GPL-2.0

//! Images that are changed in memory and written back.

use rext4::ondisk::inode::{Inode, Purpose};
use rext4::ondisk::inode_edit::InodeEdit;
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::Ino;

use crate::common::{self, Image};
use crate::disk::{le32, Fs};

/// Where the slot of an inode begins in the image.
pub fn slot_at(fs: &Fs, ino: u32) -> usize {
    let at = fs.geometry.inode_location(Ino::new(ino).unwrap());
    let (desc, offset) = fs.geometry.desc_location(at.group).expect("descriptor");
    let desc = &fs.block(desc.get())[offset as usize..];
    let table = u64::from(le32(desc, 8));
    let block = (table + u64::from(at.block)) * u64::from(fs.geometry.block_size());
    block as usize + at.offset as usize
}

/// The slot of an inode.
pub fn slot(fs: &Fs, ino: u32) -> &[u8] {
    &fs.bytes[slot_at(fs, ino)..][..fs.geometry.inode_size().into()]
}

/// Changes an inode, and stores its checksum.
pub fn edit<R>(fs: &mut Fs, ino: u32, change: impl FnOnce(&mut InodeEdit<'_>) -> R) -> R {
    let at = slot_at(fs, ino);
    let size = usize::from(fs.geometry.inode_size());
    let mut edit = InodeEdit::open(&fs.geometry, &mut fs.bytes[at..at + size]).expect("slot");
    let answer = change(&mut edit);
    edit.finish_as(Ino::new(ino).unwrap());
    answer
}

/// Calls `look` with a verified inode.
pub fn with_inode<R>(fs: &Fs, ino: u32, look: impl FnOnce(&Inode<'_>) -> R) -> R {
    let number = Ino::new(ino).unwrap();
    let inode = Inode::verify(&fs.geometry, number, slot(fs, ino), Purpose::Orphan);
    look(&inode.expect("inode"))
}

/// Changes the superblock, and stores its checksum.
pub fn edit_super(fs: &mut Fs, change: impl FnOnce(&mut Superblock)) {
    let sb = Superblock::verify_mut(&mut fs.bytes[1024..2048]).expect("superblock");
    change(sb);
    sb.update_checksum();
}

/// Writes all bytes back.
pub fn store(fs: &Fs, image: &Image) {
    image.poke(0, &fs.bytes);
}

/// Asserts that e2fsck has nothing to say; `-n`: it changes nothing.
pub fn assert_clean(image: &Image) {
    let out = common::tool("e2fsck")
        .args(["-f", "-n"])
        .arg(image)
        .output()
        .expect("e2fsck");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
}

/// A file on the host, for debugfs to read.
pub fn host_file(bytes: &[u8]) -> Image {
    let file = Image::empty("value");
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Makes files of these names; returns their inodes.
pub fn make_files(image: &Image, names: &[&str]) -> Vec<u32> {
    let contents = host_file(b"contents");
    let mut commands: Vec<String> = Vec::new();
    for name in names {
        commands.push(format!("write {} {name}", contents.path().display()));
    }
    for name in names {
        commands.push(format!("stat {name}"));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let out = common::debugfs(image, &commands);
    out.lines()
        .filter_map(|line| line.strip_prefix("Inode: "))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect()
}
