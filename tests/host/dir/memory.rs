// SPDX-License-Identifier: GPL-2.0

//! A directory in memory, as the engine asks for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rext4::engine::dir::{DirBlock, DirBlocks, DirFormat, Directory, Verdict};
use rext4::engine::dir_batch::Record;
use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dir_lookup::{self, Found};
use rext4::engine::readdir::{self, Cursor};
use rext4::ondisk::dir::FileType;
use rext4::ondisk::inline::InlineDir;
use rext4::ondisk::{Corrupt, FileBlock, Ino};

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    Corrupt(Corrupt),
    Io,
}

impl From<Corrupt> for Error {
    fn from(e: Corrupt) -> Self {
        Self::Corrupt(e)
    }
}

/// A directory's blocks. Like the buffer cache it remembers which have been verified.
pub struct MemDir {
    pub blocks: Vec<Option<Rc<[u8]>>>,
    pub format: DirFormat,
    pub ino: Ino,
    pub seed: Option<u32>,
    pub indexed: bool,
    pub size: u64,
    pub version: Cell<u64>,
    /// Whether the directory seems to change between any two calls.
    pub restless: Cell<bool>,
    /// Whether the reader comes with more room once the cursor asks for it.
    pub grows: Cell<bool>,
    /// `i_block` and the value of `system.data` of an inline directory.
    pub inline: Option<([u8; 60], Vec<u8>)>,
    /// A block that cannot be read.
    pub broken: Option<u32>,
    verified: RefCell<Vec<bool>>,
    pub reports: RefCell<Vec<(Corrupt, u32)>>,
    pub reads: Cell<u64>,
    /// Reads after which the test has run away.
    pub most_reads: u64,
}

/// An entry as readdir gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: Vec<u8>,
    pub ino: u32,
    pub file_type: FileType,
    pub position: u64,
}

impl MemDir {
    pub fn new(format: DirFormat, blocks: Vec<Option<Vec<u8>>>) -> Self {
        let size = blocks.len() as u64 * u64::from(format.limits.block_size);
        Self {
            verified: RefCell::new(vec![false; blocks.len()]),
            blocks: blocks.into_iter().map(|b| b.map(Rc::from)).collect(),
            format,
            ino: Ino::new(12).unwrap(),
            seed: None,
            indexed: false,
            size,
            version: Cell::new(1),
            restless: Cell::new(false),
            grows: Cell::new(false),
            inline: None,
            broken: None,
            reports: RefCell::new(Vec::new()),
            reads: Cell::new(0),
            most_reads: u64::MAX,
        }
    }

    /// Changes a block behind the cache's back, so that it is verified again.
    pub fn change(&mut self, lblk: u32, change: impl FnOnce(&mut [u8])) {
        let slot = self.blocks[lblk as usize].as_mut().expect("no hole");
        let mut bytes = slot.to_vec();
        change(&mut bytes);
        *slot = Rc::from(bytes);
        self.verified.get_mut()[lblk as usize] = false;
    }

    pub fn punch(&mut self, lblk: u32) {
        self.blocks[lblk as usize] = None;
    }

    pub fn view(&self) -> Directory<'_, Self> {
        Directory {
            blocks: self,
            format: &self.format,
            ino: self.ino,
            size: self.size,
            seed: self.seed,
            indexed: self.indexed,
            version: self.version.get(),
            inline: self
                .inline
                .as_ref()
                .map(|(head, value)| InlineDir::new(head, Some(value)).expect("inline")),
        }
    }

    pub fn lookup(&self, name: &[u8]) -> Result<Option<Found>, Error> {
        dir_lookup::lookup(&self.view(), name, FileBlock::ZERO)
    }

    pub fn reported(&self) -> Vec<Corrupt> {
        self.reports
            .borrow()
            .iter()
            .map(|(what, _)| *what)
            .collect()
    }

    /// Reads from `position` to the end with one reader, who takes `per_call` entries at a time
    /// and has room for `records`.
    pub fn read_from(
        &self,
        position: u64,
        width: CookieWidth,
        records: usize,
        per_call: usize,
    ) -> Result<Vec<Seen>, (Vec<Seen>, Error)> {
        let mut records = vec![Record::EMPTY; records];
        let mut cursor = Cursor::new();
        let mut position = position;
        let mut all = Vec::new();
        loop {
            let before = all.len();
            let mut left = per_call;
            if self.restless.get() {
                self.version.set(self.version.get() + 1);
            }
            if self.grows.get() && cursor.is_crowded() {
                records.resize(4096, Record::EMPTY);
            }
            let result = readdir::fill(
                &self.view(),
                &mut cursor,
                &mut records,
                position,
                width,
                |item| {
                    if left == 0 {
                        return false;
                    }
                    left -= 1;
                    all.push(Seen {
                        name: item.name.to_vec(),
                        ino: item.ino.get(),
                        file_type: item.file_type,
                        position: item.position,
                    });
                    true
                },
            );
            position = cursor.position();
            if let Err(e) = result {
                return Err((all, e));
            }
            if all.len() == before {
                return Ok(all);
            }
        }
    }

    pub fn read_all(&self) -> Vec<Seen> {
        self.read_from(0, CookieWidth::Bits64, 256, usize::MAX)
            .unwrap_or_else(|(_, e)| panic!("readdir: {e:?}"))
    }

    /// All records of all blocks, without the help of the code under test.
    pub fn raw_entries(&self) -> Vec<(u32, usize, u32, Vec<u8>)> {
        let block_size = self.format.limits.block_size as usize;
        let mut all = Vec::new();
        for (lblk, block) in self.blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            if self.indexed && lblk == 0 {
                continue;
            }
            let mut at = 0;
            while at < block_size {
                let ino = u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
                let len = u16::from_le_bytes([block[at + 4], block[at + 5]]);
                let len = match usize::from(len) {
                    0 | 0xffff => block_size,
                    len => len,
                };
                let name = block[at + 8..][..block[at + 6].into()].to_vec();
                if ino != 0 {
                    all.push((lblk as u32, at, ino, name));
                }
                at += len;
            }
        }
        all
    }
}

impl DirBlocks for MemDir {
    type Block = Rc<[u8]>;
    type Error = Error;

    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Rc<[u8]>>, Error>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() <= self.most_reads, "endless");
        let nr = lblk.get() as usize;
        if self.broken == Some(lblk.get()) {
            return Err(Error::Io);
        }
        let Some(Some(block)) = self.blocks.get(nr) else {
            let rest = self.blocks.get(nr..).unwrap_or_default();
            let run = rest.iter().take_while(|b| b.is_none()).count();
            return Ok(DirBlock::Hole(if run == rest.len() {
                u32::MAX
            } else {
                run as u32
            }));
        };
        if !self.verified.borrow()[nr] {
            let verdict = verify(block)?;
            self.verified.borrow_mut()[nr] = verdict == Verdict::Passed;
        }
        Ok(DirBlock::Mapped(block.clone()))
    }

    fn report(&self, what: Corrupt, lblk: FileBlock) {
        self.reports.borrow_mut().push((what, lblk.get()));
    }
}
