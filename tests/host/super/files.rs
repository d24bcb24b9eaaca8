// SPDX-License-Identifier: GPL-2.0

//! Inodes: every field as debugfs shows it, and every way to be refused.

use rext4::ondisk::inode::{
    self, FileType, Inode, InodeError, InodeFlags, Purpose, Refused, BOOT_LOADER_INO,
};
use rext4::ondisk::time::Timestamp;
use rext4::ondisk::Ino;

use crate::common::{self, debugfs, Image};
use crate::Opened;

/// What `stat` in debugfs says about an inode.
struct Stat(String);

impl Stat {
    fn new(img: &Image, ino: u32) -> Self {
        Self(debugfs(img, &[&format!("stat <{ino}>")]))
    }

    /// The word after `name`, which may be anywhere in a line.
    fn word(&self, name: &str) -> Option<&str> {
        let text = self.0.lines().find_map(|line| {
            let at = line.find(name)?;
            // Not in the middle of another name.
            let before = line[..at].chars().next_back();
            (!before.is_some_and(char::is_alphanumeric)).then(|| &line[at + name.len()..])
        })?;
        text.split_whitespace().next()
    }

    fn number(&self, name: &str) -> u64 {
        let word = self
            .word(name)
            .unwrap_or_else(|| panic!("no {name:?} in {}", self.0));
        match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            // debugfs prints 32-bit numbers with their sign.
            None => word
                .parse()
                .or(word.parse::<i32>().map(|n| u64::from(n as u32))),
        }
        .unwrap_or_else(|_| panic!("{name} {word:?}"))
    }

    /// `name: 0x1234:5678`, of which the second part may be missing.
    fn time(&self, name: &str) -> Timestamp {
        let Some(word) = self.word(name) else {
            return Timestamp::default();
        };
        let hex = |text: &str| u32::from_str_radix(text, 16).expect("a hex number");
        match word.trim_start_matches("0x").split_once(':') {
            Some((base, extra)) => Timestamp::decode(hex(base), hex(extra)),
            None => Timestamp::decode_plain(hex(word.trim_start_matches("0x"))),
        }
    }
}

