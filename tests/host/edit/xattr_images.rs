// SPDX-License-Identifier: GPL-2.0

//! Random changes of attributes on real images, which e2fsck must find clean.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rext4::engine::credits::{Op, Shape};
use rext4::engine::xattr_edit::{
    plan, to_move_out, Block, BlockFate, Body, Existing, Outcome, Refused, Request,
};
use rext4::ondisk::inode_edit::NotExpanded;
use rext4::ondisk::xattr::{index, XattrArea, XattrValue};

use crate::attrs::{places, Attrs, Met, Store};
use crate::common::{self, Image};
use crate::disk::Fs;
use crate::edited::{assert_clean, edit, make_files, store};
use crate::xattr_areas::RULES;

const FILES: &[&str] = &["a", "b", "c", "d"];

type Step = (usize, (u8, Vec<u8>), Option<Vec<u8>>, Existing);

fn step(longest: usize) -> impl Strategy<Value = Step> {
    let index = prop_oneof![
        Just(index::USER),
        Just(index::TRUSTED),
        Just(index::SECURITY)
    ];
    let name = prop_oneof![
        Just(b"x".to_vec()),
        Just(b"name".to_vec()),
        Just(b"\xc3\xa4\xc3\xb6".to_vec()),
        Just(vec![b'l'; 60])
    ];
    // Few different bytes, so that equal values are met.
    let value = |len| (0..len, any::<bool>()).prop_map(|(len, odd)| vec![7 + u8::from(odd); len]);
    let value = prop_oneof![
        4 => value(30usize).prop_map(Some),
        3 => value(300).prop_map(Some),
        2 => value(longest).prop_map(Some),
        2 => prop_oneof![Just(900usize), Just(longest)].prop_map(|len| Some(vec![1; len])),
        3 => Just(None),
    ];
    let existing = prop_oneof![
        8 => Just(Existing::Any),
        1 => Just(Existing::Forbidden),
        1 => Just(Existing::Required),
    ];
    (0..FILES.len(), (index, name), value, existing)
}

/// What is left of a place if an attribute is taken out of it.
fn room(area: Option<XattrArea<'_>>, capacity: usize, key: &(u8, Vec<u8>)) -> usize {
    let used: usize = area
        .iter()
        .flat_map(|area| area.iter())
        .map(|xattr| xattr.unwrap())
        .filter(|xattr| (xattr.index, xattr.name) != (key.0, &key.1[..]))
        .map(|xattr| {
            let value = match xattr.value {
                XattrValue::Here(value) => value.len().next_multiple_of(4),
                XattrValue::EaInode(_) => 0,
            };
            (16 + xattr.name.len()).next_multiple_of(4) + value
        })
        .sum();
    capacity - used
}

/// Whether there really is no room.
fn assert_full(attrs: &Store, ino: u32, key: &(u8, Vec<u8>), len: usize) {
    let entry = (16 + key.1.len()).next_multiple_of(4);
    let need = entry
        + if attrs.rules.ea_inode {
            0
        } else {
            len.next_multiple_of(4)
        };
    let (body, block) = places(&attrs.fs, ino);
    if let Some(body) = body {
        let area = XattrArea::in_inode(&body, attrs.rules);
        assert!(need > room(area, body.len() - 8, key));
    }
    let bytes = block.map(|number| attrs.fs.block(number));
    let area = bytes.map(|bytes| XattrArea::in_block(bytes, attrs.rules).unwrap());
    let capacity = attrs.fs.geometry.block_size() as usize - 36;
    assert!(need > room(area, capacity, key));
}

/// How many values of a file's attribute block are in EA inodes.
fn others(attrs: &Store, ino: u32) -> u32 {
    let Some(number) = places(&attrs.fs, ino).1 else {
        return 0;
    };
    let area = XattrArea::in_block(attrs.fs.block(number), attrs.rules).unwrap();
    rext4::ondisk::xattr_block::ea_references(&area).count() as u32
}

