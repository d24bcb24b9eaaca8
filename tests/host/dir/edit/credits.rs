// SPDX-License-Identifier: GPL-2.0

//! What names that come and go really change, the directory's own block map included, against
//! what the table of credits says of them.

use rext4::engine::credits::{Credits, Map, Shape};
use rext4::engine::dir_edit;
use rext4::engine::extent_edit::{change_needs, ExtentEditor, Inserted, Progress};
use rext4::engine::indirect_edit::{remove_needs, IndirectEditor, INSERT_NEEDS};
use rext4::ondisk::extent::Extent;
use rext4::ondisk::indirect::PointerBits;
use rext4::ondisk::{FileBlock, FsBlock};

use super::subject::Subject;
use crate::build::{Lcg, Plan, PLAN};
use crate::map_store::{Disk, Store, DATA, DEVICE};

/// The directory's block map: each of its blocks is somewhere else.
struct Blocks {
    root: [u8; 60],
    store: Store,
    indirect: bool,
    next: u64,
}

impl Blocks {
    fn new(indirect: bool) -> Self {
        let mut root = [0; 60];
        if !indirect {
            root[..8].copy_from_slice(&[0x0a, 0xf3, 0, 0, 4, 0, 0, 0]);
        }
        Self {
            root,
            store: Store::new(Disk::default(), 1024),
            indirect,
            next: DATA,
        }
    }

    fn map(&self) -> Map {
        if self.indirect {
            Map::Indirect
        } else {
            let depth = u16::from_le_bytes([self.root[6], self.root[7]]);
            Map::Extents { depth }
        }
    }

    fn append(&mut self, lblk: u32) {
        self.next += 2;
        let start = FsBlock::new(self.next);
        let store = &self.store;
        store.change(|disk| assert!(disk.data.insert(start.get())));
        let first = FileBlock::new(lblk);
        if self.indirect {
            let bits = PointerBits::from_block_bits(10).unwrap();
            let editor = IndirectEditor::new(store, store, &DEVICE, bits);
            assert_eq!(editor.insert(&mut self.root, first, 1, start), Ok(1));
        } else {
            let editor = ExtentEditor::new(store, store, &DEVICE, Some(1), 1024);
            let new = Extent {
                first,
                len: 1,
                start,
                unwritten: false,
            };
            assert_eq!(editor.insert(&mut self.root, &new), Ok(Inserted::Done));
        }
    }

    /// The last block: a call, and another one for the root's only child.
    fn remove_last(&mut self, lblk: u32) {
        let store = &self.store;
        let (from, mut to) = (FileBlock::new(lblk), FileBlock::END);
        for _ in 0..2 {
            let got = if self.indirect {
                let bits = PointerBits::from_block_bits(10).unwrap();
                let editor = IndirectEditor::new(store, store, &DEVICE, bits);
                editor.remove(&mut self.root, from, to, 0)
            } else {
                let editor = ExtentEditor::new(store, store, &DEVICE, Some(1), 1024);
                editor.remove(&mut self.root, from, to, 0)
            };
            match got.unwrap() {
                Progress::Done => break,
                Progress::More(end) => to = end,
            }
        }
    }

    /// Blocks of the map that are changed, made and freed when `n` blocks come or go.
    fn measure(&mut self, n: u32, mut f: impl FnMut(&mut Self, u32)) -> [u32; 3] {
        if n < 2 {
            (0..n).for_each(|n| f(self, n));
            let counts = self.store.settle();
            return [counts.dirtied, counts.created, counts.dropped];
        }
        // A block counts once, however often it is changed.
        let before = self.store.disk().nodes;
        (0..n).for_each(|n| f(self, n));
        self.store.settle();
        let after = self.store.disk().nodes;
        let both = before.iter().filter_map(|(n, b)| Some((b, after.get(n)?)));
        let changed = both.filter(|(b, a)| b != a).count();
        let new = after.keys().filter(|n| !before.contains_key(n)).count();
        let freed = before.keys().filter(|n| !after.contains_key(n)).count();
        [changed as u32, new as u32, freed as u32]
    }
}

/// How near the operations came to what each part of their credits is: the least distances. That
/// the parts come to their worst at once is rare.
#[derive(Debug)]
struct Slack {
    /// Changed and new blocks of the directory when a name is added.
    added: u32,
    /// The same of the map.
    grown: u32,
    /// Changed blocks of the directory when a name is removed.
    removed: u32,
    /// Freed blocks of the map.
    shrunk: u32,
}

fn within(used: Credits, asked: Credits) {
    assert!(used.revokes <= asked.revokes, "{used:?} {asked:?}");
    assert!(used.blocks <= asked.blocks, "{used:?} {asked:?}");
}

/// The parts of the map in a row of the table: blocks changed and new, and blocks freed.
fn of_map(map: Map) -> (u32, u32) {
    match map {
        Map::Extents { depth } => {
            let needs = change_needs(depth);
            let shrink = u32::from(depth > 0);
            (needs.changed + needs.allocated, u32::from(depth) + shrink)
        }
        Map::Indirect => {
            let needs = INSERT_NEEDS;
            (2 * needs.changed + needs.allocated, remove_needs(0).dropped)
        }
    }
}

