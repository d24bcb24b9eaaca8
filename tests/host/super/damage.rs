// SPDX-License-Identifier: GPL-2.0

//! Bytes flipped at random: nothing panics, and what is still accepted keeps its promises.

use std::sync::OnceLock;

use proptest::prelude::*;
use rext4::engine::{backup, zones};
use rext4::ondisk::features::RoCompat;
use rext4::ondisk::group::{self, GroupDesc};
use rext4::ondisk::inode::{self, Inode, Purpose};
use rext4::ondisk::journal::JournalSuper;
use rext4::ondisk::mmp::MmpBlock;
use rext4::ondisk::orphan::OrphanBlock;
use rext4::ondisk::superblock::{SuperError, Superblock};
use rext4::ondisk::{FsBlock, Geometry, Group, Ino};

use crate::refusals::fix_checksum;
use crate::{common, Opened};

/// Superblock, geometry, a descriptor and the slots of some inodes of an image.
struct Parts {
    sb: Vec<u8>,
    geo: Geometry,
    size: u64,
    desc: Vec<u8>,
    slots: Vec<(Ino, Vec<u8>)>,
}

/// Layouts that differ in what their structures contain.
fn parts() -> &'static [Parts] {
    static PARTS: OnceLock<Vec<Parts>> = OnceLock::new();
    PARTS.get_or_init(|| {
        let cases: [&[&str]; 6] = [
            &["-b", "1024"],
            &["-b", "4096", "-O", "meta_bg,^resize_inode"],
            &["-b", "1024", "-O", "bigalloc,sparse_super2,^resize_inode"],
            &[
                "-b",
                "1024",
                "-O",
                "^metadata_csum,uninit_bg,^64bit,^flex_bg",
            ],
            &["-t", "ext2", "-E", "revision=0", "-O", "none", "-b", "2048"],
            &[
                "-I",
                "1024",
                "-O",
                "inline_data,ea_inode,quota,project,orphan_file",
            ],
        ];
        let make = |args: &&[&str]| {
            let img = common::mkfs(args, "64M");
            common::debugfs(&img, &["mkdir dir", "symlink link target", "mknod fifo p"]);
            let opened = Opened::new(&img).expect("a file system");
            let inos = [2, 8, 11, 12, 13, 14].map(|n| opened.geo.check_ino(n).expect("it exists"));
            let slots = inos.map(|ino| (ino, opened.slot(ino).expect("a slot")));
            Parts {
                sb: opened.sb.clone(),
                size: 64 << 20,
                desc: opened.desc(Group::new(0)),
                slots: slots.to_vec(),
                geo: opened.geo,
            }
        };
        cases.iter().map(make).collect()
    })
}

/// Changes: byte, and what it becomes. Small values are as likely as all others together, and so
/// are offsets in the first fields.
fn changes(len: usize) -> impl Strategy<Value = Vec<(usize, u8)>> {
    let value = prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x80), Just(0xff)];
    let offset = prop_oneof![0..len, 0..len.min(0x68)];
    prop::collection::vec((offset, value), 1..12)
}

fn apply(bytes: &mut [u8], changes: &[(usize, u8)]) {
    for (offset, value) in changes {
        bytes[*offset] = *value;
    }
}

