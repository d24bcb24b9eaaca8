// SPDX-License-Identifier: GPL-2.0

//! Inline directories.

use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dir_lookup::Place;
use rext4::ondisk::dir::{DirError, FileType};
use rext4::ondisk::Corrupt;

use crate::common;
use crate::disk::Fs;

use super::build::{self, put_rec_len, PLAN};
use super::images;
use super::memory::MemDir;
use super::model;
use super::order::check_order;

const WIDE: CookieWidth = CookieWidth::Bits64;

fn area(len: usize, entries: &[(u32, &str)]) -> Vec<u8> {
    let mut b = vec![0u8; len];
    let (mut at, mut last) = (0, 0);
    for (ino, name) in entries {
        b[at..at + 4].copy_from_slice(&ino.to_le_bytes());
        b[at + 6] = name.len() as u8;
        b[at + 7] = 1;
        b[at + 8..at + 8 + name.len()].copy_from_slice(name.as_bytes());
        last = at;
        at += (8 + name.len()).next_multiple_of(4).max(12);
        put_rec_len(&mut b, last + 4, at - last, 4096);
    }
    if len != 0 {
        put_rec_len(&mut b, last + 4, len - last, 4096);
    }
    b
}

fn inline(first: &[(u32, &str)], second: &[(u32, &str)], len: usize) -> MemDir {
    let mut dir = MemDir::new(build::format(PLAN), vec![]);
    let mut head = [0u8; 60];
    head[0] = 7;
    head[4..].copy_from_slice(&area(56, first));
    dir.inline = Some((head, area(len, second)));
    dir.size = 60 + len as u64;
    dir
}

#[test]
fn both_orders() {
    let (first, second) = (
        [(20, "alpha"), (21, "b"), (0, "gone")],
        [(22, "gamma-gamma"), (23, "d")],
    );
    for len in [0, 40, 96] {
        let second = if len == 0 { &[][..] } else { &second[..] };
        let mut dir = inline(&first, second, len);
        let mut entries = vec![(12, b".".to_vec()), (7, b"..".to_vec())];
        let named = first.iter().chain(second);
        let live = named.filter(|(ino, _)| *ino != 0);
        entries.extend(live.map(|(ino, name)| (*ino, name.as_bytes().to_vec())));

        let expected = model::small(&entries, &dir.format.default_hash.unwrap());
        for records in [1, 3, 256] {
            for per_call in [1, 2, 100] {
                let seen = dir.read_from(0, WIDE, records, per_call).unwrap();
                check_order(&seen, &expected, WIDE);
            }
        }
        for (ino, name) in &entries {
            let found = dir.lookup(name).unwrap().unwrap();
            assert_eq!(found.ino.get(), *ino);
            let dots = name.starts_with(b".");
            assert_eq!(found.place == Place::Implied, dots);
            assert_eq!(found.file_type == FileType::Directory, dots);
        }
        assert_eq!(dir.lookup(b"gone").unwrap(), None);
        assert_eq!(dir.lookup(b"delta").unwrap(), None);

        // From front to back, at the positions that a block would give.
        dir.format.dir_index = false;
        let mut positions = vec![0, 12, 24, 40];
        if len != 0 {
            positions.extend([80, 100]);
        }
        let seen = dir.read_all();
        let got: Vec<_> = seen.iter().map(|s| (s.ino, s.name.clone())).collect();
        assert_eq!(got, entries);
        assert!(seen
            .iter()
            .map(|s| s.position)
            .eq(positions.iter().copied()));
        for start in 0..200 {
            let rest: Vec<_> = seen.iter().filter(|s| s.position >= start).collect();
            for per_call in [1, 3, 100] {
                let again = dir.read_from(start, WIDE, 4, per_call).unwrap();
                assert!(again.iter().eq(rest.iter().copied()), "{start}");
            }
        }
        assert_eq!(dir.reported(), []);
    }
}

#[test]
fn damage() {
    let mut dir = inline(&[(20, "alpha"), (21, "b")], &[(22, "g")], 40);
    let (head, _) = dir.inline.as_mut().unwrap();
    head[0] = 0; // no parent
    head[4 + 16 + 4] = 4; // a record that leads nowhere
    for dir_index in [true, false] {
        dir.format.dir_index = dir_index;
        dir.reports.borrow_mut().clear();
        let mut names: Vec<_> = dir.read_all().into_iter().map(|s| s.name).collect();
        names.sort();
        assert_eq!(names, [&b"."[..], b"alpha", b"g"]);
        let reported = dir.reported();
        assert!(reported.contains(&Corrupt::Dir(DirError::ShortRecord)));
        assert!(reported.contains(&Corrupt::Dir(DirError::BadInode)));
    }
    assert!(dir.lookup(b"alpha").unwrap().is_some());
    assert!(dir.lookup(b"g").is_err());
    assert!(dir.lookup(b"..").is_err());
}

#[test]
fn as_mke2fs_makes_them() {
    for features in ["inline_data", "inline_data,^dir_index"] {
        let image = common::mkfs(&["-t", "ext4", "-O", features], "8M");
        let mut commands = vec!["mkdir d".to_string(), "cd d".into()];
        // More would make e2fsprogs convert the directory: only the kernel uses the second area.
        let names = ["one", "two-two", "3"];
        commands.extend(names.iter().map(|name| format!("mkdir {name}")));
        let commands: Vec<_> = commands.iter().map(String::as_str).collect();
        common::debugfs(&image, &commands);
        let fs = Fs::open(&image);
        let ino = images::ino_of(&image, "/d");
        let dir = images::load(&fs, ino);
        assert!(dir.inline.is_some());
        let listed = images::ls(&image, "/d");
        let mut entries: Vec<_> = listed.clone();
        let seen = dir.read_all();
        if features == "inline_data" {
            let expected = model::small(&entries, &dir.format.default_hash.unwrap());
            check_order(&seen, &expected, WIDE);
        }
        let mut got: Vec<_> = seen.into_iter().map(|s| (s.ino, s.name)).collect();
        got.sort();
        entries.sort();
        assert_eq!(got, entries);
        assert_eq!(entries.len(), names.len() + 2);
        for (ino, name) in entries {
            assert_eq!(dir.lookup(&name).unwrap().unwrap().ino.get(), ino);
        }
    }
}