fn compare(opened: &Opened, img: &Image, ino: u32, purpose: Purpose) {
    let stat = Stat::new(img, ino);
    let geo = &opened.geo;
    let check = |inode: &Inode<'_>| {
        let types = [
            ("regular", FileType::Regular),
            ("directory", FileType::Directory),
            ("symlink", FileType::Symlink),
            ("character", FileType::CharDevice),
            ("block", FileType::BlockDevice),
            ("FIFO", FileType::Fifo),
            ("socket", FileType::Socket),
        ];
        let name = stat.word("Type:").expect("a type");
        let expected = types
            .iter()
            .find(|(n, _)| *n == name)
            .expect("a known type")
            .1;
        assert_eq!(inode.file_type(), expected);
        let mode = u16::from_str_radix(stat.word("Mode:").expect("a mode"), 8).expect("octal");
        assert_eq!(inode.mode() & 0o7777, mode);
        assert_eq!(u64::from(inode.flags().bits()), stat.number("Flags:"));
        assert_eq!(u64::from(inode.generation()), stat.number("Generation:"));
        let version = stat.word("Version:").expect("a version");
        let version = version.trim_start_matches("0x").replace(':', "");
        assert_eq!(
            inode.version(geo),
            u64::from_str_radix(&version, 16).expect("hex")
        );
        assert_eq!(u64::from(inode.uid()), stat.number("User:"));
        assert_eq!(u64::from(inode.gid()), stat.number("Group:"));
        assert_eq!(u64::from(inode.uid16()), stat.number("User:") & 0xffff);
        assert_eq!(u64::from(inode.gid16()), stat.number("Group:") & 0xffff);
        let project = stat.word("Project:").map_or(0, |_| stat.number("Project:"));
        assert_eq!(u64::from(inode.projid(geo)), project);
        if !inode.file_type().is_device() {
            assert_eq!(inode.size(), stat.number("Size:"));
        }
        let acl = inode.xattr_block().map_or(0, |block| block.get());
        assert_eq!(acl, stat.number("File ACL:"));
        assert_eq!(u64::from(inode.links_count()), stat.number("Links:"));
        assert_eq!(inode.sectors(), stat.number("Blockcount:"));
        assert_eq!(inode.atime(), stat.time("atime:"));
        assert_eq!(inode.mtime(), stat.time("mtime:"));
        assert_eq!(inode.ctime(), stat.time("ctime:"));
        assert_eq!(inode.crtime(), stat.time("crtime:"));
        if geo.inode_size() > 128 {
            assert_eq!(
                u64::from(inode.extra_isize()),
                stat.number("Size of extra inode fields:")
            );
        }
        // debugfs calls an inline one fast as well.
        let inline = inode.flags().contains(InodeFlags::INLINE_DATA);
        if let Some(target) = stat.word("Fast link dest:").filter(|_| !inline) {
            let target = target.trim_matches('"').as_bytes();
            assert_eq!(inode.fast_symlink(geo), Some(target));
        } else {
            assert!(!inode.is_fast_symlink(geo));
        }
        if inode.file_type().is_device() {
            let numbers = stat
                .word("Device major/minor number:")
                .expect("a device number");
            let (major, minor) = numbers.split_once(':').expect("major:minor");
            let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
            assert_eq!(inode.rdev(), (major, minor));
        }
    };
    opened
        .inode(ino, purpose, check)
        .unwrap_or_else(|e| panic!("inode {ino}: {e:?}"));

    // Storing the checksum again changes nothing, and any other is noticed.
    let number = Ino::new(ino).expect("not 0");
    let slot = opened.slot(number).expect("a slot");
    let mut again = slot.clone();
    inode::update_checksum(geo, number, &mut again).expect("the slot is complete");
    assert_eq!(again, slot);
    if geo.has_inode_csums() {
        for at in [0, 0x7c, 127, slot.len() - 1] {
            again[at] ^= 1;
            let verdict = Inode::verify(geo, number, &again, purpose).err();
            assert_eq!(
                verdict,
                Some(InodeError::BadChecksum.into()),
                "byte {at} of inode {ino}"
            );
            again[at] ^= 1;
        }
    }
}

/// mkfs.ext4 arguments under which the fields are compared.
const CASES: &[&[&str]] = &[
    &[],
    &["-I", "128"],
    &["-I", "1024", "-b", "4096"],
    &["-O", "^metadata_csum", "-b", "1024"],
    &["-O", "quota,project", "-b", "4096"],
    &["-O", "^huge_file,^64bit"],
    &["-O", "^extra_isize,^metadata_csum", "-I", "256"],
    &["-O", "bigalloc,^64bit", "-C", "16384"],
    &["-O", "ea_inode,inline_data"],
    &["-t", "ext2", "-E", "revision=0", "-O", "none"],
];

#[test]
fn every_field_is_as_debugfs_says() {
    let data = Image::empty("data");
    std::fs::write(data.path(), vec![b'x'; 5000]).expect("write a file");
    let write = format!("write {} file", data.path().display());
    let long = "t".repeat(100);
    for args in CASES {
        println!("mkfs.ext4 {args:?}");
        let img = common::mkfs(args, "32M");
        let slow = format!("symlink slow {long}");
        let mut script: Vec<&str> = vec![
            &write,
            "mkdir dir",
            "symlink fast some/target",
            &slow,
            "mknod chr c 5 1",
            "mknod blk b 259 65535",
            "mknod fifo p",
        ];
        // 59 bytes are the most that fit.
        let limit = format!("symlink limit {}", "f".repeat(59));
        script.push(&limit);
        debugfs(&img, &script);
        let names = ["file", "dir", "fast", "slow", "chr", "blk", "fifo", "limit"];
        let inos: Vec<u32> = names.iter().map(|name| number(&img, name)).collect();
        let opened = Opened::new(&img).expect("a file system");
        for ino in inos.iter().chain(&[2]) {
            compare(&opened, &img, *ino, Purpose::Path);
        }
        if opened.superblock().journal_inum() != 0 {
            compare(
                &opened,
                &img,
                opened.superblock().journal_inum(),
                Purpose::Special,
            );
        }
        if opened.geo.hurd() {
            panic!("mkfs makes file systems for Linux");
        }
        odd_values(&img, inos[0]);
        let opened = Opened::new(&img).expect("a file system");
        compare(&opened, &img, inos[0], Purpose::Path);
    }
}

