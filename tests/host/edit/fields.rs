// SPDX-License-Identifier: GPL-2.0

//! Snapshots of inodes, stored in slots and read back.

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use rext4::engine::inode_fields::{Fields, IBlock, Stamps, Stored};
use rext4::ondisk::features::RoCompat;
use rext4::ondisk::inode::{Inode, InodeFlags, Purpose};
use rext4::ondisk::inode_edit::{fresh_extra_isize, InodeEdit, Unstorable};
use rext4::ondisk::time::{Timestamp, MAX_EXTRA, MAX_PLAIN, MIN};
use rext4::ondisk::{FsBlock, Geometry, Ino};

use crate::common;
use crate::disk::Fs;
use crate::edited::{assert_clean, edit, make_files, slot, store, with_inode};

const INO: u32 = 20;
const DIRECTORY: u16 = 0o040_755;
const REGULAR: u16 = 0o100_644;

const KINDS: &[&[&str]] = &[
    &["-b", "4096"],
    &["-b", "1024", "-I", "128", "-O", "^metadata_csum"],
    &["-b", "1024", "-I", "128"],
    &["-b", "4096", "-I", "512", "-O", "project,quota"],
];

fn geometry(args: &[&str]) -> Geometry {
    Fs::open(&common::mkfs(args, "16M")).geometry
}

fn plain(root: &[u8; 60]) -> Fields<'_> {
    let time = Timestamp {
        secs: 1_700_000_000,
        nanos: 7,
    };
    Fields {
        mode: REGULAR,
        uid: 1000,
        gid: 1001,
        ids16: None,
        nlink: 1,
        size: 0,
        sectors: 0,
        flags: InodeFlags::from_bits(0),
        generation: 5,
        stamps: Some(Stamps {
            atime: time,
            mtime: time,
            ctime: time,
            version: 3,
        }),
        projid: 0,
        i_block: IBlock::Root(root),
        xattr_block: Some(None),
    }
}

/// Stores into `slot` as the file system does; `fresh` for a new inode.
fn put(geo: &Geometry, slot: &mut [u8], fresh: bool, fields: &Fields<'_>) -> Stored {
    let seed = geo.inode_seed(Ino::new(INO).unwrap(), fields.generation);
    let mut edit = if fresh {
        InodeEdit::fresh(geo, slot).unwrap()
    } else {
        InodeEdit::open(geo, slot).unwrap()
    };
    let stored = fields.store(&mut edit);
    edit.finish(seed);
    stored
}

fn new_slot(geo: &Geometry, fields: &Fields<'_>) -> (Vec<u8>, Stored) {
    let mut slot = vec![0xa5; geo.inode_size().into()];
    let stored = put(geo, &mut slot, true, fields);
    (slot, stored)
}

fn read<'a>(geo: &Geometry, slot: &'a [u8]) -> Inode<'a> {
    Inode::verify(geo, Ino::new(INO).unwrap(), slot, Purpose::Orphan).expect("verifies")
}

#[derive(Clone, Debug)]
struct Values {
    directory: bool,
    mode: u16,
    ids: (u32, u32),
    nlink: u32,
    size: u32,
    sectors: u32,
    flags: u32,
    generation: u32,
    times: [(i64, u32); 3],
    version: u64,
    projid: u32,
    byte: u8,
    acl: Option<u64>,
}

fn values() -> impl Strategy<Value = Values> {
    let time = || (MIN..=MAX_EXTRA, 0u32..1_000_000_000);
    let first = (any::<bool>(), 0u16..0o10000, any::<(u32, u32)>());
    let second = (0u32..=65_001, any::<u32>(), any::<u32>(), any::<u32>());
    let third = (any::<u32>(), [time(), time(), time()], any::<u64>());
    let fourth = (any::<u32>(), any::<u8>(), prop::option::of(100u64..4000));
    (first, second, third, fourth).prop_map(|(first, second, third, fourth)| {
        let off = InodeFlags::INLINE_DATA
            .union(InodeFlags::CASEFOLD)
            .union(InodeFlags::ENCRYPT)
            .union(InodeFlags::EA_INODE);
        Values {
            directory: first.0,
            mode: first.1,
            ids: first.2,
            nlink: second.0,
            size: second.1,
            sectors: second.2,
            flags: second.3 & !off.bits(),
            generation: third.0,
            times: third.1,
            version: third.2,
            projid: fourth.0,
            byte: fourth.1,
            acl: fourth.2,
        }
    })
}

