// SPDX-License-Identifier: GPL-2.0

//! Readdir of indexed directories: order, positions, seeking, batches; and lookup.

use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dir_lookup::Place;

use super::build::{self, htree, names, Plan, PLAN};
use super::memory::{MemDir, Seen};
use super::model::{self, Expected};

pub fn check_order(seen: &[Seen], expected: &[Expected], width: CookieWidth) {
    assert_eq!(seen.len(), expected.len());
    for (seen, (key, ino, name)) in seen.iter().zip(expected) {
        let text = String::from_utf8_lossy(name);
        assert_eq!(
            (&seen.name, seen.ino, seen.position),
            (name, *ino, width.position(*key)),
            "{text}"
        );
    }
}

fn model_of(dir: &MemDir, plan: Plan) -> Vec<Expected> {
    model::indexed(dir, &dir.format.hash(plan.version).unwrap())
}

fn check_lookups(dir: &MemDir) {
    for (lblk, offset, ino, name) in dir.raw_entries() {
        let found = dir.lookup(&name).unwrap().expect("name");
        assert_eq!(found.ino.get(), ino);
        let Place::Block {
            lblk: at,
            offset: in_block,
        } = found.place
        else {
            panic!("{found:?}");
        };
        assert_eq!((at.get(), in_block as usize), (lblk, offset));
        let mut other = name.clone();
        other.push(b'~');
        assert_eq!(dir.lookup(&other).unwrap().map(|f| f.ino), None);
    }
    assert_eq!(dir.lookup(b".").unwrap().unwrap().ino.get(), 12);
    assert_eq!(dir.lookup(b"..").unwrap().unwrap().ino.get(), 2);
    assert_eq!(dir.lookup(&[b'n'; 256]).unwrap(), None);
}

fn plans() -> Vec<(Plan, u32, u8)> {
    let mut plans = Vec::new();
    for version in 0..3 {
        for checksums in [false, true] {
            plans.push((
                Plan {
                    version,
                    checksums,
                    ..PLAN
                },
                2000,
                0,
            ));
        }
    }
    let narrow = Plan { pairs: 10, ..PLAN };
    plans.push((narrow, 2000, 1));
    let deep = Plan {
        pairs: 6,
        large_dir: true,
        ..PLAN
    };
    plans.push((deep, 3000, 2));
    for block_size in [2048, 4096, 16384, 65536] {
        plans.push((Plan { block_size, ..PLAN }, 9000, 0));
    }
    plans
}

#[test]
fn every_shape_reads_as_the_model_says() {
    for (plan, count, levels) in plans() {
        let dir = htree(plan, &names(count));
        assert_eq!(dir.blocks[0].as_ref().unwrap()[0x1e], levels);
        let expected = model_of(&dir, plan);
        assert_eq!(expected.len() as u32, count + 2);
        check_order(&dir.read_all(), &expected, CookieWidth::Bits64);
        check_lookups(&dir);
        assert_eq!(dir.reported(), []);
    }
}

#[test]
fn any_batch_and_any_buffer_give_the_same() {
    let plan = Plan { pairs: 10, ..PLAN };
    let dir = htree(plan, &names(500));
    let expected = model_of(&dir, plan);
    for restless in [false, true] {
        dir.restless.set(restless);
        for width in [CookieWidth::Bits64, CookieWidth::Bits32] {
            for records in [0, 1, 2, 3, 5, 17, 64, 256] {
                for per_call in [1, 2, 3, 7, 100, usize::MAX] {
                    let seen = dir.read_from(0, width, records, per_call).unwrap();
                    check_order(&seen, &expected, width);
                }
            }
        }
    }
}

#[test]
fn reading_starts_at_any_position() {
    let plan = Plan { pairs: 10, ..PLAN };
    let dir = htree(plan, &names(700));
    let all = model_of(&dir, plan);
    for width in [CookieWidth::Bits64, CookieWidth::Bits32] {
        let mut positions: Vec<_> = all.iter().map(|(key, ..)| width.position(*key)).collect();
        // Between entries as well: they may have gone.
        positions.extend(positions.clone().iter().map(|p| p + 1));
        positions.extend([1, width.end() - 1, width.end()]);
        for position in positions {
            let rest: Vec<_> = all
                .iter()
                .filter(|(key, ..)| width.position(*key) >= position)
                .cloned()
                .collect();
            let rest = if position == width.end() {
                vec![]
            } else {
                rest
            };
            for records in [4, 256] {
                let seen = dir.read_from(position, width, records, 40).unwrap();
                check_order(&seen, &rest, width);
            }
        }
    }
    // No position whatever is too strange.
    for position in [u64::MAX, 1 << 63, 1 << 62, 0xffff_ffff, (3 << 32) | 5] {
        for width in [CookieWidth::Bits64, CookieWidth::Bits32] {
            dir.read_from(position, width, 8, 3).unwrap();
        }
    }
}