/// The inode number of a file in the root directory.
fn number(img: &Image, name: &str) -> u32 {
    let text = debugfs(img, &[&format!("stat {name}")]);
    let at = text.find("Inode: ").expect("stat begins with the inode");
    text[at + 7..]
        .split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number")
}

/// Gives an inode large and unusual values in every field that debugfs can set.
fn odd_values(img: &Image, ino: u32) {
    let large = Opened::new(img).expect("a file system").geo.inode_size() > 128;
    let mut fields = vec![
        ("uid", "4000000001"),
        ("gid", "3000000002"),
        ("links_count", "65000"),
        ("generation", "4294967295"),
        ("version", "123456789"),
        ("atime", "@4294967295"),
        ("ctime", "@2147483648"),
        ("mtime", "@2147483647"),
        ("flags", "0x800c0"),
    ];
    if large {
        fields.extend([
            ("atime_extra", "0xfffffffd"),
            ("ctime_extra", "2"),
            ("mtime_extra", "0x3b9ac9ff"),
            ("crtime", "@1000000000"),
            ("crtime_extra", "7"),
            ("version_hi", "77"),
        ]);
    }
    let fields = fields
        .iter()
        .map(|(name, value)| format!("sif <{ino}> {name} {value}"));
    let fields: Vec<String> = fields.collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    debugfs(img, &fields);
    if large
        && Opened::new(img)
            .expect("a file system")
            .geo
            .has(rext4::ondisk::features::RoCompat::PROJECT)
    {
        debugfs(img, &[&format!("sif <{ino}> projid 4000000003")]);
    }
}

/// A slot that can be changed and judged.
struct Slot {
    opened: Opened,
    ino: Ino,
    bytes: Vec<u8>,
}

impl Slot {
    fn new(img: &Image, ino: u32) -> Self {
        let opened = Opened::new(img).expect("a file system");
        let ino = opened.geo.check_ino(ino).expect("the inode exists");
        let bytes = opened.slot(ino).expect("a slot");
        Self { opened, ino, bytes }
    }

    /// What becomes of the inode with `bytes` at `offset`, its checksum made right.
    fn with(&self, offset: usize, bytes: &[u8], purpose: Purpose) -> Result<(), Refused> {
        let mut slot = self.bytes.clone();
        slot[offset..][..bytes.len()].copy_from_slice(bytes);
        let _ = inode::update_checksum(&self.opened.geo, self.ino, &mut slot);
        Inode::verify(&self.opened.geo, self.ino, &slot, purpose).map(|_| ())
    }
}

const MODE: usize = 0x0;
const SIZE: usize = 0x4;
const LINKS: usize = 0x1a;
const FLAGS: usize = 0x20;
const BLOCK: usize = 0x28;
const FILE_ACL: usize = 0x68;
const SIZE_HIGH: usize = 0x6c;
const EXTRA_ISIZE: usize = 0x80;

