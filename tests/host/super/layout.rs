// SPDX-License-Identifier: GPL-2.0

//! Where everything is, for every layout that mkfs.ext4 can make: dumpe2fs must agree, number by
//! number.

use rext4::engine::backup;
use rext4::engine::overhead::overhead_clusters;
use rext4::ondisk::features::{Compat, RoCompat};
use rext4::ondisk::group::{self, GroupDesc};
use rext4::ondisk::inode::Purpose;
use rext4::ondisk::{Group, Ino};

use crate::dump::Dump;
use crate::{common, Opened};

/// Bytes as dumpe2fs prints those of a UUID, but for the dashes.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits
        .filter_map(|d| char::from_digit(d.into(), 16))
        .collect()
}

/// Name, arguments of mkfs.ext4, size.
type Case = (&'static str, &'static [&'static str], &'static str);

const CASES: &[Case] = &[
    ("default", &[], "256M"),
    (
        "default, large",
        &["-E", "lazy_itable_init=1,lazy_journal_init=1"],
        "2T",
    ),
    (
        "block numbers of more than 32 bits",
        &[
            "-b",
            "2048",
            "-O",
            "bigalloc",
            "-C",
            "65536",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
        ],
        "9T",
    ),
    ("1k blocks", &["-b", "1024"], "64M"),
    ("2k blocks", &["-b", "2048"], "64M"),
    (
        "4k blocks, small groups",
        &["-b", "4096", "-g", "1024"],
        "64M",
    ),
    ("64k blocks", &["-b", "65536", "-g", "512"], "256M"),
    ("32 bits", &["-b", "1024", "-O", "^64bit"], "64M"),
    (
        "32 bits, no checksums",
        &["-b", "1024", "-O", "^64bit,^metadata_csum"],
        "64M",
    ),
    (
        "crc16 groups",
        &["-b", "1024", "-O", "^metadata_csum,uninit_bg"],
        "64M",
    ),
    (
        "crc16 groups, 32 bits",
        &["-b", "1024", "-O", "^metadata_csum,uninit_bg,^64bit"],
        "64M",
    ),
    ("checksum seed", &["-O", "metadata_csum_seed"], "64M"),
    (
        "meta_bg, 1k",
        &["-b", "1024", "-O", "meta_bg,^resize_inode"],
        "256M",
    ),
    (
        "meta_bg, 4k",
        &["-O", "meta_bg,^resize_inode,^64bit", "-g", "256"],
        "512M",
    ),
    (
        "meta_bg, no flex_bg",
        &["-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg"],
        "256M",
    ),
    ("no flex_bg", &["-b", "1024", "-O", "^flex_bg"], "64M"),
    ("flex_bg of 4", &["-b", "1024", "-G", "4"], "64M"),
    (
        "packed metadata",
        &["-b", "1024", "-E", "packed_meta_blocks=1"],
        "64M",
    ),
    (
        "backups everywhere",
        &["-b", "1024", "-O", "^sparse_super,^resize_inode"],
        "64M",
    ),
    (
        "two backups",
        &["-b", "1024", "-O", "sparse_super2,^resize_inode"],
        "64M",
    ),
    (
        "one backup",
        &[
            "-b",
            "1024",
            "-O",
            "sparse_super2,^resize_inode",
            "-E",
            "num_backup_sb=1",
        ],
        "64M",
    ),
    (
        "no backup",
        &[
            "-b",
            "1024",
            "-O",
            "sparse_super2,^resize_inode",
            "-E",
            "num_backup_sb=0",
        ],
        "64M",
    ),
    ("bigalloc", &["-O", "bigalloc", "-C", "16384"], "512M"),
    (
        "bigalloc, several groups",
        &["-b", "1024", "-O", "bigalloc", "-C", "4096"],
        "256M",
    ),
    (
        "bigalloc, 1k blocks",
        &["-b", "1024", "-O", "bigalloc"],
        "512M",
    ),
    ("room for growth", &["-b", "1024", "-E", "resize=1G"], "32M"),
    ("inodes of 128", &["-I", "128"], "64M"),
    ("inodes of 1024", &["-I", "1024"], "64M"),
    ("inodes of 512", &["-I", "512"], "64M"),
    (
        "revision 0",
        &["-t", "ext2", "-E", "revision=0", "-O", "none"],
        "64M",
    ),
    (
        "revision 0, 1k",
        &["-t", "ext2", "-E", "revision=0", "-O", "none", "-b", "1024"],
        "64M",
    ),
    ("ext2", &["-t", "ext2"], "64M"),
    ("ext3", &["-t", "ext3", "-b", "1024"], "64M"),
    ("no journal", &["-O", "^has_journal"], "64M"),
    ("few inodes", &["-N", "16", "-b", "1024"], "16M"),
    (
        "quota and project",
        &[
            "-O",
            "quota,project",
            "-E",
            "quotatype=usrquota:grpquota:prjquota",
        ],
        "64M",
    ),
    ("mmp", &["-O", "mmp"], "64M"),
    ("orphan file", &["-O", "orphan_file"], "64M"),
    (
        "everything inside",
        &[
            "-O",
            "ea_inode,inline_data,large_dir,verity,fast_commit,stable_inodes",
        ],
        "64M",
    ),
    ("a last group cut short", &["-b", "1024"], "70001K"),
];

fn each_case(check: impl Fn(&Opened, &Dump)) {
    for (name, args, size) in CASES {
        println!("{name}: mkfs.ext4 {} {size}", args.join(" "));
        let img = common::mkfs(args, size);
        let opened = Opened::new(&img).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&opened, &Dump::new(&img));
    }
}

