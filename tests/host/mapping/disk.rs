// SPDX-License-Identifier: GPL-2.0

//! A file system in memory: real images read through the engine, and what debugfs says of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rext4::engine::extent_walk::ExtentTree;
use rext4::engine::indirect_walk::IndirectMap;
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::engine::source::BlockSource;
use rext4::ondisk::bounds::BlockBounds;
use rext4::ondisk::indirect::PointerBits;
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::{extent, indirect, Corrupt, FileBlock, FsBlock, Geometry, Ino};

use crate::common::{self, Image};

/// A run of a file: first block, length, first physical block, unwritten.
pub type Run = (u32, u32, u64, bool);

/// The bytes of an image and its geometry.
pub struct Fs {
    pub bytes: Vec<u8>,
    pub geometry: Geometry,
    pub reads: Cell<u32>,
}

/// What of an inode matters here.
pub struct Inode {
    pub i_block: [u8; 60],
    pub extents: bool,
    pub size: u64,
    pub seed: Option<u32>,
    pub raw: Vec<u8>,
}

impl Fs {
    pub fn open(img: &Image) -> Self {
        let bytes = img.bytes();
        let sb = Superblock::verify(&bytes[1024..2048]).expect("superblock");
        let sb_block = u64::from(sb.block_bits() == 10);
        let geometry = Geometry::new(sb, sb_block, Some(bytes.len() as u64)).expect("geometry");
        Self {
            bytes,
            geometry,
            reads: Cell::new(0),
        }
    }

    pub fn block(&self, block: u64) -> &[u8] {
        let size = self.geometry.block_size() as usize;
        &self.bytes[block as usize * size..][..size]
    }

    pub fn inode(&self, ino: u32) -> Inode {
        let ino = Ino::new(ino).expect("inode number");
        let at = self.geometry.inode_location(ino);
        let (desc, offset) = self.geometry.desc_location(at.group).expect("descriptor");
        let desc = &self.block(desc.get())[offset as usize..];
        let mut table = u64::from(le32(desc, 8));
        if self.geometry.desc_size() >= 64 {
            table |= u64::from(le32(desc, 0x28)) << 32;
        }
        let raw = &self.block(table + u64::from(at.block))[at.offset as usize..]
            [..self.geometry.inode_size().into()];
        Inode {
            i_block: raw[0x28..0x28 + 60].try_into().expect("60 bytes"),
            extents: le32(raw, 0x20) & 0x80000 != 0,
            size: u64::from(le32(raw, 4)) | (u64::from(le32(raw, 0x6c)) << 32),
            seed: self.geometry.inode_seed(ino, le32(raw, 0x64)),
            raw: raw.to_vec(),
        }
    }

    fn bits(&self) -> PointerBits {
        PointerBits::from_block_bits(self.geometry.block_bits()).expect("block size")
    }

    /// Verifies the root as the reader of an inode does.
    pub fn verify_root(&self, inode: &Inode) -> Result<(), Corrupt> {
        if inode.extents {
            Ok(extent::verify_root(&inode.i_block, &self.geometry)?)
        } else {
            Ok(indirect::verify_root(&inode.i_block, &self.geometry)?)
        }
    }

    pub fn lookup(&self, inode: &Inode, at: u32) -> Result<Mapping, Corrupt> {
        let at = FileBlock::new(at);
        self.reads.set(0);
        if inode.extents {
            ExtentTree::new(&inode.i_block, inode.seed, &self.geometry).lookup(self, at)
        } else {
            IndirectMap::new(&inode.i_block, self.bits(), &self.geometry).lookup(self, at)
        }
    }

    /// The answer, and what the visitor saw.
    pub fn lookup_leaf(&self, inode: &Inode, at: u32) -> Result<(Mapping, Vec<Mapping>), Corrupt> {
        let at = FileBlock::new(at);
        let mut seen = Vec::new();
        let visit = |m: &Mapping| seen.push(*m);
        self.reads.set(0);
        let answer = if inode.extents {
            let tree = ExtentTree::new(&inode.i_block, inode.seed, &self.geometry);
            tree.lookup_leaf(self, at, visit)
        } else {
            let map = IndirectMap::new(&inode.i_block, self.bits(), &self.geometry);
            map.lookup_leaf(self, at, visit)
        };
        Ok((answer?, seen))
    }

    /// All data runs of a file, found by hopping from mapping to mapping.
    pub fn runs(&self, inode: &Inode) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut at = 0;
        while at < u32::MAX {
            let m = self.lookup(inode, at).expect("lookup");
            assert!(m.contains(FileBlock::new(at)), "{m:?} is not around {at}");
            assert!(
                m.lblk.get() == at || m.kind == MapKind::Hole,
                "{m:?} begins before {at}"
            );
            push(&mut runs, &m);
            at = m.end().get();
        }
        runs
    }
}

