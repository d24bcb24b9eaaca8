// SPDX-License-Identifier: GPL-2.0

//! A directory under change, its model, and what has to be true of it at any time.

use std::cell::Cell;
use std::collections::BTreeMap;

use rext4::engine::dir::{DirFormat, Directory};
use rext4::engine::dir_edit::{self, EditError, Inserted};
use rext4::engine::dir_lookup::{self, Found, Place};
use rext4::engine::dirhash::DirHash;
use rext4::ondisk::dir::{verify_leaf, FileType};
use rext4::ondisk::{dx, FileBlock, Ino};

use super::store::Store;
use crate::build::{self, Plan};
use crate::memory::{Error, MemDir};

pub type Model = BTreeMap<Vec<u8>, (u32, FileType)>;

pub struct Subject {
    pub store: Store,
    pub format: DirFormat,
    pub seed: Option<u32>,
    pub indexed: Cell<bool>,
    pub version: Cell<u64>,
    pub ino: Cell<u32>,
    pub parent: u32,
    pub model: Model,
    /// How many blocks the last removal took.
    pub gone: Cell<u32>,
}

pub const INO: u32 = 12;

fn ino(n: u32) -> Ino {
    Ino::new(n).unwrap()
}

/// File types vary with the inode.
pub fn type_of(n: u32) -> FileType {
    FileType::from_disk((n % 7 + 1) as u8)
}

impl Subject {
    /// A new directory of one block.
    pub fn create(plan: Plan) -> Self {
        let mut subject =
            Self::around(build::format(plan), Store::new(plan.block_size, Vec::new()));
        subject.seed = plan.checksums.then_some(build::SEED);
        subject.make();
        subject
    }

    pub fn make(&self) {
        self.store.begin(0);
        dir_edit::create(&self.view(), ino(2)).unwrap();
        self.store.end();
    }

    pub fn around(format: DirFormat, store: Store) -> Self {
        Self {
            store,
            format,
            seed: None,
            indexed: Cell::new(false),
            version: Cell::new(1),
            ino: Cell::new(INO),
            parent: 2,
            model: Model::new(),
            gone: Cell::new(0),
        }
    }

    /// What another module has built.
    pub fn from_memory(dir: MemDir) -> Self {
        let block_size = dir.format.limits.block_size;
        let mut subject = Self::around(dir.format, Store::new(block_size, dir.blocks.clone()));
        subject.seed = dir.seed;
        subject.indexed.set(dir.indexed);
        for (_, _, ino, name) in dir.raw_entries() {
            if name != b"." && name != b".." {
                subject.model.insert(name, (ino, FileType::Regular));
            }
        }
        subject
    }

