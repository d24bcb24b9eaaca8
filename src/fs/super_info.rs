// SPDX-License-Identifier: GPL-2.0

//! What a mounted file system knows about itself.
//!
//! Everything here but the counters is set before the first inode is read and does not change
//! while mounted read-only, so it is read without locks. It owns no buffers: the device is
//! released before this is freed.

use super::{
    errors::Errors,
    fault::Fault,
    groups::Groups,
    handle::Emergency,
    lazy_init::LazyInit,
    meta::Meta,
    options::{Options, Toggles},
    orphan::Orphans,
    reserved::Reserved,
    super_image::{self, Image},
    super_write::Writing,
    tunables::Tunables,
    tx::Handle,
    vec,
    xattr_sharing::Sharing,
    Sb,
};
use crate::{
    engine::{
        credits::Shape,
        dir::DirFormat,
        extent_walk::ExtentTree,
        indirect_walk::IndirectMap,
        mapping::MapKind,
        overhead::overhead_clusters,
        zones::{self, Zone, Zones},
    },
    linux::{
        buffer::{Buffer, Device, Verified},
        percpu::Tally,
        sched::relax,
        super_block::{message, Level},
    },
    ondisk::{
        features::{Compat, RoCompat},
        group::{GroupDesc, GroupError},
        indirect::PointerBits,
        inode::{Inode, InodeFlags, Purpose, Refused},
        mount_state::OnError,
        superblock::Superblock,
        FileBlock, FsBlock, Geometry, Group, Ino,
    },
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use kernel::{
    alloc::{flags::__GFP_NOWARN, Flags},
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{Mutex, SetOnce},
};

/// The private data of a superblock.
pub(crate) struct SuperInfo {
    /// Facts derived from the superblock.
    pub(crate) geometry: Geometry,
    /// The superblock as it was found (after journal replay).
    pub(crate) raw: KBox<Superblock>,
    /// The superblock as it is now, for those who change it.
    pub(crate) image: Image,
    /// Whether it says on disk that somebody may be writing.
    pub(crate) writing: Writing,
    /// Mount options. A remount changes them, under s_umount and this lock.
    pub(crate) options: Pin<KBox<Mutex<Options>>>,
    /// Those of them that are on or off, to be read without the lock.
    toggles: AtomicU32,
    /// `errors=panic`, for a mount that can write.
    panics: AtomicBool,
    /// `errors=continue`, likewise.
    continues: AtomicBool,
    /// `errors=panic` for a read-only mount.
    panics_rdonly: AtomicBool,
    /// First block of each group's inode table; 0, where there never is one, for a group whose
    /// descriptor could not be used.
    pub(crate) inode_tables: KVVec<u64>,
    /// Blocks of the file system itself.
    pub(crate) zones: Zones<KVVec<Zone>>,
    /// Facts about directories.
    pub(crate) dir_format: DirFormat,
    /// How many pointers an indirect block holds.
    pub(crate) pointer_bits: PointerBits,
    /// Smallest order of a folio that holds a block; `None` for blocks up to a page.
    pub(crate) min_folio_order: Option<u32>,
    /// Sums over the groups.
    pub(crate) free_clusters: u64,
    /// See `free_clusters`.
    pub(crate) free_inodes: u64,
    /// Clusters that metadata takes, journal included.
    pub(crate) overhead: u64,
    /// How many blocks of an inode table are read at once; a power of two, or 0 for one.
    pub(crate) inode_readahead_blks: AtomicU32,
    /// Damage that was met since mounting.
    pub(crate) errors: Errors,
    /// How often the extent status cache has known the answer.
    pub(crate) cache_hits: Tally,
    /// How often it has not.
    pub(crate) cache_misses: Tally,
    /// What the journal credits of operations depend on.
    pub(crate) shape: Shape,
    /// What is free, once the file system can be written.
    pub(crate) groups: SetOnce<Groups>,
    /// Orphans, once the file system can be written.
    pub(crate) orphans: SetOnce<Orphans>,
    /// What sysfs can change.
    pub(crate) tunables: Tunables,
    /// How far inode tables have been zeroed.
    pub(crate) lazy_init: LazyInit,
    /// What is kept back of it, and for whom.
    pub(crate) reserved: Reserved,
    /// Extended attributes that inodes share, once the file system can be written.
    pub(crate) sharing: SetOnce<Sharing>,
    /// Why nothing can be changed any more.
    pub(crate) emergency: Emergency,
}

impl SuperInfo {
    /// Whether all of `what` is on.
    #[inline]
    pub(crate) fn has(&self, what: Toggles) -> bool {
        Toggles::from_bits(self.toggles.load(Relaxed)).has(what)
    }

    /// Whether damage is to stop the machine (`errors=panic`), on a mount that is read-only or not.
    pub(crate) fn panics_on_error(&self, rdonly: bool) -> bool {
        if rdonly {
            self.panics_rdonly.load(Relaxed)
        } else {
            self.panics.load(Relaxed)
        }
    }

    /// Whether a mount that can write goes on after damage (`errors=continue`).
    pub(crate) fn continues_on_error(&self) -> bool {
        self.continues.load(Relaxed)
    }

    /// Puts `new` in force: a remount. s_umount is held for writing.
    pub(crate) fn set_options(&self, new: Options) {
        self.toggles.store(new.toggles().bits(), Relaxed);
        self.panics.store(new.on_error() == OnError::Panic, Relaxed);
        self.continues
            .store(new.on_error() == OnError::Continue, Relaxed);
        self.panics_rdonly.store(new.asks_to_panic(), Relaxed);
        self.inode_readahead_blks
            .store(new.inode_readahead(), Relaxed);
        self.reserved.set_owner(&new);
        *self.options.lock() = new;
    }

    /// Whether inode `ino` may map blocks of a zone that is its own.
    #[inline]
    pub(crate) fn allows(&self, ino: u64, run: FsBlock, len: u32) -> bool {
        if !self.zones.overlaps(run, len) {
            return true;
        }
        match u32::try_from(ino).ok().and_then(Ino::new) {
            Some(ino) => self.zones.allows(run, len, ino),
            None => false,
        }
    }

    /// Asks for the blocks of an inode table around block `nr` of it, in an aligned window, so
    /// that the inodes of a directory's files come in few requests.
    #[cold]
    pub(crate) fn inode_readahead(&self, sb: &Sb, table: u64, nr: u32) {
        let window = self.inode_readahead_blks.load(Relaxed);
        if window <= 1 {
            return;
        }
        let first = nr & !window.wrapping_sub(1);
        let end = first
            .saturating_add(window)
            .min(self.geometry.itable_blocks_per_group());
        let len = end.saturating_sub(first);
        sb.device()
            .read_ahead(table.wrapping_add(first.into()), len);
    }

    /// Derives everything from the superblock and what it leads to: group descriptors, and the
    /// journal's blocks.
    ///
    /// With `lenient` a descriptor that makes no sense only takes its group out: before the
    /// journal has been replayed it may be one that a crash left half-written.
    ///
    /// Errors: EUCLEAN with a message, EIO, ENOMEM.
    pub(crate) fn load(
        id: &[u8],
        device: Device<'_>,
        geometry: Geometry,
        raw: KBox<Superblock>,
        options: Options,
        lenient: bool,
    ) -> Result<Self> {
        let mut table = GroupTable::new(device, &geometry);
        // First a look at all of them: what must not be mounted costs no memory.
        table.check(id, lenient)?;
        let groups = geometry.groups_count();
        let mut inode_tables = KVVec::with_capacity(groups as usize, from_disk())?;
        let mut free_clusters = 0u64;
        let mut free_inodes = 0u64;
        for number in 0..groups {
            let group = Group::new(number);
            let parsed = table.with(group, |bytes| {
                GroupDesc::parse(&geometry, group, bytes).map(|desc| {
                    (
                        u64::from(desc.free_clusters()),
                        u64::from(desc.free_inodes()),
                        desc.inode_table().get(),
                    )
                })
            })?;
            let (clusters, inodes, inode_table) = match parsed {
                Ok(facts) => facts,
                Err(_) if lenient => (0, 0, 0),
                Err(_) => return Err(EUCLEAN),
            };
            free_clusters = free_clusters.saturating_add(clusters);
            free_inodes = free_inodes.saturating_add(inodes);
            vec::push(&mut inode_tables, inode_table)?;
        }

        let mut places = |group| {
            let places = |bytes: &[u8]| Ok(GroupDesc::parse(&geometry, group, bytes)?.places());
            table.with(group, places)?.map_err(|_: GroupError| EUCLEAN)
        };
        // Twice: to count the zones, and to keep them.
        let mut count = 0usize;
        let mut tally = |_| {
            count = count.saturating_add(1);
            Ok(())
        };
        let collected = zones::collect(&geometry, &mut places, &mut tally);
        // Whether the journal is needed is not decided here.
        let journal_blocks =
            journal_zones(device, &geometry, &raw, &inode_tables, &mut tally).unwrap_or(0);
        let mut zones = KVVec::with_capacity(count, from_disk())?;
        if collected.is_ok() {
            zones::collect(&geometry, &mut places, |zone| vec::push(&mut zones, zone))?;
            if journal_blocks != 0 {
                journal_zones(device, &geometry, &raw, &inode_tables, &mut |zone| {
                    vec::push(&mut zones, zone)
                })
                .map_err(|e| match e {
                    Fault::Errno(e) => e,
                    Fault::Corrupt(_) => EUCLEAN,
                })?;
            }
        } else if !lenient {
            return Err(EUCLEAN);
        }

        drop(table);

        let pointer_bits = PointerBits::from_block_bits(geometry.block_bits()).ok_or(EINVAL)?;
        let zones = match Zones::build(&geometry, zones) {
            Ok(zones) => zones,
            Err(e) if lenient => {
                let _ = e;
                Zones::build(&geometry, KVVec::new()).map_err(|_| EUCLEAN)?
            }
            Err(e) => {
                message(
                    Level::Err,
                    id,
                    fmt!("failed to initialize system zone: {}\n", e.message()),
                );
                return Err(EUCLEAN);
            }
        };
        let (mut overhead, complete) =
            overhead_clusters(&geometry, raw.overhead_clusters(), &zones);
        if !complete {
            overhead = overhead.saturating_add(journal_blocks >> (geometry.cluster_bits() & 31));
        }

        let page_bits = PAGE_SIZE.trailing_zeros();
        Ok(Self {
            dir_format: DirFormat::new(&geometry),
            pointer_bits,
            min_folio_order: geometry
                .block_bits()
                .checked_sub(page_bits)
                .filter(|order| *order > 0),
            inode_readahead_blks: AtomicU32::new(options.inode_readahead()),
            shape: Shape::new(&geometry),
            groups: SetOnce::new(),
            orphans: SetOnce::new(),
            tunables: Tunables::new(&geometry, device.is_rotational()),
            lazy_init: LazyInit::idle(),
            reserved: Reserved::new(&geometry, &raw, &options),
            sharing: SetOnce::new(),
            emergency: Emergency::none(),
            geometry,
            image: Image::new(device, &raw, options.sb_block())?,
            writing: Writing::new(),
            raw,
            toggles: AtomicU32::new(options.toggles().bits()),
            panics: AtomicBool::new(options.on_error() == OnError::Panic),
            continues: AtomicBool::new(options.on_error() == OnError::Continue),
            panics_rdonly: AtomicBool::new(options.asks_to_panic()),
            options: KBox::pin_init(new_mutex!(options), GFP_KERNEL)?,
            inode_tables,
            zones,
            free_clusters,
            free_inodes,
            overhead,
            errors: Errors::new()?,
            cache_hits: Tally::new()?,
            cache_misses: Tally::new()?,
        })
    }
}

/// Sees to it that the file system has the feature `large_file`, which says that there may be files
/// of 2 GiB and more, before such a file is written in `handle`; that takes the superblock's
/// credit. Revision 0, which knows no features, comes to an end with it.
///
/// May sleep. Errors: EROFS, EIO when the journal has been given up.
pub(crate) fn need_large_file(sb: &Sb, handle: &Handle<'_>) -> Result {
    let info = sb.info();
    if info.geometry.has(RoCompat::LARGE_FILE) {
        return Ok(());
    }
    let (known, old) = info.image.with(|raw| {
        let known = raw.features().has(RoCompat::LARGE_FILE);
        (known, raw.rev_level() == 0)
    });
    if known {
        return Ok(());
    }
    if old {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: updating to rev 1 because of new feature flag, \
                 running e2fsck is recommended\n"
            ),
        );
        info.errors.count_warning();
    }
    super_image::edit(sb, handle, Superblock::add_large_file)
}

