// SPDX-License-Identifier: GPL-2.0

//! Each way for a superblock or a group descriptor to be refused, and the small structures that a
//! mount looks at: orphan file, MMP block, journal superblock.

use rext4::ondisk::features::Features;
use rext4::ondisk::group::{self, GroupDesc, GroupError};
use rext4::ondisk::inode::Purpose;
use rext4::ondisk::journal::{JournalError, JournalSuper};
use rext4::ondisk::mmp::{MmpBlock, MmpError, MmpState};
use rext4::ondisk::mount_state::{DefaultOpts, OnError};
use rext4::ondisk::orphan::{self, OrphanBlock, OrphanError};
use rext4::ondisk::superblock::{self, SuperError, Superblock};
use rext4::ondisk::{FsBlock, Geometry, Group, Ino};

use crate::common::{self, debugfs, Image};
use crate::Opened;

/// A superblock with `bytes` at `offset`, its checksum made right, through all checks.
fn judge(sb: &[u8], changes: &[(usize, &[u8])], device: u64) -> Result<Geometry, SuperError> {
    let mut sb = sb.to_vec();
    for (offset, bytes) in changes {
        sb[*offset..][..bytes.len()].copy_from_slice(bytes);
    }
    fix_checksum(&mut sb);
    let verified = Superblock::verify(&sb)?;
    Geometry::new(verified, 1024 >> verified.block_bits(), Some(device))
}

/// Makes the checksum right, whatever the rest says.
pub fn fix_checksum(sb: &mut [u8]) {
    let csum = rext4::ondisk::crc::crc32c(!0, &sb[..1020]);
    sb[1020..1024].copy_from_slice(&csum.to_le_bytes());
}

