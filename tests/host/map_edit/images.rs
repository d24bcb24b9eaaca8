// SPDX-License-Identifier: GPL-2.0

//! Real images: a file's map is changed at random, and e2fsck finds nothing to complain of, while
//! debugfs sees the blocks where they should be.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};

use rext4::engine::change::{Blocks, Transaction, Was};
use rext4::engine::extent_edit::{ExtentEditor, Inserted, Progress};
use rext4::engine::indirect_edit::IndirectEditor;
use rext4::engine::source::BlockSource;
use rext4::ondisk::indirect::PointerBits;
use rext4::ondisk::inode::update_checksum;
use rext4::ondisk::seal::Seal;
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::{group, Corrupt, FileBlock, FsBlock, Geometry, Group, Ino};

use crate::common::{self, Image};
use crate::disk::{le32, stat, Fs};
use crate::extents::{extent, model_runs, remove, Model, Root};

/// An image with an allocator that takes the next free block.
struct Disk {
    bytes: RefCell<Vec<u8>>,
    geometry: Geometry,
    /// Blocks that the file has.
    used: Cell<u64>,
}

struct Held(u64, Vec<u8>);

impl Deref for Held {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.1
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
}

impl BlockSource for Disk {
    type Block = Held;
    type Error = Corrupt;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Held, Corrupt>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        let size = self.geometry.block_size() as usize;
        let at = block.get() as usize * size;
        let bytes = self.bytes.borrow()[at..][..size].to_vec();
        verify(&bytes)?;
        Ok(Held(block.get(), bytes))
    }
}

impl Transaction for Disk {
    type Edit = Held;

    fn edit(&self, block: Held) -> Result<Held, Corrupt> {
        Ok(block)
    }

    fn create(&self, at: FsBlock) -> Result<Held, Corrupt> {
        let size = self.geometry.block_size() as usize;
        Ok(Held(at.get(), vec![0; size]))
    }

    fn dirty(&self, mut edit: Held, seal: Seal) {
        seal.close(&mut edit.1);
        let at = edit.0 as usize * edit.1.len();
        self.bytes.borrow_mut()[at..][..edit.1.len()].copy_from_slice(&edit.1);
    }
}

impl Blocks for Disk {
    type Error = Corrupt;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Corrupt> {
        let count = self.geometry.blocks_count();
        let free = (0..count).map(|n| (goal.get() + n) % count);
        let free = free
            .map(FsBlock::new)
            .find(|block| !self.is_used(*block))
            .expect("space");
        self.set_used(free, true);
        Ok(free)
    }

    fn give_back(&self, block: FsBlock) {
        self.set_used(block, false);
    }

    fn free(&self, start: FsBlock, len: u32, _: Was) -> Result<u32, Corrupt> {
        let last = FsBlock::new(start.get() + u64::from(len) - 1);
        let (group, offset) = self.geometry.block_location(last);
        assert!(group.get() < self.geometry.groups_count());
        let n = len.min(offset + 1);
        for block in last.get() + 1 - u64::from(n)..=last.get() {
            self.set_used(FsBlock::new(block), false);
        }
        Ok(n)
    }
}

impl Disk {
    fn open(img: &Image) -> Self {
        let fs = Fs::open(img);
        Self {
            bytes: RefCell::new(fs.bytes),
            geometry: fs.geometry,
            used: Cell::new(0),
        }
    }

    /// Where a group's descriptor is, in bytes.
    fn descriptor(&self, group: Group) -> usize {
        let (block, offset) = self.geometry.desc_location(group).expect("descriptor");
        (block.get() * u64::from(self.geometry.block_size())) as usize + offset as usize
    }

    /// Where a group's block bitmap is, in bytes.
    fn bitmap(&self, group: Group) -> usize {
        let bytes = self.bytes.borrow();
        let desc = &bytes[self.descriptor(group)..];
        // Small images: numbers fit 32 bits. All bitmaps have been written.
        assert_eq!(desc[0x12] & 2, 0, "a bitmap that is not initialised");
        le32(desc, 0) as usize * self.geometry.block_size() as usize
    }

    fn bit(&self, block: FsBlock) -> (usize, u8) {
        let (group, offset) = self.geometry.block_location(block);
        let at = self.bitmap(group) + offset as usize / 8;
        (at, 1 << (offset % 8))
    }

    fn is_used(&self, block: FsBlock) -> bool {
        if block.get() < u64::from(self.geometry.first_data_block()) {
            return true;
        }
        let (at, mask) = self.bit(block);
        self.bytes.borrow()[at] & mask != 0
    }

    fn set_used(&self, block: FsBlock, used: bool) {
        assert_ne!(self.is_used(block), used, "block {block:?}");
        let (at, mask) = self.bit(block);
        self.bytes.borrow_mut()[at] ^= mask;
        let n = self.used.get();
        self.used.set(if used { n + 1 } else { n - 1 });
    }