/// What `geometry.rs` promises of every geometry, and what its functions promise.
fn check_geometry(geo: &Geometry, numbers: [u64; 3]) {
    let block_size = geo.block_size();
    assert!((10..=16).contains(&geo.block_bits()) && block_size == 1 << geo.block_bits());
    assert!(geo.inode_size().is_power_of_two() && u32::from(geo.inode_size()) <= block_size);
    assert!(geo.desc_size().is_power_of_two() && u32::from(geo.desc_size()) <= block_size);
    assert!(geo.inode_size() >= 128 && geo.desc_size() >= 32);
    assert_eq!(
        geo.descs_per_block() * u32::from(geo.desc_size()),
        block_size
    );
    let inodes = geo.inodes_per_group().get();
    assert!(inodes >= 8 && inodes % 8 == 0 && inodes <= 8 * block_size);
    let table = u64::from(inodes) * u64::from(geo.inode_size());
    assert_eq!(
        table,
        u64::from(geo.itable_blocks_per_group()) * u64::from(block_size)
    );
    let clusters = geo.clusters_per_group().get();
    assert!(clusters >= 8 && clusters % 8 == 0 && clusters <= 8 * block_size);
    let blocks = u64::from(geo.blocks_per_group().get());
    assert_eq!(blocks, u64::from(clusters) << geo.cluster_bits());
    assert!(geo.cluster_bits() <= 18 && geo.flex_bits() <= 31);
    assert!(u64::from(geo.first_data_block()) < geo.blocks_count());
    assert!(geo.blocks_count() << geo.block_bits() >> geo.block_bits() == geo.blocks_count());
    assert!(i64::try_from(geo.blocks_count() << geo.block_bits()).is_ok());
    let data = geo.blocks_count() - u64::from(geo.first_data_block());
    assert_eq!(u64::from(geo.groups_count()), data.div_ceil(blocks));
    let total = u64::from(geo.groups_count()) * u64::from(inodes);
    assert_eq!(u64::from(geo.inodes_count()), total);
    assert!(i64::try_from(geo.max_extent_bytes()).is_ok());
    assert!(i64::try_from(geo.max_indirect_bytes()).is_ok());
    assert!(geo.first_ino() >= 11 && geo.def_hash_version() <= 5);

    let last = Group::new(geo.groups_count() - 1);
    for n in numbers {
        let group = Group::new((n % u64::from(geo.groups_count())) as u32);
        for group in [group, last, Group::new(0)] {
            let (block, offset) = geo.desc_location(group).expect("the group exists");
            assert!(block.get() < geo.blocks_count());
            assert!(offset + u32::from(geo.desc_size()) <= block_size);
            let first = geo.group_first_block(group);
            let len = geo.group_blocks(group);
            assert!(len > 0 && geo.check_run(first.get(), len).is_some());
            assert_eq!(geo.block_location(first), (group, 0));
            let end = FsBlock::new(first.get() + u64::from(len) - 1);
            assert_eq!(geo.block_location(end), (group, len - 1));
            assert_eq!(geo.group_clusters(group), len.div_ceil(geo.cluster_ratio()));
            if let Some((start, len)) = geo.base_meta_run(group) {
                assert!(geo.check_run(start.get(), len).is_some());
            }
        }
        assert_eq!(geo.check_block(n).is_some(), geo.check_run(n, 1).is_some());
        assert_eq!(geo.check_run(n, 0), None);
        if let Some(ino) = geo.check_ino(n as u32) {
            let place = geo.inode_location(ino);
            assert!(place.group <= last && place.block < geo.itable_blocks_per_group());
            assert!(place.offset + u32::from(geo.inode_size()) <= block_size);
            assert_eq!(geo.ino_at(place.group, place.index), Some(ino));
        }
    }
    assert_eq!(geo.desc_location(Group::new(geo.groups_count())), None);
    assert_eq!(geo.group_blocks(Group::new(geo.groups_count())), 0);
    assert_eq!(geo.gdt_block(geo.gdt_blocks()), None);

    // The walk over the copies finds the groups that the rule names.
    let mut walked = backup::backups(geo).map(|copy| copy.group.get()).take(100);
    let few = 1..geo.groups_count().min(1000);
    for group in few
        .filter(|n| geo.group_has_super(Group::new(*n)))
        .take(100)
    {
        assert_eq!(walked.next(), Some(group));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_superblock(
        which in 0..6usize,
        changes in changes(1020),
        numbers in any::<[u64; 3]>(),
        known_size: bool,
    ) {
        let part = &parts()[which];
        let mut sb = part.sb.clone();
        apply(&mut sb, &changes);
        let _ = Superblock::verify(&sb);
        fix_checksum(&mut sb);
        let Ok(verified) = Superblock::verify(&sb) else {
            return Ok(());
        };
        let _ = (verified.first_error(), verified.mount_opts(), verified.features().is_empty());
        let device = known_size.then_some(part.size);
        if let Ok(geo) = Geometry::new(verified, 1024 >> verified.block_bits(), device) {
            check_geometry(&geo, numbers);
        }
    }

    /// Numbers that fit each other, as a careful attacker would choose them.
    #[test]
    fn a_superblock_that_adds_up(
        log_block in 0u32..=6,
        log_cluster in 0u32..=18,
        clusters in any::<u32>(),
        inodes in any::<u32>(),
        groups in prop_oneof![0u32..100, any::<u32>()],
        cut in any::<u32>(),
        bits in any::<[u16; 3]>(),
        numbers in any::<[u64; 3]>(),
    ) {
        let mut sb = parts()[usize::from(bits[0]) % 6].sb.clone();
        let mut put = |offset: usize, value: u32| {
            sb[offset..][..4].copy_from_slice(&value.to_le_bytes());
        };
        let bigalloc = bits[1] & 1 != 0;
        let log_cluster = if bigalloc { log_cluster.max(log_block) } else { log_block };
        let ratio = 1u64 << (log_cluster - log_block);
        let block_size = 1024u32 << log_block;
        // Products of 8 that fit a bitmap's block, and 32 bits.
        let most = u64::from(block_size).min(u64::from(u32::MAX) / 8 / ratio) as u32;
        let clusters = (clusters % most + 1) * 8;
        let blocks = u64::from(clusters) * ratio;
        let inode_size = 128 << (bits[2] & 3);
        let step = (block_size / inode_size).max(8);
        let inodes = (inodes % (8 * block_size / step) + 1) * step;
        let groups = groups % (u32::MAX / inodes) + 1;
        let first = u32::from(log_block == 0 && !bigalloc);
        let whole = u64::from(groups).wrapping_mul(blocks);
        let total = whole.wrapping_sub(u64::from(cut) % blocks).wrapping_add(u64::from(first));
        put(0x60, 0x2c2 | if bits[1] & 2 != 0 { 0x10 } else { 0 });
        put(0x64, 0x40a | if bigalloc { 0x200 } else { 0 } | u32::from((bits[1] >> 4) & 1));
        put(0x5c, 0x20 | if bits[1] & 4 != 0 { 0x200 } else { 0 });
        put(0x4c, 1);
        put(0x54, 11);
        put(0x58, inode_size);
        put(0xfc, u32::from((bits[2] >> 2) & 3) | (64 << 16 << ((bits[2] >> 4) & 3)));
        put(0x104, u32::from(bits[2] >> 13));
        put(0x14c, 0);
        put(0x18, log_block);
        put(0x1c, log_cluster);
        put(0x20, blocks as u32);
        put(0x24, clusters);
        put(0x28, inodes);
        put(0, groups * inodes);
        put(0x4, total as u32);
        put(0x150, (total >> 32) as u32);
        put(0x14, first);
        put(0x24c, u32::from(bits[0]));
        put(0x250, u32::from(bits[1]));
        sb[0x175] = 1;
        fix_checksum(&mut sb);
        let verified = Superblock::verify(&sb).expect("magic, shifts and checksum are right");
        let verdict = Geometry::new(verified, 1024 >> verified.block_bits(), None);
        match verdict {
            Ok(geo) => check_geometry(&geo, numbers),
            // What is not made to fit here.
            Err(SuperError::BadFirstMetaBg | SuperError::TooLarge | SuperError::GdtBeyondEnd) => {}
            Err(SuperError::TooManyGroups | SuperError::NoBootBlock) => {}
            Err(e) => prop_assert!(false, "{e}"),
        }
    }

    #[test]
    fn a_descriptor(which in 0..6usize, changes in changes(32), number in any::<u32>()) {
        let part = &parts()[which];
        let geo = &part.geo;
        let mut bytes = part.desc.clone();
        apply(&mut bytes, &changes);
        let group = Group::new(number % (geo.groups_count() + 1));
        let _ = GroupDesc::verify(geo, group, &bytes);
        group::update_checksum(geo, group, &mut bytes);
        let parsed = GroupDesc::parse(geo, group, &bytes);
        match GroupDesc::verify(geo, group, &bytes) {
            Ok(_) => prop_assert!(parsed.is_ok()),
            Err(e) => {
                let exists = geo.check_group(group.get()).is_some();
                prop_assert_eq!(e.allows_reading(), parsed.is_ok() && exists);
            }
        }
        let Ok(desc) = parsed else {
            return Ok(());
        };
        prop_assert!(geo.check_block(desc.block_bitmap().get()).is_some());
        prop_assert!(geo.check_block(desc.inode_bitmap().get()).is_some());
        let (table, len) = (desc.inode_table().get(), geo.itable_blocks_per_group());
        prop_assert!(geo.check_run(table, len).is_some());
        let uninit = desc.inode_uninit() || desc.block_uninit();
        prop_assert!(!uninit || geo.features().has_group_csum());
        let _ = desc.verify_block_bitmap(geo, &bytes);
        let _ = desc.verify_inode_bitmap(geo, &bytes);
    }

    #[test]
    fn an_inode(
        which in 0..6usize,
        slot in 0..6usize,
        changes in changes(160),
        purpose in 0..5usize,
        right_checksum: bool,
    ) {
        let part = &parts()[which];
        let geo = &part.geo;
        let (ino, mut bytes) = part.slots[slot].clone();
        let len = bytes.len();
        for (offset, value) in changes {
            bytes[offset % len] = value;
        }
        if right_checksum {
            let _ = inode::update_checksum(geo, ino, &mut bytes);
        }
        let purposes =
            [Purpose::Path, Purpose::Handle, Purpose::Special, Purpose::Orphan, Purpose::EaInode];
        let Ok(inode) = Inode::verify(geo, ino, &bytes, purposes[purpose]) else {
            return Ok(());
        };
        prop_assert!(inode.size() <= geo.max_extent_bytes().max(geo.max_indirect_bytes()));
        prop_assert!(inode.xattr_block().is_none_or(|b| geo.check_block(b.get()).is_some()));
        let space = inode.xattr_space().map_or(0, <[u8]>::len);
        prop_assert!(space + usize::from(inode.extra_isize()) + 128 <= len);
        if let Some(target) = inode.fast_symlink(geo) {
            let orphan = purposes[purpose] == Purpose::Orphan;
            prop_assert!(orphan || (!target.is_empty() && !target.contains(&0)));
        }
        let (major, minor) = inode.rdev();
        prop_assert!(major < 1 << 12 && minor < 1 << 20);
        let _ = (inode.atime(), inode.ctime(), inode.mtime(), inode.crtime());
        let _ = (inode.version(geo), inode.projid(geo), inode.sectors(), inode.ea_ref_count());
        let huge = geo.has(RoCompat::HUGE_FILE);
        prop_assert!(huge || u32::try_from(inode.sectors()).is_ok());
    }

    #[test]
    fn small_structures(bytes in prop::collection::vec(any::<u8>(), 0..2048), seed: u32) {
        let _ = MmpBlock::verify(Some(seed), &bytes);
        let _ = JournalSuper::verify(&bytes, 1024, 4096);
        let _ = OrphanBlock::verify(Some(seed), FsBlock::new(5), &bytes);
        // With a right magic number, so that the rest is reached.
        let mut orphans = bytes;
        let geo = &parts()[0].geo;
        orphans.truncate(orphans.len() & !3);
        if orphans.len() >= 8 {
            let tail = orphans.len() - 8;
            orphans[tail..][..4].copy_from_slice(&0x0b10_ca04u32.to_le_bytes());
            let block = OrphanBlock::verify(None, FsBlock::new(5), &orphans);
            let block = block.expect("magic is right");
            prop_assert_eq!(block.orphans(geo).count() + block.free_slots(), tail / 4);
        }
    }

    /// The table agrees with a plain list of who owns which block.
    #[test]
    fn zones_are_what_was_put_in(
        runs in prop::collection::vec((1u64..2000, 0u32..40, 0u32..3), 0..60),
        queries in prop::collection::vec((1u64..2100, 1u32..50, 1u32..3), 1..40),
    ) {
        let geo = &parts()[0].geo;
        let mut owner = vec![None; 3000];
        let mut clash = false;
        let mut list = Vec::new();
        for (start, len, ino) in runs {
            let block = FsBlock::new(start);
            list.push(match Ino::new(ino) {
                Some(ino) => zones::Zone::owned(block, len, ino),
                None => zones::Zone::new(block, len),
            });
            for n in start..start + u64::from(len) {
                clash |= owner[n as usize].is_some();
                owner[n as usize] = Some(ino);
            }
        }
        let built = zones::Zones::build(geo, list);
        prop_assert_eq!(built.is_err(), clash);
        let Ok(table) = built else {
            return Ok(());
        };
        for (start, len, ino) in queries {
            let mut blocks = (start..start + u64::from(len)).filter_map(|n| owner[n as usize]);
            let block = FsBlock::new(start);
            prop_assert_eq!(table.overlaps(block, len), blocks.clone().next().is_some());
            let allowed = blocks.all(|owner| owner == ino);
            prop_assert_eq!(table.allows(block, len, Ino::new(ino).unwrap()), allowed);
        }
    }
}