fn one_step(attrs: &mut Store, inos: &[u32], models: &mut [Attrs], step: Step) {
    let (file, key, value, existing) = step;
    let request = Request {
        index: key.0,
        name: &key.1,
        value: value.as_deref(),
        existing,
        outside: false,
    };
    let model = &mut models[file];
    let there = model.contains_key(&key);
    let (before, freed) = (attrs.fs.bytes.clone(), attrs.met.ea_freed);
    let others = others(attrs, inos[file]);
    let answer = attrs.set(inos[file], &request);
    // What an EA inode that ends had goes with another handle.
    if attrs.met.ea_freed == freed {
        let len = value.as_ref().map_or(0, |value| value.len() as u32);
        let credits = Shape::new(&attrs.fs.geometry).credits(Op::SetXattr { len, others });
        let size = attrs.fs.geometry.block_size() as usize;
        let blocks = attrs.fs.bytes.chunks(size).zip(before.chunks(size));
        let changed = blocks.filter(|(now, before)| now != before).count();
        // The superblock's free counts, which are not written with a transaction, are.
        assert!(changed <= credits.blocks as usize, "{changed} {credits:?}");
    }
    match (existing, there) {
        (Existing::Forbidden, true) => assert_eq!(answer, Err(Refused::Exists)),
        (Existing::Required, false) => assert_eq!(answer, Err(Refused::Missing)),
        _ => match (answer, value) {
            (Ok(()), Some(value)) => drop(model.insert(key, value)),
            (Ok(()), None) => drop(model.remove(&key)),
            (Err(Refused::NoSpace), Some(value)) => {
                assert_full(attrs, inos[file], &key, value.len());
            }
            (answer, _) => panic!("{answer:?}"),
        },
    }
}

fn random(args: &[&str], longest: usize, steps: usize) -> Met {
    let image = common::mkfs(args, "2M");
    let inos = make_files(&image, FILES);
    let mut attrs = Store::new(Fs::open(&image));
    let mut models = vec![Attrs::new(); FILES.len()];
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = step(longest);
    for n in 0..steps {
        let (file, key, value, existing) = strategy.new_tree(&mut runner).unwrap().current();
        if n % 8 == 7 {
            // As another file: equal blocks come from that.
            let from = (file + 1) % FILES.len();
            let wanted = models[from].clone();
            let all: Vec<_> = models[file].keys().chain(wanted.keys()).cloned().collect();
            for key in all {
                let value = wanted.get(&key).cloned();
                let step = (file, key, value, Existing::Any);
                one_step(&mut attrs, &inos, &mut models, step);
            }
        } else {
            one_step(&mut attrs, &inos, &mut models, (file, key, value, existing));
        }
        for (ino, model) in inos.iter().zip(&models) {
            assert!(attrs.read(*ino) == *model, "step {n}");
        }
        if n % 25 == 24 {
            store(&attrs.fs, &image);
            assert_clean(&image);
        }
    }
    store(&attrs.fs, &image);
    check_names(&image, &models);
    // And all of them away again.
    for (ino, model) in inos.iter().zip(&models) {
        for (index, name) in model.keys() {
            let request = Request {
                index: *index,
                name,
                value: None,
                existing: Existing::Required,
                outside: false,
            };
            attrs.set(*ino, &request).unwrap();
        }
        assert!(attrs.read(*ino).is_empty());
        assert_eq!(places(&attrs.fs, *ino).1, None);
    }
    store(&attrs.fs, &image);
    assert_clean(&image);
    let empty = common::debugfs(&image, &["ea_list a"]);
    assert!(!empty.contains('='), "{empty}");
    attrs.met
}

/// debugfs lists as many attributes as there are.
fn check_names(image: &Image, models: &[Attrs]) {
    for (file, model) in FILES.iter().zip(models) {
        let list = common::debugfs(image, &[&format!("ea_list {file}")]);
        let count = list.lines().filter(|line| line.contains(" (")).count();
        assert_eq!(count, model.len(), "{list}");
        for ((_, name), value) in model {
            if let (Ok(name), 1..) = (std::str::from_utf8(name), value.len()) {
                let line = format!(".{name} ({})", value.len());
                assert!(!name.is_ascii() || list.contains(&line), "{line}: {list}");
            }
        }
    }
}

