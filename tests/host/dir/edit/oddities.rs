// SPDX-License-Identifier: GPL-2.0

//! Wrong requests, damage, holes, and shapes that only other systems leave.

use rext4::engine::dir_edit::{self, EditError};
use rext4::engine::dir_lookup::Place;
use rext4::ondisk::dir::DirError;
use rext4::ondisk::dx::DxError;
use rext4::ondisk::{Corrupt, FileBlock, Ino};

use super::store::Store;
use super::subject::Subject;
use crate::build::{self, htree, leaf, names, seal_index, seal_leaf, Plan, PLAN};
use crate::memory::Error;

const BARE: Plan = Plan {
    checksums: false,
    ..PLAN
};

fn refused<T: std::fmt::Debug>(
    subject: &Subject,
    op: impl Fn() -> Result<T, EditError<Error>>,
) -> EditError<Error> {
    let before = subject.store.image();
    subject.store.begin(0);
    let error = op().unwrap_err();
    subject.store.end();
    assert!(before == subject.store.image());
    error
}

fn corrupt(what: impl Into<Corrupt>) -> EditError<Error> {
    EditError::Store(Error::Corrupt(what.into()))
}

#[test]
fn wrong_requests() {
    for count in [5u32, 500] {
        let mut subject = Subject::create(PLAN);
        for (ino, name) in names(count) {
            subject.insert(&name, ino);
        }
        let (ino, name) = names(count).pop().unwrap();
        let place = subject.find(&name).place;
        let long = vec![b'x'; 256];
        for name in [&b""[..], &long, b".", b".."] {
            let error = refused(&subject, || subject.try_insert(name, 7));
            assert_eq!(error, EditError::Name);
        }
        for name in [&b"."[..], b".."] {
            let error = refused(&subject, || subject.try_remove(name, place));
            assert_eq!(error, EditError::Name);
        }
        let Place::Block { lblk, offset } = place else {
            panic!();
        };
        let next = Place::Block {
            lblk,
            offset: offset + 4,
        };
        for (name, place) in [
            (&b"other"[..], place),
            (&name, next),
            (&name, Place::Implied),
            (&name, Place::InlineFirst { offset: 0 }),
        ] {
            let error = refused(&subject, || subject.try_remove(name, place));
            assert_eq!(error, EditError::Gone);
        }
        let error = refused(&subject, || subject.try_replace(b"other", place, ino));
        assert_eq!(error, EditError::Gone);
        let far = Place::Block {
            lblk: FileBlock::new(1000),
            offset,
        };
        let error = refused(&subject, || subject.try_remove(&name, far));
        assert_eq!(error, corrupt(DirError::PastEnd));
        subject.check();
    }
    // A name that is there already is seen where room is looked for.
    let mut subject = Subject::create(PLAN);
    subject.insert(b"twice", 7);
    let error = refused(&subject, || subject.try_insert(b"twice", 8));
    assert_eq!(error, EditError::Exists);
    for (ino, name) in names(300) {
        subject.insert(&name, ino);
    }
    let error = refused(&subject, || subject.try_insert(b"twice", 8));
    assert_eq!(error, EditError::Exists);
}

/// An index that makes no sense: with checksums an error, without them it is given up.
#[test]
fn unusable_index() {
    for (at, new) in [(28usize, &[7u8][..]), (32, &[9, 0]), (31, &[1])] {
        let mut all = Subject::from_memory(htree(PLAN, &names(200)));
        all.store.change(0, |root| {
            root[at..at + new.len()].copy_from_slice(new);
            seal_index(PLAN, root, 32);
        });
        let error = refused(&all, || all.try_insert(b"new", 7));
        assert!(matches!(error, EditError::Store(Error::Corrupt(_))));

        all = Subject::from_memory(htree(BARE, &names(200)));
        all.store.change(0, |root| {
            root[at..at + new.len()].copy_from_slice(new);
        });
        for i in 0..100u32 {
            all.insert(format!("new name {i}").as_bytes(), 100 + i);
        }
        assert_eq!(all.store.reports(), 1);
        assert!(!all.indexed.get());
        all.check();
        for name in all.model.keys().cloned().collect::<Vec<_>>() {
            all.remove(&name);
        }
        all.check();
    }
}

