// SPDX-License-Identifier: GPL-2.0

//! Directories that mke2fs filled and e2fsck indexed, against what debugfs says of them.

use std::path::PathBuf;

use rext4::engine::dir::DirFormat;
use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::mapping::MapKind;
use rext4::ondisk::dir::{verify_leaf, FileType};
use rext4::ondisk::xattr::{index, XattrArea, XattrRules, XattrValue};
use rext4::ondisk::Ino;

use crate::common::{self, Image};
use crate::disk::{le32, Fs};

use super::build::Lcg;
use super::memory::MemDir;
use super::model;
use super::order::check_order;

const INDEX_FLAG: u32 = 0x1000;
const INLINE_FLAG: u32 = 0x1000_0000;

/// Takes a directory out of an image.
pub fn load(fs: &Fs, ino: u32) -> MemDir {
    let inode = fs.inode(ino);
    let flags = le32(&inode.raw, 0x20);
    let mut blocks = Vec::new();
    if flags & INLINE_FLAG == 0 {
        let count = inode.size >> fs.geometry.block_bits();
        for lblk in 0..count as u32 {
            let mapping = fs.lookup(&inode, lblk).expect("mapping");
            blocks.push(match mapping.kind {
                MapKind::Written(start) => {
                    let at = start.get() + u64::from(lblk - mapping.lblk.get());
                    Some(fs.block(at).to_vec())
                }
                _ => None,
            });
        }
    }
    let mut dir = MemDir::new(DirFormat::new(&fs.geometry), blocks);
    dir.ino = Ino::new(ino).unwrap();
    dir.size = inode.size;
    dir.seed = inode.seed;
    dir.indexed = flags & INDEX_FLAG != 0;
    if flags & INLINE_FLAG != 0 {
        let extra = usize::from(u16::from_le_bytes([inode.raw[128], inode.raw[129]]));
        let space = &inode.raw[128 + extra..];
        let area = XattrArea::in_inode(space, XattrRules::new(&fs.geometry)).expect("attributes");
        let data = area.iter().find_next(index::SYSTEM, b"data").unwrap();
        let XattrValue::Here(value) = data.expect("system.data").value else {
            panic!("system.data in an inode of its own");
        };
        dir.inline = Some((inode.i_block, value.to_vec()));
    }
    dir
}

