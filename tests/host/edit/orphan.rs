// SPDX-License-Identifier: GPL-2.0

//! Orphans that were put into the file and onto the list, as e2fsck finds them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rext4::engine::orphan_list::{self, Before};
use rext4::ondisk::orphan::{OrphanBlock, OrphanError};
use rext4::ondisk::seal::Seal;
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::{orphan_edit, FsBlock, Ino};

use crate::common;
use crate::disk::Fs;
use crate::edited::{assert_clean, edit, edit_super, make_files, store, with_inode};

const FILES: &[&str] = &["a", "b", "c", "d", "e"];

fn ino(n: u32) -> Ino {
    Ino::new(n).unwrap()
}

/// The output of an e2fsck that repairs what orphans there are, and nothing else.
fn processed(image: &common::Image) -> String {
    let out = common::tool("e2fsck")
        .args(["-f", "-p"])
        .arg(image)
        .output()
        .expect("e2fsck");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(matches!(out.status.code(), Some(0 | 1)), "{text}");
    assert_clean(image);
    text
}

#[test]
fn the_orphan_file() {
    for args in [&["-b", "1024"][..], &["-b", "4096", "-O", "^metadata_csum"]] {
        let args: Vec<_> = args.iter().chain(&["-O", "orphan_file"]).copied().collect();
        let image = common::mkfs(&args, "32M");
        let inos = make_files(&image, FILES);
        let mut fs = Fs::open(&image);
        let sb = Superblock::verify(&fs.bytes[1024..]).unwrap();
        let file = fs.inode(sb.orphan_file_inum());
        let number = fs.lookup(&file, 0).unwrap().physical().expect("block 0");
        let size = fs.geometry.block_size() as usize;
        let seal = Seal::orphan(file.seed, number);
        let at = number.get() as usize * size;
        let change = |fs: &mut Fs, change: &mut dyn FnMut(&mut [u8])| {
            let bytes = &mut fs.bytes[at..at + size];
            change(bytes);
            seal.defer(bytes);
            if let Some((kind, _)) = seal.parts() {
                kind.settle(bytes);
            }
            let block = OrphanBlock::verify(file.seed, number, bytes).expect("verifies");
            block.free_slots()
        };
        let slots = change(&mut fs, &mut |_| ());
        let free = change(&mut fs, &mut |bytes| {
            for (n, &file) in inos.iter().enumerate() {
                let hint = if n < 3 { 5 } else { u32::MAX };
                let slot = orphan_edit::add(bytes, hint, ino(file));
                assert_eq!(slot, Some([5, 6, 7, 0, 1][n]));
            }
            let twice = orphan_edit::remove(bytes, 5, ino(inos[1]));
            assert_eq!(twice, Err(OrphanError::BadInode));
            assert_eq!(orphan_edit::remove(bytes, 6, ino(inos[1])), Ok(()));
        });
        assert_eq!(free, slots - 4);
        edit_super(&mut fs, |sb| sb.set_orphan_present(true));
        store(&fs, &image);
        // They have links, so they are truncated to the size that they have.
        let text = processed(&image);
        for (n, file) in inos.iter().enumerate() {
            let found = text.contains(&format!("runcating orphaned inode {file} "));
            assert_eq!(found, n != 1, "{text}");
        }
    }
}

#[test]
fn a_wrong_checksum_of_the_orphan_file_is_seen() {
    let image = common::mkfs(&["-b", "1024", "-O", "orphan_file"], "32M");
    let fs = Fs::open(&image);
    let sb = Superblock::verify(&fs.bytes[1024..]).unwrap();
    let file = fs.inode(sb.orphan_file_inum());
    let number = fs.lookup(&file, 0).unwrap().physical().unwrap();
    let good = fs.block(number.get()).to_vec();
    for (seed, at) in [
        (file.seed.map(|seed| seed ^ 1), number),
        (file.seed, FsBlock::new(number.get() + 1)),
    ] {
        let mut bytes = good.clone();
        Seal::orphan(seed, at).close(&mut bytes);
        assert!(OrphanBlock::verify(file.seed, number, &bytes).is_err());
    }
    let mut bytes = good.clone();
    Seal::orphan(file.seed, number).close(&mut bytes);
    assert!(bytes == good);
}

