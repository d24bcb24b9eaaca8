// SPDX-License-Identifier: GPL-2.0

//! Blocks in memory with a transaction and an allocator that can fail at any call, and that
//! notice when they are used in a way that they do not allow.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use rext4::engine::change::{Blocks, Transaction, Was};
use rext4::engine::source::BlockSource;
use rext4::ondisk::bounds::BlockBounds;
use rext4::ondisk::seal::Seal;
use rext4::ondisk::{Corrupt, FsBlock};

/// Blocks below this number are metadata.
pub const DATA: u64 = 1 << 20;
/// As many blocks as an indirect map can address.
pub const DEVICE: Device = Device(1 << 32);

/// All of this many blocks but block 0 may be referred to.
pub struct Device(pub u64);

impl BlockBounds for Device {
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
        let end = first.checked_add(len.into())?;
        (len != 0 && first != 0 && end <= self.0).then(|| FsBlock::new(first))
    }
}

/// What a call can lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    Corrupt(Corrupt),
    /// The call that was to fail has.
    Injected,
}

impl From<Corrupt> for Failure {
    fn from(e: Corrupt) -> Self {
        Self::Corrupt(e)
    }
}

/// What is on the device, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The metadata blocks in use.
    pub nodes: BTreeMap<u64, Vec<u8>>,
    /// The data blocks in use; with clusters, their numbers.
    pub data: BTreeSet<u64>,
    /// Metadata blocks in use whose freeing has failed.
    pub leaked: BTreeSet<u64>,
}

/// How often what was done in one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub dirtied: u32,
    pub created: u32,
    pub freed: u32,
    /// How many of the calls that free something freed metadata.
    pub dropped: u32,
    pub reads: u32,
}

#[derive(Default)]
struct State {
    disk: RefCell<Disk>,
    open: RefCell<BTreeSet<u64>>,
    held: RefCell<BTreeMap<u64, u32>>,
    /// Allocated in this transaction and neither used nor given back.
    pending: RefCell<BTreeSet<u64>>,
    counts: Cell<Counts>,
    calls: Cell<u32>,
    fail_at: Cell<u32>,
    /// The most blocks (with clusters, clusters) to free in one call.
    chunk: Cell<u32>,
    cluster_bits: Cell<u32>,
}

/// See the file's head.
pub struct Store {
    state: Rc<State>,
    block_size: usize,
}

/// A block that is held for reading.
pub struct Held {
    state: Rc<State>,
    number: u64,
    bytes: Vec<u8>,
}

impl Deref for Held {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.state.held.borrow_mut().get_mut(&self.number).unwrap() -= 1;
    }
}

/// A block that may be changed.
pub struct Edit {
    state: Rc<State>,
    number: u64,
    bytes: Vec<u8>,
    before: Vec<u8>,
    created: bool,
    dirty: bool,
}

impl Deref for Edit {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Edit {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        self.state.open.borrow_mut().remove(&self.number);
        if !self.dirty && !std::thread::panicking() {
            assert!(self.before == self.bytes, "written to and dropped");
        }
    }
}

impl Store {
    pub fn new(disk: Disk, block_size: usize) -> Self {
        let state = State::default();
        *state.disk.borrow_mut() = disk;
        state.chunk.set(u32::MAX);
        Self {
            state: Rc::new(state),
            block_size,
        }
    }

    /// A copy that shares nothing.
    pub fn fork(&self) -> Self {
        let copy = Self::new(self.disk(), self.block_size);
        copy.state.chunk.set(self.state.chunk.get());
        copy.state.cluster_bits.set(self.state.cluster_bits.get());
        copy
    }

    /// The same store, to be borrowed while what holds this one changes.
    pub fn again(&self) -> Self {
        Self {
            state: self.state.clone(),
            block_size: self.block_size,
        }
    }

    /// Has data in clusters of `2^bits` blocks.
    pub fn use_clusters(&self, bits: u32) {
        self.state.cluster_bits.set(bits);
    }

    pub fn cluster_bits(&self) -> u32 {
        self.state.cluster_bits.get()
    }

    /// Frees at most `chunk` blocks in one call.
    pub fn limit(&self, chunk: u32) {
        self.state.chunk.set(chunk);
    }

    pub fn disk(&self) -> Disk {
        self.state.disk.borrow().clone()
    }

    pub fn change(&self, f: impl FnOnce(&mut Disk)) {
        f(&mut self.state.disk.borrow_mut());
    }

    /// Lets call `n` from now on fail (from 1; 0 for none).
    pub fn fail_at(&self, n: u32) {
        self.state.calls.set(0);
        self.state.fail_at.set(n);
    }

    /// Whether the call that was to fail has come.
    pub fn has_failed(&self) -> bool {
        let at = self.state.fail_at.get();
        at != 0 && self.state.calls.get() >= at
    }

