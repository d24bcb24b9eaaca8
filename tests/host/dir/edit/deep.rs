// SPDX-License-Identifier: GPL-2.0

//! Indexes of several levels, grown entry by entry, and what happens at the limit.

use rext4::engine::dir_edit::EditError;

use super::subject::Subject;
use crate::build::{htree, Lcg, Plan, PLAN};

fn long(nr: u32) -> Vec<u8> {
    let mut name = format!("{nr:x}-").into_bytes();
    name.resize(250, b'n');
    name
}

/// With names this long a leaf of 1 KiB is divided at every second one, so that a few ten
/// thousand make three levels; then all of it goes again.
#[test]
fn three_levels_and_back() {
    let plan = Plan {
        large_dir: true,
        ..PLAN
    };
    let mut subject = Subject::create(plan);
    let mut count = 0;
    let mut deep = 0;
    // Beyond the third level, to have index blocks divided below it as well.
    while deep < 3000 {
        subject.insert(&long(count), 100 + count);
        count += 1;
        if count % 500 == 0 || deep != 0 {
            let root = subject.store.image()[0].clone().unwrap();
            deep += u32::from(root[0x1e] == 2);
        }
    }
    subject.check();
    let full = subject.store.len();
    let mut order: Vec<u32> = (0..count).collect();
    Lcg(7).shuffle(&mut order);
    for (i, nr) in order.into_iter().enumerate() {
        subject.remove(&long(nr));
        if i % 8000 == 0 {
            subject.check_structure();
        }
    }
    subject.check();
    let left = subject.store.len();
    assert!(left < full / 20, "{left} of {full}");
}

/// Both levels full: an error, nothing else; a name that fits a leaf still goes in.
#[test]
fn a_full_index() {
    let plan = Plan { entries: 1, ..PLAN };
    let leaves = 126 * 123;
    let names: Vec<_> = (0..leaves)
        .map(|i| (100 + i, format!("{i}").into_bytes()))
        .collect();
    let mut subject = Subject::from_memory(htree(plan, &names));
    let before = subject.store.len();
    let hash = subject.hash();
    let mut hashes: Vec<_> = names.iter().map(|(_, n)| hash.hash(n).major).collect();
    hashes.sort();
    let mut full = 0;
    for i in 0.. {
        let name = long(i);
        if !(hashes[900]..hashes[901]).contains(&hash.hash(&name).major) {
            continue;
        }
        subject.store.begin(0);
        let result = subject.try_insert(&name, 7);
        subject.store.end();
        match result {
            Ok(_) => {
                let file_type = super::subject::type_of(7);
                subject.model.insert(name, (7, file_type));
                assert_eq!(full, 0);
            }
            Err(e) => {
                assert_eq!(e, EditError::IndexFull);
                full += 1;
                if full == 2 {
                    break;
                }
            }
        }
    }
    assert_eq!(subject.store.len(), before);
    assert_eq!(subject.model.len(), leaves as usize + 3);
    subject.check_structure();
    // With the feature there is a way out.
    subject.format.dx.large_dir = true;
    subject.store.restore(&subject.store.image());
    for i in 0.. {
        let name = long(i);
        let fits = (hashes[900]..hashes[901]).contains(&hash.hash(&name).major);
        if fits && !subject.model.contains_key(&name) {
            subject.insert(&name, 8);
            break;
        }
    }
    assert_eq!(subject.store.len(), before + 3);
    subject.check_structure();
}
