// SPDX-License-Identifier: GPL-2.0

//! Making room in a directory: another block, an index, a wider and deeper index.
//!
//! A full leaf of an index is divided by hash, and the pair of the new half goes into the index
//! block that led to the leaf. If that is full it is divided, too, and so on upwards; if the root
//! is full, its pairs move to a new block below it. Which of that has to happen is known before
//! anything does: the blocks are added and write access is taken first, from then on nothing can
//! fail.

use crate::ondisk::dir::edit::{
    init_leaf, init_tail, records, records_mut, DirAreaMut, NewEntry, Slot, Usage,
};
use crate::ondisk::dx::edit::{deepen, init_node, init_root, DxPairs, MAX_BLOCK};
use crate::ondisk::dx::{DxError, DOTDOT_OFFSET, MAX_LEVELS};
use crate::ondisk::FileBlock;

use super::super::change::DirChange;
use super::super::dir::Directory;
use super::super::dir_lookup::Place;
use super::super::dirhash::{DirHash, HashKind};
use super::super::htree::Walk;
use super::insert::{place, Inserted, Stop};
use super::{Added, EditError, INSERT_ADDS};

/// Adds a block for the entry behind the others, or in a hole.
pub(super) fn append<D: DirChange>(
    dir: &Directory<'_, D>,
    hole: Option<FileBlock>,
    new: &NewEntry<'_>,
) -> Result<Place, EditError<D::Error>> {
    let (lblk, mut edit) = dir.blocks.append(hole).map_err(EditError::Store)?;
    init_leaf(&mut edit, dir.format.limits.block_size, dir.tails());
    let slot = Slot {
        offset: 0,
        used: 0,
        rec_len: records(&edit, dir.tails()).len(),
    };
    let offset = dir.records_mut(&mut edit).insert(slot, new);
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(place(lblk, offset))
}

/// Whether packing a block of `len` bytes is enough: a quarter of it has to stay free, so that it
/// does not become due again at once.
#[inline]
fn is_loose(usage: &Usage, new: &NewEntry<'_>, len: usize) -> bool {
    usage.bytes.saturating_add(new.rec_len()) <= len.wrapping_sub(len >> 2)
}

/// Packs a block, and puts the entry behind the others.
fn pack<D: DirChange>(
    dir: &Directory<'_, D>,
    lblk: FileBlock,
    block: D::Block,
    new: &NewEntry<'_>,
) -> Result<Place, EditError<D::Error>> {
    let mut edit = dir.blocks.edit(block).map_err(EditError::Store)?;
    let mut area = dir.records_mut(&mut edit);
    let slot = area.pack();
    let offset = area.insert(slot, new);
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(place(lblk, offset))
}

