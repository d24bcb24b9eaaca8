// SPDX-License-Identifier: GPL-2.0

//! The groups of a file system that can be written: what is free where.
//!
//! Each group has a lock, its [`State`] behind it: the place of its descriptor, and from the first
//! use on a map of its clusters (`engine::alloc`). Beside the locks there are counts per group and
//! two indexes over all groups, which are read without any: who looks for space asks them where to
//! look, and finds out under the group's lock. Sums over all groups are per-CPU counters, so that
//! statfs is right at every moment and costs nothing to whoever allocates.
//!
//! A group whose bitmap or descriptor turns out to be damaged is reported once and not used any
//! more: its counts and its place in the indexes become 0. The others go on.
//!
//! An inode of a table that is being zeroed can only be had where the table has been used before;
//! who needs another waits for the lock of tables, which comes after a handle and before the
//! groups' locks.
//!
//! Lock order: a group's lock is the innermost of the file system's. It is held while write access
//! to the bitmap and the descriptor is taken, which may wait for a commit to have written these
//! blocks to the log. That is no cycle: what a commit does with a group's lock is done by its
//! callbacks, after it has written everything.

use super::{
    alloc::{Discards, LastFreed, Shared, Stats, Windows},
    fault::Fault,
    meta::Meta,
    tunables::Number,
    Sb,
};
use crate::{
    engine::{
        alloc::{
            goal::flex_groups,
            index,
            inode_bits::Resting,
            metadata,
            orlov::{FlexStats, GroupStats, Totals},
            runs, GroupIndex, GroupMap, Run,
        },
        source::BlockSource,
    },
    linux::{
        buffer::{Buffer, Pinned, Verified},
        insist::insist,
        jbd2::SlotKey,
        nofs::NoFs,
        percpu::PercpuCounter,
        time::monotonic_ns,
    },
    ondisk::{
        group::{GroupDesc, GroupError},
        Corrupt, FsBlock, Geometry, Group,
    },
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    new_mutex,
    prelude::*,
    sync::{lock::mutex::MutexBackend, lock::Guard, Mutex},
};

/// How much a CPU may count for itself, of clusters and inodes.
const BATCH: i32 = 32;

/// All groups.
pub(crate) struct Groups {
    groups: KVVec<Pin<KBox<Mutex<State>>>>,
    counts: KVVec<Counts>,
    /// log2 of the groups in a flex group.
    flex_bits: u32,
    /// Sums over each flex group; none where a flex group is a group.
    flex: KVVec<FlexCounts>,
    /// The longest free run of each group.
    runs: GroupIndex<KVVec<AtomicU32>>,
    /// Free clusters on disk (those in flight included, those pending as well).
    pub(crate) free_clusters: Pin<KBox<PercpuCounter>>,
    /// Those of them that somebody counts on: promised to data that has no place yet, or in flight.
    pub(crate) promised: Pin<KBox<PercpuCounter>>,
    /// Clusters that are to be discarded before they can be had again.
    pub(crate) discards: Discards,
    /// What is kept for files, in memory.
    pub(crate) windows: Windows,
    /// Clusters in flight where files have parts of them.
    pub(crate) shared: Shared,
    /// Held by who reads the groups anew, and by who has taken clusters on a file system that may
    /// be read-only.
    pub(crate) loading: Pin<KBox<Mutex<()>>>,
    /// How searches for free clusters go, if anybody wants to know.
    pub(crate) stats: Stats,
    /// The shortest run that the last FITRIM has discarded, in clusters.
    pub(crate) last_trim: AtomicU64,
    /// Held by who zeroes an inode table.
    pub(crate) tables: Pin<KBox<Mutex<()>>>,
    /// Operations that found no space however often they were tried.
    pub(crate) retries_exceeded: AtomicU64,
    /// Free inodes.
    pub(crate) free_inodes: Pin<KBox<PercpuCounter>>,
    /// Directories.
    pub(crate) used_dirs: Pin<KBox<PercpuCounter>>,
    /// Clusters that have been freed and wait for the commit.
    pending: AtomicU64,
}

/// What is read of a group without its lock.
#[derive(Default)]
struct Counts {
    free_clusters: AtomicU32,
    free_inodes: AtomicU32,
    used_dirs: AtomicU32,
}

