// SPDX-License-Identifier: GPL-2.0

//! Real images: what is free is what dumpe2fs says; what random use leaves behind is clean.

use std::collections::BTreeMap;

use rext4::engine::alloc::disk::GroupBuffers;
use rext4::engine::alloc::goal::Goal;
use rext4::engine::alloc::map::Want;
use rext4::engine::alloc::metadata::{
    init_block_bitmap, init_inode_bitmap, metadata_runs, verify_block_bitmap,
};
use rext4::engine::alloc::{cluster_of, first_block_of, GroupIndex, Run, Search};
use rext4::ondisk::crc::crc32c;
use rext4::ondisk::group::edit::GroupEdit;
use rext4::ondisk::group::{self, GroupDesc, GroupError};
use rext4::ondisk::{bitmap, FsBlock, Group};

use crate::common;
use crate::dump::Dump;
use crate::shape::{expect_clean, fsck, Map, Opened};

/// Name, arguments of mkfs.ext4, size.
type Case = (&'static str, &'static [&'static str], &'static str);

pub const CASES: &[Case] = &[
    ("default", &[], "300M"),
    ("1k blocks, last group cut short", &["-b", "1024"], "70001K"),
    ("64k blocks", &["-b", "65536", "-g", "512"], "256M"),
    (
        "32 bits",
        &["-b", "1024", "-O", "^64bit,metadata_csum"],
        "64M",
    ),
    (
        "32 bits, no checksums",
        &["-b", "1024", "-O", "^64bit,^metadata_csum,^uninit_bg"],
        "64M",
    ),
    (
        "crc16 groups",
        &["-b", "1024", "-O", "^metadata_csum,uninit_bg,^64bit"],
        "64M",
    ),
    (
        "crc16 groups, 64 bits",
        &["-b", "1024", "-O", "^metadata_csum,uninit_bg,64bit"],
        "64M",
    ),
    ("no flex_bg", &["-b", "1024", "-O", "^flex_bg"], "64M"),
    (
        "meta_bg",
        &["-b", "1024", "-O", "meta_bg,^resize_inode"],
        "128M",
    ),
    (
        "meta_bg, no flex_bg, small groups",
        &["-O", "meta_bg,^resize_inode,^64bit,^flex_bg", "-g", "256"],
        "128M",
    ),
    ("flex_bg of 4", &["-b", "1024", "-G", "4"], "100M"),
    ("bigalloc", &["-O", "bigalloc", "-C", "16384"], "512M"),
    (
        "bigalloc, 1k blocks",
        &["-b", "1024", "-O", "bigalloc", "-C", "4096"],
        "256M",
    ),
    ("ext2", &["-t", "ext2"], "64M"),
];

/// The free runs of each group, in blocks, as dumpe2fs lists them.
fn free_blocks(text: &str) -> BTreeMap<u32, Vec<(u64, u64)>> {
    let mut groups = BTreeMap::new();
    let mut current = 0;
    for line in text.lines() {
        if let Some((number, _)) = line
            .strip_prefix("Group ")
            .and_then(|rest| rest.split_once(": (Blocks "))
        {
            current = number.parse().expect("a number");
        } else if let Some(list) = line.strip_prefix("  Free blocks: ") {
            let runs = list.split(", ").filter(|run| !run.is_empty()).map(|run| {
                let (first, last) = run.split_once('-').unwrap_or((run, run));
                (first.parse().unwrap(), last.parse().unwrap())
            });
            groups.insert(current, runs.collect());
        }
    }
    groups
}

/// All free runs of a map.
fn free_runs(map: &Map) -> Vec<Run> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Some(found) = map.tree().find(at, 1) {
        let run = Run::new(found.start, map.tree().run_at(found.start, u32::MAX));
        runs.push(run);
        at = run.end();
    }
    runs
}

