// SPDX-License-Identifier: GPL-2.0

//! Names that come and go in a directory with an index, with its blocks in memory, against a list
//! of those that are there.

use kernel::prelude::*;

#[kunit_tests(rext4_dir_edit)]
mod tests {
    use super::super::memory::{Copy, Failure, Memory, Random, BLOCK_SIZE};
    use crate::{
        engine::{
            change::DirChange,
            dir::{DirBlock, DirBlocks, DirFormat, Directory, Verdict},
            dir_batch::Record,
            dir_cookie::CookieWidth,
            dir_edit::{self, EditError},
            dir_lookup,
            dirhash::DirHash,
            readdir::{self, Cursor},
        },
        fs::vec::filled,
        ondisk::{
            dir::{EntryLimits, FileType},
            dx::DxFormat,
            seal::Seal,
            Corrupt, FileBlock, Ino,
        },
    };
    use core::cell::Cell;
    use kernel::prelude::*;

    /// How many names there are.
    const NAMES: u32 = 1000;
    /// So long that a leaf holds seven.
    const NAME_LEN: usize = 120;
    const BLOCKS: u32 = 400;
    const SEED: Option<u32> = Some(0x1357_2468);

    struct Store {
        memory: Memory,
        count: Cell<u32>,
        /// Set when something is used in a way that is not allowed.
        misused: Cell<bool>,
    }

    impl DirBlocks for Store {
        type Block = Copy;
        type Error = Failure;

        fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Copy>, Failure>
        where
            V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
        {
            if lblk.get() >= self.count.get() {
                return Ok(DirBlock::Hole(1));
            }
            let copy = self.memory.load(lblk.get() as usize)?;
            verify(&copy)?;
            Ok(DirBlock::Mapped(copy))
        }

        fn report(&self, _: Corrupt, _: FileBlock) {
            self.misused.set(true);
        }
    }

    impl DirChange for Store {
        type Edit = Copy;

        fn edit(&self, block: Copy) -> Result<Copy, Failure> {
            Ok(block)
        }

        fn dirty(&self, mut edit: Copy, seal: Seal) {
            seal.close(&mut edit);
            self.memory.store(&edit);
        }

        fn append(&self, hole: Option<FileBlock>) -> Result<(FileBlock, Copy), Failure> {
            let lblk = self.count.get();
            if lblk >= BLOCKS || hole.is_some() {
                return Err(Failure::Other(ENOSPC));
            }
            let copy = Copy::zeros(lblk as usize)?;
            self.count.set(lblk.wrapping_add(1));
            Ok((FileBlock::new(lblk), copy))
        }

        fn take_back(&self, lblk: FileBlock) {
            let _ = self.remove_last(lblk);
        }

        fn remove_last(&self, lblk: FileBlock) -> Result<(), Failure> {
            if lblk.get().checked_add(1) != Some(self.count.get()) {
                self.misused.set(true);
            }
            self.count.set(lblk.get());
            Ok(())
        }
    }

    fn error(e: EditError<Failure>) -> Error {
        match e {
            EditError::Store(e) => e.into(),
            EditError::Exists => EEXIST,
            EditError::IndexFull => ENOSPC,
            EditError::Name => EINVAL,
            EditError::Gone => ENOENT,
        }
    }

    /// A directory, and which of the names are in it.
    struct Subject {
        store: Store,
        format: DirFormat,
        indexed: bool,
        model: KVec<bool>,
    }

    /// `n00042nnnn...`
    fn name(n: u32) -> [u8; NAME_LEN] {
        let mut name = [b'n'; NAME_LEN];
        let mut rest = n;
        for digit in name.iter_mut().take(6).skip(1).rev() {
            *digit = b'0'.wrapping_add((rest % 10) as u8);
            rest /= 10;
        }
        name
    }

    /// The number that a name stands for.
    fn number(name: &[u8]) -> u32 {
        let digits = name.iter().take(6).skip(1);
        digits.fold(0, |n: u32, digit| {
            let digit = digit.wrapping_sub(b'0');
            n.wrapping_mul(10).wrapping_add(digit.into())
        })
    }

    fn ino(n: u32) -> Result<Ino> {
        Ino::new(n.wrapping_add(100)).ok_or(EINVAL)
    }

    impl Subject {
        fn new() -> Result<Self> {
            let block_size = BLOCK_SIZE as u32;
            let hash_seed = [1, 2, 3, 4];
            let subject = Self {
                store: Store {
                    memory: Memory::new(BLOCKS as usize)?,
                    count: Cell::new(0),
                    misused: Cell::new(false),
                },
                format: DirFormat {
                    limits: EntryLimits {
                        block_size,
                        inodes_count: 1 << 20,
                    },
                    dx: DxFormat {
                        block_size,
                        checksums: true,
                        large_dir: false,
                    },
                    dir_index: true,
                    file_types: true,
                    hash_unsigned: false,
                    hash_seed,
                    default_hash: DirHash::new(1, false, &hash_seed),
                },
                indexed: false,
                model: filled(false, NAMES as usize)?,
            };
            let parent = Ino::new(2).ok_or(EINVAL)?;
            dir_edit::create(&subject.view()?, parent).map_err(error)?;
            Ok(subject)
        }