/// The same of a flex group, whose groups change it under their own locks.
#[derive(Default)]
struct FlexCounts {
    free_clusters: AtomicU64,
    free_inodes: AtomicU32,
    used_dirs: AtomicU32,
}

/// What a group's lock protects, its bitmaps and its descriptor on disk included.
pub(crate) struct State {
    /// Where the descriptor is.
    pub(crate) desc: SlotKey,
    /// The block that it is in, from the first use on.
    desc_block: Option<Pinned>,
    /// The blocks of the block bitmap and of the inode bitmap.
    pub(crate) block_bitmap: u64,
    /// See `block_bitmap`.
    pub(crate) inode_bitmap: u64,
    /// No inode of the group before this one is free, as numbers in the group go, but those that
    /// are resting.
    pub(crate) first_inode: u32,
    /// Without a journal: inodes that were freed a short time ago.
    pub(crate) resting: Resting,
    /// The part of the inode table that was never used is being zeroed: it must not be used.
    pub(crate) zeroing: bool,
    /// All that is free has been discarded.
    pub(crate) trimmed: bool,
    map: Option<GroupMap<KVVec<u64>>>,
    /// The clusters that were freed last.
    pub(crate) last_freed: Option<LastFreed>,
    /// The block bitmap is damaged, or the descriptor.
    bad_clusters: bool,
    /// The inode bitmap is damaged, or the descriptor.
    bad_inodes: bool,
}

/// A group that is locked.
pub(crate) struct Locked<'a> {
    groups: &'a Groups,
    pub(crate) number: Group,
    pub(crate) state: Guard<'a, State, MutexBackend>,
}

impl Groups {
    /// Reads all descriptors.
    ///
    /// Errors: EUCLEAN for a descriptor that makes no sense, EIO, ENOMEM; ERESTARTSYS when the
    /// mounting task is to die.
    pub(crate) fn load(sb: &Sb) -> Result<Self> {
        let geo = &sb.info().geometry;
        let count = geo.groups_count();
        let flags = GFP_KERNEL | __GFP_NOWARN;
        let mut groups = KVVec::with_capacity(count as usize, flags)?;
        let mut counts = KVVec::with_capacity(count as usize, flags)?;
        let words = index::storage_len(count);
        let mut storage = KVVec::with_capacity(words, flags)?;
        for _ in 0..words {
            storage
                .push_within_capacity(AtomicU32::new(0))
                .map_err(|_| ENOMEM)?;
        }
        let runs = GroupIndex::new(storage, count).ok_or(EUCLEAN)?;
        for number in 0..count {
            let (block, offset) = geo.desc_location(Group::new(number)).ok_or(EUCLEAN)?;
            counts
                .push_within_capacity(Counts::default())
                .map_err(|_| ENOMEM)?;
            let state = State {
                desc: SlotKey::new(block.get(), offset, geo.desc_size().into()),
                block_bitmap: 0,
                inode_bitmap: 0,
                first_inode: 0,
                resting: Resting::default(),
                zeroing: false,
                trimmed: false,
                map: None,
                desc_block: None,
                last_freed: None,
                bad_clusters: false,
                bad_inodes: false,
            };
            let state = KBox::pin_init(new_mutex!(state, "rext4 group"), GFP_KERNEL)?;
            groups.push_within_capacity(state).map_err(|_| ENOMEM)?;
            crate::linux::sched::relax()?;
        }
        let flex_bits = geo.flex_bits();
        let flex_count = match flex_bits {
            0 => 0,
            bits => (count.saturating_sub(1).wrapping_shr(bits) as usize).saturating_add(1),
        };
        let mut flex = KVVec::with_capacity(flex_count, flags)?;
        for _ in 0..flex_count {
            flex.push_within_capacity(FlexCounts::default())
                .map_err(|_| ENOMEM)?;
        }
        let counter = || KBox::pin_init(PercpuCounter::new(0, BATCH), GFP_KERNEL);
        let groups = Self {
            groups,
            counts,
            flex_bits,
            flex,
            runs,
            free_clusters: counter()?,
            promised: counter()?,
            discards: Discards::new()?,
            windows: Windows::new()?,
            shared: Shared::new()?,
            loading: KBox::pin_init(new_mutex!((), "rext4 loading"), GFP_KERNEL)?,
            stats: Stats::default(),
            last_trim: AtomicU64::new(0),
            tables: KBox::pin_init(new_mutex!((), "rext4 inode tables"), GFP_KERNEL)?,
            retries_exceeded: AtomicU64::new(0),
            free_inodes: counter()?,
            used_dirs: counter()?,
            pending: AtomicU64::new(0),
        };
        groups.reload(sb)?;
        Ok(groups)
    }