    pub fn view(&self) -> Directory<'_, Store> {
        Directory {
            blocks: &self.store,
            format: &self.format,
            ino: ino(self.ino.get()),
            size: self.store.len() as u64 * u64::from(self.format.limits.block_size),
            seed: self.seed,
            indexed: self.indexed.get(),
            version: self.version.get(),
            inline: None,
        }
    }

    /// A copy for readers, who check every block anew.
    pub fn memory(&self) -> MemDir {
        let mut dir = MemDir::new(self.format, vec![None; self.store.len()]);
        dir.blocks = self.store.image();
        dir.seed = self.seed;
        dir.ino = ino(self.ino.get());
        dir.indexed = self.indexed.get();
        dir.version.set(self.version.get());
        dir
    }

    fn changed(&self) {
        self.version.set(self.version.get() + 1);
    }

    pub fn try_insert(&self, name: &[u8], n: u32) -> Result<Inserted, EditError<Error>> {
        self.try_insert_as(name, n, type_of(n))
    }

    fn try_insert_as(
        &self,
        name: &[u8],
        n: u32,
        file_type: FileType,
    ) -> Result<Inserted, EditError<Error>> {
        let done = dir_edit::insert(&self.view(), name, ino(n), file_type)?;
        self.indexed.set(done.indexed);
        self.changed();
        assert!(self.store.added() <= dir_edit::INSERT_ADDS as usize);
        Ok(done)
    }

    pub fn insert(&mut self, name: &[u8], n: u32) {
        self.insert_as(name, n, type_of(n));
    }

    pub fn insert_as(&mut self, name: &[u8], n: u32, file_type: FileType) {
        self.store.begin(0);
        let done = self.try_insert_as(name, n, file_type).unwrap();
        self.store.end();
        self.model.insert(name.to_vec(), (n, file_type));
        let found = self.find(name);
        assert_eq!((found.place, found.ino.get()), (done.place, n));
    }

    pub fn find(&self, name: &[u8]) -> Found {
        let found = dir_lookup::lookup(&self.view(), name, FileBlock::ZERO);
        found
            .unwrap()
            .unwrap_or_else(|| panic!("{name:x?} is not found"))
    }

    pub fn try_remove(&self, name: &[u8], place: Place) -> Result<u32, EditError<Error>> {
        let dropped = dir_edit::remove(&self.view(), name, place)?;
        self.changed();
        assert!(dropped <= dir_edit::REMOVE_DROPS);
        self.gone.set(dropped);
        Ok(dropped)
    }

    /// As [`try_remove`](Self::try_remove), with the block that the lookup has found it in.
    fn try_remove_held(&self, name: &[u8]) -> Result<u32, EditError<Error>> {
        let view = self.view();
        let located = dir_lookup::locate(&view, name, FileBlock::ZERO).unwrap();
        let (found, held) = located.expect("name");
        let dropped = dir_edit::remove_held(&view, name, found.place, held.expect("block"))?;
        self.changed();
        assert!(dropped <= dir_edit::REMOVE_DROPS);
        self.gone.set(dropped);
        Ok(dropped)
    }

    /// Every other time with the block, and every other time without.
    pub fn remove(&mut self, name: &[u8]) {
        let (place, len) = (self.find(name).place, self.store.len());
        self.store.begin(0);
        let held = self.model.len() % 2 == 0;
        let dropped = if held {
            self.try_remove_held(name).unwrap()
        } else {
            self.try_remove(name, place).unwrap()
        };
        self.store.end();
        assert_eq!(len - dropped as usize, self.store.len());
        self.model.remove(name).unwrap();
    }

    pub fn try_replace(&self, name: &[u8], place: Place, n: u32) -> Result<(), EditError<Error>> {
        dir_edit::replace(&self.view(), name, place, ino(n), type_of(n))?;
        self.changed();
        Ok(())
    }

    pub fn replace(&mut self, name: &[u8], n: u32) {
        let place = self.find(name).place;
        self.store.begin(0);
        self.try_replace(name, place, n).unwrap();
        self.store.end();
        self.model.insert(name.to_vec(), (n, type_of(n)));
    }

    pub fn set_parent(&mut self, n: u32) {
        self.store.begin(0);
        dir_edit::set_parent(&self.view(), ino(n)).unwrap();
        self.store.end();
        self.changed();
        self.parent = n;
    }

    pub fn hash(&self) -> DirHash {
        let image = self.store.image();
        let version = image[0].as_ref().unwrap()[28];
        self.format.hash(version).unwrap()
    }

    /// Everything at once: structure, lookups, readdir.
    pub fn check(&self) {
        self.check_structure();
        let dir = self.memory();
        let mut seen: Model = Model::new();
        for s in dir.read_all() {
            let expected = match &s.name[..] {
                b"." => Some(self.ino.get()),
                b".." => Some(self.parent),
                _ => None,
            };
            if let Some(ino) = expected {
                assert_eq!(s.ino, ino);
                assert_eq!(dir.lookup(&s.name).unwrap().unwrap().ino.get(), ino);
            } else {
                let before = seen.insert(s.name, (s.ino, s.file_type));
                assert_eq!(before, None, "a name came twice");
            }
        }
        let mut model = self.model.clone();
        if !self.format.file_types {
            for (_, file_type) in model.values_mut() {
                *file_type = FileType::Unknown;
            }
        }
        assert_eq!(seen, model);
        for (name, (ino, file_type)) in &model {
            let found = dir.lookup(name).unwrap().expect("name");
            assert_eq!((found.ino.get(), found.file_type), (*ino, *file_type));
            let mut other = name.clone();
            other.truncate(250);
            other.push(b'~');
            if !model.contains_key(&other) {
                assert_eq!(dir.lookup(&other).unwrap(), None);
            }
        }
        assert_eq!(dir.reported(), []);
        let empty = dir_edit::is_empty(&dir.view()).unwrap();
        assert_eq!(empty, model.is_empty());
    }

    /// Blocks and index, without the help of what walks them otherwise.
    pub fn check_structure(&self) {
        let image = self.store.image();
        let limits = self.format.limits;
        if !self.indexed.get() {
            for block in image.iter().flatten() {
                verify_leaf(block, limits, self.seed).unwrap();
            }
            return;
        }
        let hash = self.hash();
        let mut references = vec![0; image.len()];
        references[0] = 1;
        let levels = image[0].as_ref().unwrap()[0x1e];
        // (block, levels below it, its hashes from, to)
        let mut todo = vec![(0u32, levels + 1, 0u32, u32::MAX)];
        while let Some((lblk, below, low, high)) = todo.pop() {
            let block = image[lblk as usize].as_ref().expect("no hole");
            let Some(below) = below.checked_sub(1) else {
                verify_leaf(block, limits, self.seed).unwrap();
                continue_checks(block, self, &hash, low, high);
                continue;
            };
            let end = FileBlock::new(image.len() as u32);
            let format = &self.format.dx;
            let index = if lblk == 0 {
                dx::verify_root(block, format, end).unwrap();
                dx::root(block, format).unwrap().1
            } else {
                dx::verify_node(block, format, end).unwrap();
                dx::node(block, format).unwrap()
            };
            if let Some(seed) = self.seed {
                dx::verify_checksum(block, lblk == 0, format, seed).unwrap();
            }
            for nr in 0..index.count() {
                let child = index.block(nr).unwrap().get();
                references[child as usize] += 1;
                let from = index.hash(nr).unwrap_or(low);
                let to = index.hash(nr + 1).unwrap_or(high);
                assert!(low <= from && from <= to && to <= high);
                todo.push((child, below, from, to));
            }
        }
        assert!(references.iter().all(|n| *n == 1), "{references:?}");
    }

    pub fn leaves(&self) -> Vec<(u32, bool)> {
        crate::model::leaves(&self.memory())
    }
}

/// All names of a leaf have hashes from its pair's up to the next one's; with a mark on that,
/// including it.
fn continue_checks(block: &[u8], subject: &Subject, hash: &DirHash, low: u32, high: u32) {
    let area = rext4::ondisk::dir::DirArea::new(block, subject.format.limits);
    for entry in area.entries().map(Result::unwrap) {
        if entry.ino.is_some() {
            let h = hash.hash(entry.name).major;
            assert!(low & !1 <= h && (h < high), "{low:x} {h:x} {high:x}");
        }
    }
}