#[test]
fn every_superblock_error_has_its_cause() {
    use SuperError::*;
    const SIZE: u64 = 64 << 20;
    // 1 KiB blocks, 8 groups of 8192 blocks and 2048 inodes.
    let img = common::mkfs(&["-b", "1024", "-O", "meta_bg,^resize_inode"], "64M");
    let sb = Opened::new(&img).expect("a file system").sb;
    let u32 = |n: u32| n.to_le_bytes();
    let u16 = |n: u16| n.to_le_bytes();
    let expect = |error: SuperError, changes: &[(usize, &[u8])]| {
        let verdict = judge(&sb, changes, SIZE).err();
        assert_eq!(verdict, Some(error), "with {changes:?}");
    };
    assert!(judge(&sb, &[], SIZE).is_ok());
    assert_eq!(judge(&sb, &[], SIZE - 1).err(), Some(BeyondDevice));
    assert_eq!(Superblock::verify(&sb[..1023]).err(), Some(Truncated));

    expect(BadMagic, &[(0x38, &[0])]);
    expect(BadBlockSize, &[(0x18, &u32(7))]);
    expect(BadBlockSize, &[(0x18, &u32(u32::MAX))]);
    expect(BadClusterSize, &[(0x1c, &u32(19))]);
    expect(UnknownChecksumType, &[(0x175, &[2])]);
    expect(BadFirstInode, &[(0x54, &u32(10))]);
    for size in [0, 64, 192, 2048, 0xffff] {
        expect(BadInodeSize, &[(0x58, &u16(size))]);
    }
    expect(BadWantExtraIsize, &[(0x15e, &u16(129))]);
    expect(BadMinExtraIsize, &[(0x15c, &u16(129))]);
    expect(Hurd64bit, &[(0x48, &u32(1))]);
    let incompat = u32::from_le_bytes(sb[0x60..0x64].try_into().expect("four bytes"));
    let ro_compat = u32::from_le_bytes(sb[0x64..0x68].try_into().expect("four bytes"));
    for bit in [0x1, 0x8, 0x800, 0x1000, 0x10000, 0x20000, 1 << 31] {
        expect(UnsupportedFeature, &[(0x60, &u32(incompat | bit))]);
    }
    let no_64bit = incompat & !0x80;
    expect(
        HurdEaInode,
        &[(0x60, &u32(no_64bit | 0x400)), (0x48, &u32(1))],
    );
    let bigalloc = u32(ro_compat | 0x200);
    expect(
        BigallocWithoutExtents,
        &[(0x64, &bigalloc), (0x60, &u32(incompat & !0x40))],
    );
    for size in [0, 32, 63, 96, 2048] {
        expect(BadDescSize, &[(0xfe, &u16(size))]);
    }
    expect(NoBlocksPerGroup, &[(0x20, &u32(0))]);
    for inodes in [0, 2, 4, 2044, 2050, 8200, u32::MAX] {
        expect(BadInodesPerGroup, &[(0x28, &u32(inodes))]);
    }
    for version in [6, 7, 255] {
        expect(BadHashVersion, &[(0xfc, &[version])]);
    }
    expect(
        ClusterBelowBlock,
        &[(0x64, &bigalloc), (0x18, &u32(1)), (0x58, &u16(256))],
    );
    expect(ClusterNotBlock, &[(0x1c, &u32(1))]);
    expect(BlocksPerGroupTooBig, &[(0x20, &u32(8193))]);
    expect(BadClustersPerGroup, &[(0x24, &u32(8193))]);
    expect(BadClustersPerGroup, &[(0x24, &u32(4))]);
    expect(GroupSizesDisagree, &[(0x24, &u32(4096))]);
    expect(GroupSizesDisagree, &[(0x24, &u32(0))]);
    let wide = [
        (0x64, &bigalloc[..]),
        (0x1c, &u32(18)[..]),
        (0x24, &u32(8192)[..]),
    ];
    expect(GroupSizesDisagree, &wide);
    expect(BigallocFirstDataBlock, &[(0x64, &bigalloc)]);
    expect(BadReservedGdt, &[(0xce, &u16(257))]);
    expect(TooLarge, &[(0x150, &u32(0x0080_0000))]);
    expect(BeyondDevice, &[(0x150, &u32(1))]);
    expect(BeyondDevice, &[(0x4, &u32(65537))]);
    expect(BadFirstDataBlock, &[(0x14, &u32(65536))]);
    expect(BadFirstDataBlock, &[(0x14, &u32(u32::MAX))]);
    expect(NoBootBlock, &[(0x14, &u32(0))]);
    expect(BadInodesCount, &[(0x0, &u32(16383))]);
    // Another number of groups follows from smaller ones.
    expect(BadInodesCount, &[(0x20, &u32(4096)), (0x24, &u32(4096))]);
    expect(BadFirstMetaBg, &[(0x104, &u32(2))]);
    let mut damaged = sb.clone();
    damaged[0x78] ^= 1;
    assert_eq!(Superblock::verify(&damaged).err(), Some(BadChecksum));
    assert!(BadChecksum.is_checksum() && !BadMagic.is_checksum());

    // 2^33 groups of 8 blocks, on a device of unknown size.
    let tiny: [(usize, &[u8]); 4] = [
        (0x20, &u32(8)),
        (0x24, &u32(8)),
        (0x28, &u32(8)),
        (0x150, &u32(16)),
    ];
    let mut many = sb.clone();
    for (offset, bytes) in tiny {
        many[offset..][..bytes.len()].copy_from_slice(bytes);
    }
    fix_checksum(&mut many);
    let many = Superblock::verify(&many).expect("a superblock");
    assert_eq!(Geometry::new(many, 1, None).err(), Some(TooManyGroups));

    let verified = Superblock::verify(&sb).expect("a superblock");
    let at = |block| Geometry::new(verified, block, Some(SIZE)).err();
    assert_eq!(at(1), None);
    assert_eq!(at(65536), Some(BadSuperLocation));
    assert_eq!(at(u64::MAX), Some(BadSuperLocation));

    // Without meta_bg the descriptors follow the superblock, and there must be room for them.
    let plain = common::mkfs(&["-b", "1024"], "64M");
    let plain = Opened::new(&plain).expect("a file system").sb;
    let verified = Superblock::verify(&plain).expect("a superblock");
    let at = |block| Geometry::new(verified, block, Some(SIZE)).err();
    assert_eq!(at(65535), Some(GdtBeyondEnd));
    assert_eq!(at(65534), None);
}

#[test]
fn features_are_refused_by_name() {
    for (feature, name) in [("encrypt", "encrypt"), ("casefold", "casefold")] {
        let img = common::mkfs(&["-O", feature], "16M");
        assert_eq!(
            Opened::new(&img).err(),
            Some(SuperError::UnsupportedFeature)
        );
        assert_eq!(features(&img).unsupported_incompat(), Some(name));
    }
    let img = common::mkfs(&["-O", "journal_dev"], "16M");
    assert_eq!(features(&img).unsupported_incompat(), Some("journal_dev"));
    let img = common::mkfs(&[], "16M");
    debugfs(&img, &["feature shared_blocks"]);
    assert_eq!(features(&img).unsupported_incompat(), None);
    assert_eq!(
        features(&img).unsupported_ro_compat(),
        Some("shared_blocks")
    );
    assert!(Opened::new(&img).is_ok());
}