#[test]
fn what_is_free_is_what_dumpe2fs_says() {
    let mut uninit = 0;
    for (name, args, size) in CASES {
        let fs = Opened::mkfs(args, size);
        let (dump, lists) = (Dump::new(&fs.img), free_blocks(&common::dumpe2fs(&fs.img)));
        for group in fs.groups() {
            let text = &dump.groups[&group.get()];
            let map = fs.map(group).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(map.free_clusters(), text.free_clusters, "{name}");
            assert!(map.is_idle());
            let mut got = Vec::new();
            for run in free_runs(&map) {
                let first = first_block_of(&fs.geo, group, run.start).get();
                assert_eq!(cluster_of(&fs.geo, FsBlock::new(first)), (group, run.start));
                let end = first + (u64::from(run.len) << fs.geo.cluster_bits());
                got.push((first, end - 1));
            }
            // With bigalloc dumpe2fs prints the last cluster's first block.
            let last = u64::from(fs.geo.cluster_ratio() - 1);
            let want = &lists.get(&group.get()).cloned().unwrap_or_default();
            let want: Vec<_> = want.iter().map(|(a, b)| (*a, b | last)).collect();
            assert_eq!(got, want, "{name}: {group:?}");

            // A bitmap that was never written comes out as mkfs would have written it.
            let mut made = vec![0x5a; fs.geo.block_size() as usize];
            if text.flags.iter().any(|flag| flag == "BLOCK_UNINIT") {
                uninit += 1;
                init_block_bitmap(&fs.geo, group, &fs.zones, &mut made);
                group::verify_padding(&fs.geo, group, &made).expect(name);
                let clusters = fs.geo.group_clusters(group);
                assert_eq!(bitmap::count_clear(&made, clusters), text.free_clusters);
            } else {
                // The file system's own blocks are in use, and nothing else need be.
                for run in metadata_runs(&fs.geo, group, &fs.zones) {
                    assert!(bitmap::is_set(&fs.block_bitmap(group), run.start, run.len));
                }
            }
            init_inode_bitmap(&fs.geo, &mut made);
            let inodes = fs.geo.inodes_per_group().get();
            assert_eq!(bitmap::count_clear(&made, u32::MAX), inodes);
            assert!(bitmap::is_clear(&made, 0, inodes));
        }
    }
    assert!(uninit > 20, "{uninit} groups without a bitmap");
}

#[test]
fn damaged_bitmaps_are_refused() {
    for (name, args, size) in [CASES[4], CASES[7]] {
        let fs = Opened::mkfs(args, size);
        let group = Group::new(1);
        let desc = fs.desc(group);
        let desc = GroupDesc::verify(&fs.geo, group, &desc).unwrap();
        let good = fs.block_bitmap(group);
        let csums = fs.geo.csum_seed().is_some();
        let verify = |bytes: &[u8]| verify_block_bitmap(&fs.geo, group, &desc, &fs.zones, bytes);
        assert_eq!(verify(&good), Ok(()), "{name}");
        for run in metadata_runs(&fs.geo, group, &fs.zones) {
            for cluster in [run.start, run.end() - 1] {
                let mut bad = good.clone();
                bitmap::clear_run(&mut bad, cluster, 1).unwrap();
                let want = if csums {
                    GroupError::BadBlockBitmapChecksum
                } else {
                    GroupError::MetadataFree
                };
                assert_eq!(verify(&bad), Err(want), "{name} {cluster}");
            }
        }
        // One cluster more than the descriptor says.
        let mut bad = good.clone();
        let free = bitmap::next_clear(&good, 0, u32::MAX).unwrap();
        bitmap::set_run(&mut bad, free, 1).unwrap();
        let storage = || vec![0; 4096];
        let build = |bytes: &[u8], len: usize| {
            let storage = storage()[..len].to_vec();
            Map::build(storage, &fs.geo, group, &desc, bytes, &fs.zones).map(|_| ())
        };
        assert_eq!(build(&good, 4096), Ok(()));
        assert_eq!(build(&bad, 4096), Err(GroupError::FreeClusters), "{name}");
        assert_eq!(build(&good, 9), Err(GroupError::NoSuchGroup));
    }
    // The first group has a superblock, so its bitmap must have been written.
    let (_, args, size) = CASES[5];
    let fs = Opened::mkfs(args, size);
    let group = Group::new(0);
    let mut bytes = fs.desc(group);
    let mut edit = GroupEdit::new(&fs.geo, group, &mut bytes).unwrap();
    edit.set_block_uninit(true);
    edit.finish();
    let desc = GroupDesc::verify(&fs.geo, group, &bytes).unwrap();
    let bitmap = fs.block_bitmap(group);
    let built = Map::build(vec![0; 4096], &fs.geo, group, &desc, &bitmap, &fs.zones);
    assert_eq!(built.err(), Some(GroupError::UninitFirstGroup));
}

/// Numbers without a pattern that anything here could depend on.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % u64::from(n.max(1))) as u32
    }
}

/// Clusters that a test has, by group.
struct Use {
    fs: Opened,
    maps: Vec<Map>,
    index: GroupIndex<Vec<std::sync::atomic::AtomicU32>>,
    in_flight: Vec<(Group, Run)>,
    on_disk: Vec<(Group, Run)>,
    pending: Vec<(Group, Run)>,
}