    /// Lets go of blocks that are kept in memory, at the unmount.
    pub(crate) fn unpin(&self) {
        for group in &self.groups {
            group.lock().desc_block = None;
        }
    }

    /// Reads all descriptors anew, and forgets what was known of the groups: while the file system
    /// was read-only, e2fsck may have repaired it. Only while nothing can be changed.
    ///
    /// Errors: as [`load`](Self::load); what the groups say is of no use then.
    pub(crate) fn reload(&self, sb: &Sb) -> Result {
        let geo = &sb.info().geometry;
        let (mut clusters, mut inodes, mut dirs) = (0i64, 0i64, 0i64);
        for flex in self.flex.iter() {
            flex.free_clusters.store(0, Relaxed);
            flex.free_inodes.store(0, Relaxed);
            flex.used_dirs.store(0, Relaxed);
        }
        for number in 0..geo.groups_count() {
            let group = Group::new(number);
            let mut locked = self.lock(group).ok_or(EUCLEAN)?;
            let buffer = sb.device().read(locked.state.desc.block())?;
            let bytes = locked.state.desc.read(&buffer).ok_or(EUCLEAN)?;
            let parsed = GroupDesc::verify(geo, group, bytes)
                .map_err(|e| Fault::from(Corrupt::from(e)).report(sb, 0, "group descriptor"))?;
            clusters = clusters.saturating_add(parsed.free_clusters().into());
            inodes = inodes.saturating_add(parsed.free_inodes().into());
            dirs = dirs.saturating_add(parsed.used_dirs().into());
            let more_is_free = parsed.free_clusters() > self.free_clusters(group);
            if let Some(counts) = self.counts(group) {
                counts.free_clusters.store(parsed.free_clusters(), Relaxed);
                counts.free_inodes.store(parsed.free_inodes(), Relaxed);
                counts.used_dirs.store(parsed.used_dirs(), Relaxed);
            }
            if let Some(flex) = self.flex_counts(group) {
                flex.free_clusters
                    .fetch_add(parsed.free_clusters().into(), Relaxed);
                flex.free_inodes.fetch_add(parsed.free_inodes(), Relaxed);
                flex.used_dirs.fetch_add(parsed.used_dirs(), Relaxed);
            }
            // A guess until the bitmap has been read: it could be all in one piece.
            let longest = parsed.free_clusters();
            let (block_bitmap, inode_bitmap) = (parsed.block_bitmap(), parsed.inode_bitmap());
            locked.state.block_bitmap = block_bitmap.get();
            locked.state.inode_bitmap = inode_bitmap.get();
            locked.state.first_inode = 0;
            locked.state.resting = Resting::default();
            locked.state.trimmed &= !more_is_free;
            locked.state.bad_clusters = false;
            locked.state.bad_inodes = false;
            // Nothing is held: what had been freed was released before the mount got read-only.
            locked.state.map = None;
            self.runs.set(group, longest);
            drop(locked);
            crate::linux::sched::relax()?;
        }
        self.free_clusters.reset(clusters);
        self.promised.reset(0);
        self.free_inodes.reset(inodes);
        self.used_dirs.reset(dirs);
        Ok(())
    }

    /// The groups, which are read if the file system could not be written so far.
    ///
    /// Errors: as [`load`](Self::load); EBUSY while somebody else does this.
    pub(crate) fn known(sb: &Sb) -> Result<&Self> {
        let place = &sb.info().groups;
        if place.as_ref().is_none() {
            place.populate(Self::load(sb)?);
        }
        place.as_ref().ok_or(EBUSY)
    }