/// Divides a leaf and puts the entry into the half that it belongs to. Returns the hash that
/// leads to the upper half, and where the entry is.
fn divide(
    lower: (FileBlock, &mut DirAreaMut<'_>),
    upper: (FileBlock, &mut DirAreaMut<'_>),
    live: usize,
    hash: &DirHash,
    new_hash: u32,
    new: &NewEntry<'_>,
) -> (u32, Place) {
    let split = lower.1.split(upper.1, live, |name| hash.hash(name).major);
    let put = |(lblk, area): (FileBlock, &mut DirAreaMut<'_>), slot: Slot| {
        place(lblk, area.insert(slot, new))
    };
    // Of names with the hash at the border, the upper half takes more, as in C ext4.
    let place = if new_hash >= split.hash & !1 {
        put(upper, split.upper)
    } else {
        put(lower, split.lower)
    };
    (split.hash, place)
}

/// Gives a directory of one full block an index, or packs that block. `None` if the directory
/// cannot have an index: without the feature, without a known hash, or when `.` and `..` are not
/// where the root has them. Then it just gets another block, which no reader minds.
pub(super) fn first<D: DirChange>(
    dir: &Directory<'_, D>,
    block: D::Block,
    new: &NewEntry<'_>,
) -> Result<Option<Inserted>, EditError<D::Error>> {
    let format = dir.format;
    let (true, Some(kind)) = (
        format.dir_index,
        format.default_hash.map(|hash| hash.kind()),
    ) else {
        return Ok(None);
    };
    let version = match kind {
        HashKind::Legacy => 0,
        HashKind::HalfMd4 => 1,
        HashKind::Tea => 2,
    };
    let Some(hash) = format.hash(version) else {
        return Ok(None);
    };
    let area = dir.records(&block);
    let usage = area.usage().map_err(EditError::corrupt)?;
    let len = area.len();
    let dot = area.entry_at(0).map_err(EditError::corrupt)?;
    let dotdot = area.entry_at(DOTDOT_OFFSET);
    let Some(dotdot) = dotdot.ok().filter(|entry| {
        dot.rec_len == DOTDOT_OFFSET
            && (dot.name, entry.name) == (b".", b"..")
            && dot.ino.is_some()
            && entry.ino.is_some()
    }) else {
        return Ok(None);
    };
    if is_loose(&usage, new, len) {
        let place = pack(dir, FileBlock::ZERO, block, new)?;
        return Ok(Some(Inserted {
            place,
            indexed: false,
        }));
    }
    // The records behind `..`; there are two or more, or the block would be loose.
    let start = DOTDOT_OFFSET.wrapping_add(dotdot.rec_len);
    let live = usage.live.saturating_sub(2);

    let mut added = Added::new(dir.blocks);
    let lower_at = added.add(None)?;
    let upper_at = added.add(None)?;
    let mut root = dir.blocks.edit(block).map_err(EditError::Store)?;
    let (Some((_, mut lower)), Some((_, mut upper))) = (added.keep(0), added.keep(1)) else {
        return Err(EditError::IndexFull);
    };

    for edit in [&mut lower, &mut upper] {
        init_leaf(edit, format.limits.block_size, dir.tails());
    }
    let from = records_mut(&mut root, dir.tails());
    let from = from.get(start..).unwrap_or_default();
    let mut lower_area = dir.records_mut(&mut lower);
    lower_area.fill_from(from);
    let mut upper_area = dir.records_mut(&mut upper);
    let (border, place) = divide(
        (lower_at, &mut lower_area),
        (upper_at, &mut upper_area),
        live,
        &hash,
        hash.hash(new.name()).major,
        new,
    );
    init_root(&mut root, &format.dx, version, lower_at);
    if let Some(mut pairs) = DxPairs::new(&mut root, true, &format.dx) {
        pairs.insert(1, border, upper_at);
    }
    dir.blocks.dirty(lower, dir.leaf_seal());
    dir.blocks.dirty(upper, dir.leaf_seal());
    dir.blocks.dirty(root, dir.index_seal(true));
    Ok(Some(Inserted {
        place,
        indexed: true,
    }))
}

/// Makes room in a full leaf, which `walk` has come to, and puts the entry in.
pub(super) fn leaf<D: DirChange>(
    dir: &Directory<'_, D>,
    mut walk: Walk<'_, '_, D>,
    lblk: FileBlock,
    leaf: D::Block,
    new_hash: u32,
    new: &NewEntry<'_>,
) -> Result<Place, Stop<D::Error>> {
    let format = &dir.format.dx;
    let area = dir.records(&leaf);
    let usage = area.usage().map_err(EditError::corrupt)?;
    if is_loose(&usage, new, area.len()) {
        drop(walk);
        return Ok(pack(dir, lblk, leaf, new)?);
    }

    // The lowest level with room for another pair. All below it are divided.
    let levels = walk.levels();
    let mut pairs = [0usize; MAX_LEVELS];
    let mut top = levels;
    let deeper = loop {
        let branch = walk.branch(top)?;
        if let Some(pair) = pairs.get_mut(top) {
            *pair = branch.pair.wrapping_add(1);
        }
        if branch.count < format.most_pairs(top == 0) {
            break false;
        }
        match top.checked_sub(1) {
            Some(up) => top = up,
            None => break true,
        }
    };
    if deeper && levels.wrapping_add(1) >= usize::from(format.max_levels()) {
        return Err(EditError::IndexFull.into());
    }
    if dir.block_count().saturating_add(INSERT_ADDS) > MAX_BLOCK {
        return Err(EditError::IndexFull.into());
    }

    // Prepare: the new leaf, a node for each that is divided, and one below the root.
    let mut added = Added::new(dir.blocks);
    let upper_at = added.add(None)?;
    for _ in top..levels {
        added.add(None)?;
    }
    if deeper {
        added.add(None)?;
    }
    let mut lower = dir.blocks.edit(leaf).map_err(EditError::Store)?;
    let mut nodes = [None, None, None];
    for level in top..=levels {
        let (Some(block), Some(node)) = (walk.take(level), nodes.get_mut(level)) else {
            return Err(EditError::corrupt(DxError::TooDeep).into());
        };
        *node = Some(dir.blocks.edit(block).map_err(EditError::Store)?);
    }
    let Some((_, mut upper)) = added.keep(0) else {
        return Err(EditError::IndexFull.into());
    };

    // Apply, from the leaf upwards.
    if dir.tails() {
        init_tail(&mut upper);
    }
    let (border, place) = divide(
        (lblk, &mut dir.records_mut(&mut lower)),
        (upper_at, &mut dir.records_mut(&mut upper)),
        usage.live,
        walk.hash(),
        new_hash,
        new,
    );
    dir.blocks.dirty(lower, dir.leaf_seal());
    dir.blocks.dirty(upper, dir.leaf_seal());

    let mut pair = (border, upper_at);
    let mut next = 1usize;
    for level in (top..=levels).rev() {
        let is_root = level == 0;
        let Some(mut edit) = nodes.get_mut(level).and_then(|node| node.take()) else {
            continue;
        };
        let nr = pairs.get(level).copied().unwrap_or(1);
        let (hash, child) = pair;
        if level == top && !deeper {
            if let Some(mut pairs) = DxPairs::new(&mut edit, is_root, format) {
                pairs.insert(nr, hash, child);
            }
        } else if let Some((at, mut above)) = added.keep(next) {
            next = next.wrapping_add(1);
            init_node(&mut above, format);
            if is_root {
                deepen(&mut edit, &mut above, format, at, nr, hash, child);
            } else if let (Some(mut pairs), Some(mut upper)) = (
                DxPairs::new(&mut edit, false, format),
                DxPairs::new(&mut above, false, format),
            ) {
                pair = (pairs.split(&mut upper, nr, hash, child), at);
            }
            dir.blocks.dirty(above, dir.index_seal(false));
        }
        dir.blocks.dirty(edit, dir.index_seal(is_root));
    }
    Ok(place)
}