    /// Takes at most `len` free blocks in a row, from `goal` on.
    fn take_run(&self, goal: u64, len: u32) -> (u64, u32) {
        let start = self.allocate(FsBlock::new(goal)).expect("space").get();
        let mut n = 1;
        while n < len && start + u64::from(n) < self.geometry.blocks_count() {
            let next = FsBlock::new(start + u64::from(n));
            if self.is_used(next) {
                break;
            }
            self.set_used(next, true);
            n += 1;
        }
        (start, n)
    }

    /// Writes all counts and checksums, and the inode; then the image.
    fn write(&self, img: &Image, ino: u32, root: &Root, size: u64) {
        let geo = &self.geometry;
        let block_size = geo.block_size() as usize;
        let mut free = 0;
        for number in 0..geo.groups_count() {
            let group = geo.check_group(number).expect("group");
            let (at, desc) = (self.bitmap(group), self.descriptor(group));
            let mut bytes = self.bytes.borrow_mut();
            let bitmap = bytes[at..][..block_size].to_vec();
            let bits = 0..geo.group_blocks(group) as usize;
            let zeros = bits.filter(|n| bitmap[n / 8] & (1 << (n % 8)) == 0);
            let zeros = zeros.count() as u16;
            free += u64::from(zeros);
            let desc = &mut bytes[desc..][..geo.desc_size().into()];
            desc[0xc..0xe].copy_from_slice(&zeros.to_le_bytes());
            if let Some(sum) = group::block_bitmap_checksum(geo, &bitmap) {
                group::set_block_bitmap_checksum(geo, desc, sum);
            }
            group::update_checksum(geo, group, desc);
        }
        let mut bytes = self.bytes.borrow_mut();
        let sb = Superblock::verify_mut(&mut bytes[1024..2048]).expect("superblock");
        let inodes = le32(sb.bytes(), 0x10);
        sb.set_free_counts(free, inodes);
        sb.update_checksum();
        let ino = Ino::new(ino).expect("inode");
        let place = geo.inode_location(ino);
        let table = le32(&bytes[self.descriptor(place.group)..], 8) + place.block;
        let at = table as usize * block_size + place.offset as usize;
        let slot = &mut bytes[at..][..geo.inode_size().into()];
        slot[0x28..0x28 + 60].copy_from_slice(root);
        let sectors = self.used.get() * block_size as u64 / 512;
        slot[0x1c..0x20].copy_from_slice(&(sectors as u32).to_le_bytes());
        slot[4..8].copy_from_slice(&(size as u32).to_le_bytes());
        slot[0x6c..0x70].copy_from_slice(&((size >> 32) as u32).to_le_bytes());
        update_checksum(geo, ino, slot).expect("inode");
        img.poke(0, &bytes);
    }
}

/// A file on a disk.
struct File<'a> {
    disk: &'a Disk,
    root: Root,
    seed: Option<u32>,
    model: Model,
    /// Whether it has an extent tree rather than a block map.
    extents: bool,
}

impl<'a> File<'a> {
    fn extent_editor(&self) -> ExtentEditor<'a, Disk, Disk, Geometry> {
        let geo = &self.disk.geometry;
        let size = geo.block_size() as usize;
        ExtentEditor::new(self.disk, self.disk, geo, self.seed, size)
    }

    fn indirect_editor(&self) -> IndirectEditor<'a, Disk, Disk, Geometry> {
        let geo = &self.disk.geometry;
        let bits = PointerBits::from_block_bits(geo.block_bits()).expect("block size");
        IndirectEditor::new(self.disk, self.disk, geo, bits)
    }

    fn insert(&mut self, first: u32, len: u32, goal: u64, unwritten: bool) {
        let taken = self.model.range(first..first + len).next();
        let len = taken.map_or(first + len, |(at, _)| *at) - first;
        if len == 0 {
            return;
        }
        let unwritten = unwritten && self.extents;
        let (mut start, mut len) = self.disk.take_run(goal, len);
        let mut first = first;
        while len > 0 {
            let n = if self.extents {
                let new = extent(first, len, start, unwritten);
                let got = self.extent_editor().insert(&mut self.root, &new);
                assert_eq!(got, Ok(Inserted::Done));
                len
            } else {
                let (at, start) = (FileBlock::new(first), FsBlock::new(start));
                let got = self.indirect_editor();
                got.insert(&mut self.root, at, len, start).expect("insert")
            };
            for k in 0..n {
                let block = start + u64::from(k);
                self.model.insert(first + k, (block, unwritten));
            }
            (first, start, len) = (first + n, start + u64::from(n), len - n);
        }
    }

    fn convert(&mut self, from: u32, to: u32, unwritten: bool) {
        let (mut at, end) = (FileBlock::new(from), FileBlock::new(to));
        while at < end && self.extents {
            let editor = self.extent_editor();
            at = editor
                .convert(&mut self.root, at, end, unwritten)
                .expect("convert");
            for (_, state) in self.model.range_mut(from..at.get()) {
                state.1 = unwritten;
            }
        }
    }

    fn remove(&mut self, from: u32, to: u32) {
        let (start, mut end) = (FileBlock::new(from), FileBlock::new(to));
        loop {
            let got = if self.extents {
                self.extent_editor().remove(&mut self.root, start, end, 5)
            } else {
                self.indirect_editor().remove(&mut self.root, start, end, 5)
            };
            match got.expect("remove") {
                Progress::Done => break,
                Progress::More(at) => end = at,
            }
        }
        remove(&mut self.model, from, to);
    }

    /// Writes the image, and lets e2fsprogs look at it.
    fn check(&self, img: &Image, ino: u32) {
        let size = self.disk.geometry.block_size();
        let last = self.model.keys().last();
        let size = last.map_or(0, |last| (u64::from(*last) + 1) * u64::from(size));
        self.disk.write(img, ino, &self.root, size);
        let out = common::tool("e2fsck")
            .args(["-fn"])
            .arg(img)
            .output()
            .expect("e2fsck");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{text}");
        // That a tree has room to spare is no error; anything else would be.
        let complaints = text.lines().filter(|line| line.contains("Inode"));
        for line in complaints {
            let spare = line.contains("could be narrower") || line.contains("could be shorter");
            assert!(spare, "{text}");
        }
        let seen = stat(img, &["/file".into()]);
        assert_eq!(seen["/file"].1, model_runs(&self.model));
    }
}