/// For memory whose size the disk says: if there is not so much that is no reason for a warning.
fn from_disk() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// The group descriptors, read block by block: the table may be of any size.
struct GroupTable<'a> {
    device: Device<'a>,
    geometry: &'a Geometry,
    /// The block that was used last.
    held: Option<(u32, Buffer<'a>)>,
}

impl<'a> GroupTable<'a> {
    fn new(device: Device<'a>, geometry: &'a Geometry) -> Self {
        Self {
            device,
            geometry,
            held: None,
        }
    }

    /// Calls `f` with the descriptor of `group`.
    ///
    /// Errors: EIO; EUCLEAN for a descriptor block that is not on the device; ERESTARTSYS.
    fn with<R>(&mut self, group: Group, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let per_block = self.geometry.descs_per_block().max(1);
        let (nr, at) = (group.get() / per_block, group.get() % per_block);
        let buffer = match self.held.take() {
            Some((held, buffer)) if held == nr => buffer,
            _ => {
                relax()?;
                let block = self.geometry.gdt_block(nr).ok_or(EUCLEAN)?;
                self.device.read(block.get())?
            }
        };
        let size = usize::from(self.geometry.desc_size());
        let start = (at as usize).saturating_mul(size);
        let bytes = buffer.get(start..start.saturating_add(size));
        let result = f(bytes.unwrap_or(&[]));
        self.held = Some((nr, buffer));
        Ok(result)
    }

