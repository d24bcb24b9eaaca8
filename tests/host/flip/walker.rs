// SPDX-License-Identifier: GPL-2.0

//! Walks a whole image through `ondisk` and `engine`, whatever is in it.
//!
//! The order is the module's: superblock, geometry, groups, zones, journal, orphans, then the
//! tree from the root with every inode's map, attributes and entries. Damage is noted and
//! stepped around. What must never happen is a panic (the host build checks overflow and
//! bounds), a mapping outside the file system, or a loop that the disk decides: the walk counts
//! what it is given and panics itself where that exceeds what the image can hold.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;

use rext4::engine::backup;
use rext4::engine::extent_walk::ExtentTree;
use rext4::engine::indirect_walk::IndirectMap;
use rext4::engine::journal_scan::{LogError, LogScan};
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::engine::overhead::overhead_clusters;
use rext4::engine::source::BlockSource;
use rext4::engine::xattr_find;
use rext4::engine::zones::{self, Zones};
use rext4::ondisk::acl::Acl;
use rext4::ondisk::group::GroupDesc;
use rext4::ondisk::indirect::{self, PointerBits};
use rext4::ondisk::inline::InlineData;
use rext4::ondisk::inode::{FileType, Inode, InodeFlags, Purpose, Refused};
use rext4::ondisk::journal::JournalSuper;
use rext4::ondisk::mmp::MmpBlock;
use rext4::ondisk::orphan::{self, OrphanBlock};
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::xattr::{self, index, XattrArea, XattrRules, XattrValue};
use rext4::ondisk::{extent, Corrupt, FileBlock, FsBlock, Geometry, Group, Ino};
use zerocopy::FromBytes;

#[path = "walker_dir.rs"]
mod dir;

/// Blocks that one walk may read before the disk answers nothing but errors.
const READS: u32 = 60_000;
/// Inodes that one walk visits.
const INODES: usize = 1500;

/// What a walk met.
#[derive(Debug, Default)]
pub struct Totals {
    pub files: u32,
    pub dirs: u32,
    pub others: u32,
    pub entries: u64,
    pub mappings: u64,
    pub xattrs: u64,
    /// Messages, each once.
    pub errors: BTreeSet<&'static str>,
}

#[derive(Debug)]
enum Failure {
    Corrupt(Corrupt),
    Io,
}

impl<T: Into<Corrupt>> From<T> for Failure {
    fn from(e: T) -> Self {
        Self::Corrupt(e.into())
    }
}

struct Walker<'a> {
    image: &'a [u8],
    geo: &'a Geometry,
    /// Use blocks that failed their check: they stand for buffers that were overwritten after
    /// they had passed.
    trust: bool,
    reads: Cell<u32>,
    totals: RefCell<Totals>,
}

/// Walks `image`. With `trust`, checks that a cached block has passed before are left out, and
/// the superblock gets the checksum that it should have.
pub fn walk(image: &[u8], trust: bool) -> Totals {
    let mut totals = Totals::default();
    let Some(head) = image.get(1024..2048) else {
        return totals;
    };
    let mut head = head.to_vec();
    if trust {
        if let Ok((sb, _)) = Superblock::mut_from_prefix(&mut head) {
            sb.update_checksum();
        }
    }
    let sb = match Superblock::verify(&head) {
        Ok(sb) => sb,
        Err(e) => {
            totals.errors.insert(e.message());
            return totals;
        }
    };
    let sb_block = u64::from(sb.block_bits() == 10);
    let geo = match Geometry::new(sb, sb_block, Some(image.len() as u64)) {
        Ok(geo) => geo,
        Err(e) => {
            totals.errors.insert(e.message());
            return totals;
        }
    };
    let walker = Walker {
        image,
        geo: &geo,
        trust,
        reads: Cell::new(0),
        totals: RefCell::new(totals),
    };
    walker.run(sb);
    walker.totals.into_inner()
}

