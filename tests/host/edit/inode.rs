// SPDX-License-Identifier: GPL-2.0

//! Every field of an inode, on file systems of all kinds.

use proptest::prelude::*;
use rext4::ondisk::features::{Incompat, RoCompat};
use rext4::ondisk::inode::{FileType, Inode, InodeError, InodeFlags, Purpose};
use rext4::ondisk::inode_edit::{needs_large_file, InodeEdit, NotExpanded, Unstorable};
use rext4::ondisk::time::{Timestamp, MAX_EXTRA, MAX_PLAIN, MIN};
use rext4::ondisk::{FsBlock, Geometry, Ino};

use crate::common;
use crate::disk::Fs;
use crate::edited::{assert_clean, edit, make_files, slot, store, with_inode};

const INO: u32 = 20;

const KINDS: &[&[&str]] = &[
    &["-b", "4096"],
    &["-b", "1024", "-I", "128"],
    &["-b", "4096", "-I", "1024", "-O", "project,quota"],
    &["-b", "1024", "-I", "512", "-O", "^metadata_csum,large_dir"],
    &["-b", "2048", "-O", "^64bit,^huge_file,^extent"],
    &["-b", "4096", "-E", "revision=0"],
];

fn geometry(args: &[&str]) -> Geometry {
    Fs::open(&common::mkfs(args, "16M")).geometry
}

fn fresh(geo: &Geometry, change: impl FnOnce(&mut InodeEdit<'_>)) -> Vec<u8> {
    let mut slot = vec![0xa5; geo.inode_size().into()];
    let mut edit = InodeEdit::fresh(geo, &mut slot).unwrap();
    edit.set_links(1);
    change(&mut edit);
    edit.finish_as(Ino::new(INO).unwrap());
    slot
}

fn read<'a>(geo: &Geometry, slot: &'a [u8]) -> Inode<'a> {
    Inode::verify(geo, Ino::new(INO).unwrap(), slot, Purpose::Path).expect("verifies")
}

/// All there is to set.
#[derive(Clone, Debug)]
struct Fields {
    mode: u16,
    owner: (u32, u32),
    links: u16,
    size: u64,
    sectors: u64,
    flags: u32,
    generation: u32,
    dtime: u32,
    times: [Timestamp; 4],
    version: u64,
    acl: u64,
    project: u32,
    i_block: [u8; 60],
}