#[test]
fn damage_is_told_by_its_kind() {
    use InodeError::*;
    use Purpose::*;
    let img = common::mkfs(&["-b", "1024"], "32M");
    debugfs(
        &img,
        &["symlink fast some/target", "mkdir dir", "mknod fifo p"],
    );
    let dir = Slot::new(&img, number(&img, "dir"));
    let fast = Slot::new(&img, number(&img, "fast"));
    let flags = |flags: InodeFlags| flags.bits().to_le_bytes();

    let size = dir.opened.geo.inode_size();
    for bad in [1, 2, 30, size - 128 + 4, 0xfffc] {
        assert_eq!(
            dir.with(EXTRA_ISIZE, &bad.to_le_bytes(), Path),
            Err(BadExtraIsize.into())
        );
    }
    for good in [0, 4, 32, size - 128] {
        assert_eq!(
            dir.with(EXTRA_ISIZE, &good.to_le_bytes(), Path),
            Ok(()),
            "extra_isize {good}"
        );
    }
    assert_eq!(
        dir.with(MODE, &0xf1edu16.to_le_bytes(), Path),
        Err(BadMode.into())
    );
    assert_eq!(
        dir.with(MODE, &0o755u16.to_le_bytes(), Path),
        Err(BadMode.into())
    );
    let both = InodeFlags::INLINE_DATA.union(InodeFlags::EXTENTS);
    assert_eq!(
        dir.with(FLAGS, &flags(both), Path),
        Err(InlineAndExtents.into())
    );
    let inline = dir.with(FLAGS, &flags(InodeFlags::INLINE_DATA), Path);
    assert_eq!(inline, Err(InlineWithoutFeature.into()));
    let fold = dir.with(FLAGS, &flags(InodeFlags::CASEFOLD), Path);
    assert_eq!(fold, Err(CasefoldWithoutFeature.into()));
    let crypt = dir.with(FLAGS, &flags(InodeFlags::ENCRYPT), Path);
    assert_eq!(crypt, Err(EncryptWithoutFeature.into()));

    // The upper half of the size counts for regular files, and then has to fit the map.
    assert_eq!(dir.with(SIZE_HIGH, &[0xff; 4], Path), Ok(()));
    let regular = Slot {
        bytes: {
            let mut b = dir.bytes.clone();
            b[1] = 0x81;
            b
        },
        ..dir
    };
    assert_eq!(
        regular.with(SIZE_HIGH, &[0xff; 4], Path),
        Err(BadSize.into())
    );
    let max = regular.opened.geo.max_extent_bytes();
    let halves = |size: u64| {
        (
            (size as u32).to_le_bytes(),
            ((size >> 32) as u32).to_le_bytes(),
        )
    };
    for (size, verdict) in [(max, Ok(())), (max + 1, Err(BadSize.into()))] {
        let (lo, hi) = halves(size);
        let mut bytes = regular.bytes.clone();
        bytes[SIZE..][..4].copy_from_slice(&lo);
        let changed = Slot {
            bytes,
            opened: Opened::new(&img).expect("again"),
            ino: regular.ino,
        };
        assert_eq!(changed.with(SIZE_HIGH, &hi, Path), verdict);
    }

    let acl = u32::MAX.to_le_bytes();
    assert_eq!(
        regular.with(FILE_ACL, &acl, Path),
        Err(BadXattrBlock.into())
    );
    assert_eq!(regular.with(LINKS, &[0, 0], Path), Err(Refused::Stale));
    assert_eq!(regular.with(LINKS, &[0, 0], Handle), Err(Refused::Stale));
    assert_eq!(
        regular.with(LINKS, &[0, 0], Special),
        Err(SpecialUnallocated.into())
    );
    assert_eq!(regular.with(LINKS, &[0, 0], Orphan), Ok(()));
    assert_eq!(regular.with(0, &[], EaInode), Err(MissingEaFlag.into()));
    let ea = flags(InodeFlags::EA_INODE);
    assert_eq!(regular.with(FLAGS, &ea, Path), Err(UnexpectedEaFlag.into()));
    assert_eq!(regular.with(FLAGS, &ea, Handle), Err(Refused::Stale));
    assert_eq!(regular.with(FLAGS, &ea, EaInode), Ok(()));

    for flag in [InodeFlags::IMMUTABLE, InodeFlags::APPEND] {
        assert_eq!(
            fast.with(FLAGS, &flags(flag), Path),
            Err(SymlinkFlags.into())
        );
    }
    for (offset, bytes) in [
        (SIZE, &0u32.to_le_bytes()[..]),
        (SIZE, &5u32.to_le_bytes()[..]),
        (SIZE, &60u32.to_le_bytes()[..]),
        (SIZE, &100u32.to_le_bytes()[..]),
        (BLOCK + 3, &[0][..]),
        (BLOCK, &[b'x'; 60][..]),
    ] {
        assert_eq!(fast.with(offset, bytes, Path), Err(BadFastSymlink.into()));
        // Orphan processing may find one half-way cleared.
        assert_eq!(fast.with(offset, bytes, Orphan), Ok(()));
    }
    let short = Inode::verify(&fast.opened.geo, fast.ino, &fast.bytes[..255], Path).err();
    assert_eq!(short, Some(Truncated.into()));
}