impl<'a> Walker<'a> {
    fn error(&self, e: impl Into<Corrupt>) {
        let e: Corrupt = e.into();
        let _ = e.is_checksum();
        self.totals.borrow_mut().errors.insert(e.message());
    }

    fn failed(&self, e: Failure) {
        match e {
            Failure::Corrupt(e) => self.error(e),
            Failure::Io => drop(self.totals.borrow_mut().errors.insert("I/O error")),
        }
    }

    fn block(&self, block: FsBlock) -> Result<&'a [u8], Failure> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > READS {
            return Err(Failure::Io);
        }
        let size = self.geo.block_size() as usize;
        let at = (block.get() as usize)
            .checked_mul(size)
            .ok_or(Failure::Io)?;
        self.image.get(at..at + size).ok_or(Failure::Io)
    }

    /// What a failed check means here.
    fn checked(&self, verdict: Result<(), Corrupt>) -> Result<(), Failure> {
        match verdict {
            Err(e) if self.trust => self.error(e),
            Err(e) => return Err(Failure::Corrupt(e)),
            Ok(()) => (),
        }
        Ok(())
    }

    fn run(&self, sb: &Superblock) {
        if let Some(name) = sb.features().unsupported_incompat() {
            // The module stops here; the parsers must stand it all the same.
            self.totals.borrow_mut().errors.insert(name);
        }
        // At most one copy per group, and a group has eight blocks or more.
        assert!(backup::backups(self.geo).count() as u64 <= self.geo.blocks_count());
        let _ = (sb.first_error(), sb.last_error(), sb.on_error(), sb.state());
        self.groups(sb);
        self.journal(sb);
        self.orphans(sb);
        if sb.mmp_block() != 0 {
            if let Some(block) = self.geo.check_block(sb.mmp_block()) {
                let seed = self.geo.csum_seed();
                match self.block(block).map(|b| MmpBlock::verify(seed, b)) {
                    Ok(Ok(mmp)) => drop((mmp.state(), mmp.time(), mmp.nodename().len())),
                    Ok(Err(e)) => self.error(e),
                    Err(e) => self.failed(e),
                }
            }
        }
        self.tree();
    }

    fn desc(&self, group: Group) -> Result<GroupDesc<'a>, Failure> {
        let (block, offset) = self.geo.desc_location(group).ok_or(Failure::Io)?;
        let bytes = self
            .block(block)?
            .get(offset as usize..)
            .ok_or(Failure::Io)?;
        match GroupDesc::verify(self.geo, group, bytes) {
            Ok(desc) => Ok(desc),
            Err(e) if self.trust || e.allows_reading() => {
                self.error(e);
                Ok(GroupDesc::parse(self.geo, group, bytes)?)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn groups(&self, sb: &Superblock) {
        let count = self.geo.groups_count();
        let mut list = Vec::new();
        let places = |group| self.desc(group).map(|desc| desc.places());
        let collected = zones::collect(self.geo, places, |zone| {
            assert!(!zone.is_empty());
            list.push(zone);
            Ok(())
        });
        match collected {
            Err(e) => self.failed(e),
            Ok(()) => match Zones::build(self.geo, list) {
                Err(e) => self.error(e),
                Ok(zones) => {
                    let mut end = 0;
                    for zone in zones.zones() {
                        assert!(zone.start().get() >= end, "zones overlap");
                        end = zone.start().get() + zone.len() as u64;
                        assert!(end <= self.geo.blocks_count());
                        assert!(zones.overlaps(zone.start(), 1));
                    }
                    overhead_clusters(self.geo, sb.overhead_clusters(), &zones);
                }
            },
        }
        for group in (0..count).map(Group::new) {
            let Ok(desc) = self.desc(group) else { continue };
            if let (false, Ok(bitmap)) = (desc.block_uninit(), self.block(desc.block_bitmap())) {
                let _ = desc
                    .verify_block_bitmap(self.geo, bitmap)
                    .map_err(|e| self.error(e));
            }
            if let (false, Ok(bitmap)) = (desc.inode_uninit(), self.block(desc.inode_bitmap())) {
                let _ = desc
                    .verify_inode_bitmap(self.geo, bitmap)
                    .map_err(|e| self.error(e));
            }
            if self.reads.get() > READS / 2 {
                break;
            }
        }
    }

    fn inode(&self, ino: Ino, purpose: Purpose) -> Result<Inode<'a>, Failure> {
        let at = self.geo.inode_location(ino);
        let table = self.desc(at.group)?;
        let block = table.inode_table_block(self.geo, at.block);
        let block = self.block(block.ok_or(Failure::Io)?)?;
        let slot = block.get(at.offset as usize..).ok_or(Failure::Io)?;
        match Inode::verify(self.geo, ino, slot, purpose) {
            Ok(inode) => Ok(inode),
            Err(Refused::Stale) => Err(Failure::Io),
            Err(Refused::Corrupt(e)) => Err(e.into()),
        }
    }

    /// Looks up the block map of a file; the visitor gets ranges in order.
    fn map(&self, inode: &Inode<'_>, mut visit: impl FnMut(&Mapping)) -> Result<(), Failure> {
        let root = inode.i_block();
        let mut at = FileBlock::ZERO;
        let mut seen = 0;
        let mut check = |m: &Mapping| {
            assert!(m.len > 0 && m.contains(m.lblk), "{m:?}");
            if let Some(start) = m.physical() {
                assert!(
                    self.geo.check_run(start.get(), m.len).is_some(),
                    "{m:?} is outside"
                );
            }
            self.totals.borrow_mut().mappings += 1;
            visit(m);
            seen += 1;
            // A walk has to end by itself, but not within this test's patience.
            if seen > 3000 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        if inode.flags().contains(InodeFlags::EXTENTS) {
            let root_check = extent::verify_root(root, self.geo).map_err(Corrupt::from);
            self.checked(root_check)?;
            let tree = ExtentTree::new(root, inode.csum_seed(), self.geo);
            tree.walk(self, FileBlock::ZERO, FileBlock::END, |m| {
                assert!(m.end() > at, "no progress: {m:?} at {at:?}");
                at = m.end();
                check(m)
            })?;
            for at in [0, 1, 7, 1000, 0x7fff_ffff, u32::MAX - 1] {
                let at = FileBlock::new(at);
                let m = tree.lookup(self, at)?;
                assert!(m.contains(at), "{m:?} at {at:?}");
                tree.lookup_leaf(self, at, |m| {
                    let _ = check(m);
                })?;
            }
        } else {
            let bits = PointerBits::from_block_bits(self.geo.block_bits()).expect("block size");
            let root_check = indirect::verify_root(root, self.geo).map_err(Corrupt::from);
            self.checked(root_check)?;
            let map = IndirectMap::new(root, bits, self.geo);
            for _ in 0..3000 {
                let m = map.lookup(self, at)?;
                assert!(m.contains(at), "{m:?} at {at:?}");
                if check(&m).is_break() || m.end() >= FileBlock::END {
                    break;
                }
                at = m.end();
            }
            map.lookup_leaf(self, FileBlock::new(12), |m| {
                let _ = check(m);
            })?;
        }
        Ok(())
    }

    /// The physical block behind a logical one, `None` for a hole.
    fn bmap(&self, inode: &Inode<'_>, at: FileBlock) -> Result<(Option<FsBlock>, u32), Failure> {
        let m = if inode.flags().contains(InodeFlags::EXTENTS) {
            ExtentTree::new(inode.i_block(), inode.csum_seed(), self.geo).lookup(self, at)?
        } else {
            let bits = PointerBits::from_block_bits(self.geo.block_bits()).expect("block size");
            IndirectMap::new(inode.i_block(), bits, self.geo).lookup(self, at)?
        };
        let skip = m.lblk.distance_to(at);
        match m.kind {
            MapKind::Written(start) => Ok((start.checked_add(skip.into()), 1)),
            _ => Ok((None, at.distance_to(m.end()).max(1))),
        }
    }

    fn journal(&self, sb: &Superblock) {
        let Some(ino) = self.geo.check_ino(sb.journal_inum()) else {
            return;
        };
        let inode = match self.inode(ino, Purpose::Special) {
            Ok(inode) => inode,
            Err(e) => return self.failed(e),
        };
        if let Err(e) = self.scan_journal(&inode) {
            self.failed(e);
        }
    }

    fn scan_journal(&self, inode: &Inode<'_>) -> Result<(), Failure> {
        let size = self.geo.block_size();
        let blocks = (inode.size() >> self.geo.block_bits()).min(u32::MAX.into()) as u32;
        let read = |n| match self.bmap(inode, FileBlock::new(n))? {
            (Some(block), _) => self.block(block),
            (None, _) => Err(Failure::Io),
        };
        let log = |e: LogError| {
            self.totals.borrow_mut().errors.insert(e.message());
            Failure::Io
        };
        let first = read(0)?;
        let journal = JournalSuper::verify(first, size, blocks)?;
        let Some(mut scan) = LogScan::new(journal, size, self.geo.blocks_count()).map_err(log)?
        else {
            return Ok(());
        };
        let mut steps = 0u64;
        while scan
            .step(read(scan.position())?, |block| block % 5 == 0)
            .map_err(log)?
        {
            steps += 1;
            assert!(steps <= u64::from(blocks) + 2, "the log does not end");
        }
        Ok(())
    }

    fn orphans(&self, sb: &Superblock) {
        let Some(ino) = self.geo.check_ino(sb.orphan_file_inum()) else {
            return;
        };
        let walk = || -> Result<(), Failure> {
            let inode = self.inode(ino, Purpose::Special)?;
            let blocks = orphan::file_blocks(self.geo, inode.size())?;
            for n in 0..blocks.min(64) {
                let Some(block) = self.bmap(&inode, FileBlock::new(n))?.0 else {
                    continue;
                };
                let bytes = self.block(block)?;
                let list = OrphanBlock::verify(inode.csum_seed(), block, bytes)?;
                let max = orphan::slots_per_block(self.geo) as usize;
                assert!(list.orphans(self.geo).count() + list.free_slots() <= max);
            }
            Ok(())
        };
        walk().unwrap_or_else(|e| self.failed(e));
    }

    /// From the root on, breadth first, each inode once.
    fn tree(&self) {
        let mut queue = VecDeque::from([Ino::ROOT]);
        let mut seen = BTreeSet::from([Ino::ROOT]);
        let mut left = INODES;
        while let Some(ino) = queue.pop_front() {
            if left == 0 {
                break;
            }
            left -= 1;
            let inode = match self.inode(ino, Purpose::Path) {
                Ok(inode) => inode,
                Err(e) => {
                    self.failed(e);
                    continue;
                }
            };
            self.attributes(ino, &inode)
                .unwrap_or_else(|e| self.failed(e));
            let result = match inode.file_type() {
                FileType::Directory => {
                    self.totals.borrow_mut().dirs += 1;
                    self.directory(ino, &inode, |child| {
                        if seen.insert(child) {
                            queue.push_back(child);
                        }
                    })
                }
                FileType::Regular | FileType::Symlink => {
                    self.totals.borrow_mut().files += 1;
                    self.contents(&inode)
                }
                _ => {
                    self.totals.borrow_mut().others += 1;
                    let _ = inode.rdev();
                    Ok(())
                }
            };
            result.unwrap_or_else(|e| self.failed(e));
        }
    }

    /// The value of `system.data`.
    fn inline_value<'i>(&self, inode: &Inode<'i>) -> Result<Option<&'i [u8]>, Failure> {
        let rules = XattrRules::new(self.geo);
        let area = inode
            .xattr_space()
            .and_then(|s| XattrArea::in_inode(s, rules));
        let Some(area) = area else { return Ok(None) };
        Ok(match xattr_find::find(&area, index::SYSTEM, b"data")? {
            Some(found) => match found.value {
                XattrValue::Here(value) => Some(value),
                XattrValue::EaInode(_) => None,
            },
            None => None,
        })
    }

    fn contents(&self, inode: &Inode<'_>) -> Result<(), Failure> {
        let _ = (inode.atime(), inode.mtime(), inode.ctime(), inode.crtime());
        if let Some(target) = inode.fast_symlink(self.geo) {
            assert!(target.len() <= 60);
            return Ok(());
        }
        if inode.flags().contains(InodeFlags::INLINE_DATA) {
            let data = InlineData::new(inode.i_block(), self.inline_value(inode)?, inode.size())?;
            let mut out = [0u8; 300];
            assert!(data.copy_to(0, &mut out) <= data.len());
            assert!(data.len() as u64 <= inode.size());
            return Ok(());
        }
        self.map(inode, |_| ())
    }

    fn attributes(&self, ino: Ino, inode: &Inode<'_>) -> Result<(), Failure> {
        let rules = XattrRules::new(self.geo);
        if let Some(space) = inode.xattr_space() {
            let verdict = xattr::verify_inode(space, rules).map_err(Corrupt::from);
            self.checked(verdict)?;
            if let Some(area) = XattrArea::in_inode(space, rules) {
                self.area(ino, inode, &area, space.len())?;
            }
        }
        if let Some(number) = inode.xattr_block() {
            let block = self.block(number)?;
            let verdict = xattr::verify_block(block, number, rules, self.geo.csum_seed());
            self.checked(verdict.map_err(Corrupt::from))?;
            let area = XattrArea::in_block(block, rules)?;
            self.area(ino, inode, &area, block.len())?;
            let _ = xattr::block_hash(&area);
        }
        Ok(())
    }

    fn area(
        &self,
        ino: Ino,
        inode: &Inode<'_>,
        area: &XattrArea<'_>,
        room: usize,
    ) -> Result<(), Failure> {
        let mut count = 0;
        for xattr in area.iter() {
            let xattr = xattr?;
            count += 1;
            assert!(count <= room / 16, "attributes do not end");
            self.totals.borrow_mut().xattrs += 1;
            let _ = xattr_find::find(area, xattr.index, xattr.name)?;
            match xattr.value {
                XattrValue::Here(value) => {
                    assert!(value.len() <= room);
                    let acl = matches!(
                        xattr.index,
                        index::POSIX_ACL_ACCESS | index::POSIX_ACL_DEFAULT
                    );
                    if let (true, Ok(Some(acl))) = (acl, Acl::parse(value)) {
                        assert_eq!(acl.iter().count(), acl.count());
                    }
                }
                XattrValue::EaInode(reference) => {
                    reference.check_owner(ino)?;
                    let ea = self.inode(reference.ino, Purpose::EaInode)?;
                    let facts = xattr::EaInode {
                        links: ea.links_count().into(),
                        size: ea.size(),
                        hash: ea.ea_hash(),
                        references: ea.ea_ref_count(),
                        parent: ea.ea_parent(),
                        generation: ea.generation(),
                    };
                    reference.check_inode(&facts, ino, inode.generation())?;
                    self.map(&ea, |_| ())?;
                    let _ = reference.verify_value(b"no", &facts, self.geo.ea_hash_seed());
                }
            }
        }
        Ok(xattr_find::list(area, |_, prefix, name| {
            assert!(prefix.len() + name.len() <= 300);
            Ok::<(), xattr::XattrError>(())
        })?)
    }
}

impl<'a> BlockSource for Walker<'a> {
    type Block = &'a [u8];
    type Error = Failure;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<&'a [u8], Failure>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        let bytes = self.block(block)?;
        self.checked(verify(bytes))?;
        Ok(bytes)
    }
}