fn round_trip(geo: &Geometry, v: &Values) -> TestCaseResult {
    let [a, m, c] = v.times.map(|(secs, nanos)| Timestamp { secs, nanos });
    let root = [v.byte; 60];
    let kind = if v.directory { 0o040_000 } else { 0o100_000 };
    let project = geo.has(RoCompat::PROJECT);
    let fields = Fields {
        mode: kind | v.mode,
        uid: v.ids.0,
        gid: v.ids.1,
        ids16: None,
        nlink: v.nlink,
        size: v.size.into(),
        sectors: v.sectors.into(),
        flags: InodeFlags::from_bits(v.flags),
        generation: v.generation,
        stamps: Some(Stamps {
            atime: a,
            mtime: m,
            ctime: c,
            version: v.version,
        }),
        projid: if project { v.projid } else { 0 },
        i_block: IBlock::Root(&root),
        xattr_block: Some(v.acl.map(FsBlock::new)),
    };
    let (mut slot, stored) = new_slot(geo, &fields);
    prop_assert_eq!(stored.result, Ok(()));
    prop_assert_eq!(stored.resized, v.size != 0);
    {
        let inode = read(geo, &slot);
        prop_assert_eq!(inode.mode(), fields.mode);
        prop_assert_eq!((inode.uid(), inode.gid()), v.ids);
        let links = match (v.nlink, v.directory) {
            (65_001, true) => 1,
            (n, _) => n,
        };
        prop_assert_eq!(u32::from(inode.links_count()), links);
        prop_assert_eq!(inode.size(), fields.size);
        prop_assert_eq!(inode.sectors(), fields.sectors);
        let unit = InodeFlags::HUGE_FILE.bits();
        prop_assert_eq!(inode.flags().bits(), v.flags & !unit);
        prop_assert_eq!(inode.generation(), v.generation);
        let wide = geo.inode_size() > 128;
        let kept = |t: Timestamp| match wide {
            true => t,
            false => Timestamp {
                secs: t.secs.clamp(MIN, MAX_PLAIN),
                nanos: 0,
            },
        };
        prop_assert_eq!(inode.atime(), kept(a));
        prop_assert_eq!(inode.mtime(), kept(m));
        prop_assert_eq!(inode.ctime(), kept(c));
        let mask = if wide { u64::MAX } else { u32::MAX.into() };
        prop_assert_eq!(inode.version(geo), v.version & mask);
        prop_assert_eq!(inode.projid(geo), fields.projid);
        prop_assert_eq!(inode.i_block(), &root);
        prop_assert_eq!(inode.xattr_block(), v.acl.map(FsBlock::new));
        prop_assert_eq!(inode.extra_isize(), fresh_extra_isize(geo));
    }
    // Once more changes nothing.
    let before = slot.clone();
    let stored = put(geo, &mut slot, false, &fields);
    prop_assert_eq!((stored.resized, stored.result), (false, Ok(())));
    prop_assert!(before == slot);
    Ok(())
}

#[test]
fn what_is_stored_is_read() {
    for args in KINDS {
        let geo = geometry(args);
        let config = ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..Default::default()
        };
        let result = TestRunner::new(config).run(&values(), |v| round_trip(&geo, &v));
        assert!(result.is_ok(), "{args:?}: {}", result.unwrap_err());
    }
}

/// What is said to stay in the slot does.
#[test]
fn what_is_not_given_is_kept() {
    let geo = geometry(&[]);
    let number = Ino::new(INO).unwrap();
    let (root, other) = ([7; 60], [9; 60]);
    let (mut slot, _) = new_slot(&geo, &plain(&root));
    let crtime = Timestamp { secs: 9, nanos: 9 };
    let mut e = InodeEdit::open(&geo, &mut slot).unwrap();
    e.set_dtime(77);
    e.set_crtime(crtime);
    e.set_xattr_block(Some(FsBlock::new(1234)));
    e.finish(geo.inode_seed(number, 5));
    let kept = Fields {
        nlink: 2,
        i_block: IBlock::Keep,
        xattr_block: None,
        stamps: None,
        ..plain(&other)
    };
    assert_eq!(put(&geo, &mut slot, false, &kept).result, Ok(()));
    let inode = read(&geo, &slot);
    assert_eq!(inode.i_block(), &root);
    assert_eq!((inode.dtime(), inode.crtime()), (77, crtime));
    assert_eq!(inode.xattr_block(), Some(FsBlock::new(1234)));
    assert_eq!(inode.ctime(), plain(&other).stamps.unwrap().ctime);
    assert_eq!(inode.version(&geo), 3);
    assert_eq!(inode.links_count(), 2);
}

