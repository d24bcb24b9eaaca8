// SPDX-License-Identifier: GPL-2.0

//! Where inodes go, and what of it goes to disk.

use proptest::prelude::*;

use rext4::engine::alloc::goal::flex_groups;
use rext4::engine::alloc::inode_bits::find_free_inode;
use rext4::engine::alloc::orlov::{
    next_group, place_directory, place_file, GroupStats, Parent, Totals,
};
use rext4::ondisk::group::edit::GroupEdit;
use rext4::ondisk::group::GroupError;
use rext4::ondisk::{bitmap, Geometry, Group, Ino};

use crate::images::{unchanged, Random, CASES};
use crate::policy::geometry;
use crate::shape::{expect_clean, fsck, Opened};

/// Free inodes, free clusters and directories of each group.
#[derive(Clone)]
struct Stats(Vec<(u32, u32, u32)>);

impl GroupStats for Stats {
    fn free_inodes(&self, group: Group) -> u32 {
        self.0[group.get() as usize].0
    }
    fn free_clusters(&self, group: Group) -> u32 {
        self.0[group.get() as usize].1
    }
    fn used_dirs(&self, group: Group) -> u32 {
        self.0[group.get() as usize].2
    }
}

impl Stats {
    fn empty() -> Self {
        Self(vec![(16, 240, 0); 128])
    }

    fn totals(&self) -> Totals {
        let sum = |f: fn(&(u32, u32, u32)) -> u32| self.0.iter().map(|g| u64::from(f(g))).sum();
        Totals {
            free_inodes: sum(|g| g.0),
            free_clusters: sum(|g| g.1),
            used_dirs: sum(|g| g.2),
        }
    }

    /// Makes an inode.
    fn make(&mut self, group: Group, dir: bool) {
        let g = &mut self.0[group.get() as usize];
        g.0 -= 1;
        g.2 += u32::from(dir);
    }
}

fn parent(group: u32, spreads: bool) -> Parent {
    Parent {
        ino: Ino::new(group * 16 + 3).unwrap(),
        group: Group::new(group),
        last: None,
        spreads,
    }
}

#[test]
fn directories_of_the_root_spread_evenly() {
    let geo = geometry(true);
    let mut stats = Stats::empty();
    let mut random = Random(7);
    for n in 1..=80u32 {
        let hash = random.below(u32::MAX);
        let group = place_directory(geo, &stats, &stats.totals(), &parent(0, true), hash).unwrap();
        stats.make(group, true);
        // The eight flex groups get one each before any gets another.
        let counts: Vec<u64> = (0..8)
            .map(|f| stats.flex(geo, Group::new(16 * f)).used_dirs)
            .collect();
        let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(high - low <= 1, "{n}: {counts:?}");
        // Packed at the front of the flex group.
        let first = flex_groups(geo, group).find(|g| stats.0[*g as usize].0 > 0);
        assert!(group.get() <= first.unwrap());
    }
    // The hash says where the search begins.
    let stats = Stats::empty();
    for hash in 0..20 {
        let group = place_directory(geo, &stats, &stats.totals(), &parent(0, true), hash);
        assert_eq!(group, Some(Group::new(hash % 8 * 16)));
    }
    // Flex groups below the average of inodes or clusters are left out.
    let mut stats = Stats::empty();
    stats.0[40].0 = 0;
    stats.0[60].1 = 0;
    let place = |hash| place_directory(geo, &stats, &stats.totals(), &parent(0, true), hash);
    assert_eq!([2, 3, 4].map(|h| place(h).unwrap().get()), [64, 64, 64]);
}

#[test]
fn other_directories_stay_near() {
    let geo = geometry(true);
    let mut stats = Stats::empty();
    let place = |stats: &Stats, p: Parent| {
        place_directory(geo, stats, &stats.totals(), &p, 5).map(Group::get)
    };
    assert_eq!(place(&stats, parent(37, false)), Some(32));
    let last = Parent {
        last: Some(Group::new(85)),
        ..parent(37, false)
    };
    assert_eq!(place(&stats, last), Some(80));
    // Too many directories: 256 / 16 more than the average.
    for group in 32..48 {
        stats.0[group].2 = 1;
    }
    assert_eq!(place(&stats, parent(37, false)), Some(32));
    stats.0[33].2 = 4;
    assert_eq!(place(&stats, parent(37, false)), Some(48));
    // No average anywhere: any inode will do.
    let mut stats = Stats(vec![(0, 0, 50); 128]);
    stats.0[20] = (1, 0, 3);
    for spreads in [false, true] {
        assert_eq!(place(&stats, parent(37, spreads)), Some(20));
    }
    stats.0[20].0 = 0;
    for spreads in [false, true] {
        assert_eq!(place(&stats, parent(37, spreads)), None);
    }
}