    /// Verifies every descriptor and complains of the bad ones.
    ///
    /// Errors: as `with`; EUCLEAN (reported) for one that cannot be used, unless `lenient`.
    fn check(&mut self, id: &[u8], lenient: bool) -> Result {
        let geometry = self.geometry;
        let mut complaints = 0u32;
        for number in 0..geometry.groups_count() {
            let group = Group::new(number);
            let verify = |bytes: &[u8]| GroupDesc::verify(geometry, group, bytes).err();
            let Some(e) = self.with(group, verify)? else {
                continue;
            };
            if lenient {
                continue;
            }
            complaints = complaints.saturating_add(1);
            // Enough to see what is wrong, also where every group is.
            if complaints <= 10 {
                let text = e.message();
                message(
                    Level::Err,
                    id,
                    fmt!("group descriptor {}: {}\n", number, text),
                );
            }
            if !e.allows_reading() {
                message(Level::Err, id, fmt!("group descriptors corrupted!\n"));
                return Err(EUCLEAN);
            }
        }
        Ok(())
    }
}

/// The most pieces of a journal that are guarded. mkfs makes a few; an image may be made up to
/// have one for every block, in numbers that no memory holds.
const MAX_JOURNAL_ZONES: usize = 1 << 16;

/// Passes the blocks of an internal journal to `push`, as zones owned by its inode, and returns
/// how many blocks the journal has; 0 if there is none.
///
/// Errors: what is wrong with the journal's inode or its block map; those of `push`.
fn journal_zones(
    device: Device<'_>,
    geometry: &Geometry,
    raw: &Superblock,
    inode_tables: &[u64],
    push: &mut dyn FnMut(Zone) -> Result,
) -> Result<u64, Fault> {
    let Some(ino) = Ino::new(raw.journal_inum()) else {
        return Ok(0);
    };
    if !geometry.has(Compat::HAS_JOURNAL) || geometry.check_ino(ino.get()).is_none() {
        return Ok(0);
    }
    let loc = geometry.inode_location(ino);
    let table = *inode_tables
        .get(loc.group.get() as usize)
        .ok_or(Fault::Errno(EUCLEAN))?;
    let buffer = device.read(table.wrapping_add(loc.block.into()))?;
    let slot = buffer
        .get(loc.offset as usize..)
        .ok_or(Fault::Errno(EUCLEAN))?;
    let inode = Inode::verify(geometry, ino, slot, Purpose::Special).map_err(|e| match e {
        Refused::Stale => Fault::Errno(ESTALE),
        Refused::Corrupt(e) => Fault::Corrupt(e.into()),
    })?;
    let end = FileBlock::new(
        u32::try_from(inode.size() >> (geometry.block_bits() & 63)).unwrap_or(u32::MAX),
    );
    let mut at = FileBlock::ZERO;
    for _ in 0..MAX_JOURNAL_ZONES {
        if at >= end {
            break;
        }
        let m = if inode.flags().contains(InodeFlags::EXTENTS) {
            ExtentTree::new(inode.i_block(), inode.csum_seed(), geometry)
                .lookup(&Meta::of_device(device, Verified::Extent), at)?
        } else {
            let bits =
                PointerBits::from_block_bits(geometry.block_bits()).ok_or(Fault::Errno(EINVAL))?;
            IndirectMap::new(inode.i_block(), bits, geometry)
                .lookup(&Meta::of_device(device, Verified::Indirect), at)?
        };
        if let MapKind::Written(start) = m.kind {
            push(Zone::owned(start, m.len, ino))?;
        }
        at = m.end().max(at.saturating_add(1));
    }
    Ok(inode.size() >> (geometry.block_bits() & 63))
}