/// Names come until `enough` says so of the root block and the number of names, then all go.
fn measure(plan: Plan, indirect: bool, mut enough: impl FnMut(&[u8], u32) -> bool) -> Slack {
    let shape = Shape::largest(plan.block_size, plan.large_dir);
    let mut subject = Subject::create(plan);
    let mut blocks = Blocks::new(indirect);
    blocks.append(0);
    blocks.store.settle();
    let mut slack = Slack {
        added: u32::MAX,
        grown: u32::MAX,
        removed: u32::MAX,
        shrunk: u32::MAX,
    };
    let name = |nr: u32| {
        let mut name = format!("{nr:x}-").into_bytes();
        name.resize(250, b'n');
        name
    };
    let mut count = 0;
    loop {
        let before = subject.store.len() as u32;
        subject.insert(&name(count), 100 + count);
        count += 1;
        let (changed, new) = (subject.store.changed() as u32, subject.store.added() as u32);
        let asked = shape.name_added(blocks.map());
        let (most_of_map, _) = of_map(blocks.map());
        let [map_changed, map_new, map_freed] =
            blocks.measure(new, |blocks, n| blocks.append(before + n));
        assert_eq!(map_freed, 0);
        let used = Credits {
            // The inode; a bitmap and a descriptor for each new block.
            blocks: 1 + changed + new + map_changed + map_new + 2 * (new + map_new),
            revokes: new + map_new,
        };
        within(used, asked);
        let levels = if plan.large_dir { 3 } else { 2 };
        let most = dir_edit::insert_changes(levels) + dir_edit::insert_adds(levels);
        slack.added = slack.added.min(most - changed - new);
        slack.grown = slack.grown.min(most_of_map - map_changed - map_new);
        let root = subject.store.image()[0].clone().unwrap();
        if enough(&root, count) {
            break;
        }
    }
    let mut order: Vec<u32> = (0..count).collect();
    Lcg(7).shuffle(&mut order);
    for nr in order {
        subject.remove(&name(nr));
        let (changed, after) = (subject.store.changed() as u32, subject.store.len() as u32);
        let asked = shape.name_removed(blocks.map());
        let (_, most_of_map) = of_map(blocks.map());
        let deep = most_of_map > 0;
        let gone = subject.gone.get();
        assert!(gone <= dir_edit::REMOVE_DROPS);
        assert!(changed <= dir_edit::REMOVE_CHANGES);
        let [map_changed, map_new, map_freed] =
            blocks.measure(gone, |blocks, _| blocks.remove_last(after));
        assert_eq!(map_new, 0);
        let used = Credits {
            blocks: 1 + changed + map_changed + 2 * (gone + map_freed),
            revokes: gone + map_freed,
        };
        within(used, asked);
        slack.removed = slack.removed.min(dir_edit::REMOVE_CHANGES - changed);
        if deep {
            slack.shrunk = slack.shrunk.min(most_of_map - map_freed);
        }
    }
    slack
}

/// Asserts that the parts are no more than what happens, or nearly so.
fn is_near(slack: &Slack, indirect: bool) {
    assert_eq!(slack.removed, 0, "{slack:?}");
    // For tables see below.
    assert!(slack.grown == 0 || indirect, "{slack:?}");
    assert!(slack.shrunk <= 1, "{slack:?}");
}

/// Two levels, both of which are divided at some time.
#[test]
fn two_levels() {
    for indirect in [false, true] {
        let slack = measure(PLAN, indirect, |_, count| count == 3000);
        assert_eq!(slack.added, 0, "{slack:?}");
        is_near(&slack, indirect);
    }
}

/// Three levels, with `large_dir`.
#[test]
fn three_levels() {
    let plan = Plan {
        large_dir: true,
        ..PLAN
    };
    let mut deep = 0;
    let slack = measure(plan, false, |root, _| {
        deep += u32::from(root[0x1e] == 2);
        deep == 10
    });
    // For all levels to be divided below a root with room, there have to be many more.
    assert!(slack.added <= 1, "{slack:?}");
    is_near(&slack, false);
}

/// Where one tree of tables ends and the next, or the next part of it, begins.
#[test]
fn between_tables() {
    let (single, double) = (256u32, 256 * 256);
    for first in [
        12,
        12 + single,
        12 + single + double,
        12 + single + 2 * double,
    ] {
        let mut blocks = Blocks::new(true);
        // One more at the front of the triple tree, so that its top is there.
        let there = [first - 2, 12 + single + double];
        for lblk in there.iter().take_while(|lblk| **lblk != first) {
            blocks.append(*lblk);
        }
        blocks.store.settle();
        let mut next = first - 1;
        let [changed, new, _] = blocks.measure(3, |blocks, _| {
            blocks.append(next);
            next += 1;
        });
        let (most, _) = of_map(Map::Indirect);
        assert!(changed <= 2 * INSERT_NEEDS.changed && new <= INSERT_NEEDS.allocated);
        let least = if first > 12 + single { most - 1 } else { 1 };
        assert!(
            (least..=most).contains(&(changed + new)),
            "{first} {changed} {new}"
        );
    }
}