/// Changes a file of the image at random, in the first `space` blocks, with runs of up to `len`
/// blocks; yields the greatest depth that its extent tree had.
fn exercise(img: &Image, space: u32, len: u32, rounds: u32) -> u16 {
    common::run(
        common::tool("debugfs")
            .args(["-w", "-R", "write /dev/null file"])
            .arg(img),
    );
    let ino = stat(img, &["/file".into()])["/file"].0;
    let disk = Disk::open(img);
    let inode = Fs::open(img).inode(ino);
    let mut file = File {
        disk: &disk,
        root: inode.i_block,
        seed: inode.seed,
        model: Model::new(),
        extents: inode.extents,
    };
    let mut next = 7u32;
    let mut random = move |n: u32| {
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (next >> 8) % n
    };
    let blocks = disk.geometry.blocks_count() as u32;
    let mut deepest = 0;
    for round in 0..rounds {
        // Half of them fill the file, the last empties it.
        for _ in 0..150 {
            let at = random(space);
            match random(if round % 2 == 0 { 12 } else { 20 }) {
                0..9 => {
                    let goal = random(blocks);
                    file.insert(at, 1 + random(len), goal.into(), goal % 3 == 0);
                }
                9..11 => file.convert(at, at + 1 + random(4 * len), at % 2 == 0),
                11 => file.remove(at, at + 1 + random(8 * len)),
                _ => file.remove(at, at + 1 + random(20 * len)),
            }
        }
        if file.extents {
            deepest = deepest.max(u16::from_le_bytes([file.root[6], file.root[7]]));
        }
        file.check(img, ino);
    }
    file.remove(random(space), u32::MAX);
    file.check(img, ino);
    file.remove(0, u32::MAX);
    assert_eq!(disk.used.get(), 0);
    file.check(img, ino);
    deepest
}

#[test]
fn extent_trees_of_small_blocks() {
    let img = common::mkfs(&["-b", "1024", "-N", "64", "-O", "metadata_csum"], "8M");
    assert!(exercise(&img, 4000, 4, 8) >= 2);
}

#[test]
fn extent_trees_of_many_groups() {
    let args = ["-b", "1024", "-g", "512", "-N", "512"];
    let img = common::mkfs(
        &[&args[..], &["-O", "^metadata_csum,^uninit_bg"]].concat(),
        "16M",
    );
    assert!(exercise(&img, 9000, 40, 6) >= 1);
}

#[test]
fn extent_trees_of_large_blocks() {
    let img = common::mkfs(&["-b", "4096", "-N", "64", "-O", "metadata_csum"], "64M");
    assert!(exercise(&img, 9000, 3, 8) >= 1);
}

#[test]
fn block_maps() {
    let img = common::mkfs(&["-b", "1024", "-N", "64", "-O", "^extent,^64bit"], "8M");
    exercise(&img, 4000, 8, 4);
    // The triple indirect tree begins at block 65804.
    let img = common::mkfs(&["-b", "1024", "-N", "64", "-t", "ext2"], "8M");
    exercise(&img, 200_000, 20, 4);
    let args = ["-b", "1024", "-g", "512", "-N", "512", "-t", "ext3"];
    let img = common::mkfs(&args, "16M");
    exercise(&img, 5000, 300, 4);
}