#[test]
fn every_layout_is_as_dumpe2fs_says() {
    each_case(|opened, dump| {
        superblock(opened, dump);
        groups(opened, dump);
        copies(opened, dump);
        validity(opened);
        inodes(opened);
    });
}

/// The header of dumpe2fs.
fn superblock(opened: &Opened, dump: &Dump) {
    let (geo, sb) = (&opened.geo, opened.superblock());
    let n = |name: &str| dump.number(name);
    assert_eq!(u64::from(geo.inodes_count()), n("Inode count"));
    assert_eq!(geo.blocks_count(), n("Block count"));
    assert_eq!(sb.r_blocks_count(), n("Reserved block count"));
    assert_eq!(sb.free_blocks_count(), n("Free blocks"));
    assert_eq!(u64::from(sb.free_inodes_count()), n("Free inodes"));
    assert_eq!(u64::from(geo.first_data_block()), n("First block"));
    assert_eq!(u64::from(geo.block_size()), n("Block size"));
    assert_eq!(
        u64::from(geo.blocks_per_group().get()),
        n("Blocks per group")
    );
    assert_eq!(
        u64::from(geo.inodes_per_group().get()),
        n("Inodes per group")
    );
    assert_eq!(
        u64::from(geo.itable_blocks_per_group()),
        n("Inode blocks per group")
    );
    assert_eq!(u64::from(sb.mnt_count()), n("Mount count"));
    assert_eq!(
        i64::from(sb.max_mnt_count()).to_string(),
        dump.field("Maximum mount count")
    );
    assert_eq!(u64::from(sb.def_resuid()), n("Reserved blocks uid"));
    assert_eq!(u64::from(sb.def_resgid()), n("Reserved blocks gid"));
    assert_eq!(geo.groups_count() as usize, dump.groups.len());
    if geo.has(RoCompat::BIGALLOC) {
        assert_eq!(
            u64::from(geo.block_size() << geo.cluster_bits()),
            n("Cluster size")
        );
        assert_eq!(
            u64::from(geo.clusters_per_group().get()),
            n("Clusters per group")
        );
    } else {
        assert_eq!(geo.cluster_bits(), 0);
    }
    let with = |name: &str, default: u64| dump.optional(name).map_or(default, |_| n(name));
    assert_eq!(
        u64::from(geo.reserved_gdt_blocks()),
        with("Reserved GDT blocks", 0)
    );
    assert_eq!(1 << geo.flex_bits(), with("Flex block group size", 1));
    assert_eq!(
        u64::from(geo.desc_size()),
        with("Group descriptor size", 32)
    );
    assert_eq!(u64::from(geo.inode_size()), with("Inode size", 128));
    assert_eq!(u64::from(geo.first_ino()), with("First inode", 11));
    assert_eq!(u64::from(sb.journal_inum()), with("Journal inode", 0));
    assert_eq!(u64::from(sb.usr_quota_inum()), with("User quota inode", 0));
    assert_eq!(u64::from(sb.grp_quota_inum()), with("Group quota inode", 0));
    assert_eq!(
        u64::from(sb.prj_quota_inum()),
        with("Project quota inode", 0)
    );
    assert_eq!(
        u64::from(sb.orphan_file_inum()),
        with("Orphan file inode", 0)
    );
    assert_eq!(sb.mmp_block(), with("MMP block number", 0));
    assert_eq!(
        u64::from(sb.mmp_update_interval()),
        with("MMP update interval", 0)
    );
    assert!(sb.state().is_valid() && !sb.state().has_errors());

    let features = geo.features();
    let ours: Vec<&str> = features.compat.names().collect();
    let ours = [
        ours,
        features.incompat.names().collect(),
        features.ro_compat.names().collect(),
    ];
    let mut ours: Vec<&str> = ours.concat();
    let mut theirs: Vec<&str> = match dump.field("Filesystem features") {
        "(none)" => Vec::new(),
        list => list.split_whitespace().collect(),
    };
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
    assert_eq!(features.unsupported_ro_compat(), None);

    assert_eq!(
        hex(geo.uuid()),
        dump.field("Filesystem UUID").replace('-', "")
    );
    if geo.has(Compat::DIR_INDEX) {
        // mkfs writes the sign of its own characters.
        let flags = dump.field("Filesystem flags");
        assert_eq!(
            geo.hash_unsigned(),
            flags.contains("unsigned_directory_hash")
        );
        let version = ["legacy", "half_md4", "tea"][usize::from(geo.def_hash_version())];
        assert_eq!(version, dump.field("Default directory hash"));
        // Printed as a UUID, that is as bytes.
        let seed = geo.hash_seed().map(u32::to_le_bytes).concat();
        assert_eq!(
            hex(&seed),
            dump.field("Directory Hash Seed").replace('-', "")
        );
    }
    if geo.has(RoCompat::METADATA_CSUM) {
        assert_eq!(
            format!("0x{:08x}", sb.compute_checksum()),
            dump.field("Checksum")
        );
    }
    if let Some(seed) = dump.optional("Checksum seed") {
        assert_eq!(
            geo.csum_seed().map(|s| format!("0x{s:08x}")).as_deref(),
            Some(seed)
        );
    }
}