fn features(img: &Image) -> Features {
    Superblock::verify(&img.bytes()[1024..])
        .expect("a superblock")
        .features()
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.geo.fmt(f)
    }
}

#[test]
fn what_tune2fs_sets_is_read_back() {
    let img = common::mkfs(&["-L", "a label", "-M", "/some/where"], "32M");
    let tune = [
        "-e", "panic", "-c", "30", "-i", "3d", "-m", "7", "-u", "7000", "-g", "8000",
    ];
    common::run(common::tool("tune2fs").args(tune).arg(&img));
    let tune = [
        "-o",
        "journal_data_writeback,discard,nodelalloc",
        "-E",
        "stride=16,stripe_width=64",
    ];
    common::run(common::tool("tune2fs").args(tune).arg(&img));
    common::run(
        common::tool("tune2fs")
            .args(["-E", "mount_opts=discard"])
            .arg(&img),
    );
    debugfs(
        &img,
        &[
            "ssv wtime @8589934592",
            "ssv error_count 5",
            "ssv first_error_time @1700000000",
            "ssv first_error_func some_function",
            "ssv first_error_line 77",
            "ssv first_error_ino 12",
            "ssv first_error_block 34567",
            "ssv last_error_func another",
            "ssv kbytes_written 99",
            "ssv last_orphan 13",
            "ssv state 2",
            "ssv lpf_ino 11",
        ],
    );
    let opened = Opened::new(&img).expect("a file system");
    let sb = opened.superblock();
    assert_eq!(sb.volume_name(), b"a label");
    assert_eq!(sb.last_mounted(), b"/some/where");
    assert_eq!(sb.mount_opts(), b"discard");
    assert_eq!(sb.on_error(), OnError::Panic);
    assert_eq!(sb.max_mnt_count(), 30);
    assert_eq!(sb.check_interval(), 3 * 86400);
    assert_eq!(sb.r_blocks_count(), opened.geo.blocks_count() * 7 / 100);
    assert_eq!((sb.def_resuid(), sb.def_resgid()), (7000, 8000));
    assert_eq!((sb.raid_stride(), sb.raid_stripe_width()), (16, 64));
    let opts = sb.default_opts();
    assert_eq!(opts.bits() & DefaultOpts::JMODE, DefaultOpts::JMODE_WBACK);
    assert!(opts.contains(DefaultOpts::DISCARD | DefaultOpts::NODELALLOC));
    assert!(!opts.contains(DefaultOpts::NOBARRIER));
    assert_eq!(sb.error_count(), 5);
    let first = sb.first_error();
    assert_eq!((first.time, first.line), (1_700_000_000, 77));
    assert_eq!((first.ino, first.block), (12, 34567));
    assert_eq!(first.func, b"some_function");
    assert_eq!(sb.last_error().func, b"another");
    assert_eq!(sb.kbytes_written(), 99);
    assert_eq!(sb.last_orphan(), 13);
    assert_eq!(sb.lpf_ino(), 11);
    assert!(sb.state().has_errors() && !sb.state().is_valid());
    assert!(sb.made_for_linux() && !sb.made_for_hurd());
    // debugfs sets the time of writing itself.
    assert!(sb.mkfs_time() > 1_600_000_000 && sb.wtime() >= sb.mkfs_time());

    // Upper halves that e2fsprogs of today may not set.
    let mut wide = opened.sb.clone();
    wide[0x274..0x27a].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
    wide[0x284..0x288].copy_from_slice(&[1, 0, 2, 0]);
    fix_checksum(&mut wide);
    let wide = Superblock::verify(&wide).expect("a superblock");
    assert_eq!(
        (wide.def_resuid(), wide.def_resgid()),
        (0x10000 + 7000, 0x20000 + 8000)
    );
    let times = [
        wide.wtime(),
        wide.mtime(),
        wide.mkfs_time(),
        wide.lastcheck(),
    ];
    assert_eq!(times.map(|time| time >> 32), [1, 2, 3, 4]);
    let errors = [wide.first_error().time, wide.last_error().time];
    assert_eq!(errors.map(|time| time >> 32), [5, 6]);
    assert_eq!(errors[0] & 0xffff_ffff, first.time);
}