    /// Locks a group; `None` for one that does not exist. May sleep.
    pub(crate) fn lock(&self, number: Group) -> Option<Locked<'_>> {
        let state = self.groups.get(number.get() as usize)?;
        Some(Locked {
            groups: self,
            number,
            state: state.lock(),
        })
    }

    /// The longest free run of each group, as far as is known.
    pub(crate) fn runs(&self) -> &GroupIndex<KVVec<AtomicU32>> {
        &self.runs
    }

    /// Whether there are clusters that a commit will make free.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.load(Relaxed) != 0
    }

    /// Counts clusters that have been freed, or (`done`) of which the commit has come.
    pub(crate) fn count_pending(&self, n: u32, done: bool) {
        if done {
            self.pending.fetch_sub(n.into(), Relaxed);
        } else {
            self.pending.fetch_add(n.into(), Relaxed);
        }
    }

    /// The sums, which others change meanwhile.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            free_inodes: self.free_inodes.read(),
            free_clusters: self.free_clusters.read(),
            used_dirs: self.used_dirs.read(),
        }
    }

    fn counts(&self, group: Group) -> Option<&Counts> {
        self.counts.get(group.get() as usize)
    }

    fn flex_counts(&self, group: Group) -> Option<&FlexCounts> {
        let flex = group.get().wrapping_shr(self.flex_bits);
        self.flex.get(flex as usize)
    }

    /// The free clusters of a group on disk change by `n`.
    fn change_clusters(&self, group: Group, n: u32, less: bool) {
        if let Some(counts) = self.counts(group) {
            change(&counts.free_clusters, n, less);
        }
        if let Some(flex) = self.flex_counts(group) {
            let n = u64::from(n);
            let by = if less { n.wrapping_neg() } else { n };
            flex.free_clusters.fetch_add(by, Relaxed);
        }
    }

    /// The free inodes of a group change by `n`.
    fn change_inodes(&self, group: Group, n: u32, less: bool) {
        if let Some(counts) = self.counts(group) {
            change(&counts.free_inodes, n, less);
        }
        if let Some(flex) = self.flex_counts(group) {
            let by = if less { n.wrapping_neg() } else { n };
            flex.free_inodes.fetch_add(by, Relaxed);
        }
    }

    /// A group has a directory more or `less`.
    fn change_dirs(&self, group: Group, less: bool) {
        if let Some(counts) = self.counts(group) {
            change(&counts.used_dirs, 1, less);
        }
        if let Some(flex) = self.flex_counts(group) {
            let by = if less { 1u32.wrapping_neg() } else { 1 };
            flex.used_dirs.fetch_add(by, Relaxed);
        }
    }
}

impl GroupStats for Groups {
    fn free_inodes(&self, group: Group) -> u32 {
        self.counts(group)
            .map_or(0, |c| c.free_inodes.load(Relaxed))
    }

    fn free_clusters(&self, group: Group) -> u32 {
        self.counts(group)
            .map_or(0, |c| c.free_clusters.load(Relaxed))
    }

    fn used_dirs(&self, group: Group) -> u32 {
        self.counts(group).map_or(0, |c| c.used_dirs.load(Relaxed))
    }

    fn flex(&self, _geo: &Geometry, group: Group) -> FlexStats {
        match self.flex_counts(group) {
            Some(flex) => FlexStats {
                free_inodes: flex.free_inodes.load(Relaxed).into(),
                free_clusters: flex.free_clusters.load(Relaxed),
                used_dirs: flex.used_dirs.load(Relaxed).into(),
            },
            None => FlexStats {
                free_inodes: self.free_inodes(group).into(),
                free_clusters: self.free_clusters(group).into(),
                used_dirs: self.used_dirs(group).into(),
            },
        }
    }
}