pub fn ino_of(image: &Image, path: &str) -> u32 {
    let stat = common::debugfs(image, &[&format!("stat {path}")]);
    let at = stat.find("Inode: ").expect("Inode:") + 7;
    let digits: String = stat[at..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

/// Inode and name of every entry, as debugfs lists them.
pub fn ls(image: &Image, path: &str) -> Vec<(u32, Vec<u8>)> {
    common::debugfs(image, &[&format!("ls -p {path}")])
        .lines()
        .filter_map(|line| {
            let mut parts = line.strip_prefix('/')?.splitn(6, '/');
            let ino = parts.next()?.parse().ok().filter(|ino| *ino != 0)?;
            let name = parts.nth(3)?.to_string();
            Some((ino, name.into_bytes()))
        })
        .collect()
}

/// A tree of one directory with `count` names, most of them links to one file.
fn tree(count: u32) -> PathBuf {
    let root = Image::empty("tree").path().to_path_buf();
    let _ = std::fs::remove_file(&root);
    let dir = root.join("dir");
    std::fs::create_dir_all(&dir).expect("create a tree");
    std::fs::write(root.join("file"), b"contents").unwrap();
    let mut rng = Lcg(count.into());
    for i in 0..count {
        let name = format!("{i}{}", "-n\u{e4}me".repeat(rng.below(8)));
        std::fs::hard_link(root.join("file"), dir.join(name)).unwrap();
    }
    std::fs::create_dir(dir.join("sub")).unwrap();
    std::os::unix::fs::symlink("target", dir.join("link")).unwrap();
    root
}

fn mkfs_from(args: &[&str], count: u32, size: &str) -> Image {
    let root = tree(count);
    let mut all = vec!["-t", "ext4", "-N", "64", "-O", "^has_journal", "-d"];
    all.push(root.to_str().unwrap());
    all.extend(args);
    let image = common::mkfs(&all, size);
    std::fs::remove_dir_all(&root).expect("remove the tree");
    image
}

/// Builds indexes.
fn optimise(image: &Image) {
    let status = common::tool("e2fsck")
        .args(["-fyD"])
        .arg(image)
        .output()
        .expect("e2fsck")
        .status;
    assert!(status.code().is_some_and(|c| c <= 1), "{status}");
}

/// Entries as `htree_dump` prints them: inode, (major, minor), name.
pub fn htree_dump(image: &Image, path: &str) -> Vec<(u64, u32, Vec<u8>)> {
    let dump = common::debugfs(image, &[&format!("htree_dump {path}")]);
    let mut all = Vec::new();
    for line in dump.lines().flat_map(|line| line.split("   ")) {
        // "13 0x0002932c-dcdd29e0 (36) name   ", several of them in a line
        let Some((ino, rest)) = line.split_once(" 0x") else {
            continue;
        };
        let Ok(ino) = ino.trim().parse() else {
            continue;
        };
        if ino == 0 {
            continue; // A free record.
        }
        let (hash, rest) = rest.split_once(" (").expect("length");
        let (major, minor) = hash.split_once('-').expect("minor");
        let (_, name) = rest.split_once(") ").expect("name");
        let number = |s| u64::from_str_radix(s, 16).unwrap();
        let key = (number(major) << 32) | number(minor);
        all.push((key, ino, name.trim_end().as_bytes().to_vec()));
    }
    all
}

fn check(image: &Image, levels: Option<u8>, count: usize) {
    let fs = Fs::open(image);
    let dir = load(&fs, ino_of(image, "/dir"));
    assert_eq!(dir.indexed, levels.is_some());
    let listed = ls(image, "/dir");
    assert_eq!(listed.len(), count + 4);
    let seen = dir.read_all();
    assert_eq!(seen.len(), listed.len());
    for s in &seen {
        let expected = match &s.name[..] {
            b"." | b".." | b"sub" => FileType::Directory,
            b"link" => FileType::Symlink,
            _ => FileType::Regular,
        };
        assert_eq!(s.file_type, expected);
    }
    if let Some(levels) = levels {
        let root = dir.blocks[0].as_ref().unwrap();
        assert_eq!(root[0x1e], levels);
        let hash = dir.format.hash(root[0x1c]).unwrap();
        let wide = CookieWidth::Bits64;
        check_order(&seen, &model::indexed(&dir, &hash), wide);
        // debugfs wants to print the checksum even where there is none.
        if dir.seed.is_some() {
            let mut dumped = htree_dump(image, "/dir");
            for (key, _, name) in &dumped {
                assert_eq!(hash.hash(name).key(), *key);
            }
            dumped.sort_by_key(|(key, ..)| *key);
            check_order(&seen[2..], &dumped, wide);
        }
    } else {
        let as_listed =
            |(s, l): (&super::memory::Seen, &(u32, Vec<u8>))| s.ino == l.0 && s.name == l.1;
        assert!(seen.iter().zip(&listed).all(as_listed));
    }
    for (ino, name) in &listed {
        let found = dir.lookup(name).unwrap().expect("name");
        assert_eq!(found.ino.get(), *ino);
        let mut other = name.clone();
        other.push(b'~');
        assert_eq!(dir.lookup(&other).unwrap(), None);
    }
    for block in dir.blocks.iter().skip(1).flatten() {
        let is_node = le32(block, 0) == 0 && dir.seed.is_some() && block[6..8] == [0, 0];
        if !is_node {
            verify_leaf(block, dir.format.limits, dir.seed).expect("leaf");
        }
    }
    assert_eq!(dir.reported(), []);
}

#[test]
fn indexed_by_e2fsck() {
    let cases: [(&[&str], u32, &str, u8); 5] = [
        (&["-b", "1024"], 9000, "8M", 1),
        (&["-b", "1024", "-O", "^metadata_csum"], 1500, "8M", 0),
        (
            &[
                "-b",
                "4096",
                "-E",
                "hash_seed=01234567-89ab-cdef-0123-456789abcdef",
            ],
            3000,
            "8M",
            0,
        ),
        (&["-b", "65536"], 6000, "32M", 0),
        (&["-b", "2048", "-O", "large_dir"], 2000, "8M", 0),
    ];
    for (args, count, size, levels) in cases {
        let image = mkfs_from(args, count, size);
        // mke2fs leaves a directory without an index, which is read from front to back.
        check(&image, None, count as usize);
        optimise(&image);
        check(&image, Some(levels), count as usize);
    }
}

#[test]
fn every_hash_version() {
    for alg in ["legacy", "tea", "half_md4"] {
        let image = mkfs_from(&["-b", "1024"], 1000, "8M");
        common::run(
            common::tool("tune2fs")
                .args(["-E", &format!("hash_alg={alg}")])
                .arg(&image),
        );
        optimise(&image);
        check(&image, Some(0), 1000);
    }
}