#[test]
fn body_and_block() {
    let met = random(&["-b", "1024"], 950, 240);
    for n in [
        met.changed,
        met.copied,
        met.new,
        met.freed,
        met.shared,
        met.body,
        met.quick,
    ] {
        assert!(n > 0, "{met:?}");
    }
    assert!(
        met.no_space > 0 && met.unchanged > 0 && met.ea_inodes == 0,
        "{met:?}"
    );
}

#[test]
fn block_alone() {
    let met = random(
        &["-b", "1024", "-I", "128", "-O", "^metadata_csum"],
        950,
        160,
    );
    assert!(
        met.body == 0 && met.copied > 0 && met.no_space > 0,
        "{met:?}"
    );
}

#[test]
fn with_ea_inodes() {
    let met = random(&["-b", "1024", "-O", "ea_inode"], 5000, 240);
    for n in [
        met.copied,
        met.shared,
        met.ea_inodes,
        met.ea_shared,
        met.ea_freed,
    ] {
        assert!(n > 0, "{met:?}");
    }
    let met = random(
        &["-b", "4096", "-I", "512", "-O", "ea_inode,^metadata_csum"],
        9000,
        160,
    );
    assert!(
        met.ea_inodes > 0 && met.ea_freed > 0 && met.changed > 0,
        "{met:?}"
    );
}

/// A block of two files: given up, and copied, with an EA inode in it.
#[test]
fn a_shared_block() {
    let image = common::mkfs(&["-b", "1024", "-I", "128", "-O", "ea_inode"], "16M");
    let inos = make_files(&image, FILES);
    let mut attrs = Store::new(Fs::open(&image));
    let mut set = |file: usize, name: &[u8], value: Option<&[u8]>| {
        let request = Request {
            index: index::USER,
            name,
            value,
            existing: Existing::Any,
            outside: false,
        };
        attrs.set(inos[file], &request).unwrap();
        store(&attrs.fs, &image);
        assert_clean(&image);
        let Met {
            shared,
            left,
            copied,
            ea_freed,
            ..
        } = attrs.met;
        (shared, left, copied, ea_freed)
    };
    let large = vec![5; 3000];
    for file in 0..3 {
        assert_eq!(set(file, b"large", Some(&large)), (file as u32, 0, 0, 0));
    }
    assert_eq!(set(0, b"large", None), (2, 1, 0, 0));
    assert_eq!(set(1, b"small", Some(b"1")), (2, 1, 1, 0));
    // A copy that drops what the original keeps.
    assert_eq!(set(0, b"large", Some(&large)), (3, 1, 1, 0));
    assert_eq!(set(0, b"small", Some(b"1")), (4, 1, 2, 0));
    assert_eq!(set(0, b"large", None), (4, 1, 3, 0));
    assert_eq!(set(1, b"large", Some(b"2")), (4, 1, 3, 0));
    assert_eq!(set(2, b"large", Some(b"3")), (4, 1, 3, 1));
    assert_eq!(attrs.read(inos[0]).len(), 1);
    assert_eq!(attrs.read(inos[1]).len(), 2);
}

/// Attributes are moved out of the body until the extra fields fit.
#[test]
fn expansion_moves_attributes_out() {
    let image = common::mkfs(&["-b", "1024"], "16M");
    let ino = make_files(&image, &["f"])[0];
    common::debugfs(&image, &["set_inode_field f extra_isize 4"]);
    let mut attrs = Store::new(Fs::open(&image));
    let set = |attrs: &mut Store, name: &[u8], value: &[u8], outside| {
        let request = Request {
            index: index::USER,
            name,
            value: Some(value),
            existing: Existing::Any,
            outside,
        };
        attrs.set(ino, &request).unwrap();
    };
    set(&mut attrs, b"large", &[1; 30], false);
    set(&mut attrs, b"s", &[2; 8], false);
    set(&mut attrs, b"t", &[3; 4], false);
    assert_eq!(places(&attrs.fs, ino).1, None);
    let before = attrs.read(ino);
    let mut moved = Vec::new();
    while let Err(e) = edit(&mut attrs.fs, ino, |e| e.expand(32)) {
        let NotExpanded::NoRoom { missing } = e else {
            panic!("{e:?}");
        };
        let body = places(&attrs.fs, ino).0.unwrap();
        let area = XattrArea::in_inode(&body, attrs.rules).unwrap();
        let (_, name) = to_move_out(&area, missing.into()).unwrap().unwrap();
        moved.push(name.to_vec());
        let value = before[&(index::USER, name.to_vec())].clone();
        let name = name.to_vec();
        set(&mut attrs, &name, &value, true);
    }
    // The smallest that was enough, and nothing else.
    assert_eq!(moved, [b"t".to_vec()]);
    assert_eq!(attrs.read(ino), before);
    assert!(places(&attrs.fs, ino).1.is_some());
    store(&attrs.fs, &image);
    assert_clean(&image);
}