/// The paragraphs of the groups, and the checksums of what they describe.
fn groups(opened: &Opened, dump: &Dump) {
    let geo = &opened.geo;
    // Descriptors of 32 bytes have the lower half of a bitmap's checksum only.
    let stored = |csum: Option<u32>| csum.map(|c| if geo.is_64bit() { c } else { c & 0xffff });
    for group in opened.groups() {
        let text = &dump.groups[&group.get()];
        let bytes = opened.desc(group);
        let desc = GroupDesc::verify(geo, group, &bytes)
            .unwrap_or_else(|e| panic!("group {}: {e}", group.get()));
        let first = geo.group_first_block(group).get();
        let last = first + u64::from(geo.group_blocks(group)) - 1;
        assert_eq!((first, last), (text.first, text.last));
        assert_eq!(geo.group_has_super(group), text.superblock.is_some());
        let descs = text.descs.map_or(0, |(first, last)| last - first + 1);
        assert_eq!(u64::from(geo.group_desc_blocks(group)), descs);
        let reserved = text.reserved.map_or(0, |(first, last)| last - first + 1);
        let head = u64::from(text.superblock.is_some()) + descs + reserved;
        assert_eq!(u64::from(geo.base_meta_blocks(group)), head);
        if let Some((start, len)) = geo.base_meta_run(group) {
            // Whatever dumpe2fs names at the head of the group is inside the run.
            let ends = [
                text.superblock,
                text.descs.map(|d| d.1),
                text.reserved.map(|r| r.1),
            ];
            let last = ends
                .into_iter()
                .flatten()
                .max()
                .expect("there is something");
            assert_eq!(start.get() + u64::from(len), last + 1);
        }

        assert_eq!(desc.block_bitmap().get(), text.block_bitmap);
        assert_eq!(desc.inode_bitmap().get(), text.inode_bitmap);
        let table = desc.inode_table().get();
        let table_last = table + u64::from(geo.itable_blocks_per_group()) - 1;
        assert_eq!((table, table_last), text.inode_table);
        assert_eq!(
            desc.inode_table_block(geo, geo.itable_blocks_per_group()),
            None
        );
        assert_eq!(desc.free_clusters(), text.free_clusters);
        assert_eq!(desc.free_inodes(), text.free_inodes);
        assert_eq!(desc.used_dirs(), text.directories);
        let flag = |name: &str| text.flags.iter().any(|flag| flag == name);
        assert_eq!(desc.inode_uninit(), flag("INODE_UNINIT"));
        assert_eq!(desc.block_uninit(), flag("BLOCK_UNINIT"));
        assert_eq!(desc.inode_zeroed(), flag("ITABLE_ZEROED"));
        if geo.features().has_group_csum() {
            assert_eq!(desc.itable_unused(), text.unused_inodes);
        }
        checksums(opened, group, &bytes, text.csum);

        if !desc.block_uninit() {
            let bitmap = opened.block(desc.block_bitmap());
            desc.verify_block_bitmap(geo, &bitmap)
                .expect("block bitmap's checksum");
            group::verify_padding(geo, group, &bitmap).expect("block bitmap's padding");
            let csum = group::block_bitmap_checksum(geo, &bitmap);
            assert_eq!(stored(csum), text.block_bitmap_csum);
            let clusters = geo.group_clusters(group);
            let free = (0..clusters).filter(|&n| !bit(&bitmap, n)).count();
            assert_eq!(free, desc.free_clusters() as usize);
        }
        if !desc.inode_uninit() {
            let bitmap = opened.block(desc.inode_bitmap());
            desc.verify_inode_bitmap(geo, &bitmap)
                .expect("inode bitmap's checksum");
            let csum = group::inode_bitmap_checksum(geo, &bitmap);
            assert_eq!(stored(csum), text.inode_bitmap_csum);
        }
    }
}