impl BlockSource for Fs {
    type Block = Box<[u8]>;
    type Error = Corrupt;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Box<[u8]>, Corrupt>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        self.reads.set(self.reads.get() + 1);
        let bytes = self.block(block.get());
        verify(bytes)?;
        Ok(bytes.into())
    }
}

/// Appends a mapping to a list of runs, joining what continues, and leaving out holes.
pub fn push(runs: &mut Vec<Run>, m: &Mapping) {
    let unwritten = matches!(m.kind, MapKind::Unwritten(_));
    if let Some(start) = m.physical() {
        push_run(runs, (m.lblk.get(), m.len, start.get(), unwritten));
    }
}

fn push_run(runs: &mut Vec<Run>, (lblk, len, start, unwritten): Run) {
    if let Some(last) = runs.last_mut() {
        let (l, n, s, u) = *last;
        if l + n == lblk && s + u64::from(n) == start && u == unwritten {
            last.1 += len;
            return;
        }
    }
    runs.push((lblk, len, start, unwritten));
}

pub fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// What debugfs' `stat` says of files, by path: inode number and data runs.
pub fn stat(img: &Image, paths: &[String]) -> BTreeMap<String, (u32, Vec<Run>)> {
    let commands: Vec<_> = paths.iter().map(|p| format!("stat {p}")).collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let out = common::debugfs(img, &commands);
    let mut files = BTreeMap::new();
    for section in out.split("debugfs: stat ").skip(1) {
        let (path, text) = section.split_once('\n').expect("a line");
        let ino = text.trim_start().strip_prefix("Inode: ").expect("Inode:");
        let ino = ino.split_whitespace().next().expect("a number");
        let runs = text
            .lines()
            .filter(|l| l.starts_with('('))
            .flat_map(parse_runs)
            .fold(Vec::new(), |mut runs, run| {
                push_run(&mut runs, run);
                runs
            });
        files.insert(path.to_string(), (ino.parse().expect("a number"), runs));
    }
    files
}

/// `(0-11):25-36, (IND):37, (12[u]):38`: logical blocks, or the name of a metadata block.
fn parse_runs(line: &str) -> Vec<Run> {
    let range = |s: &str| {
        let (a, b) = s.split_once('-').unwrap_or((s, s));
        Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?))
    };
    let mut runs = Vec::new();
    for item in line.split(", ") {
        let (logical, physical) = item.split_once("):").expect("(logical):physical");
        let logical = logical.trim_start_matches('(');
        let plain = logical.trim_end_matches("[u]");
        let Some((first, last)) = range(plain) else {
            assert!(
                logical.starts_with(|c: char| c.is_ascii_uppercase()),
                "{item}"
            );
            continue;
        };
        let (start, end) = range(physical).expect("physical blocks");
        assert_eq!(last - first, end - start, "{item}");
        runs.push((
            first as u32,
            (last - first + 1) as u32,
            start,
            plain != logical,
        ));
    }
    runs
}

/// The depth that debugfs' `ex` shows for a file.
pub fn depth(img: &Image, path: &str) -> u32 {
    let out = common::debugfs(img, &[&format!("ex {path}")]);
    let line = out.lines().nth(2).expect("an extent");
    let (_, depth) = line.split_once('/').expect("level/depth");
    depth
        .split_whitespace()
        .next()
        .and_then(|d| d.parse().ok())
        .expect("a number")
}

/// A directory to fill images from; goes away with the value.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rext4-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("create a directory");
        Self(dir)
    }

    /// A sparse file of `size` bytes with data at the given places.
    pub fn sparse(&self, name: &str, size: u64, data: &[(u64, u64)]) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(self.0.join(name)).expect("create a file");
        file.set_len(size).expect("set the size");
        for &(offset, len) in data {
            file.write_all_at(&vec![0x5a; len as usize], offset)
                .expect("write");
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Synthetic blocks by number, for trees that no tool makes.
#[derive(Default)]
pub struct Blocks {
    pub blocks: RefCell<BTreeMap<u64, Vec<u8>>>,
    pub reads: Cell<u32>,
}

/// All of this many blocks but block 0 may be referred to.
pub struct Device(pub u64);

impl BlockBounds for Device {
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
        let end = first.checked_add(len.into())?;
        (len != 0 && first != 0 && end <= self.0).then(|| FsBlock::new(first))
    }
}

/// What reading [`Blocks`] can lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    Corrupt(Corrupt),
    /// There is no such block.
    Missing(u64),
}

impl From<Corrupt> for Failure {
    fn from(e: Corrupt) -> Self {
        Self::Corrupt(e)
    }
}

impl BlockSource for Blocks {
    type Block = Vec<u8>;
    type Error = Failure;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<Vec<u8>, Failure>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        self.reads.set(self.reads.get() + 1);
        let blocks = self.blocks.borrow();
        let bytes = blocks
            .get(&block.get())
            .ok_or(Failure::Missing(block.get()))?;
        verify(bytes)?;
        Ok(bytes.clone())
    }
}