fn time() -> impl Strategy<Value = Timestamp> {
    let secs = prop_oneof![MIN..=MAX_EXTRA, Just(MIN), Just(MAX_EXTRA), 0..=MAX_PLAIN];
    (secs, 0u32..1_000_000_000).prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

fn fields() -> impl Strategy<Value = Fields> {
    let mode = prop_oneof![Just(0o100_644u16), Just(0o040_755), Just(0o010_600)];
    let size = prop_oneof![0u64..1 << 20, 0u64..1 << 33, any::<u64>()];
    let sectors = prop_oneof![
        0u64..1 << 20,
        0u64..1 << 33,
        0u64..1 << 52,
        (0u64..1 << 50).prop_map(|n| n << 3),
        any::<u64>()
    ];
    let first = (
        mode,
        any::<(u32, u32)>(),
        1u16..,
        size,
        sectors,
        any::<u32>(),
    );
    let second = (any::<u32>(), any::<u32>(), [time(), time(), time(), time()]);
    let third = (any::<u64>(), 100u64..4000, any::<u32>(), any::<u8>());
    (first, second, third).prop_map(|(first, second, third)| {
        let (mode, owner, links, size, sectors, flags) = first;
        let (generation, dtime, times) = second;
        let (version, acl, project, byte) = third;
        // Flags that exclude each other or need a feature have tests of their own.
        let off = InodeFlags::INLINE_DATA
            .union(InodeFlags::CASEFOLD)
            .union(InodeFlags::ENCRYPT)
            .union(InodeFlags::INDEX)
            .union(InodeFlags::EA_INODE);
        Fields {
            mode,
            owner,
            links,
            size,
            sectors,
            flags: flags & !off.bits(),
            generation,
            dtime,
            times,
            version,
            acl,
            project,
            i_block: [byte; 60],
        }
    })
}

/// Sets everything, and checks what a reader says.
fn round_trip(geo: &Geometry, f: &Fields) -> Result<(), TestCaseError> {
    let mut stored = (false, false, false);
    let slot = fresh(geo, |e| {
        e.set_mode(f.mode);
        e.set_owner(f.owner.0, f.owner.1);
        e.set_links(f.links);
        // The unit of the blocks is nobody else's business, before or after.
        stored.0 = e.set_blocks(f.sectors).is_ok();
        e.set_flags(InodeFlags::from_bits(f.flags));
        stored.1 = e.set_size(f.size).is_ok();
        e.set_generation(f.generation);
        e.set_dtime(f.dtime);
        e.set_atime(f.times[0]);
        e.set_ctime(f.times[1]);
        e.set_mtime(f.times[2]);
        e.set_crtime(f.times[3]);
        e.set_version(f.version);
        e.set_xattr_block(Some(FsBlock::new(f.acl)));
        stored.2 = e.set_projid(f.project).is_ok();
        e.set_i_block(&f.i_block);
    });
    let inode = read(geo, &slot);
    prop_assert_eq!(inode.mode(), f.mode);
    prop_assert_eq!((inode.uid(), inode.gid()), f.owner);
    prop_assert_eq!(inode.links_count(), f.links);
    prop_assert_eq!(inode.generation(), f.generation);
    prop_assert_eq!(inode.dtime(), f.dtime);
    prop_assert_eq!(inode.xattr_block(), Some(FsBlock::new(f.acl)));
    prop_assert_eq!(inode.i_block(), &f.i_block);
    let unit = InodeFlags::HUGE_FILE.bits();
    prop_assert_eq!(inode.flags().bits() & !unit, f.flags & !unit);

    let extents = f.flags & InodeFlags::EXTENTS.bits() != 0;
    let regular = inode.file_type() == FileType::Regular;
    let max = match (regular || geo.has(Incompat::LARGEDIR), extents) {
        (false, _) => u32::MAX.into(),
        (_, true) => geo.max_extent_bytes(),
        (_, false) => geo.max_indirect_bytes(),
    };
    prop_assert_eq!(stored.1, f.size <= max);
    prop_assert_eq!(inode.size(), if stored.1 { f.size } else { 0 });

    let shift = geo.block_bits() - 9;
    let fits = match geo.has(RoCompat::HUGE_FILE) {
        false => f.sectors < 1 << 32,
        true => f.sectors >> shift < 1 << 48,
    };
    prop_assert_eq!(stored.0, fits);
    let exact = if f.sectors >= 1 << 48 {
        f.sectors >> shift << shift
    } else {
        f.sectors
    };
    prop_assert_eq!(inode.sectors(), if fits { exact } else { 0 });

    let wide = geo.inode_size() > 128;
    let kept = |t: Timestamp| match wide {
        true => t,
        false => Timestamp {
            secs: t.secs.clamp(MIN, MAX_PLAIN),
            nanos: 0,
        },
    };
    prop_assert_eq!(inode.atime(), kept(f.times[0]));
    prop_assert_eq!(inode.ctime(), kept(f.times[1]));
    prop_assert_eq!(inode.mtime(), kept(f.times[2]));
    let crtime = if wide {
        f.times[3]
    } else {
        Timestamp::default()
    };
    prop_assert_eq!(inode.crtime(), crtime);
    let version = if wide {
        f.version
    } else {
        f.version & 0xffff_ffff
    };
    prop_assert_eq!(inode.version(geo), version);
    let project = geo.has(RoCompat::PROJECT) && wide;
    prop_assert_eq!(stored.2, project || f.project == 0);
    prop_assert_eq!(inode.projid(geo), if project { f.project } else { 0 });
    prop_assert_eq!(inode.extra_isize(), if wide { 32 } else { 0 });
    Ok(())
}

#[test]
fn what_is_set_is_read() {
    for args in KINDS {
        let geo = geometry(args);
        let config = ProptestConfig {
            cases: 400,
            failure_persistence: None,
            ..Default::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&fields(), |f| round_trip(&geo, &f));
        assert!(result.is_ok(), "{args:?}: {}", result.unwrap_err());
    }
}

#[test]
fn an_edit_without_changes_changes_nothing() {
    for args in KINDS {
        let image = common::mkfs(args, "16M");
        let ino = make_files(&image, &["f"])[0];
        let mut fs = Fs::open(&image);
        let before = fs.bytes.clone();
        for ino in [2, 8, 11, ino] {
            edit(&mut fs, ino, |_| ());
        }
        assert!(before == fs.bytes, "{args:?}");
    }
}

#[test]
fn owners_in_sixteen_bits() {
    let geo = geometry(&[]);
    let slot = fresh(&geo, |e| {
        e.set_mode(0o100_644);
        e.set_owner(u32::MAX, u32::MAX);
        e.set_owner16(65_535, 65_536, (65_534, 65_533));
    });
    let inode = read(&geo, &slot);
    assert_eq!((inode.uid(), inode.gid()), (65_535, 65_533));
    let slot = fresh(&geo, |e| {
        e.set_mode(0o100_644);
        e.set_owner(0x12_3456, 0x65_4321);
        e.forget_owner_high();
    });
    let inode = read(&geo, &slot);
    assert_eq!((inode.uid(), inode.gid()), (0x3456, 0x4321));
}

#[test]
fn device_numbers() {
    let geo = geometry(&["-I", "128"]);
    let cases = [
        (0, 0),
        (8, 1),
        (255, 255),
        (256, 0),
        (8, 256),
        (0xfff, 0xf_ffff),
        (7, 0x1_2345),
    ];
    for (major, minor) in cases {
        let slot = fresh(&geo, |e| {
            e.set_mode(0o060_660);
            e.set_i_block(&[0xff; 60]);
            e.set_rdev(major, minor).unwrap();
            assert_eq!(e.set_rdev(0x1000, 0), Err(Unstorable::Device));
            assert_eq!(e.set_rdev(0, 0x10_0000), Err(Unstorable::Device));
        });
        assert_eq!(read(&geo, &slot).rdev(), (major, minor));
    }
}

#[test]
fn ea_inode_fields() {
    let geo = geometry(&["-O", "ea_inode"]);
    let slot = fresh(&geo, |e| {
        e.set_mode(0o100_600);
        e.set_flags(InodeFlags::EA_INODE);
        e.set_ea_hash(0xdead_beef);
        e.set_ea_ref_count(0x1_2345_6789);
    });
    let inode = Inode::verify(&geo, Ino::new(INO).unwrap(), &slot, Purpose::EaInode);
    let inode = inode.expect("EA inode");
    assert_eq!(inode.ea_hash(), 0xdead_beef);
    assert_eq!(inode.ea_ref_count(), 0x1_2345_6789);
}

#[test]
fn bad_slots() {
    let geo = geometry(&[]);
    let mut slot = vec![0u8; 256];
    assert_eq!(
        InodeEdit::open(&geo, &mut slot[..255]).err(),
        Some(InodeError::Truncated)
    );
    assert_eq!(
        InodeEdit::fresh(&geo, &mut slot[..255]).err(),
        Some(InodeError::Truncated)
    );
    for bad in [30u16, 132, 0xfffc] {
        slot[128..130].copy_from_slice(&bad.to_le_bytes());
        let error = InodeEdit::open(&geo, &mut slot).err();
        assert_eq!(error, Some(InodeError::BadExtraIsize));
    }
    assert!(!needs_large_file(0x7fff_ffff) && needs_large_file(0x8000_0000));
}

/// Extra fields that nobody used are taken into use, and what is behind them is not taken for
/// attributes.
#[test]
fn unused_extra_fields_are_taken_into_use() {
    let geo = geometry(&[]);
    let number = Ino::new(INO).unwrap();
    let mut slot = fresh(&geo, |e| e.set_mode(0o100_644));
    slot[128..130].copy_from_slice(&[0, 0]);
    slot[160..164].copy_from_slice(&0xea02_0000u32.to_le_bytes());
    let time = Timestamp {
        secs: 1 << 33,
        nanos: 5,
    };
    let mut e = InodeEdit::open(&geo, &mut slot).unwrap();
    e.set_mtime(time);
    e.finish_as(number);
    let inode = read(&geo, &slot);
    assert_eq!((inode.extra_isize(), inode.mtime()), (32, time));
    assert_eq!(inode.xattr_space().unwrap()[..4], [0; 4]);
}

#[test]
fn expansion() {
    let image = common::mkfs(&["-b", "4096"], "16M");
    let ino = make_files(&image, &["f"])[0];
    common::debugfs(
        &image,
        &[
            "set_inode_field f extra_isize 4",
            "ea_set f user.a hello",
            "ea_set f user.bb 12345678",
        ],
    );
    let before = common::debugfs(&image, &["ea_list f"]);
    let mut fs = Fs::open(&image);
    for (want, now) in [(4, 4), (8, 8), (30, 28), (32, 32), (16, 32), (60, 60)] {
        edit(&mut fs, ino, |e| {
            assert_eq!(e.expand(want), Ok(()));
            assert_eq!(e.extra_isize(), now);
        });
        with_inode(&fs, ino, |inode| assert_eq!(inode.extra_isize(), now));
        // What is new of the fields beyond those that were read before is 0.
        let slot = slot(&fs, ino);
        assert!(slot[128 + 4..128 + usize::from(now)]
            .iter()
            .all(|&b| b == 0));
        store(&fs, &image);
        assert_eq!(common::debugfs(&image, &["ea_list f"]), before);
        assert_clean(&image);
    }
    // 256 - 128 - 4 bytes less header, two entries of 20, their values of 8, and the end.
    let most = 128 - 4 - 2 * 20 - 2 * 8 - 4;
    let bytes = fs.bytes.clone();
    edit(&mut fs, ino, |e| {
        let missing = NotExpanded::NoRoom { missing: 4 };
        assert_eq!(e.expand(most + 4), Err(missing));
        let missing = NotExpanded::NoRoom {
            missing: 128 - most,
        };
        assert_eq!(e.expand(u16::MAX), Err(missing));
    });
    assert!(bytes == fs.bytes);
    edit(&mut fs, ino, |e| assert_eq!(e.expand(most), Ok(())));
    store(&fs, &image);
    assert_eq!(common::debugfs(&image, &["ea_list f"]), before);
    assert_clean(&image);
}

/// What debugfs says of an inode that was written here.
#[test]
fn debugfs_reads_it() {
    let image = common::mkfs(&["-b", "1024"], "16M");
    let files = make_files(&image, &["f", "dev"]);
    let mut fs = Fs::open(&image);
    edit(&mut fs, files[0], |e| {
        e.set_mode(0o100_751);
        e.set_owner(70_001, 70_002);
        e.set_atime(Timestamp {
            secs: 0x1_0000_0000,
            nanos: 1,
        });
        e.set_mtime(Timestamp { secs: -1, nanos: 2 });
        e.set_version(0x12_0000_0034);
        let flags = e.flags();
        e.set_flags(flags.union(InodeFlags::NODUMP));
        e.set_size(12_345).unwrap();
    });
    store(&fs, &image);
    let stat = common::debugfs(&image, &["stat f"]);
    for part in [
        "Mode:  0751",
        "User: 70001",
        "Group: 70002",
        "Size: 12345",
        "Flags: 0x80040",
        "Version: 0x00000012:00000034",
        "atime: 0x00000000:00000005",
        "mtime: 0xffffffff:00000008",
    ] {
        assert!(stat.contains(part), "{part} is not in {stat}");
    }
    assert!(!stat.to_lowercase().contains("checksum error"), "{stat}");
    // A new inode in the place of an old one: its block and bitmaps are left to e2fsck.
    let at = crate::edited::slot_at(&fs, files[1]);
    let mut e = InodeEdit::fresh(&fs.geometry, &mut fs.bytes[at..at + 256]).unwrap();
    e.set_mode(0o020_600);
    e.set_links(1);
    e.set_rdev(300, 70_000).unwrap();
    e.finish_as(Ino::new(files[1]).unwrap());
    store(&fs, &image);
    let stat = common::debugfs(&image, &["stat dev"]);
    assert!(stat.contains("character special"), "{stat}");
    assert!(stat.contains("300:70000"), "{stat}");
    assert!(!with_inode(&fs, files[1], |i| i.flags().bits() != 0));
}