#[test]
fn what_is_refused_before_looking() {
    let request = |index, name| Request {
        index,
        name,
        value: Some(&[1]),
        existing: Existing::Any,
        outside: false,
    };
    let body = [0u8; 96];
    let ask = |request| plan(&request, Body::Read(&body), Block::None, RULES, 1024);
    assert_eq!(ask(request(1, &[b'n'; 256])), Err(Refused::NameTooLong));
    assert_eq!(ask(request(1, b"a\0b")), Err(Refused::BadName));
    assert_eq!(ask(request(0, b"")), Err(Refused::BadName));
    assert!(ask(request(2, b"")).is_ok());
}

/// Bytes that happen to look like attributes are none where there are none.
#[test]
fn a_blank_body_is_not_read() {
    let request = Request {
        index: 1,
        name: b"a",
        value: Some(b"v"),
        existing: Existing::Required,
        outside: false,
    };
    let mut space = [0u8; 96];
    let value = rext4::ondisk::xattr_edit::NewValue::Here(b"v");
    let any = Request {
        existing: Existing::Any,
        ..request
    };
    fn ask(request: Request<'_>, body: Body<'_>) -> Result<Outcome, Refused> {
        plan(&request, body, Block::None, RULES, 1024)
    }
    let Ok(Outcome::Change(first)) = ask(any, Body::Read(&space)) else {
        panic!("no room in {} bytes", space.len());
    };
    first.apply_body(&any, &value, &mut space);
    assert_eq!(ask(request, Body::Read(&space)), Ok(Outcome::Unchanged));
    let blank = Body::Blank(space.len());
    assert_eq!(ask(request, blank), Err(Refused::Missing));
    // What is put there replaces everything.
    let Ok(Outcome::Change(again)) = ask(any, blank) else {
        panic!("no room in {} bytes", space.len());
    };
    let expected = space;
    space[20..].fill(0xee);
    again.apply_body(&any, &value, &mut space);
    assert_eq!(space, expected);
    // And it goes elsewhere where there is no room.
    let small = ask(any, Body::Blank(4 + 4));
    assert!(matches!(small, Ok(Outcome::Change(p)) if p.block() == BlockFate::New));
}

/// The block is asked for only where the answer depends on it.
#[test]
fn a_block_that_is_not_needed_is_not_read() {
    let mut body = [0u8; 96];
    let request = |value| Request {
        index: 1,
        name: b"a",
        value: Some(value),
        existing: Existing::Any,
        outside: false,
    };
    let ask = |body: &[u8], value| {
        plan(
            &request(value),
            Body::Read(body),
            Block::Unread,
            RULES,
            1024,
        )
    };
    // It might be in the block.
    assert_eq!(ask(&body, b"v"), Ok(Outcome::NeedBlock));
    let first = plan(&request(b"v"), Body::Read(&body), Block::None, RULES, 1024);
    let Ok(Outcome::Change(first)) = first else {
        panic!("{first:?}");
    };
    let value = rext4::ondisk::xattr_edit::NewValue::Here(b"v");
    first.apply_body(&request(b"v"), &value, &mut body);
    assert_eq!(ask(&body, b"v"), Ok(Outcome::Unchanged));
    assert!(matches!(ask(&body, b"w"), Ok(Outcome::Change(p)) if p.block() == BlockFate::Keep));
    assert_eq!(ask(&body, &[1; 100]), Ok(Outcome::NeedBlock));
}