#[test]
fn numbers_that_no_path_leads_to() {
    let img = common::mkfs(&["-O", "quota,orphan_file"], "32M");
    let opened = Opened::new(&img).expect("a file system");
    let sb = opened.superblock();
    let hidden = [
        sb.usr_quota_inum(),
        sb.grp_quota_inum(),
        sb.orphan_file_inum(),
        8,
        1,
        7,
    ];
    for ino in hidden {
        let verdict = |purpose| opened.inode(ino, purpose, |_| ()).err();
        assert_eq!(
            verdict(Purpose::Path),
            Some(InodeError::IllegalNumber.into()),
            "inode {ino}"
        );
        assert_eq!(verdict(Purpose::Handle), Some(Refused::Stale));
        if ino != 1 && ino != 7 {
            assert_eq!(verdict(Purpose::Special), None, "inode {ino}");
        }
    }
    // The boot loader's inode has neither links nor type.
    let boot = opened
        .inode(BOOT_LOADER_INO, Purpose::Special, |_| ())
        .err();
    assert_eq!(boot, Some(InodeError::BadMode.into()));
    // Never used: zeros have no valid checksum, but an old handle may well lead there.
    let unused = opened.inode(100, Purpose::Path, |_| ()).err();
    assert_eq!(unused, Some(InodeError::BadChecksum.into()));
    assert_eq!(
        opened.inode(100, Purpose::Handle, |_| ()).err(),
        Some(Refused::Stale)
    );
}

#[test]
fn attribute_inodes_carry_their_bookkeeping() {
    let img = common::mkfs(&["-O", "ea_inode", "-b", "1024"], "32M");
    let value = Image::empty("value");
    std::fs::write(value.path(), vec![b'v'; 1024]).expect("write a value");
    let set = format!("ea_set -f {} file user.large", value.path().display());
    let write = format!("write {} file", value.path().display());
    debugfs(&img, &[&write, &set]);
    let opened = Opened::new(&img).expect("a file system");
    let file = number(&img, "file");
    // The inode that was allocated after the file's holds the value.
    let ino = file + 1;
    let (refs, hash, size) = opened
        .inode(ino, Purpose::EaInode, |ea| {
            (ea.ea_ref_count(), ea.ea_hash(), ea.size())
        })
        .expect("an EA inode");
    assert_eq!((refs, size), (1, 1024));
    let expected = rext4::ondisk::crc::crc32c(opened.geo.ea_hash_seed(), &[b'v'; 1024]);
    assert_eq!(hash, expected);
    let as_file = opened.inode(ino, Purpose::Path, |_| ()).err();
    assert_eq!(as_file, Some(InodeError::UnexpectedEaFlag.into()));
    // And the file, with its attribute, is none.
    let as_value = opened.inode(file, Purpose::EaInode, |_| ()).err();
    assert_eq!(as_value, Some(InodeError::MissingEaFlag.into()));
    let space = opened.inode(file, Purpose::Path, |inode| {
        inode.xattr_space().map(<[u8]>::len)
    });
    assert_eq!(space.expect("a file"), Some(256 - 128 - 32));
}