impl Locked<'_> {
    /// The descriptor's block, read.
    ///
    /// Errors: EIO.
    pub(crate) fn read_desc<'s>(&mut self, sb: &'s Sb) -> Result<Buffer<'s>> {
        let known = self.state.desc_block.as_ref();
        match known.and_then(|pinned| pinned.get(sb.device())) {
            Some(buffer) => Ok(buffer),
            None => {
                let buffer = sb.device().read(self.state.desc.block())?;
                self.state.desc_block = Some(Pinned::new(&buffer));
                Ok(buffer)
            }
        }
    }

    /// The descriptor in its block.
    ///
    /// Errors: corruption.
    pub(crate) fn desc<'d>(
        &'d self,
        geo: &Geometry,
        buffer: &'d Buffer<'_>,
    ) -> Result<GroupDesc<'d>, Fault> {
        let bytes = self.state.desc.read(buffer).ok_or(EUCLEAN)?;
        Ok(GroupDesc::parse(geo, self.number, bytes).map_err(Corrupt::from)?)
    }

    /// The map of the group's clusters; built from the bitmap when it is first asked for. May
    /// sleep.
    ///
    /// Errors: corruption, which takes the group out of use for clusters, and is returned once to
    /// be reported; ENOSPC after that; EIO, ENOMEM.
    pub(crate) fn map(&mut self, sb: &Sb) -> Result<&mut GroupMap<KVVec<u64>>, Fault> {
        if self.state.bad_clusters {
            return Err(ENOSPC.into());
        }
        if self.state.map.is_none() {
            let began = monotonic_ns();
            match self.build_map(sb) {
                Ok(map) => {
                    if sb.info().tunables.get(Number::MbStats) != 0 {
                        let took = monotonic_ns().saturating_sub(began);
                        self.groups.stats.built(took);
                    }
                    self.groups.runs.set(self.number, map.longest());
                    self.state.map = Some(map);
                }
                Err(e) => return Err(self.distrust_clusters(e)),
            }
        }
        self.state.map.as_mut().ok_or(ENOMEM.into())
    }

    fn build_map(&mut self, sb: &Sb) -> Result<GroupMap<KVVec<u64>>, Fault> {
        let info = sb.info();
        let (geo, zones) = (&info.geometry, &info.zones);
        let words = runs::storage_len(geo.clusters_per_group().get());
        // Also outside of a handle: under the group's lock nothing may wait for a file system.
        let _nofs = NoFs::new();
        // Blocks may be about to be freed, which must not fail for that.
        let storage = insist(|| Ok::<_, Error>(KVVec::from_elem(0u64, words, GFP_KERNEL)?))?;
        let buffer = self.read_desc(sb)?;
        let desc = self.desc(geo, &buffer)?;
        let bitmap = if desc.block_uninit() {
            None
        } else {
            // Whenever a map is built the bitmap is verified, whether or not its block has
            // stayed in memory: it is the map that is trusted from then on.
            let block = self.state.block_bitmap;
            if sb.device().cached(block).is_none() {
                self.prefetch(sb, block);
            }
            let bitmap = sb.device().read(block)?;
            metadata::verify_block_bitmap(geo, self.number, &desc, zones, &bitmap)
                .map_err(Corrupt::from)?;
            Some(bitmap)
        };
        let bytes = bitmap.as_deref().unwrap_or(&[]);
        let map = GroupMap::build(storage, geo, self.number, &desc, bytes, zones);
        Ok(map.map_err(Corrupt::from)?)
    }

    /// Has the bitmaps behind that of this group, which is at `block`, read as well: with `flex_bg`
    /// those of a flex group are side by side, and who does not find space here goes on there.
    fn prefetch(&self, sb: &Sb, block: u64) {
        let info = sb.info();
        let last = flex_groups(&info.geometry, self.number);
        let behind = last.end().saturating_sub(self.number.get());
        let most = info.tunables.get(Number::MbPrefetch);
        let most = most.min(info.tunables.get(Number::MbPrefetchLimit));
        let blocks = most.min(behind.saturating_add(1));
        if blocks > 1 {
            sb.device().read_ahead(block, blocks);
        }
    }

    /// Whether clusters of the group may be taken and freed.
    pub(crate) fn trusts_clusters(&self) -> bool {
        !self.state.bad_clusters
    }

    /// Whether inodes of the group may be taken and freed.
    pub(crate) fn trusts_inodes(&self) -> bool {
        !self.state.bad_inodes
    }

    /// The block of the inode bitmap, verified; `None` if `desc` says that it was never written.
    ///
    /// Errors: corruption, EIO.
    pub(crate) fn inode_bitmap<'s>(
        &self,
        sb: &'s Sb,
        desc: &GroupDesc<'_>,
    ) -> Result<Option<Buffer<'s>>, Fault> {
        if desc.inode_uninit() {
            return Ok(None);
        }
        let geo = &sb.info().geometry;
        let meta = Meta::new(sb, Verified::InodeBitmap);
        let block = FsBlock::new(self.state.inode_bitmap);
        // Padding is not looked at: nobody searches there, and tools differ.
        let buffer = meta.read(block, |bytes| Ok(desc.verify_inode_bitmap(geo, bytes)?))?;
        Ok(Some(buffer))
    }

    /// The same if it is in memory and has been verified: the descriptor need not be asked, then.
    #[inline]
    pub(crate) fn known_inode_bitmap<'s>(&self, sb: &'s Sb) -> Option<Buffer<'s>> {
        let buffer = sb.device().cached(self.state.inode_bitmap)?;
        buffer.is_verified(Verified::InodeBitmap).then_some(buffer)
    }

    /// If `e` is corruption: no cluster of the group is allocated any more.
    #[cold]
    pub(crate) fn distrust_clusters(&mut self, e: Fault) -> Fault {
        if let Fault::Corrupt(_) = e {
            self.state.bad_clusters = true;
            self.groups.runs.set(self.number, 0);
            let lost = self.groups.free_clusters(self.number);
            self.groups.change_clusters(self.number, lost, true);
            self.groups.free_clusters.sub(lost.into());
        }
        e
    }

    /// If `e` is corruption: no inode of the group is allocated any more.
    #[cold]
    pub(crate) fn distrust_inodes(&mut self, e: Fault) -> Fault {
        if let Fault::Corrupt(_) = e {
            self.state.bad_inodes = true;
            let lost = self.groups.free_inodes(self.number);
            self.groups.change_inodes(self.number, lost, true);
            self.groups.free_inodes.sub(lost.into());
        }
        e
    }

    /// Brings the index up to date with the group's map.
    pub(crate) fn publish_longest(&self) {
        let longest = self.state.map.as_ref().map_or(0, |map| map.longest());
        let longest = if self.state.bad_clusters { 0 } else { longest };
        self.groups.runs.set(self.number, longest);
    }

    /// Counts clusters that have been taken (`taken`) or freed on disk, in a group that is in use.
    pub(crate) fn count_clusters(&self, n: u32, taken: bool) {
        self.groups.change_clusters(self.number, n, taken);
        if taken {
            self.groups.free_clusters.sub(n.into());
        } else {
            self.groups.free_clusters.add(n.into());
        }
    }

    /// Counts an inode that has been taken (`taken`) or freed on disk, in a group that is in use.
    pub(crate) fn count_inode(&self, is_dir: bool, taken: bool) {
        self.groups.change_inodes(self.number, 1, taken);
        let by = if taken { -1 } else { 1 };
        self.groups.free_inodes.add(by);
        if is_dir {
            self.groups.change_dirs(self.number, !taken);
            self.groups.used_dirs.sub(by);
        }
    }

    /// Takes the first free run of at least `min` clusters that begins at `from` or later, all of it,
    /// in memory, for a while. `None` also for a group whose map is not in memory.
    pub(crate) fn take_free(&mut self, from: u32, min: u32) -> Option<Run> {
        let map = self.state.map.as_mut()?;
        let start = map.tree().find(from, min.max(1))?.start;
        let run = Run::new(start, map.tree().run_at(start, u32::MAX));
        map.take(run).ok()?;
        self.publish_longest();
        Some(run)
    }

    /// Clusters that were taken in memory are free again.
    ///
    /// Errors: [`GroupError`] if they were not.
    pub(crate) fn give_back(&mut self, run: Run) -> Result<(), GroupError> {
        match &mut self.state.map {
            Some(map) => map.give_back(run)?,
            // It is there as long as anything is in flight.
            None => return Err(GroupError::BitsClear),
        }
        self.publish_longest();
        Ok(())
    }

    /// The map, if it is in memory, also of a group that is out of use.
    pub(crate) fn known_map(&mut self) -> Option<&GroupMap<KVVec<u64>>> {
        self.state.map.as_ref()
    }

    /// Forgets the map, if it says nothing that is not on disk. Whether it did.
    pub(crate) fn forget(&mut self) -> bool {
        let idle = self.state.map.as_ref().is_some_and(|map| map.is_idle());
        if idle {
            self.state.map = None;
        }
        idle
    }

    /// Clusters that were freed in a transaction can be had again.
    ///
    /// Errors: [`GroupError`] if that was not so.
    pub(crate) fn committed(&mut self, run: Run) -> Result<(), GroupError> {
        self.state.trimmed = false;
        match &mut self.state.map {
            Some(map) => map.committed(run),
            // Only a damaged group is without a map now.
            None => Ok(()),
        }
    }
}

/// Changes a count that only holders of the group's lock change.
fn change(count: &AtomicU32, n: u32, less: bool) {
    let old = count.load(Relaxed);
    let new = if less {
        old.saturating_sub(n)
    } else {
        old.saturating_add(n)
    };
    count.store(new, Relaxed);
}