impl Use {
    fn new(fs: Opened) -> Self {
        let maps: Vec<Map> = fs.groups().map(|group| fs.map(group).unwrap()).collect();
        let index = crate::index::new(fs.geo.groups_count());
        // As if no group had been loaded.
        for group in fs.groups() {
            index.set(group, fs.with_desc(group, |desc| desc.free_clusters()));
        }
        Self {
            fs,
            maps,
            index,
            in_flight: Vec::new(),
            on_disk: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn map(&mut self, group: Group) -> &mut Map {
        &mut self.maps[group.get() as usize]
    }

    fn note(&mut self, group: Group) {
        let longest = self.map(group).longest();
        self.index.set(group, longest);
    }

    fn take(&mut self, random: &mut Random) {
        let blocks = u32::try_from(self.fs.geo.blocks_count()).unwrap();
        let goal = FsBlock::new(random.below(blocks).into());
        let goal = if random.below(2) == 0 {
            Goal::Extend(goal)
        } else {
            Goal::Near(goal)
        };
        let most = [1, 10, 300, 3000][random.below(4) as usize];
        let len = 1 + random.below(most);
        let min = 1 + random.below(len);
        let mut search = Search::new(&self.fs.geo, goal, len, min);
        while let Some(attempt) = search.next(&self.index) {
            let found = self.map(attempt.group).choose(attempt.want);
            if let Some(run) = found {
                assert!((min..=len).contains(&run.len));
                self.map(attempt.group).take(run).unwrap();
                self.in_flight.push((attempt.group, run));
            }
            self.note(attempt.group);
            if found.is_some() {
                return;
            }
        }
        let best = self.maps.iter().map(Map::longest).max().unwrap();
        assert!(
            best < min,
            "there were {best} clusters in a row, {min} would do"
        );
    }

    fn settle(&mut self, random: &mut Random) {
        let Some((group, run)) = pick(&mut self.in_flight, random) else {
            return;
        };
        self.fs.change(group, false, |buffers, zones| {
            buffers.init_clusters(zones).unwrap();
            buffers.take_clusters(run).unwrap();
            // Twice is refused, and changes nothing.
            unchanged(buffers, |b| b.take_clusters(run), GroupError::BitsSet);
        });
        self.map(group).settle(run).unwrap();
        self.on_disk.push((group, run));
    }

    fn give_back(&mut self, random: &mut Random) {
        if let Some((group, run)) = pick(&mut self.in_flight, random) {
            self.map(group).give_back(run).unwrap();
            assert!(self.map(group).give_back(run).is_err());
            self.note(group);
        }
    }

    fn free(&mut self, random: &mut Random) {
        let Some((group, run)) = pick(&mut self.on_disk, random) else {
            return;
        };
        // A part of it at a time, as truncate does.
        let cut = random.below(run.len);
        let (left, freed) = (
            Run::new(run.start, cut),
            Run::new(run.start + cut, run.len - cut),
        );
        if left.len > 0 {
            self.on_disk.push((group, left));
        }
        self.fs.change(group, false, |buffers, _| {
            buffers.free_clusters(freed).unwrap();
            unchanged(buffers, |b| b.free_clusters(freed), GroupError::BitsClear);
        });
        self.map(group).free(freed).unwrap();
        self.pending.push((group, freed));
    }

    fn commit(&mut self) {
        for (group, run) in std::mem::take(&mut self.pending) {
            // Nobody can have had it meanwhile.
            assert_eq!(self.map(group).take(run), Err(GroupError::BitsSet));
            self.map(group).committed(run).unwrap();
            self.note(group);
        }
    }

    /// Memory and disk agree, but for what is held.
    fn check(&self) {
        for group in self.fs.groups() {
            let live = &self.maps[group.get() as usize];
            let free = self.fs.with_desc(group, |desc| desc.free_clusters());
            assert_eq!(live.free_on_disk(), free);
            let mut again = self.fs.map(group).unwrap();
            for (_, run) in self.in_flight.iter().filter(|(g, _)| *g == group) {
                again.take(*run).unwrap();
            }
            for (_, run) in self.pending.iter().filter(|(g, _)| *g == group) {
                again.take_pending(*run).unwrap();
            }
            assert_eq!(format!("{again:?}"), format!("{live:?}"));
        }
    }
}

fn pick<T>(list: &mut Vec<T>, random: &mut Random) -> Option<T> {
    let at = random.below(list.len() as u32) as usize;
    (!list.is_empty()).then(|| list.swap_remove(at))
}

/// `f` fails as expected and leaves both blocks alone.
pub fn unchanged(
    buffers: &mut GroupBuffers<'_>,
    f: impl FnOnce(&mut GroupBuffers<'_>) -> Result<(), GroupError>,
    error: GroupError,
) {
    let before = (buffers.desc.to_vec(), buffers.bitmap.to_vec());
    assert_eq!(f(buffers), Err(error));
    assert!(before == (buffers.desc.to_vec(), buffers.bitmap.to_vec()));
}

#[test]
fn random_use_leaves_a_clean_image() {
    for (seed, (name, args, size)) in CASES.iter().enumerate() {
        let mut random = Random(seed as u64 + 1);
        let mut state = Use::new(Opened::mkfs(args, size));
        for _ in 0..600 {
            match random.below(10) {
                0..=3 => state.take(&mut random),
                4..=6 => state.settle(&mut random),
                7 => state.give_back(&mut random),
                8 => state.free(&mut random),
                _ if random.below(4) == 0 => state.commit(),
                _ => {}
            }
        }
        state.check();
        // What is taken belongs to nobody; that is all that is wrong.
        while !state.in_flight.is_empty() {
            state.settle(&mut random);
        }
        state.fs.write_back();
        let taken: u64 = state
            .on_disk
            .iter()
            .map(|(_, run)| u64::from(run.len))
            .sum();
        let (status, text) = fsck(&state.fs.img);
        assert!(taken > 0 && status == 4, "{name}: {text}");
        let bits = state.fs.geo.cluster_bits();
        assert_eq!(leaked(&text, bits), taken, "{name}: {text}");
        for complaint in ["checksum", "adding", "nvalid", "Inode bitmap", "corrupt"] {
            assert!(!text.contains(complaint), "{name}: {text}");
        }
        while !state.on_disk.is_empty() {
            state.free(&mut random);
        }
        state.commit();
        state.check();
        assert!(state.maps.iter().all(Map::is_idle));
        state.fs.write_back();
        expect_clean(&state.fs.img, name);
    }
}

/// How many clusters e2fsck finds in use that belong to nobody. It names the first blocks of the
/// first and last of each run.
fn leaked(text: &str, cluster_bits: u32) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Block bitmap differences: "))
        .unwrap_or("");
    let mut sum = 0;
    for item in line.split_whitespace() {
        let item = item.strip_prefix('-').unwrap_or_else(|| panic!("{line}"));
        let item = item.trim_matches(['(', ')']);
        let (first, last) = item.split_once("--").unwrap_or((item, item));
        let cluster = |block: &str| block.parse::<u64>().expect("a number") >> cluster_bits;
        sum += cluster(last) - cluster(first) + 1;
    }
    sum
}

#[test]
fn runs_are_chosen_by_the_policy() {
    let (_, args, size) = CASES[0];
    let fs = Opened::mkfs(args, size);
    let mut map = fs.map(Group::new(1)).unwrap();
    let all = free_runs(&map);
    for run in &all {
        map.take(*run).unwrap();
    }
    // Runs of 10, 30, 20 and 30 clusters.
    for (start, len) in [(5000, 10), (6000, 30), (7000, 20), (8000, 30)] {
        map.give_back(Run::new(start, len)).unwrap();
    }
    let choose = |goal, len, min, exact| {
        let want = Want {
            goal,
            len,
            min,
            exact,
        };
        map.choose(want).map(|run| (run.start, run.len))
    };
    assert_eq!(choose(5000, 4, 1, true), Some((5000, 4)));
    assert_eq!(choose(5004, 40, 6, true), Some((5004, 6)));
    assert_eq!(choose(5004, 40, 7, true), None);
    assert_eq!(choose(5004, 6, 1, false), Some((5004, 6)));
    assert_eq!(choose(5004, 7, 1, false), Some((6000, 7)));
    assert_eq!(choose(8001, 30, 30, false), Some((6000, 30)));
    assert_eq!(choose(7000, 25, 1, false), Some((8000, 25)));
    assert_eq!(choose(9000, 5, 1, false), Some((5000, 5)));
    assert_eq!(choose(7000, 100, 5, false), Some((8000, 30)));
    assert_eq!(choose(7000, 100, 31, false), None);
    // A wish for nothing is one for a cluster.
    assert_eq!(choose(0, 0, 0, false), Some((5000, 1)));
}

#[test]
fn incremental_checksums_are_those_of_the_block() {
    let (_, args, size) = CASES[0];
    let mut fs = Opened::mkfs(args, size);
    let group = Group::new(1);
    let seed = fs.geo.csum_seed().expect("checksums");
    let bytes = (fs.geo.clusters_per_group().get() / 8) as usize;
    let free = fs.map(group).unwrap().tree().find(0, 1000).unwrap();
    fs.change(group, false, |buffers, zones| {
        buffers.init_clusters(zones).unwrap();
        // A checksum that was wrong stays wrong.
        buffers.bitmap[bytes - 1] ^= 0x80;
        buffers.take_clusters(free).unwrap();
        let desc = GroupDesc::verify(buffers.geo, group, buffers.desc).unwrap();
        assert_eq!(
            desc.verify_block_bitmap(buffers.geo, buffers.bitmap),
            Err(GroupError::BadBlockBitmapChecksum)
        );
        buffers.bitmap[bytes - 1] ^= 0x80;
        desc.verify_block_bitmap(buffers.geo, buffers.bitmap)
            .unwrap();
        let sum = crc32c(seed, &buffers.bitmap[..bytes]);
        assert_eq!(
            group::block_bitmap_checksum(buffers.geo, buffers.bitmap),
            Some(sum)
        );
    });
}