#[test]
fn links_that_are_not_counted() {
    let geo = geometry(&[]);
    let root = [0; 60];
    let links = |mode, nlink| {
        let fields = Fields {
            mode,
            nlink,
            ..plain(&root)
        };
        read(&geo, &new_slot(&geo, &fields).0).links_count()
    };
    assert_eq!(links(DIRECTORY, 65_000), 65_000);
    assert_eq!(links(DIRECTORY, 65_001), 1);
    assert_eq!(links(DIRECTORY, 1 << 20), 1);
    assert_eq!(links(REGULAR, 65_001), 65_001);
    assert_eq!(links(REGULAR, 1 << 20), 65_535);
}

#[test]
fn devices_and_short_ids() {
    let geo = geometry(&[]);
    let root = [0; 60];
    let fields = Fields {
        mode: 0o060_660,
        uid: 65_536,
        gid: 65_535,
        ids16: Some((65_534, 65_533)),
        i_block: IBlock::Device(259, 4097),
        ..plain(&root)
    };
    let (slot, stored) = new_slot(&geo, &fields);
    assert_eq!(stored.result, Ok(()));
    let inode = read(&geo, &slot);
    assert_eq!(inode.rdev(), (259, 4097));
    assert_eq!((inode.uid(), inode.gid()), (65_534, 65_535));
}

/// The first value that does not fit is reported, its field stays, and the rest is stored.
#[test]
fn values_that_do_not_fit() {
    let geo = geometry(&[]);
    let root = [3; 60];
    let good = Fields {
        size: 4096,
        sectors: 8,
        flags: InodeFlags::EXTENTS,
        ..plain(&root)
    };
    let bad = [
        (
            Fields {
                size: u64::MAX,
                ..good
            },
            Unstorable::Size,
        ),
        (
            Fields {
                sectors: u64::MAX,
                ..good
            },
            Unstorable::Blocks,
        ),
        (Fields { projid: 6, ..good }, Unstorable::Project),
        (
            Fields {
                i_block: IBlock::Device(1 << 20, 0),
                ..good
            },
            Unstorable::Device,
        ),
    ];
    for (fields, error) in bad {
        let (mut slot, _) = new_slot(&geo, &good);
        let fields = Fields { nlink: 3, ..fields };
        let stored = put(&geo, &mut slot, false, &fields);
        assert_eq!((stored.resized, stored.result), (false, Err(error)));
        let inode = read(&geo, &slot);
        assert_eq!((inode.size(), inode.sectors()), (4096, 8), "{error:?}");
        assert_eq!((inode.links_count(), inode.projid(&geo)), (3, 0));
        assert_eq!(inode.i_block(), &root);
    }
}

/// Files that mke2fs and debugfs have made, stored as they were read: not a bit differs, and with
/// other owners and times e2fsck has nothing to say.
#[test]
fn images() {
    for args in KINDS {
        let image = common::mkfs(args, "16M");
        let file = make_files(&image, &["f"])[0];
        let mut fs = Fs::open(&image);
        for ino in [2, 11, file] {
            let before = slot(&fs, ino).to_vec();
            restore(&mut fs, ino, |_| ());
            assert!(before == slot(&fs, ino), "{args:?} {ino}");
            restore(&mut fs, ino, |f| {
                f.uid = 0x12_3456;
                if let Some(stamps) = &mut f.stamps {
                    stamps.mtime.secs = 1;
                    stamps.version = 1 << 20;
                }
            });
            with_inode(&fs, ino, |i| {
                assert_eq!((i.uid(), i.mtime().secs), (0x12_3456, 1))
            });
        }
        // debugfs does not count what it makes.
        if !fs.geometry.has(RoCompat::QUOTA) {
            store(&fs, &image);
            assert_clean(&image);
        }
    }
}

/// Stores inode `ino` as it has been read, but for `change`.
fn restore(fs: &mut Fs, ino: u32, change: impl FnOnce(&mut Fields<'_>)) {
    let geo = fs.geometry.clone();
    let before = slot(fs, ino).to_vec();
    let number = Ino::new(ino).unwrap();
    let i = Inode::verify(&geo, number, &before, Purpose::Orphan).expect("inode");
    let mut fields = Fields {
        mode: i.mode(),
        uid: i.uid(),
        gid: i.gid(),
        ids16: None,
        nlink: i.links_count().into(),
        size: i.size(),
        sectors: i.sectors(),
        flags: i.flags(),
        generation: i.generation(),
        stamps: Some(Stamps {
            atime: i.atime(),
            mtime: i.mtime(),
            ctime: i.ctime(),
            version: i.version(&geo),
        }),
        projid: i.projid(&geo),
        i_block: IBlock::Root(i.i_block()),
        xattr_block: Some(i.xattr_block()),
    };
    change(&mut fields);
    let stored = edit(fs, ino, |e| fields.store(e));
    assert_eq!((stored.resized, stored.result), (false, Ok(())));
}