    /// The counts since the last time; nothing may be held or pending between operations.
    pub fn settle(&self) -> Counts {
        assert!(self.state.open.borrow().is_empty(), "an edit is left");
        assert!(self.state.held.borrow().values().all(|n| *n == 0));
        assert!(
            self.state.pending.borrow().is_empty(),
            "allocated, not used, not given back"
        );
        self.state.counts.take()
    }

    fn count(&self, f: impl FnOnce(&mut Counts)) {
        let mut counts = self.state.counts.get();
        f(&mut counts);
        self.state.counts.set(counts);
    }

    fn call(&self) -> Result<(), Failure> {
        let n = self.state.calls.get() + 1;
        self.state.calls.set(n);
        if n == self.state.fail_at.get() {
            return Err(Failure::Injected);
        }
        Ok(())
    }

    fn open(&self, number: u64, bytes: Vec<u8>, created: bool) -> Edit {
        assert!(
            self.state.open.borrow_mut().insert(number),
            "two edits of {number}"
        );
        Edit {
            state: self.state.clone(),
            number,
            before: bytes.clone(),
            bytes,
            created,
            dirty: false,
        }
    }
}

impl BlockSource for Store {
    type Block = Held;
    type Error = Failure;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Held, Failure>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        self.call()?;
        self.count(|c| c.reads += 1);
        let number = block.get();
        assert!(
            !self.state.open.borrow().contains(&number),
            "read while it is edited"
        );
        let disk = self.state.disk.borrow();
        let bytes = disk.nodes.get(&number).expect("a block in use").clone();
        verify(&bytes)?;
        *self.state.held.borrow_mut().entry(number).or_default() += 1;
        Ok(Held {
            state: self.state.clone(),
            number,
            bytes,
        })
    }
}

impl Transaction for Store {
    type Edit = Edit;

    fn edit(&self, block: Held) -> Result<Edit, Failure> {
        self.call()?;
        Ok(self.open(block.number, block.bytes.clone(), false))
    }

    fn create(&self, at: FsBlock) -> Result<Edit, Failure> {
        self.call()?;
        assert!(self.state.pending.borrow().contains(&at.get()));
        Ok(self.open(at.get(), vec![0; self.block_size], true))
    }

    fn dirty(&self, mut edit: Edit, seal: Seal) {
        seal.close(&mut edit.bytes);
        edit.dirty = true;
        if edit.created {
            self.count(|c| c.created += 1);
            assert!(self.state.pending.borrow_mut().remove(&edit.number));
        } else {
            self.count(|c| c.dirtied += 1);
        }
        let old = self
            .state
            .disk
            .borrow_mut()
            .nodes
            .insert(edit.number, edit.bytes.clone());
        assert_eq!(old.is_none(), edit.created, "a block that is not in use");
    }
}

impl Blocks for Store {
    type Error = Failure;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Failure> {
        self.call()?;
        assert!(DEVICE.check_run(goal.get(), 1).is_some(), "no goal");
        let disk = self.state.disk.borrow();
        let mut pending = self.state.pending.borrow_mut();
        let free = (1..DATA).find(|n| !disk.nodes.contains_key(n) && !pending.contains(n));
        let free = free.expect("space");
        pending.insert(free);
        Ok(FsBlock::new(free))
    }

    fn give_back(&self, block: FsBlock) {
        assert!(!self.state.open.borrow().contains(&block.get()));
        assert!(self.state.pending.borrow_mut().remove(&block.get()));
    }

    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Failure> {
        assert!(len > 0);
        if let Err(e) = self.call() {
            if was == Was::Metadata {
                self.state.disk.borrow_mut().leaked.insert(start.get());
            }
            return Err(e);
        }
        self.count(|c| {
            c.freed += 1;
            c.dropped += u32::from(was == Was::Metadata);
        });
        let bits = match was {
            Was::Data => self.cluster_bits(),
            Was::Metadata => 0,
        };
        let whole = 1u64 << bits;
        assert!(start.get() % whole == 0 && u64::from(len) % whole == 0);
        let n = (len >> bits).min(self.state.chunk.get());
        let mut disk = self.state.disk.borrow_mut();
        let end = (start.get() + u64::from(len)) >> bits;
        for block in end - u64::from(n)..end {
            let known = match was {
                Was::Data => disk.data.remove(&block),
                Was::Metadata => {
                    assert!(!self.state.open.borrow().contains(&block), "freed, edited");
                    assert_eq!(self.state.held.borrow().get(&block).unwrap_or(&0), &0);
                    disk.nodes.remove(&block).is_some()
                }
            };
            assert!(known, "{was:?} block {block} freed twice");
        }
        Ok(n << bits)
    }
}