/// The checksum of a descriptor: what dumpe2fs prints is what is stored again after a change.
fn checksums(opened: &Opened, group: Group, bytes: &[u8], csum: Option<u16>) {
    let geo = &opened.geo;
    let stored = |bytes: &[u8]| u16::from_le_bytes([bytes[30], bytes[31]]);
    assert_eq!(csum.is_some(), geo.features().has_group_csum());
    if let Some(csum) = csum {
        assert_eq!(stored(bytes), csum);
        let mut changed = bytes.to_vec();
        changed[30] ^= 0x55;
        assert!(GroupDesc::verify(geo, group, &changed).is_err_and(|e| e.is_checksum()));
        group::update_checksum(geo, group, &mut changed);
        assert_eq!(stored(&changed), csum);
    }
}

fn bit(bitmap: &[u8], n: u32) -> bool {
    bitmap[n as usize / 8] & (1 << (n % 8)) != 0
}

/// The superblock's copies are where dumpe2fs says, each a superblock of the same file system.
fn copies(opened: &Opened, dump: &Dump) {
    let geo = &opened.geo;
    let found: Vec<_> = backup::backups(geo).collect();
    let theirs = dump
        .groups
        .iter()
        .filter(|(group, text)| **group != 0 && text.superblock.is_some());
    assert_eq!(found.len(), theirs.clone().count());
    for (backup, (group, text)) in found.iter().zip(theirs) {
        assert_eq!(backup.group.get(), *group);
        assert_eq!(Some(backup.block.get()), text.superblock);
        let bytes = opened.block(backup.block);
        let copy = rext4::ondisk::superblock::Superblock::verify(&bytes).expect("a superblock");
        assert_eq!(copy.uuid(), geo.uuid());
        // As a mount with `sb=` does: the descriptors behind the copy are found from it.
        let other = rext4::ondisk::Geometry::new(copy, backup.block.get(), None).expect("geometry");
        let last = Group::new(geo.groups_count() - 1);
        let (block, offset) = other.desc_location(last).expect("the last group");
        let copied = &opened.block(block)[offset as usize..][..geo.desc_size().into()];
        // mkfs does not update counters in copies; positions are the same.
        let mine = opened.desc(last);
        let (copied, mine) = (
            GroupDesc::parse(geo, last, copied).expect("a copy's descriptor"),
            GroupDesc::parse(geo, last, &mine).expect("a descriptor"),
        );
        assert_eq!(copied.inode_table(), mine.inode_table());
    }
}