/// The list, in memory as the file system would keep it, and on disk.
struct List {
    fs: Fs,
    /// From the front.
    memory: Vec<u32>,
}

impl List {
    fn last_orphan(&self) -> u32 {
        Superblock::verify(&self.fs.bytes[1024..])
            .unwrap()
            .last_orphan()
    }

    fn dtime(&self, ino: u32) -> u32 {
        with_inode(&self.fs, ino, |inode| inode.dtime())
    }

    fn add(&mut self, n: u32) {
        let add = orphan_list::add(&self.fs.geometry, ino(n), self.last_orphan()).unwrap();
        edit_super(&mut self.fs, |sb| sb.set_last_orphan(Some(add.head)));
        edit(&mut self.fs, n, |e| e.set_dtime(add.next));
        self.memory.insert(0, n);
    }

    fn remove(&mut self, n: u32) {
        let at = self.memory.iter().position(|&i| i == n).unwrap();
        let (before, field) = match at {
            0 => (Before::Superblock, self.last_orphan()),
            _ => {
                let before = self.memory[at - 1];
                (Before::Inode(ino(before)), self.dtime(before))
            }
        };
        let plan = orphan_list::remove(&self.fs.geometry, ino(n), self.dtime(n), before, field);
        let plan = plan.unwrap();
        match plan.before {
            Before::Superblock => {
                edit_super(&mut self.fs, |sb| sb.set_last_orphan(Ino::new(plan.next)));
            }
            Before::Inode(before) => {
                edit(&mut self.fs, before.get(), |e| e.set_dtime(plan.next));
            }
        }
        edit(&mut self.fs, n, |e| e.set_dtime(0));
        self.memory.remove(at);
    }

    fn on_disk(&self) -> Vec<u32> {
        let mut all = Vec::new();
        let mut at = self.last_orphan();
        while at != 0 {
            assert!(all.len() < 10);
            all.push(at);
            at = self.dtime(at);
        }
        all
    }
}

#[test]
fn the_orphan_list() {
    let image = common::mkfs(&["-b", "1024", "-O", "^orphan_file,^has_journal"], "4M");
    let inos = make_files(&image, FILES);
    let clean = image.bytes();
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = prop::collection::vec(0..FILES.len(), 0..24);
    let result = runner.run(&steps, |steps| {
        image.poke(0, &clean);
        let mut list = List {
            fs: Fs::open(&image),
            memory: Vec::new(),
        };
        let mut on: BTreeMap<usize, ()> = BTreeMap::new();
        for n in steps {
            if on.remove(&n).is_some() {
                list.remove(inos[n]);
            } else {
                on.insert(n, ());
                list.add(inos[n]);
            }
            prop_assert_eq!(list.on_disk(), &list.memory[..]);
        }
        store(&list.fs, &image);
        if list.memory.is_empty() {
            prop_assert!(list.fs.bytes == clean);
            assert_clean(&image);
        } else {
            let text = processed(&image);
            for (n, file) in inos.iter().enumerate() {
                let found = text.contains(&format!("runcating orphaned inode {file} "));
                prop_assert_eq!(found, on.contains_key(&n));
            }
        }
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn a_damaged_list_is_left_alone() {
    let geo = Fs::open(&common::mkfs(&[], "16M")).geometry;
    let bad = Err(OrphanError::BadInode);
    let last = geo.inodes_count();
    for link in [12, 5, 8, last + 1, u32::MAX] {
        assert_eq!(orphan_list::add(&geo, ino(12), link), bad, "{link}");
        let answer = orphan_list::remove(&geo, ino(12), link, Before::Superblock, 12);
        assert_eq!(answer, Err(OrphanError::BadInode), "{link}");
    }
    let add = orphan_list::add(&geo, ino(12), last).unwrap();
    assert_eq!((add.head, add.next), (ino(12), last));
    let remove = |before, field| orphan_list::remove(&geo, ino(12), 0, before, field);
    assert!(remove(Before::Superblock, 13).is_err());
    assert!(remove(Before::Inode(ino(13)), 0).is_err());
    assert!(remove(Before::Inode(ino(12)), 12).is_err());
    assert!(remove(Before::Inode(ino(13)), 12).is_ok());
}