/// A file system that has lost `dir_index`: entries go anywhere, and no index is left behind.
#[test]
fn index_without_the_feature() {
    let mut subject = Subject::from_memory(htree(BARE, &names(200)));
    subject.format.dir_index = false;
    let (victims, len) = (subject.model.clone(), subject.store.len());
    subject.remove(&names(200)[3].1);
    for i in 0..100u32 {
        subject.insert(format!("new name {i}").as_bytes(), 100 + i);
    }
    assert!(!subject.indexed.get());
    subject.check();
    // While the flag is there, nothing goes that the index may name.
    let mut subject = Subject::from_memory(htree(BARE, &names(200)));
    subject.format.dir_index = false;
    for name in victims.keys() {
        subject.remove(name);
    }
    assert_eq!(subject.store.len(), len);
    assert!(subject.indexed.get());
}

#[test]
fn damaged_leaves() {
    for plan in [PLAN, BARE] {
        let subject = Subject::from_memory(htree(plan, &names(300)));
        let victim = names(300)[7].1.clone();
        let place = subject.find(&victim).place;
        let Place::Block { lblk, .. } = place else {
            panic!();
        };
        // The first record leads nowhere.
        subject.store.change(lblk.get(), |b| {
            b[4] = 8;
            b[5] = 0;
            seal_leaf(plan, b);
        });
        let error = refused(&subject, || subject.try_remove(&victim, place));
        assert!(matches!(error, EditError::Store(_) | EditError::Gone));
        let hash = subject.hash();
        let leaves = subject.leaves();
        // A name for that leaf.
        let nr = leaves.iter().position(|(l, _)| *l == lblk.get()).unwrap();
        let root = subject.store.image()[0].clone().unwrap();
        let bound = |nr: usize| {
            let at = 32 + nr * 8;
            u32::from_le_bytes(root[at..at + 4].try_into().unwrap())
        };
        let low = if nr == 0 { 0 } else { bound(nr) };
        let high = if nr + 1 == leaves.len() {
            u32::MAX
        } else {
            bound(nr + 1)
        };
        let name = (0..)
            .map(|i| format!("new {i}").into_bytes())
            .find(|name| (low..high).contains(&hash.hash(name).major))
            .unwrap();
        let error = refused(&subject, || subject.try_insert(&name, 7));
        assert_eq!(error, corrupt(DirError::ShortRecord));
        if plan.checksums {
            subject.store.change(lblk.get(), |b| b[100] ^= 1);
            let error = refused(&subject, || subject.try_insert(&name, 7));
            assert_eq!(error, corrupt(DirError::Checksum));
        }
    }
}

/// An index block in the place of a leaf is not taken for an empty leaf.
#[test]
fn an_index_block_as_a_leaf() {
    let plan = Plan { pairs: 10, ..BARE };
    let subject = Subject::from_memory(htree(plan, &names(1500)));
    let image = subject.store.image();
    let root = image[0].as_ref().unwrap();
    assert_eq!(root[0x1e], 1);
    let node = u32::from_le_bytes(root[36..40].try_into().unwrap());
    let other = u32::from_le_bytes(root[44..48].try_into().unwrap());
    // The first leaf of the first node becomes the second node.
    subject.store.change(node, |b| {
        b[12..16].copy_from_slice(&other.to_le_bytes());
    });
    let high = {
        let b = image[node as usize].as_ref().unwrap();
        u32::from_le_bytes(b[16..20].try_into().unwrap())
    };
    let hash = subject.hash();
    let name = (0..)
        .map(|i| format!("new {i}").into_bytes())
        .find(|name| hash.hash(name).major < high)
        .unwrap();
    let error = refused(&subject, || subject.try_insert(&name, 7));
    assert_eq!(error, corrupt(DxError::Cycle));
}

