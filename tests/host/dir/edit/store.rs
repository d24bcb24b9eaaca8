// SPDX-License-Identifier: GPL-2.0

//! A directory's blocks in memory that can be changed, with an eye on how that is done: no block
//! is read or held while it is being changed, an edit that is dropped has not been written to,
//! blocks are taken back in reverse order. Any call can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use rext4::engine::change::DirChange;
use rext4::engine::dir::{DirBlock, DirBlocks, Verdict};
use rext4::ondisk::seal::Seal;
use rext4::ondisk::{Corrupt, FileBlock};

use crate::memory::Error;

/// The bytes of all blocks; `None` for a hole.
pub type Image = Vec<Option<Rc<[u8]>>>;

#[derive(Default)]
struct Inner {
    blocks: RefCell<Image>,
    verified: RefCell<Vec<bool>>,
    /// Blocks with an edit, and blocks that are held, as often as they are.
    editing: RefCell<Vec<u32>>,
    held: RefCell<Vec<u32>>,
    /// What has been added in this operation, and whether it fills a hole.
    added: RefCell<Vec<(u32, bool)>>,
    /// What was there and has been changed in this operation.
    changed: RefCell<BTreeSet<u32>>,
    block_size: usize,
    calls: Cell<u32>,
    fail_at: Cell<u32>,
    reports: Cell<u32>,
}

#[derive(Clone)]
pub struct Store(Rc<Inner>);

pub struct Held {
    inner: Rc<Inner>,
    lblk: u32,
    bytes: Rc<[u8]>,
}

pub struct Edit {
    inner: Rc<Inner>,
    lblk: u32,
    bytes: Vec<u8>,
    /// What the block was; `None` for a new one.
    was: Option<Rc<[u8]>>,
    dirty: bool,
}

impl Store {
    pub fn new(block_size: u32, blocks: Image) -> Self {
        Self(Rc::new(Inner {
            verified: RefCell::new(vec![false; blocks.len()]),
            blocks: RefCell::new(blocks),
            block_size: block_size as usize,
            ..Inner::default()
        }))
    }

    pub fn len(&self) -> usize {
        self.0.blocks.borrow().len()
    }

    pub fn image(&self) -> Image {
        self.0.blocks.borrow().clone()
    }

    /// Puts other contents in.
    pub fn restore(&self, image: &Image) {
        *self.0.blocks.borrow_mut() = image.clone();
        *self.0.verified.borrow_mut() = vec![false; image.len()];
    }

    pub fn change(&self, lblk: u32, change: impl FnOnce(&mut [u8])) {
        let mut blocks = self.0.blocks.borrow_mut();
        let mut bytes = blocks[lblk as usize].as_ref().unwrap().to_vec();
        change(&mut bytes);
        blocks[lblk as usize] = Some(Rc::from(bytes));
        self.0.verified.borrow_mut()[lblk as usize] = false;
    }

    /// Begins an operation whose `fail_at`-th call fails; 0 for none.
    pub fn begin(&self, fail_at: u32) {
        self.0.calls.set(0);
        self.0.fail_at.set(fail_at);
        self.0.added.borrow_mut().clear();
        self.0.changed.borrow_mut().clear();
    }

    /// Ends it: nothing may be left open. Returns the number of calls that could have failed.
    pub fn end(&self) -> u32 {
        assert!(self.0.editing.borrow().is_empty());
        assert!(self.0.held.borrow().is_empty());
        self.0.fail_at.set(0);
        self.0.calls.get()
    }

    /// Blocks that the operation has added.
    pub fn added(&self) -> usize {
        self.0.added.borrow().len()
    }

    /// Blocks that were there and that it has changed.
    pub fn changed(&self) -> usize {
        self.0.changed.borrow().len()
    }

    pub fn reports(&self) -> u32 {
        self.0.reports.get()
    }

    fn call(&self) -> Result<(), Error> {
        self.0.calls.set(self.0.calls.get() + 1);
        if self.0.calls.get() == self.0.fail_at.get() {
            return Err(Error::Io);
        }
        Ok(())
    }

    fn open(&self, lblk: u32, bytes: Vec<u8>, was: Option<Rc<[u8]>>) -> Edit {
        self.0.editing.borrow_mut().push(lblk);
        Edit {
            inner: self.0.clone(),
            lblk,
            bytes,
            was,
            dirty: false,
        }
    }
}

