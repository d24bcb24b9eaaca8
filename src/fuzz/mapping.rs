// SPDX-License-Identifier: GPL-2.0

//! Extent trees, block maps and inline data made of arbitrary bytes.

use core::cell::Cell;
use core::ops::ControlFlow;

use crate::engine::extent_walk::ExtentTree;
use crate::engine::indirect_walk::IndirectMap;
use crate::engine::mapping::Mapping;
use crate::engine::source::BlockSource;
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::{self, MAX_DEPTH};
use crate::ondisk::indirect::{self, PointerBits};
use crate::ondisk::inline::{InlineData, InlineDir};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// Bytes of the input that are not `i_block` or blocks: kind of map, block size, flags, a
/// logical block, and the size of the device.
const HEADER: usize = 16;

/// What the fuzzer's disk answers.
#[derive(Debug)]
pub enum Failure {
    /// What was read is corrupt.
    Corrupt(Corrupt),
    /// There is nothing to read.
    Io,
}

impl From<Corrupt> for Failure {
    fn from(e: Corrupt) -> Self {
        Self::Corrupt(e)
    }
}

/// Every run inside the device may be referred to.
struct Device(u64);

impl BlockBounds for Device {
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
        let end = first.checked_add(len.into())?;
        (len != 0 && first != 0 && end <= self.0).then(|| FsBlock::new(first))
    }
}

/// A few blocks that stand for all blocks of the device: block `n` is the `n` modulo their
/// number, so that trees that lead back into themselves are what the fuzzer finds first.
struct Disk<'a> {
    blocks: &'a [u8],
    block_size: usize,
    /// Whether buffers are verified; if not, they stand for buffers that were overwritten after
    /// they had been verified.
    verify: bool,
    reads: Cell<u32>,
}

impl<'a> BlockSource for Disk<'a> {
    type Block = &'a [u8];
    type Error = Failure;

    fn read<V>(&self, block: FsBlock, verify: V) -> Result<&'a [u8], Failure>
    where
        V: FnOnce(&[u8]) -> Result<(), Corrupt>,
    {
        self.reads.set(self.reads.get() + 1);
        let count = self.blocks.len() / self.block_size;
        let n = block.get().checked_rem(count as u64).ok_or(Failure::Io)? as usize;
        let bytes = &self.blocks[n * self.block_size..][..self.block_size];
        let verified = verify(bytes);
        if self.verify {
            verified?;
        }
        Ok(bytes)
    }
}

/// What every mapping promises, wherever it comes from.
fn check(m: &Mapping, device: &Device) {
    assert!(m.len > 0, "empty: {m:?}");
    assert!(
        m.lblk.get().checked_add(m.len).is_some(),
        "past the end: {m:?}"
    );
    if let Some(start) = m.physical() {
        assert!(
            device.check_run(start.get(), m.len).is_some(),
            "out of the device: {m:?}"
        );
    }
}

/// Looks `at` up with `lookup`, which gets a visitor, in at most `max_reads` reads.
fn check_leaf(
    disk: &Disk<'_>,
    device: &Device,
    at: FileBlock,
    max_reads: u32,
    lookup: impl FnOnce(&mut dyn FnMut(&Mapping)) -> Result<Mapping, Failure>,
) -> Option<Mapping> {
    disk.reads.set(0);
    let mut last = FileBlock::ZERO;
    let answer = lookup(&mut |m| {
        check(m, device);
        assert!(m.lblk >= last, "not in order: {m:?}");
        last = m.end();
    });
    assert!(disk.reads.get() <= max_reads);
    let m = answer.ok()?;
    if at < FileBlock::END {
        check(&m, device);
    }
    assert!(m.contains(at), "{m:?} is not around {at:?}");
    Some(m)
}

/// Looks up blocks from `start` on, hop by hop.
fn hop(start: FileBlock, lookup: impl Fn(FileBlock) -> Option<Mapping>) {
    let mut at = start;
    for _ in 0..64 {
        let Some(m) = lookup(at) else { break };
        if at >= FileBlock::END {
            break;
        }
        assert!(m.end() > at);
        at = m.end();
    }
}

fn extents(root: &[u8; 60], seed: Option<u32>, disk: &Disk<'_>, device: &Device, at: FileBlock) {
    if extent::verify_root(root, device).is_err() && disk.verify {
        return;
    }
    let tree = ExtentTree::new(root, seed, device);
    let depth = u32::from(MAX_DEPTH);
    hop(at, |at| {
        let one = check_leaf(disk, device, at, depth, |_| tree.lookup(disk, at));
        let joined = check_leaf(disk, device, at, depth, |visit| {
            tree.lookup_leaf(disk, at, visit)
        });
        if let (Some(one), Some(joined)) = (&one, &joined) {
            // The extent, or the hole, is part of what it was joined to.
            if at < FileBlock::END {
                assert_eq!(joined.clip(one.lblk, one.end()).as_ref(), Some(one));
            }
        }
        one
    });
    let mut end = at;
    let mut left = 1000;
    let _ = tree.walk(disk, at, FileBlock::END, |m| {
        check(m, device);
        assert!(m.end() > end, "no progress: {m:?}");
        assert!(m.lblk <= end.max(at), "a gap before {m:?}");
        end = m.end();
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
}

fn pointers(root: &[u8; 60], bits: PointerBits, disk: &Disk<'_>, device: &Device, at: FileBlock) {
    if indirect::verify_root(root, device).is_err() && disk.verify {
        return;
    }
    let map = IndirectMap::new(root, bits, device);
    hop(at, |at| {
        let one = check_leaf(disk, device, at, 3, |_| map.lookup(disk, at));
        let of_all = check_leaf(disk, device, at, 3, |visit| {
            map.lookup_leaf(disk, at, visit)
        });
        if let (Some(one), Some(of_all)) = (&one, &of_all) {
            assert_eq!(one, of_all);
        }
        one
    });
}

fn inline(root: &[u8; 60], value: &[u8], size: u64) {
    let mut out = [0u8; 256];
    if let Ok(data) = InlineData::new(root, Some(value), size) {
        for offset in [0, 59, 60, 61, 200, usize::MAX] {
            let n = data.copy_to(offset, &mut out);
            assert_eq!(n, data.len().saturating_sub(offset).min(out.len()));
        }
        assert!(data.len() as u64 <= size);
    }
    if let Ok(dir) = InlineDir::new(root, Some(value)) {
        assert_eq!(dir.areas().0.len(), 56);
        assert_eq!(dir.areas().1.len(), value.len());
    }
}

/// Treats `input` as a header of 16 bytes, an `i_block` of 60 and as many blocks as follow (short
/// of one block, the rest is filled up by nothing: reads fail).
pub fn run(input: &[u8]) {
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
        return;
    };
    let Some((root, blocks)) = rest.split_first_chunk::<60>() else {
        return;
    };
    let [kind, bits, flags, _, a, b, c, d, device @ ..] = *header;
    let at = FileBlock::new(u32::from_le_bytes([a, b, c, d]));
    let device = Device(u64::from_le_bytes(device) >> (flags >> 2));
    let bits = 10 + u32::from(bits) % 7;
    let disk = Disk {
        blocks,
        block_size: 1 << bits,
        verify: flags & 1 != 0,
        reads: Cell::new(0),
    };
    let seed = (flags & 2 != 0).then_some(0x1234_5678);
    match kind % 3 {
        0 => extents(root, seed, &disk, &device, at),
        1 => {
            let bits = PointerBits::from_block_bits(bits).expect("10..=16");
            pointers(root, bits, &disk, &device, at);
        }
        _ => inline(root, blocks, u64::from(at.get())),
    }
}