#[test]
fn the_superblock_is_where_sb_says() {
    // The primary, in blocks of each size.
    assert_eq!(superblock::location(1, 10), Some((1, 0)));
    assert_eq!(superblock::location(1, 12), Some((0, 1024)));
    assert_eq!(superblock::location(1, 16), Some((0, 1024)));
    assert_eq!(superblock::location(131_072, 12), Some((32768, 0)));
    assert_eq!(superblock::location(u64::MAX, 12), None);
    assert_eq!(superblock::location(1, 64), None);
}

#[test]
fn every_descriptor_error_has_its_cause() {
    use GroupError::*;
    for (args, flex) in [
        (&["-b", "1024"][..], true),
        (&["-b", "1024", "-O", "^flex_bg"], false),
    ] {
        let img = common::mkfs(args, "64M");
        let opened = Opened::new(&img).expect("a file system");
        let geo = &opened.geo;
        let group = Group::new(2);
        let good = opened.desc(group);
        let with = |offset: usize, block: u64| {
            let mut bytes = good.clone();
            bytes[offset..][..4].copy_from_slice(&(block as u32).to_le_bytes());
            bytes[offset + 32..][..4].copy_from_slice(&((block >> 32) as u32).to_le_bytes());
            group::update_checksum(geo, group, &mut bytes);
            GroupDesc::verify(geo, group, &bytes).err()
        };
        let first = geo.group_first_block(group).get();
        let end = if flex {
            geo.blocks_count()
        } else {
            first + 8192
        };
        let table = u64::from(geo.itable_blocks_per_group());
        for (offset, place, overlap) in [
            (0, BlockBitmapPlace, BlockBitmapOverlap),
            (4, InodeBitmapPlace, InodeBitmapOverlap),
            (8, InodeTablePlace, InodeTableOverlap),
        ] {
            let len = if offset == 8 { table } else { 1 };
            assert_eq!(with(offset, end - len), None);
            for outside in [0, end - len + 1, end, u64::MAX, u64::MAX - len + 1, 1 << 40] {
                assert_eq!(with(offset, outside), Some(place), "{offset}: {outside}");
            }
            // The superblock, and the last block of the descriptors behind it.
            for head in [1, 1 + u64::from(geo.gdt_blocks())] {
                let expected = if flex { overlap } else { place };
                assert_eq!(with(offset, head), Some(expected));
                assert!(!flex || expected.allows_reading());
            }
            assert!(!place.allows_reading());
        }
        let verify = |group, bytes| GroupDesc::verify(geo, group, bytes).err();
        assert_eq!(verify(group, &good), None);
        // A descriptor in another's place has the wrong number in its checksum.
        let first_desc = opened.desc(Group::new(0));
        if flex {
            assert_eq!(verify(group, &first_desc), Some(BadChecksum));
        }
        assert_eq!(
            verify(Group::new(geo.groups_count()), &good),
            Some(NoSuchGroup)
        );
        assert_eq!(verify(group, &good[..63]), Some(Truncated));

        // Bitmaps: one bit changes the checksum, and with it both halves.
        let bytes = opened.desc(Group::new(0));
        let desc = GroupDesc::verify(geo, Group::new(0), &bytes).expect("a descriptor");
        let mut bitmap = opened.block(desc.block_bitmap());
        bitmap[100] ^= 4;
        assert_eq!(
            desc.verify_block_bitmap(geo, &bitmap),
            Err(BadBlockBitmapChecksum)
        );
        assert_eq!(
            desc.verify_block_bitmap(geo, &bitmap[..10]),
            Err(BadBlockBitmapChecksum)
        );
        let mut changed = bytes.clone();
        let csum = group::block_bitmap_checksum(geo, &bitmap).expect("checksums are on");
        group::set_block_bitmap_checksum(geo, &mut changed, csum);
        group::update_checksum(geo, Group::new(0), &mut changed);
        let desc = GroupDesc::verify(geo, Group::new(0), &changed).expect("a descriptor");
        assert_eq!(desc.verify_block_bitmap(geo, &bitmap), Ok(()));
        let mut inodes = opened.block(desc.inode_bitmap());
        inodes[3] ^= 1;
        assert_eq!(
            desc.verify_inode_bitmap(geo, &inodes),
            Err(BadInodeBitmapChecksum)
        );
        let csum = group::inode_bitmap_checksum(geo, &inodes).expect("checksums are on");
        group::set_inode_bitmap_checksum(geo, &mut changed, csum);
        let desc = GroupDesc::parse(geo, Group::new(0), &changed).expect("a descriptor");
        assert_eq!(desc.verify_inode_bitmap(geo, &inodes), Ok(()));
    }
}