/// Every block of a zone is in use according to the bitmaps, and what mkfs counts as overhead is
/// what the zones and the journal take.
fn validity(opened: &Opened) {
    let geo = &opened.geo;
    let zones = opened.zones().expect("no overlap");
    let mut last_end = 0;
    for zone in zones.zones() {
        assert!(zone.start().get() >= last_end && !zone.is_empty());
        last_end = zone.start().get() + u64::from(zone.len());
        assert!(last_end <= geo.blocks_count());
        assert!(zones.overlaps(zone.start(), 1) && zones.overlaps(zone.start(), zone.len()));
        assert!(!zones.allows(zone.start(), 1, Ino::ROOT));
    }
    let mut used = 0;
    for group in opened.groups() {
        let bytes = opened.desc(group);
        let desc = GroupDesc::parse(geo, group, &bytes).expect("a descriptor");
        if desc.block_uninit() {
            continue;
        }
        let bitmap = opened.block(desc.block_bitmap());
        for n in 0..geo.group_clusters(group) {
            let start = geo.group_first_block(group).get() + (u64::from(n) << geo.cluster_bits());
            let start = geo.check_block(start).expect("a block of the group");
            if zones.overlaps(start, geo.cluster_ratio()) {
                used += 1;
                assert!(bit(&bitmap, n), "metadata at {} is not in use", start.get());
            }
        }
    }
    assert!(used > 0);

    let sb = opened.superblock();
    let stored = sb.overhead_clusters();
    let (computed, with_journal) = overhead_clusters(geo, stored, &zones);
    let (estimate, _) = overhead_clusters(geo, 0, &zones);
    if with_journal {
        assert_eq!(computed, u64::from(stored));
    }
    // mkfs adds the internal journal and the first data block is in both.
    let journal = match sb.journal_inum() {
        0 => 0,
        inum => opened
            .inode(inum, Purpose::Special, |inode| inode.size())
            .expect("journal"),
    };
    let ratio = u64::from(geo.cluster_ratio());
    let journal = (journal >> geo.block_bits()).div_ceil(ratio);
    assert_eq!(estimate + journal, u64::from(stored));
}

/// Locations of inodes are consistent with their numbers, and those that mkfs made verify.
fn inodes(opened: &Opened) {
    let geo = &opened.geo;
    let per_group = geo.inodes_per_group().get();
    for n in [1, 2, per_group, per_group + 1, geo.inodes_count()] {
        let Some(ino) = geo.check_ino(n) else {
            continue;
        };
        let place = geo.inode_location(ino);
        assert_eq!(place.group.get(), (n - 1) / per_group);
        assert_eq!(place.index, (n - 1) % per_group);
        let bytes = u64::from(place.index) * u64::from(geo.inode_size());
        let found = u64::from(place.block) * u64::from(geo.block_size()) + u64::from(place.offset);
        assert_eq!(found, bytes);
        assert_eq!(geo.ino_at(place.group, place.index), Some(ino));
    }
    assert_eq!(geo.check_ino(0), None);
    assert_eq!(geo.check_ino(geo.inodes_count() + 1), None);
    let root = opened
        .inode(2, Purpose::Path, |inode| inode.mode())
        .expect("root directory");
    assert_eq!(root, 0o40755);
}