        fn view(&self) -> Result<Directory<'_, Store>> {
            Ok(Directory {
                blocks: &self.store,
                format: &self.format,
                ino: Ino::new(12).ok_or(EINVAL)?,
                size: u64::from(self.store.count.get()).wrapping_mul(BLOCK_SIZE as u64),
                seed: SEED,
                indexed: self.indexed,
                version: 1,
                inline: None,
            })
        }

        fn has(&self, n: u32) -> bool {
            self.model.get(n as usize).copied().unwrap_or(false)
        }

        fn set(&mut self, n: u32, there: bool) {
            if let Some(slot) = self.model.get_mut(n as usize) {
                *slot = there;
            }
        }

        fn insert(&mut self, n: u32) -> Result {
            let done = dir_edit::insert(&self.view()?, &name(n), ino(n)?, FileType::Regular);
            self.indexed = done.map_err(error)?.indexed;
            self.set(n, true);
            Ok(())
        }

        fn remove(&mut self, n: u32) -> Result {
            let (dir, name) = (self.view()?, name(n));
            let located = dir_lookup::locate(&dir, &name, FileBlock::ZERO)?;
            match located.ok_or(ENOENT)? {
                (found, Some(held)) if n % 2 == 0 => {
                    dir_edit::remove_held(&dir, &name, found.place, held)
                }
                (found, _) => dir_edit::remove(&dir, &name, found.place),
            }
            .map_err(error)?;
            self.set(n, false);
            Ok(())
        }

        /// Whether lookups find what is there, and nothing else.
        fn lookups_agree(&self) -> Result<bool> {
            let dir = self.view()?;
            let mut good = true;
            for n in 0..NAMES {
                let found = dir_lookup::lookup(&dir, &name(n), FileBlock::ZERO)?;
                let expected = if self.has(n) { Some(ino(n)?) } else { None };
                good &= found.map(|found| found.ino) == expected;
            }
            Ok(good)
        }

        /// Whether reading yields what is there, each once, and the two dots.
        fn reading_agrees(&self) -> Result<bool> {
            let dir = self.view()?;
            let mut records = filled(Record::EMPTY, 64)?;
            let mut seen = filled(false, NAMES as usize)?;
            let mut cursor = Cursor::new();
            let (mut good, mut dots) = (true, 0u32);
            for _ in 0..2 {
                let position = cursor.position();
                let width = CookieWidth::Bits64;
                readdir::fill(&dir, &mut cursor, &mut records, position, width, |item| {
                    if matches!(item.name, b"." | b"..") {
                        dots = dots.wrapping_add(1);
                        return true;
                    }
                    let n = number(item.name);
                    good &= name(n) == *item.name;
                    match seen.get_mut(n as usize) {
                        Some(slot) if !*slot => *slot = true,
                        _ => good = false,
                    }
                    true
                })?;
            }
            let mut both = seen.iter().zip(self.model.iter());
            Ok(good && dots == 2 && both.all(|(seen, there)| seen == there))
        }

        fn agrees(&self) -> Result<bool> {
            Ok(!self.store.misused.get() && self.lookups_agree()? && self.reading_agrees()?)
        }
    }

    /// Levels below an index's root.
    fn levels(subject: &Subject) -> Result<u8> {
        let root = subject.store.memory.load(0)?;
        Ok(root.get(0x1e).copied().unwrap_or(0))
    }

    #[test]
    fn names_match_a_model() -> Result {
        let mut subject = Subject::new()?;
        // 7 is prime to the number of names.
        for n in 0..NAMES {
            subject.insert(n.wrapping_mul(7) % NAMES)?;
        }
        assert!(subject.indexed && levels(&subject)? == 1);
        assert!(subject.agrees()?);
        let full = subject.store.count.get();
        let mut random = Random(0x0f1e_2d3c);
        for _ in 0..1500 {
            let n = random.below(NAMES);
            if subject.has(n) {
                subject.remove(n)?;
            } else {
                subject.insert(n)?;
            }
        }
        assert!(subject.agrees()?);
        for n in 0..NAMES {
            if subject.has(n) {
                subject.remove(n)?;
            }
        }
        assert!(subject.agrees()?);
        assert!(dir_edit::is_empty(&subject.view()?)?);
        assert!(subject.store.count.get() <= full / 10);
        Ok(())
    }
}