#[test]
fn files_stay_with_their_directory() {
    let flex = geometry(true);
    let mut stats = Stats::empty();
    let place = |geo: &Geometry, stats: &Stats, p: Parent| {
        place_file(geo, stats, &stats.totals(), &p).map(Group::get)
    };
    assert_eq!(place(flex, &stats, parent(37, true)), Some(32));
    for group in 32..48 {
        stats.0[group].0 = 0;
    }
    assert_eq!(place(flex, &stats, parent(37, true)), Some(48));
    let last = Parent {
        last: Some(Group::new(85)),
        ..parent(37, true)
    };
    assert_eq!(place(flex, &stats, last), Some(80));

    // Without flex groups: the own group, then 1, 3, 7 ... from a place of the directory's.
    let plain = geometry(false);
    let mut stats = Stats::empty();
    let p = parent(37, true);
    assert_eq!(place(plain, &stats, p), Some(37));
    stats.0[37].1 = 0;
    let start = (37 + p.ino.get()) % 128;
    for step in [1, 3, 7, 15, 31, 63, 127] {
        let at = (start + step) % 128;
        assert_eq!(place(plain, &stats, p), Some(at));
        stats.0[at as usize].1 = 0;
    }
    // Then any with a free inode, from the next one on; its own at the end.
    assert_eq!(place(plain, &stats, p), Some(38));
    for group in 0..128 {
        stats.0[group].0 = u32::from(group == 37);
    }
    assert_eq!(place(plain, &stats, p), Some(37));
    assert_eq!(
        next_group(plain, &stats, Group::new(127)),
        Some(Group::new(37))
    );
    stats.0[37].0 = 0;
    assert_eq!(place(plain, &stats, p), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn an_inode_is_found_if_there_is_one(
        flex in any::<bool>(),
        some in prop::collection::vec((0usize..128, 0u32..17, 0u32..240, 0u32..17), 0..30),
        group in 0u32..128,
        last in prop::option::of(0u32..128),
        (spreads, dir, hash) in any::<(bool, bool, u32)>(),
    ) {
        let geo = geometry(flex);
        let mut stats = Stats(vec![(0, 0, 0); 128]);
        for (at, inodes, clusters, dirs) in some {
            stats.0[at] = (inodes, clusters, dirs);
        }
        let parent = Parent { last: last.map(Group::new), ..parent(group, spreads) };
        let found = if dir {
            place_directory(geo, &stats, &stats.totals(), &parent, hash)
        } else {
            place_file(geo, &stats, &stats.totals(), &parent)
        };
        let any = stats.0.iter().any(|g| g.0 > 0);
        prop_assert_eq!(found.is_some(), any);
        prop_assert!(found.is_none_or(|g| stats.free_inodes(g) > 0));
        // Totals are hints.
        let found = place_directory(geo, &stats, &Totals { free_inodes: 1 << 60, ..Totals::default() }, &parent, hash);
        prop_assert_eq!(found.is_some(), any);
    }
}

#[test]
fn random_inodes_leave_a_clean_image() {
    for (seed, (name, args, size)) in CASES.iter().enumerate() {
        let mut random = Random(seed as u64 + 99);
        let mut fs = Opened::mkfs(args, size);
        let per_group = fs.geo.inodes_per_group().get();
        let mut taken: Vec<(Group, u32, bool)> = Vec::new();
        for n in 0..300u32 {
            if n > 100 && random.below(2) == 0 && !taken.is_empty() {
                let at = random.below(taken.len() as u32) as usize;
                let (group, index, dir) = taken.swap_remove(at);
                free(&mut fs, group, index, dir);
                continue;
            }
            let group = Group::new(random.below(fs.geo.groups_count()));
            let goal = random.below(per_group + 1) * random.below(2);
            let bits = fs.inode_bitmap(group);
            let found = fs.with_desc(group, |desc| {
                find_free_inode(&fs.geo, group, desc, &bits, goal)
            });
            // The slow way.
            let uninit = fs.with_desc(group, |desc| desc.inode_uninit());
            let free = |i: &u32| {
                let ino = fs.geo.ino_at(group, *i).unwrap().get();
                ino >= fs.geo.first_ino() && (uninit || bitmap::is_clear(&bits, *i, 1))
            };
            assert_eq!(found, (goal..per_group).find(free), "{name}");
            let Some(index) = found else { continue };
            let dir = random.below(3) == 0;
            if random.below(2) == 0 {
                fs.change(group, false, |b, zones| b.init_clusters(zones).unwrap());
            }
            let before = fs.with_desc(group, |d| {
                (d.free_inodes(), d.used_dirs(), d.itable_unused())
            });
            fs.change(group, true, |b, _| {
                if uninit {
                    // What it says of the table means nothing yet.
                    let mut edit = GroupEdit::new(b.geo, b.group, b.desc).unwrap();
                    edit.set_itable_unused(random.below(per_group + 1));
                    edit.finish();
                }
                assert_eq!(b.init_inodes().unwrap(), uninit);
                b.take_inode(index, dir).unwrap();
                unchanged(b, |b| b.take_inode(index, dir), GroupError::BitsSet);
                unchanged(b, |b| b.take_inode(per_group, dir), GroupError::BitsOutside);
                if group.get() == 0 {
                    unchanged(b, |b| b.take_inode(5, dir), GroupError::ReservedInode);
                    unchanged(b, |b| b.free_inode(1, dir), GroupError::ReservedInode);
                }
            });
            let after = fs.with_desc(group, |d| {
                (d.free_inodes(), d.used_dirs(), d.itable_unused())
            });
            assert_eq!(
                (after.0 + 1, after.1),
                (before.0, before.1 + u32::from(dir))
            );
            if fs.geo.features().has_group_csum() {
                assert_eq!(after.2, before.2.min(per_group - 1 - index), "{name}");
            } else {
                assert_eq!(after.2, before.2);
            }
            taken.push((group, index, dir));
        }
        fs.write_back();
        let (status, text) = fsck(&fs.img);
        assert!(
            status == 4 && text.contains("Inode bitmap differences"),
            "{name}: {text}"
        );
        for complaint in [
            "checksum",
            "adding",
            "nvalid",
            "Block bitmap",
            "corrupt",
            "nitialized",
        ] {
            assert!(!text.contains(complaint), "{name}: {text}");
        }
        for (group, index, dir) in taken {
            free(&mut fs, group, index, dir);
        }
        fs.write_back();
        expect_clean(&fs.img, name);
    }
}

fn free(fs: &mut Opened, group: Group, index: u32, dir: bool) {
    fs.change(group, true, |b, _| {
        b.free_inode(index, dir).unwrap();
        unchanged(b, |b| b.free_inode(index, false), GroupError::BitsClear);
    });
}