#[test]
fn padding_must_be_set() {
    // The last group has 65535 - 57345 + 1 = 8191 blocks: one bit of padding in its last byte.
    let img = common::mkfs(&["-b", "1024"], "64M");
    let opened = Opened::new(&img).expect("a file system");
    let last = Group::new(opened.geo.groups_count() - 1);
    assert_eq!(opened.geo.group_clusters(last), 8191);
    let mut bitmap = vec![0; 1024];
    let verify = |bitmap: &[u8]| group::verify_padding(&opened.geo, last, bitmap);
    assert_eq!(verify(&bitmap), Err(GroupError::BadBlockBitmapPadding));
    bitmap[1023] = 0x80;
    assert_eq!(verify(&bitmap), Ok(()));
    // A full group has none.
    assert_eq!(
        group::verify_padding(&opened.geo, Group::new(0), &[0; 1024]),
        Ok(())
    );
}

/// The physical blocks of an inode.
fn blocks(img: &Image, ino: u32) -> Vec<FsBlock> {
    let text = debugfs(img, &[&format!("blocks <{ino}>")]);
    let list = text.lines().last().expect("a list of blocks");
    list.split_whitespace()
        .map(|n| FsBlock::new(n.parse().expect("a block number")))
        .collect()
}

#[test]
fn orphan_blocks_are_verified_and_listed() {
    for args in [
        &["-O", "orphan_file"][..],
        &["-O", "orphan_file,^metadata_csum"],
    ] {
        let img = common::mkfs(args, "32M");
        let opened = Opened::new(&img).expect("a file system");
        let geo = &opened.geo;
        let inum = opened.superblock().orphan_file_inum();
        let (seed, size) = opened
            .inode(inum, Purpose::Special, |inode| {
                (inode.csum_seed(), inode.size())
            })
            .expect("the orphan file");
        assert_eq!(seed.is_some(), geo.csum_seed().is_some());
        let list = blocks(&img, inum);
        assert_eq!(orphan::file_blocks(geo, size), Ok(list.len() as u32));
        let slots = orphan::slots_per_block(geo) as usize;
        for &block in &list {
            let mut bytes = opened.block(block);
            let empty = OrphanBlock::verify(seed, block, &bytes).expect("as mkfs made it");
            assert_eq!((empty.orphans(geo).count(), empty.free_slots()), (0, slots));
            bytes[8..12].copy_from_slice(&13u32.to_le_bytes());
            bytes[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
            bytes[20..24].copy_from_slice(&8u32.to_le_bytes());
            let verdict = OrphanBlock::verify(seed, block, &bytes).err();
            assert_eq!(verdict, seed.map(|_| OrphanError::BadChecksum));
            if let Some(seed) = seed {
                orphan::update_checksum(seed, block, &mut bytes);
                let other = FsBlock::new(block.get() + 1);
                let moved = OrphanBlock::verify(Some(seed), other, &bytes).err();
                assert_eq!(moved, Some(OrphanError::BadChecksum));
            }
            let used = OrphanBlock::verify(seed, block, &bytes).expect("checksum is right");
            let found: Vec<_> = used.orphans(geo).collect();
            let ino = Ino::new(13).expect("not 0");
            let bad = Err(OrphanError::BadInode);
            assert_eq!(found, [(2, Ok(ino)), (4, bad), (5, bad)]);
            assert_eq!(used.free_slots(), slots - 3);
            let end = bytes.len();
            bytes[end - 8] ^= 1;
            let verdict = OrphanBlock::verify(seed, block, &bytes).err();
            assert_eq!(verdict, Some(OrphanError::BadMagic));
        }
        assert_eq!(orphan::file_blocks(geo, u64::MAX), Err(OrphanError::TooBig));
    }
}

#[test]
fn the_mmp_block_says_who_is_there() {
    let img = common::mkfs(&["-O", "mmp", "-E", "mmp_update_interval=7"], "32M");
    let opened = Opened::new(&img).expect("a file system");
    let sb = opened.superblock();
    assert_eq!(sb.mmp_update_interval(), 7);
    let block = opened
        .geo
        .check_block(sb.mmp_block())
        .expect("it is on the device");
    let mut bytes = opened.block(block);
    let seed = opened.geo.csum_seed();
    let mmp = MmpBlock::verify(seed, &bytes).expect("as mkfs made it");
    assert_eq!(mmp.state(), MmpState::Clean);
    assert!(!mmp.nodename().is_empty());
    for (seq, state) in [
        (1u32, MmpState::InUse(1)),
        (0xe24d_4d50, MmpState::Fsck),
        (0xe24d_4d51, MmpState::Unknown(0xe24d_4d51)),
    ] {
        bytes[4..8].copy_from_slice(&seq.to_le_bytes());
        assert_eq!(
            MmpBlock::verify(seed, &bytes).err(),
            Some(MmpError::BadChecksum)
        );
        assert_eq!(
            MmpBlock::verify(None, &bytes).map(MmpBlock::state),
            Ok(state)
        );
    }
    bytes[0] ^= 1;
    assert_eq!(
        MmpBlock::verify(seed, &bytes).err(),
        Some(MmpError::BadMagic)
    );
}

#[test]
fn a_journal_that_needs_recovery_is_noticed() {
    for (args, open) in [(&["-b", "1024"][..], "jo -c -v 3"), (&["-b", "4096"], "jo")] {
        let img = common::mkfs(args, "64M");
        let journal = |img: &Image| {
            let opened = Opened::new(img).expect("a file system");
            let list = blocks(img, 8);
            let block = opened.block(list[0]);
            let blocks = opened
                .inode(8, Purpose::Special, |inode| inode.size())
                .expect("journal");
            (
                block,
                opened.geo.block_size(),
                (blocks >> opened.geo.block_bits()) as u32,
            )
        };
        let (bytes, size, len) = journal(&img);
        let clean = JournalSuper::verify(&bytes, size, len).expect("as mkfs made it");
        assert!(!clean.needs_recovery() && !clean.has_fast_commit());
        assert_eq!(
            (clean.maxlen(), clean.errno(), clean.nr_users()),
            (len, 0, 1)
        );

        // A committed transaction that is not replayed.
        let data = Image::empty("data");
        std::fs::write(data.path(), vec![1; size as usize]).expect("write a file");
        let write = format!("jw -b 5000 {}", data.path().display());
        debugfs(&img, &[open, &write, "jc"]);
        let (mut bytes, size, len) = journal(&img);
        let dirty = JournalSuper::verify(&bytes, size, len).expect("as debugfs made it");
        assert!(dirty.needs_recovery() && dirty.start() != 0);
        let sb = Opened::new(&img).expect("a file system");
        assert!(sb.geo.has(rext4::ondisk::features::Incompat::RECOVER));

        let judge = |bytes: &[u8]| JournalSuper::verify(bytes, size, len).err();
        let with = |offset: usize, value: u32| {
            let mut changed = bytes.clone();
            changed[offset..][..4].copy_from_slice(&value.to_be_bytes());
            judge(&changed)
        };
        assert_eq!(with(0, 0), Some(JournalError::NoSuperblock));
        assert_eq!(with(12, size * 2), Some(JournalError::NoSuperblock));
        assert_eq!(with(4, 5), Some(JournalError::UnknownFormat));
        assert_eq!(with(16, len + 1), Some(JournalError::TooShort));
        assert_eq!(with(16, 1023), Some(JournalError::TooShort));
        assert_eq!(with(20, 0), Some(JournalError::BadFirst));
        assert_eq!(with(20, len), Some(JournalError::BadFirst));
        assert_eq!(with(0x28, 0x80), Some(JournalError::UnknownFeatures));
        assert_eq!(with(0x2c, 1), Some(JournalError::UnknownFeatures));
        assert_eq!(with(0x28, 0x18), Some(JournalError::ConflictingChecksums));
        if open != "jo" {
            assert_eq!(with(0x1c, 77), Some(JournalError::BadChecksum));
            assert_eq!(with(0x50, 0), Some(JournalError::UnknownChecksumType));
        }
        // Version 1 has no features, whatever stands there.
        bytes[7] = 3;
        let old = JournalSuper::verify(&bytes, size, len).expect("version 1");
        assert_eq!(old.incompat(), 0);
    }
}