impl DirBlocks for Store {
    type Block = Held;
    type Error = Error;

    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Held>, Error>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        self.call()?;
        let nr = lblk.get() as usize;
        assert!(!self.0.editing.borrow().contains(&lblk.get()), "read {nr}");
        let blocks = self.0.blocks.borrow();
        let Some(Some(block)) = blocks.get(nr) else {
            return Ok(DirBlock::Hole(1));
        };
        if !self.0.verified.borrow()[nr] {
            let verdict = verify(block)?;
            self.0.verified.borrow_mut()[nr] = verdict == Verdict::Passed;
        }
        self.0.held.borrow_mut().push(lblk.get());
        Ok(DirBlock::Mapped(Held {
            inner: self.0.clone(),
            lblk: lblk.get(),
            bytes: block.clone(),
        }))
    }

    fn report(&self, _: Corrupt, _: FileBlock) {
        self.0.reports.set(self.0.reports.get() + 1);
    }

    fn relax(&self) -> Result<(), Error> {
        self.call()
    }
}

impl DirChange for Store {
    type Edit = Edit;

    fn edit(&self, block: Held) -> Result<Edit, Error> {
        self.call()?;
        let lblk = block.lblk;
        let held = self.0.held.borrow();
        let count = held.iter().filter(|held| **held == lblk).count();
        assert_eq!(count, 1, "block {lblk} is held elsewhere");
        assert!(!self.0.editing.borrow().contains(&lblk), "two edits");
        let current = self.0.blocks.borrow()[lblk as usize].clone();
        assert!(Rc::ptr_eq(current.as_ref().unwrap(), &block.bytes));
        drop(held);
        Ok(self.open(lblk, block.bytes.to_vec(), Some(block.bytes.clone())))
    }

    fn dirty(&self, mut edit: Edit, seal: Seal) {
        seal.close(&mut edit.bytes);
        if edit.was.is_some() {
            self.0.changed.borrow_mut().insert(edit.lblk);
        }
        let nr = edit.lblk as usize;
        let bytes = std::mem::take(&mut edit.bytes);
        self.0.blocks.borrow_mut()[nr] = Some(Rc::from(bytes));
        self.0.verified.borrow_mut()[nr] = true;
        edit.dirty = true;
    }

    fn append(&self, hole: Option<FileBlock>) -> Result<(FileBlock, Edit), Error> {
        self.call()?;
        let mut blocks = self.0.blocks.borrow_mut();
        let lblk = match hole {
            Some(hole) => {
                assert!(blocks[hole.get() as usize].is_none());
                hole.get()
            }
            None => {
                blocks.push(None);
                self.0.verified.borrow_mut().push(false);
                blocks.len() as u32 - 1
            }
        };
        self.0.added.borrow_mut().push((lblk, hole.is_some()));
        drop(blocks);
        let edit = self.open(lblk, vec![0; self.0.block_size], None);
        Ok((FileBlock::new(lblk), edit))
    }

    fn take_back(&self, lblk: FileBlock) {
        let (last, hole) = self.0.added.borrow_mut().pop().expect("added before");
        assert_eq!(last, lblk.get());
        assert!(!self.0.editing.borrow().contains(&last));
        let mut blocks = self.0.blocks.borrow_mut();
        assert!(blocks[last as usize].is_none(), "already written");
        if !hole {
            assert_eq!(last as usize, blocks.len() - 1);
            blocks.pop();
            self.0.verified.borrow_mut().pop();
        }
    }

    fn remove_last(&self, lblk: FileBlock) -> Result<(), Error> {
        self.call()?;
        let mut blocks = self.0.blocks.borrow_mut();
        assert_eq!(lblk.get() as usize, blocks.len() - 1);
        assert!(!self.0.editing.borrow().contains(&lblk.get()));
        blocks.pop();
        self.0.verified.borrow_mut().pop();
        Ok(())
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.inner.held.borrow_mut();
        let at = held.iter().position(|l| *l == self.lblk).expect("held");
        held.swap_remove(at);
    }
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
        let mut editing = self.inner.editing.borrow_mut();
        let at = editing.iter().position(|l| *l == self.lblk).expect("open");
        editing.remove(at);
        if !self.dirty && !std::thread::panicking() {
            if let Some(was) = &self.was {
                assert_eq!(**was, *self.bytes, "written to, and dropped");
            }
        }
    }
}
