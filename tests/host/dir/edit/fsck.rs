// SPDX-License-Identifier: GPL-2.0

//! Directories made by this code inside of real images, as e2fsck and debugfs see them.
//!
//! debugfs makes a directory, gives it blocks enough, and a few files. The directory's contents
//! are made in memory; then they replace what is in those blocks, debugfs frees the blocks that
//! are left over, and sets the size, the flag and the files' link counts.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rext4::engine::dir::DirFormat;
use rext4::engine::mapping::MapKind;
use rext4::ondisk::dir::FileType;

use super::store::Store;
use super::subject::Subject;
use crate::build::Lcg;
use crate::common::{self, Image};
use crate::disk::Fs;
use crate::images;

const FILES: u32 = 7;

struct Target {
    image: Image,
    /// The image before anything was written to it: its hash and checksum seeds go with it.
    fresh: Vec<u8>,
    ino: u32,
    files: Vec<u32>,
    /// Physical blocks of the directory.
    blocks: Vec<u64>,
}

fn new_target(args: &[&str], blocks: u32) -> Target {
    let mut all = vec!["-t", "ext4", "-N", "64", "-O", "^has_journal"];
    all.extend(args);
    let image = common::mkfs(
        &all,
        if args.contains(&"65536") {
            "64M"
        } else {
            "16M"
        },
    );
    let mut commands: Vec<String> = (0..FILES)
        .map(|i| format!("write /dev/null f{i}"))
        .collect();
    commands.push("mkdir /dir".into());
    commands.extend((1..blocks).map(|_| "expand_dir /dir".into()));
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    common::debugfs(&image, &commands);
    let fs = Fs::open(&image);
    let ino = images::ino_of(&image, "/dir");
    let inode = fs.inode(ino);
    let physical = (0..blocks)
        .map(|lblk| {
            let m = fs.lookup(&inode, lblk).unwrap();
            let MapKind::Written(start) = m.kind else {
                panic!("{m:?}");
            };
            start.get() + u64::from(lblk - m.lblk.get())
        })
        .collect();
    Target {
        files: (0..FILES)
            .map(|i| images::ino_of(&image, &format!("/f{i}")))
            .collect(),
        fresh: image.bytes(),
        image,
        ino,
        blocks: physical,
    }
}

/// An empty directory for the image.
fn subject(target: &Target) -> Subject {
    let fs = Fs::open(&target.image);
    let seed = fs.inode(target.ino).seed;
    let format = DirFormat::new(&fs.geometry);
    let block_size = format.limits.block_size;
    let dir = images::load(&fs, target.ino);
    let first: Rc<[u8]> = dir.blocks[0].clone().unwrap();
    // Another inode number than the one the tests here go by; the first block is debugfs'.
    let mut subject = Subject::around(format, Store::new(block_size, vec![Some(first)]));
    subject.seed = seed;
    subject.ino.set(target.ino);
    subject
}

/// Writes the directory to the fresh image, and has it checked.
fn check(target: &Target, subject: &Subject) {
    let image = subject.store.image();
    let block_size = u64::from(subject.format.limits.block_size);
    assert!(image.len() <= target.blocks.len(), "{} blocks", image.len());
    std::fs::write(target.image.path(), &target.fresh).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(target.image.path())
        .unwrap();
    for (block, at) in image.iter().zip(&target.blocks) {
        let block = block.as_ref().expect("no hole");
        file.write_all_at(block, at * block_size).unwrap();
    }
    drop(file);
    let mut links: BTreeMap<u32, u32> = target.files.iter().map(|ino| (*ino, 1)).collect();
    for (ino, _) in subject.model.values() {
        *links.get_mut(ino).unwrap() += 1;
    }
    let flags = if subject.indexed.get() {
        0x81000
    } else {
        0x80000
    };
    let mut commands = vec![
        format!(
            "set_inode_field /dir size {}",
            image.len() as u64 * block_size
        ),
        format!("set_inode_field /dir flags {flags:#x}"),
    ];
    let (used, had) = (image.len(), target.blocks.len());
    if used < had {
        commands.push(format!("punch /dir {used} {}", had - 1));
    }
    for (ino, count) in links {
        commands.push(format!("set_inode_field <{ino}> links_count {count}"));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    common::debugfs(&target.image, &commands);

    let out = common::tool("e2fsck")
        .args(["-fn"])
        .arg(&target.image)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    let mut listed: Vec<_> = images::ls(&target.image, "/dir");
    listed.retain(|(_, name)| !name.starts_with(b"."));
    listed.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = subject
        .model
        .iter()
        .map(|(name, (ino, _))| (*ino, name.clone()));
    assert!(listed.iter().cloned().eq(expected));
    if subject.indexed.get() && subject.seed.is_some() {
        let hash = subject.hash();
        let mut dumped = images::htree_dump(&target.image, "/dir");
        dumped.sort_by(|a, b| a.2.cmp(&b.2));
        assert_eq!(dumped.len(), subject.model.len());
        for ((key, ino, name), (expected, (n, _))) in dumped.iter().zip(&subject.model) {
            assert_eq!((name, ino), (expected, n));
            assert_eq!(hash.hash(name).key(), *key);
        }
    }
}

fn name(nr: u32) -> Vec<u8> {
    let long = if nr % 17 == 0 { 45 } else { 8 };
    format!("{nr}{}", "-name".repeat(nr as usize * 7 % long)).into_bytes()
}

fn life(args: &[&str], count: u32, blocks: u32) {
    let mut rng = Lcg(count.into());
    let mut order: Vec<u32> = (0..count).collect();
    rng.shuffle(&mut order);
    let target = new_target(args, blocks);
    let mut subject = subject(&target);
    let files = target.files.clone();
    let file = |nr: u32| files[nr as usize % files.len()];
    let add = |subject: &mut Subject, nr: u32| {
        subject.insert_as(&name(nr), file(nr), FileType::Regular);
    };
    for nr in &order {
        add(&mut subject, *nr);
    }
    let full = subject.store.len();
    subject.check();
    check(&target, &subject);

    // Half goes and comes back, some of it.
    for nr in order.iter().step_by(2) {
        subject.remove(&name(*nr));
    }
    for nr in order.iter().step_by(6) {
        add(&mut subject, *nr);
    }
    subject.check();
    check(&target, &subject);

    for nr in &order {
        if subject.model.contains_key(&name(*nr)) && *nr % 100 != 5 {
            subject.remove(&name(*nr));
        }
    }
    // A leaf without names goes, unless it is the only one below its index block. Index blocks stay:
    // the root, and below it some that are at least half full at first.
    let left = subject.store.len();
    let pairs = subject.format.limits.block_size as usize / 8;
    let nodes = full.div_ceil(pairs / 2 - 2);
    assert!(
        left <= subject.model.len() + 1 + 2 * nodes,
        "{left} of {full}"
    );
    subject.check();
    check(&target, &subject);
}

#[test]
fn e2fsck_finds_nothing() {
    life(&["-b", "2048"], 2000, 160);
    life(&["-b", "1024", "-O", "^metadata_csum"], 1200, 200);
    life(&["-b", "4096"], 5000, 160);
    life(&["-b", "65536"], 4000, 20);
}

/// Two levels of index blocks, with many leaves below each.
#[test]
fn e2fsck_finds_nothing_in_a_deep_index() {
    life(&["-b", "1024"], 6000, 1000);
}