/// Three levels of index blocks, and more names than the model's patience: order and number.
#[test]
fn large_directory_of_three_levels() {
    let plan = Plan {
        large_dir: true,
        entries: 8,
        ..PLAN
    };
    let count = 140_000;
    let dir = htree(plan, &names(count));
    assert_eq!(dir.blocks[0].as_ref().unwrap()[0x1e], 2);
    let expected = model_of(&dir, plan);
    check_order(&dir.read_all(), &expected, CookieWidth::Bits64);
    for (ino, name) in names(count).iter().step_by(97) {
        assert_eq!(dir.lookup(name).unwrap().unwrap().ino.get(), *ino);
    }
    // Without the feature, the index is too deep: reported, and the name is found all the same.
    let mut small = dir;
    small.format.dx.large_dir = false;
    let (ino, name) = &names(count)[5];
    assert_eq!(small.lookup(name).unwrap().unwrap().ino.get(), *ino);
    assert_eq!(small.reported().len(), 1);
}

/// A full buffer in the middle of a leaf costs no second pass over it.
#[test]
fn a_batch_outlives_the_call() {
    let plan = Plan {
        block_size: 4096,
        ..PLAN
    };
    let dir = htree(plan, &names(3000));
    dir.read_from(0, CookieWidth::Bits64, 512, 10).unwrap();
    // Each call reads the block again that entries are handed out from; only a call that comes
    // to another leaf reads the index and that leaf.
    let calls = 3002 / 10 + 2;
    let leaves = dir.blocks.len() as u64 - 1;
    assert!(leaves * 5 < calls);
    assert!(dir.reads.get() <= calls + 2 * leaves, "{}", dir.reads.get());
}

/// Entries that come and go between two calls do not disturb the others.
#[test]
fn changes_between_calls() {
    use rext4::engine::dir_batch::Record;
    use rext4::engine::readdir::{self, Cursor};

    let all = names(600);
    let plan = PLAN;
    for records in [3, 256] {
        let mut dir = htree(plan, &all);
        let width = CookieWidth::Bits64;
        let (mut cursor, mut records) = (Cursor::new(), vec![Record::EMPTY; records]);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut gone: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut left = 25;
            let before = seen.len();
            let position = cursor.position();
            readdir::fill(
                &dir.view(),
                &mut cursor,
                &mut records,
                position,
                width,
                |item| {
                    left -= 1;
                    if left >= 0 {
                        seen.push(item.name.to_vec());
                    }
                    left >= 0
                },
            )
            .unwrap();
            if seen.len() == before {
                break;
            }
            // Another block layout, and a few names less.
            let victims = all
                .iter()
                .filter(|(ino, _)| ino % 40 == seen.len() as u32 % 40);
            gone.extend(victims.map(|(_, name)| name.clone()));
            let rest: Vec<_> = all
                .iter()
                .filter(|(_, name)| !gone.contains(name))
                .cloned()
                .collect();
            let version = dir.version.get() + 1;
            dir = htree(plan, &rest);
            dir.version.set(version);
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "a name came twice");
        for (_, name) in &all {
            assert!(gone.contains(name) || seen.contains(name));
        }
    }
}

/// One block without an index: `.` and `..` are hashed like any name.
#[test]
fn single_block_is_in_hash_order() {
    for version in 0..3 {
        let plan = Plan { version, ..PLAN };
        let mut entries = vec![(12, b".".to_vec()), (2, b"..".to_vec())];
        entries.extend(names(25));
        let mut dir = MemDir::new(build::format(plan), vec![Some(build::leaf(plan, &entries))]);
        dir.seed = Some(build::SEED);
        let hash = dir.format.hash(version).unwrap();
        let expected = model::small(&entries, &hash);
        for records in [1, 4, 256] {
            let seen = dir.read_from(0, CookieWidth::Bits64, records, 3).unwrap();
            check_order(&seen, &expected, CookieWidth::Bits64);
        }
        assert_ne!(dir.read_all()[0].name, b".");
        for (ino, name) in &entries {
            assert_eq!(dir.lookup(name).unwrap().unwrap().ino.get(), *ino);
        }
        // Without dir_index: as stored, by offset.
        dir.format.dir_index = false;
        let seen = dir.read_all();
        assert_eq!(seen[0].position, 0);
        assert_eq!(seen[1].position, 12);
        let names: Vec<_> = seen.iter().map(|s| (s.ino, s.name.clone())).collect();
        assert_eq!(names, entries);
    }
}
