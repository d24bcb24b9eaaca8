// SPDX-License-Identifier: GPL-2.0

//! Every call of every operation fails once: afterwards all is as it was.

use super::subject::Subject;
use crate::build::{htree, Lcg, Plan, PLAN};

/// Runs `op` with a failure at its first, second, ... call, until it gets through.
fn attempt<T, E: std::fmt::Debug>(
    subject: &Subject,
    what: &str,
    op: impl Fn() -> Result<T, E>,
) -> (T, u32) {
    for nr in 1.. {
        let before = subject.store.image();
        let (indexed, version) = (subject.indexed.get(), subject.version.get());
        subject.store.begin(nr);
        let result = op();
        let calls = subject.store.end();
        match result {
            Ok(done) if calls < nr => return (done, nr),
            Ok(_) => {
                // Only giving back blocks may go wrong in silence.
                assert_eq!(what, "remove");
                subject.check_structure();
            }
            Err(_) => {
                let after = subject.store.image();
                assert!(before == after, "{what}: call {nr} of {calls}");
                assert_eq!(indexed, subject.indexed.get());
            }
        }
        subject.store.restore(&before);
        subject.indexed.set(indexed);
        subject.version.set(version);
    }
    unreachable!()
}

fn insert(subject: &mut Subject, name: &[u8], n: u32) -> u32 {
    let (_, calls) = attempt(subject, "insert", || subject.try_insert(name, n));
    let file_type = super::subject::type_of(n);
    subject.model.insert(name.to_vec(), (n, file_type));
    calls
}

fn remove(subject: &mut Subject, name: &[u8]) -> u32 {
    let place = subject.find(name).place;
    let (_, calls) = attempt(subject, "remove", || subject.try_remove(name, place));
    subject.model.remove(name);
    calls
}

#[test]
fn small_directories() {
    for (checksums, dir_index) in [(true, true), (false, true), (true, false)] {
        let plan = Plan { checksums, ..PLAN };
        let mut subject = Subject::create(plan);
        subject.format.dir_index = dir_index;
        let names: Vec<_> = (0..220u32)
            .map(|i| format!("{i}{}", "x".repeat(i as usize * 7 % 90)).into_bytes())
            .collect();
        let (mut most, mut least) = (0, u32::MAX);
        for (nr, name) in names.iter().enumerate() {
            let calls = insert(&mut subject, name, 100 + nr as u32);
            (most, least) = (most.max(calls), least.min(calls));
            let place = subject.find(name).place;
            let n = 1000 + nr as u32;
            attempt(&subject, "replace", || subject.try_replace(name, place, n));
            let file_type = super::subject::type_of(n);
            subject.model.insert(name.clone(), (n, file_type));
        }
        assert!(most >= 6 && least <= 4, "{most} {least}");
        subject.check();
        let mut order: Vec<usize> = (0..names.len()).collect();
        Lcg(1).shuffle(&mut order);
        for nr in order {
            remove(&mut subject, &names[nr]);
        }
        subject.check();
        attempt(&subject, "parent", || {
            let parent = rext4::ondisk::Ino::new(77).unwrap();
            rext4::engine::dir_edit::set_parent(&subject.view(), parent)
        });
        subject.parent = 77;
        subject.check();
    }
}

/// An index that is full at every level but the last allowed.
#[test]
fn growth_of_the_index() {
    // (levels of the tree, pairs in its nodes, leaves, expected levels afterwards)
    for (leaves, large_dir, levels) in [(123u32, false, 1), (126 * 123, true, 2)] {
        let plan = Plan {
            entries: 1,
            large_dir,
            ..PLAN
        };
        let names: Vec<_> = (0..leaves)
            .map(|i| (100 + i, format!("{i}").into_bytes()))
            .collect();
        let mut subject = Subject::from_memory(htree(plan, &names));
        subject.model.clear();
        let before = subject.store.len();
        // One leaf fills up and is divided, and everything above it with it.
        let hash = subject.hash();
        let (low, high) = {
            let mut hashes: Vec<_> = names.iter().map(|(_, n)| hash.hash(n).major).collect();
            hashes.sort();
            (hashes[60], hashes[61])
        };
        let mut added = 0;
        for i in 0u32.. {
            let mut name = format!("{i}-").into_bytes();
            name.resize(255, b'z');
            let h = hash.hash(&name).major;
            if !(low..high).contains(&h) {
                continue;
            }
            added += 1;
            let calls = insert(&mut subject, &name, 7);
            if subject.store.len() != before {
                // Reads, edits, and a block per level and one more.
                assert!(calls >= 2 * levels + 5, "{calls}");
                break;
            }
        }
        assert_eq!(added, 4);
        let root = subject.store.image()[0].clone().unwrap();
        assert_eq!(u32::from(root[0x1e]), levels);
        assert_eq!(subject.store.len() - before, levels as usize + 1);
        subject.check_structure();
        let names: Vec<_> = subject.model.keys().cloned().collect();
        for name in names {
            subject.find(&name);
        }
    }
}