#[test]
fn holes_are_filled() {
    for plan in [PLAN, BARE] {
        let entries = |range: std::ops::Range<u32>| -> Vec<(u32, Vec<u8>)> {
            range
                .map(|i| (100 + i, format!("{i:050}").into_bytes()))
                .collect()
        };
        let mut first = vec![(12, b".".to_vec()), (2, b"..".to_vec())];
        first.extend(entries(0..14));
        let blocks = [
            Some(leaf(plan, &first)),
            None,
            Some(leaf(plan, &entries(20..34))),
            None,
        ];
        let blocks = blocks
            .into_iter()
            .map(|b| b.map(std::rc::Rc::from))
            .collect();
        let mut subject = Subject::around(build::format(plan), Store::new(1024, blocks));
        subject.seed = plan.checksums.then_some(build::SEED);
        for (ino, name) in subject
            .memory()
            .raw_entries()
            .into_iter()
            .map(|e| (e.2, e.3))
        {
            if !name.starts_with(b".") {
                let file_type = rext4::ondisk::dir::FileType::Regular;
                subject.model.insert(name, (ino, file_type));
            }
        }
        for i in 40..80u32 {
            subject.insert(format!("{i:050}").as_bytes(), 100 + i);
            if i == 60 {
                assert_eq!(subject.store.len(), 4);
                assert!(subject.store.image()[1].is_some());
            }
        }
        assert!(subject.store.image().iter().all(|b| b.is_some()));
        subject.check();
        for i in (14..20).chain(34..40) {
            let missing = format!("{i:050}");
            assert!(!subject.model.contains_key(missing.as_bytes()));
        }
        // A failure takes the filling back.
        let hole = subject.store.len() as u32;
        let mut image = subject.store.image();
        image.push(None);
        subject.store.restore(&image);
        for i in 100.. {
            if subject.store.image()[hole as usize].is_some() {
                break;
            }
            subject.insert(format!("{i:050}").as_bytes(), i);
        }
        assert_eq!(subject.store.len() as u32, hole + 1);
        subject.check();
    }
}

/// Blocks of more than a checksum apart: the whole range of record lengths.
#[test]
fn one_block_of_64k() {
    let plan = Plan {
        block_size: 65536,
        ..BARE
    };
    let mut subject = Subject::create(plan);
    subject.insert(b"a", 7);
    subject.insert(b"b", 8);
    subject.remove(b"a");
    subject.check();
    subject.remove(b"b");
    subject.check();
    assert_eq!(subject.store.len(), 1);
}

/// Empty or not: with damage it is neither.
#[test]
fn emptiness() {
    let mut subject = Subject::create(PLAN);
    let empty = |subject: &Subject| dir_edit::is_empty(&subject.view());
    assert_eq!(empty(&subject), Ok(true));
    subject.insert(b"x", 7);
    assert_eq!(empty(&subject), Ok(false));
    subject.remove(b"x");
    let good = subject.store.image();
    for (at, byte, expected) in [
        (0usize, 13u8, Ok(false)), // another directory's
        (8, b'x', Ok(false)),
        (12, 0, Ok(false)),
        (21, b'x', Ok(false)),
        (4, 8, Err(Error::Corrupt(DirError::ShortRecord.into()))),
    ] {
        subject.store.change(0, |b| {
            b[at] = byte;
            seal_leaf(PLAN, b);
        });
        assert_eq!(empty(&subject), expected, "{at}");
        subject.store.restore(&good);
    }
    // Holes in the middle, an entry at the end.
    let image = vec![good[0].clone(), None, good[0].clone()];
    subject.store.restore(&image);
    assert_eq!(empty(&subject), Ok(false));
    subject.store.restore(&vec![good[0].clone(), None, None]);
    assert_eq!(empty(&subject), Ok(true));
    subject.store.restore(&vec![None]);
    assert_eq!(empty(&subject), Ok(false));
    subject.store.restore(&Vec::new());
    assert_eq!(empty(&subject), Ok(false));
}

/// `..` in a block and in a root.
#[test]
fn parents() {
    for count in [3u32, 300] {
        let mut subject = Subject::create(PLAN);
        for (ino, name) in names(count) {
            subject.insert(&name, ino);
        }
        subject.set_parent(77);
        subject.check();
        subject.store.change(0, |b| {
            b[20] = b'x';
            if count == 3 {
                seal_leaf(PLAN, b);
            } else {
                seal_index(PLAN, b, 32);
            }
        });
        let parent = Ino::new(7).unwrap();
        let error = refused(&subject, || dir_edit::set_parent(&subject.view(), parent));
        assert_eq!(error, EditError::Gone);
    }
}
