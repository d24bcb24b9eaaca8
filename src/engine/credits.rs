// SPDX-License-Identifier: GPL-2.0

//! Journal credits: how many blocks an operation may change, at most.
//!
//! A handle is started with the number of different metadata blocks that its operation may put
//! into the transaction. Too few, and jbd2 aborts; too many, and transactions close early and
//! handles wait for one another. So the numbers are upper bounds of what the operation can do to
//! this file system and these files, not to any: a tree of depth 0 has no nodes, and a file system
//! of one group has one bitmap.
//!
//! [`Shape::credits`] is the table: one row per operation, each a sum of the parts below it, each
//! part with its reason. A block that two parts of a row count is counted twice; a block that
//! several steps of an operation change is counted once. Nothing else in rext4 adds credits up.
//!
//! What directories and block maps do in the worst case is said by those who do it: `dir_edit`,
//! `extent_edit`, `indirect_edit`. Only how often an operation calls them is known here.
//!
//! Revokes: every metadata block that may be freed has one, also those that are only given back
//! when an operation fails half-way.
//!
//! Not counted: quota files (quota is off; see [`Shape::quota`]), and data.

use super::change::Was;
use super::dir_edit;
use super::extent_edit::{self, Needs};
use super::indirect_edit;
use crate::ondisk::extent::edit::{block_capacity, ROOT_CAPACITY};
use crate::ondisk::extent::MAX_DEPTH;
use crate::ondisk::features::{Incompat, RoCompat};
use crate::ondisk::Geometry;

/// What a handle asks the journal for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// Blocks that may be changed.
    pub blocks: u32,
    /// Metadata blocks that may be freed, each of which is revoked.
    pub revokes: u32,
}

/// Facts of the file system that the table depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    groups: u32,
    gdt_blocks: u32,
    block_size: u32,
    index_levels: u32,
    ea_inode: bool,
    /// The superblock, if `large_file` may still come into use: with any inode that is written,
    /// when its size, of a directory too, turns out to be the first one above 2 GiB.
    large_file: u32,
    metadata_at_once: u32,
    /// Blocks of quota files that an operation changes, for all its users, groups and projects.
    pub quota: u32,
}

/// The kind and the depth of a file's block map, as it is in the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// An extent tree with this many levels of nodes below the root in the inode.
    Extents {
        /// 0 to 5.
        depth: u16,
    },
    /// Up to three levels of indirect blocks.
    Indirect,
}

/// Where the first attributes of a new inode go (ACLs, security label).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// There are none, or they fit the inode's body.
    InBody,
    /// They may need an attribute block.
    Block,
    /// They may also need EA inodes: so many values, of at most so many bytes each.
    EaInodes {
        /// How many values.
        count: u32,
        /// Length of the longest, in bytes.
        len: u32,
    },
}

/// An operation, with what its credits depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file, device, socket or fast symlink is made in a directory with this map.
    Create(Map, Initial),
    /// A directory is made.
    Mkdir(Map, Initial),
    /// A symlink is made whose target takes a block.
    SlowSymlink(Map, Initial),
    /// An unnamed file is made, which is an orphan.
    Tmpfile(Initial),
    /// A name is added for an inode, which may have been an orphan.
    Link(Map),
    /// A name is removed from a directory with this map; the inode may become an orphan.
    Unlink(Map),
    /// An empty directory is removed from one with this map, and becomes an orphan.
    Rmdir(Map),
    /// A name moves, perhaps in place of another.
    Rename {
        /// The map of the directory that it leaves.
        from: Map,
        /// The map of the directory that it comes to.
        to: Map,
    },
    /// A name moves to a directory with this map, and a whiteout stays in its place.
    RenameWhiteout(Map, Initial),
    /// Two names are exchanged.
    Exchange,
    /// Owner, mode or times change.
    SetAttr,
    /// The size changes; the blocks are dealt with in steps of their own.
    SetSize,
    /// An attribute is set or removed.
    SetXattr {
        /// Length of the new value in bytes, 0 for a removal.
        len: u32,
        /// How many values of the attribute block are in EA inodes.
        others: u32,
    },
    /// The inode is written.
    UpdateInode,
    /// An inode is put on the orphan file or list.
    OrphanAdd,
    /// An inode is taken off the orphan file or list.
    OrphanDel,
    /// One call of an editor's `remove` up to a file's end.
    TruncateStep {
        /// The file's map.
        map: Map,
        /// The budget of the call: how often blocks may be freed. No less than
        /// [`least_budget`] counts.
        budget: u32,
        /// What the blocks are. Of directories, slow symlinks and EA inodes they are metadata.
        was: Was,
    },
    /// One call of an editor's `remove` in the middle of a regular file.
    PunchStep(Map, u32),
    /// An inode without blocks is freed, with its attribute block.
    FreeInode {
        /// How many values of its attributes are in EA inodes.
        ea_inodes: u32,
    },
    /// This many separate runs are allocated and put into a map, wherever they belong. In an
    /// indirect map, what goes into another table counts as another run.
    Allocate(Map, u32),
    /// This many calls of an editor's `convert`, each of which changes one extent.
    Convert(Map, u32),
    /// Two files exchange runs of blocks, one each.
    Swap(Map, Map),
    /// A file gets an extent tree of `runs` extents in place of its tables, which are freed.
    Migrate {
        /// Extents that are put into an empty tree, in the order of the file.
        runs: u32,
        /// Tables of the indirect map.
        tables: u32,
    },
}

/// Levels of a directory's index, the root included.
const INDEX_LEVELS: u32 = 2;
/// As [`INDEX_LEVELS`], with `large_dir`.
const INDEX_LEVELS_LARGE: u32 = 3;

/// The most blocks of metadata (of a directory, say) that one call of [`Blocks::free`] may free,
/// whose implementer sees to it: each is revoked.
///
/// [`Blocks::free`]: super::change::Blocks::free
pub const METADATA_AT_ONCE: u32 = 16;

/// The least budget that gets a removal on.
pub const fn least_budget(map: Map) -> u32 {
    match map {
        Map::Extents { depth } => extent_edit::least_budget(depth_of(depth)),
        Map::Indirect => indirect_edit::LEAST_BUDGET,
    }
}

/// Putting one run into a block map, or marking one as written.
const fn map_change(map: Map) -> Needs {
    match map {
        Map::Extents { depth } => extent_edit::change_needs(depth_of(depth)),
        Map::Indirect => indirect_edit::INSERT_NEEDS,
    }
}

/// Putting a few blocks into a block map that follow one another at its end, wherever they are on
/// the disk.
///
/// Extents: a node that is split at its end hands on one entry, and a root that moves into a node
/// leaves room for many, so that all that follow the first find room. Indirect: the first blocks
/// go to a table's end, the others to another one.
const fn map_append(map: Map) -> Needs {
    let one = map_change(map);
    match map {
        Map::Extents { .. } => one,
        Map::Indirect => Needs {
            changed: one.changed.saturating_add(one.changed),
            ..one
        },
    }
}

/// A call of an editor's `remove` up to a file's end.
const fn map_truncate(map: Map, budget: u32) -> Needs {
    match map {
        Map::Extents { depth } => extent_edit::truncate_needs(depth_of(depth), budget),
        Map::Indirect => indirect_edit::remove_needs(budget),
    }
}

/// A call of an editor's `remove` anywhere.
const fn map_punch(map: Map, budget: u32) -> Needs {
    match map {
        Map::Extents { depth } => extent_edit::remove_needs(depth_of(depth), budget),
        Map::Indirect => indirect_edit::remove_needs(budget),
    }
}

/// Several runs in a block map that need have nothing to do with one another.
fn map_changes(map: Map, runs: u32) -> Needs {
    const NONE: Needs = Needs {
        changed: 0,
        allocated: 0,
        freed: 0,
        dropped: 0,
    };
    let one = map_change(map);
    let Some(more) = runs.checked_sub(1) else {
        return NONE;
    };
    let allocated = match map {
        // Each may be in nodes of its own, all of them full. The tree gets higher with the first
        // one; the node that the root has moved into is split whenever half of it has been filled.
        Map::Extents { .. } => {
            let half = EXTENTS_PER_NODE_MIN / 2;
            more.saturating_mul(one.changed)
                .saturating_add(more.div_ceil(half))
        }
        // The tables of the first level in the root come only once.
        Map::Indirect => more.saturating_mul(one.allocated.saturating_sub(1)),
    };
    Needs {
        changed: runs.saturating_mul(one.changed),
        allocated: one.allocated.saturating_add(allocated),
        ..NONE
    }
}

/// The most blocks that an extent tree of `runs` extents takes that have been put into it in order, what
/// the last of them has allocated and not used included.
///
/// A node that runs over at its end hands on what it has no room for, so nodes of all levels are more than
/// half full but for the last of each level; and above them there are fewer than as many again.
pub const fn migration_blocks(runs: u32) -> u32 {
    let nodes = runs.div_ceil(EXTENTS_PER_NODE_MIN / 2);
    nodes
        .saturating_add(nodes)
        .saturating_add(2 * MAX_DEPTH as u32)
}

const fn depth_of(depth: u16) -> u16 {
    if depth < MAX_DEPTH {
        depth
    } else {
        MAX_DEPTH
    }
}

/// The block of the inode table with an inode's slot.
const INODE: u32 = 1;
/// The superblock: head of the orphan list, a feature that comes into use.
const SUPER: u32 = 1;
/// The block of the orphan file, or if that is full the superblock (the list's head): never both.
/// The inode, which the list changes too, is counted with the operation.
const ORPHAN_ADD: u32 = 1;
/// The block of the orphan file, or the superblock, or the inode before this one on the list.
const ORPHAN_DEL: u32 = 1;
/// The inode bitmap, and the descriptor of its group, which may be another than that of blocks.
const INODE_BITS: u32 = 2;
/// An inode without a name is freed or becomes an orphan. Both is only tried when its bits could not
/// be changed.
const NAMELESS: u32 = if INODE_BITS > ORPHAN_ADD {
    INODE_BITS
} else {
    ORPHAN_ADD
};

impl Shape {
    /// Collects the facts of a mounted file system, without quota.
    pub fn new(geo: &Geometry) -> Self {
        Self {
            groups: geo.groups_count(),
            gdt_blocks: geo.gdt_blocks(),
            block_size: geo.block_size(),
            index_levels: if geo.has(Incompat::LARGEDIR) {
                INDEX_LEVELS_LARGE
            } else {
                INDEX_LEVELS
            },
            ea_inode: geo.has(Incompat::EA_INODE),
            large_file: if geo.has(RoCompat::LARGE_FILE) {
                0
            } else {
                SUPER
            },
            metadata_at_once: METADATA_AT_ONCE.max(geo.cluster_ratio()),
            quota: 0,
        }
    }

    /// A file system that is so large that its size bounds nothing, and has `large_file`.
    pub fn largest(block_size: u32, large_dir: bool) -> Self {
        Self {
            groups: u32::MAX,
            gdt_blocks: u32::MAX,
            block_size,
            index_levels: if large_dir {
                INDEX_LEVELS_LARGE
            } else {
                INDEX_LEVELS
            },
            ea_inode: false,
            large_file: 0,
            metadata_at_once: METADATA_AT_ONCE,
            quota: 0,
        }
    }

    /// The most blocks of metadata that one call of [`Blocks::free`] may free: see
    /// [`METADATA_AT_ONCE`]. With clusters that are larger it is a whole one.
    ///
    /// [`Blocks::free`]: super::change::Blocks::free
    #[inline]
    pub fn metadata_at_once(&self) -> u32 {
        self.metadata_at_once
    }

    /// The table.
    pub fn credits(&self, op: Op) -> Credits {
        let all = match op {
            Op::Create(dir, initial) => join(&[self.new_inode(initial), self.name_added(dir)]),
            // Its first block; the map is in the inode.
            Op::Mkdir(dir, initial) | Op::SlowSymlink(dir, initial) => join(&[
                self.new_inode(initial),
                self.name_added(dir),
                self.new_block(),
            ]),
            Op::Tmpfile(initial) => join(&[self.new_inode(initial), change(ORPHAN_ADD)]),
            // The inode with its count, and the orphan that it may have been.
            Op::Link(dir) => join(&[self.name_added(dir), change(INODE), change(ORPHAN_DEL)]),
            // The other inode, and what becomes of it.
            Op::Unlink(dir) => join(&[self.name_removed(dir), change(sum(&[INODE, NAMELESS]))]),
            // Likewise, with a directory's only block.
            Op::Rmdir(dir) => join(&[
                self.name_removed(dir),
                change(sum(&[INODE, NAMELESS])),
                self.new_block(),
            ]),
            // That the new name may have raised the tree of the one directory that both are in has
            // been counted with it: nothing is freed on top but what it has added.
            Op::Rename { from, to } => join(&[self.rename(to), self.name_removed(from)]),
            // The whiteout's entry is what the old name's is changed to.
            Op::RenameWhiteout(to, initial) => join(&[
                self.rename(to),
                change(dir_edit::REPLACE_CHANGES),
                change(INODE),
                self.new_inode(initial),
            ]),
            // Per name: its entry, its directory's inode, its own (times), and if that is a
            // directory its first block (`..`).
            Op::Exchange => {
                let name = change(sum(&[
                    dir_edit::REPLACE_CHANGES,
                    INODE,
                    INODE,
                    dir_edit::REPLACE_CHANGES,
                ]));
                join(&[name, name])
            }
            Op::SetAttr => change(INODE),
            // The orphan while it shrinks.
            Op::SetSize => change(sum(&[INODE, ORPHAN_ADD])),
            Op::SetXattr { len, others } => self.set_xattr(len, others),
            Op::UpdateInode => change(INODE),
            Op::OrphanAdd => change(sum(&[INODE, ORPHAN_ADD])),
            Op::OrphanDel => change(sum(&[INODE, ORPHAN_DEL])),
            Op::TruncateStep { map, budget, was } => {
                join(&[self.freeing(&map_truncate(map, budget), was), change(INODE)])
            }
            Op::PunchStep(map, budget) => {
                let needs = map_punch(map, budget);
                join(&[self.freeing(&needs, Was::Data), change(INODE)])
            }
            // Its slot, its bit, the orphan that it was; its attribute block, which may only lose
            // an owner; a reference less, and perhaps a new orphan, per EA inode.
            Op::FreeInode { ea_inodes } => {
                let ea_inodes = if self.ea_inode { ea_inodes } else { 0 };
                let inode = sum(&[INODE, INODE_BITS, ORPHAN_DEL, ea_counts(ea_inodes)]);
                join(&[change(inode), self.new_block()])
            }
            // The data has bits, but is not among the credits.
            Op::Allocate(map, runs) => {
                join(&[change(INODE), self.building(&map_changes(map, runs), runs)])
            }
            Op::Convert(map, runs) => {
                join(&[change(INODE), self.building(&map_changes(map, runs), 0)])
            }
            // Nothing but what each map becomes.
            Op::Swap(one, other) => {
                let part = |map| join(&[change(INODE), self.building(&map_changes(map, 1), 0)]);
                join(&[part(one), part(other)])
            }
            // All blocks of the tree are new; and they are what is freed if it cannot be finished.
            Op::Migrate { runs, tables } => {
                let needs = Needs {
                    changed: 0,
                    allocated: migration_blocks(runs),
                    freed: tables,
                    dropped: tables,
                };
                join(&[change(INODE), self.freeing(&needs, Was::Data)])
            }
        };
        Credits {
            blocks: sum(&[all.blocks, self.large_file, self.quota]),
            ..all
        }
    }

    /// Bitmaps and descriptors for blocks that are allocated or freed in `runs` runs: one of each
    /// per run, but no more than there are. A run lies in one group.
    fn bits(&self, runs: u32) -> u32 {
        runs.min(self.groups)
            .saturating_add(runs.min(self.gdt_blocks))
    }

    /// One block of metadata that is allocated and written (and may be given back), or is freed,
    /// or changed by letting it be.
    fn new_block(&self) -> Credits {
        Credits {
            blocks: self.bits(1).saturating_add(1),
            revokes: 1,
        }
    }

    /// Changing a map: its blocks, the new ones and their bits, and those of `others`, runs that
    /// are allocated besides.
    fn building(&self, needs: &Needs, others: u32) -> Credits {
        let taken = needs.allocated.saturating_add(others);
        Credits {
            blocks: sum(&[needs.changed, needs.allocated, self.bits(taken)]),
            revokes: needs.allocated,
        }
    }

    /// Removing from a map: its blocks, and the bits of all that is freed.
    fn freeing(&self, needs: &Needs, was: Was) -> Credits {
        let contents = match was {
            Was::Data => 0,
            Was::Metadata => needs.freed.saturating_sub(needs.dropped),
        };
        let contents = contents.saturating_mul(self.metadata_at_once);
        let moved = needs.freed.saturating_add(needs.allocated);
        Credits {
            blocks: sum(&[needs.changed, needs.allocated, self.bits(moved)]),
            revokes: sum(&[needs.dropped, needs.allocated, contents]),
        }
    }

    /// A name in a directory: the blocks that are split, their allocation, the blocks of the map
    /// that new blocks are put into, and the directory's inode.
    pub fn name_added(&self, dir: Map) -> Credits {
        let new = dir_edit::insert_adds(self.index_levels);
        let map = self.building(&map_append(dir), new);
        let blocks = sum(&[INODE, dir_edit::insert_changes(self.index_levels), new]);
        join(&[
            change(blocks),
            map,
            Credits {
                blocks: 0,
                revokes: new,
            },
        ])
    }

    /// A name less in a directory: its block, the index if a block goes, the map that loses that
    /// block, the bits of what is freed, and the directory's inode.
    pub fn name_removed(&self, dir: Map) -> Credits {
        let mut map = map_truncate(dir, 0);
        if let Map::Extents { depth: 1.. } = dir {
            // One more call, for the root to take the place of its only child.
            map.freed = map.freed.saturating_add(1);
            map.dropped = map.dropped.saturating_add(1);
        }
        let freed = map.dropped.saturating_add(dir_edit::REMOVE_DROPS);
        let blocks = sum(&[
            INODE,
            dir_edit::REMOVE_CHANGES,
            map.changed,
            self.bits(freed),
        ]);
        Credits {
            blocks,
            revokes: freed,
        }
    }

    /// An inode that is allocated and written, with its first attributes.
    fn new_inode(&self, initial: Initial) -> Credits {
        // The block, its allocation, and `ext_attr`. It is changed in its place for each attribute
        // after the first one, and may turn out equal to another one then, which gets an owner.
        let block = join(&[self.new_block(), change(sum(&[SUPER, 1]))]);
        let attributes = match initial {
            Initial::InBody => Credits::default(),
            Initial::Block => block,
            // One that has been found and is not needed loses its reference again.
            Initial::EaInodes { count, len } => {
                let value = join(&[self.ea_value(len), change(ea_counts(1))]);
                let all = Credits {
                    blocks: value.blocks.saturating_mul(count),
                    revokes: value.revokes.saturating_mul(count),
                };
                join(&[block, all])
            }
        };
        join(&[change(sum(&[INODE, INODE_BITS])), attributes])
    }

    /// The new name (or in its place the old one's entry), the inodes of what moves and of what
    /// goes, which becomes an orphan, and the block with `..`. Not the old name.
    fn rename(&self, to: Map) -> Credits {
        let others = sum(&[INODE, INODE, ORPHAN_ADD, dir_edit::REPLACE_CHANGES]);
        join(&[self.name_added(to), change(others)])
    }

    /// The inode; the old block (changed, or an owner less, or freed), and its bits; the new block
    /// (or another owner of an equal one), and its bits; `ext_attr`. With EA inodes: the old
    /// value's count and its becoming an orphan; the new value's inode with its bits and its
    /// blocks, which are journalled; one count per value of the attribute block when that is
    /// copied, or goes because another one is equal.
    fn set_xattr(&self, len: u32, others: u32) -> Credits {
        let places = join(&[
            change(sum(&[INODE, SUPER])),
            self.new_block(),
            self.new_block(),
        ]);
        if !self.ea_inode {
            return places;
        }
        // The others' counts go up and down again at most.
        let counts = sum(&[others.saturating_mul(INODE), ea_counts(1)]);
        join(&[places, self.ea_value(len), change(counts)])
    }

    /// A value of `len` bytes that is put into an inode of its own, with its bits and its blocks,
    /// which are journalled; or one reference more to an inode that is there.
    fn ea_value(&self, len: u32) -> Credits {
        if len == 0 {
            return Credits::default();
        }
        // `div_ceil` by what the compiler does not know can overflow, for all it knows.
        let size = self.block_size.max(1);
        let blocks = (len / size).saturating_add(u32::from(len % size != 0));
        // One run each, if free space is like that; four of them fit the inode, else a node takes
        // them: 16 MiB in blocks of 1 KiB are more than one node of 84, so as many as it takes.
        let nodes = blocks.div_ceil(EXTENTS_PER_NODE_MIN).saturating_add(1);
        let nodes = if blocks <= EXTENTS_IN_ROOT { 0 } else { nodes };
        let taken = blocks.saturating_add(nodes);
        Credits {
            blocks: sum(&[INODE, INODE_BITS, taken, self.bits(taken)]),
            revokes: taken,
        }
    }
}

/// Extents that the root in the inode holds.
const EXTENTS_IN_ROOT: u32 = ROOT_CAPACITY as u32;
/// Extents that a node holds in the smallest block.
const EXTENTS_PER_NODE_MIN: u32 = block_capacity(1024) as u32;

/// Counts of EA inodes: their slots; those that end or begin go through the orphan file or list,
/// where each may be in another block.
fn ea_counts(n: u32) -> u32 {
    n.saturating_mul(INODE.saturating_add(ORPHAN_ADD))
}

/// Blocks that change and stay.
const fn change(blocks: u32) -> Credits {
    Credits { blocks, revokes: 0 }
}

fn join(parts: &[Credits]) -> Credits {
    parts.iter().fold(Credits::default(), |all, part| Credits {
        blocks: all.blocks.saturating_add(part.blocks),
        revokes: all.revokes.saturating_add(part.revokes),
    })
}

fn sum(parts: &[u32]) -> u32 {
    parts.iter().fold(0, |all, part| all.saturating_add(*part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Shape = Shape {
        groups: 10_000,
        gdt_blocks: 160,
        block_size: 4096,
        index_levels: INDEX_LEVELS,
        ea_inode: false,
        large_file: 0,
        metadata_at_once: METADATA_AT_ONCE,
        quota: 0,
    };
    const TINY: Shape = Shape {
        groups: 1,
        gdt_blocks: 1,
        ..LARGE
    };
    const DEPTHS: [Map; 4] = [
        Map::Extents { depth: 0 },
        Map::Extents { depth: 1 },
        Map::Extents { depth: 5 },
        Map::Indirect,
    ];

    fn ops(map: Map) -> [Op; 23] {
        [
            Op::Create(
                map,
                Initial::EaInodes {
                    count: 2,
                    len: 9000,
                },
            ),
            Op::Create(map, Initial::Block),
            Op::Mkdir(map, Initial::Block),
            Op::SlowSymlink(map, Initial::Block),
            Op::Tmpfile(Initial::Block),
            Op::Link(map),
            Op::Unlink(map),
            Op::Rmdir(map),
            Op::Rename { from: map, to: map },
            Op::RenameWhiteout(map, Initial::Block),
            Op::Exchange,
            Op::SetAttr,
            Op::SetSize,
            Op::SetXattr {
                len: 100,
                others: 0,
            },
            Op::UpdateInode,
            Op::OrphanAdd,
            Op::OrphanDel,
            truncate(map, 8, Was::Data),
            Op::PunchStep(map, 8),
            Op::FreeInode { ea_inodes: 3 },
            Op::Allocate(map, 3),
            Op::Convert(map, 3),
            Op::Swap(map, map),
        ]
    }

    fn truncate(map: Map, budget: u32, was: Was) -> Op {
        Op::TruncateStep { map, budget, was }
    }

    fn blocks(shape: &Shape, op: Op) -> u32 {
        shape.credits(op).blocks
    }

    /// Rows of the table, worked out by hand for a large file system.
    #[test]
    fn rows() {
        let [flat, one, deepest, indirect] = DEPTHS;
        let rename = |from, to| Op::Rename { from, to };
        for (op, expected) in [
            // Parent; leaf, node and root, a new leaf and node; a node for the extents; bitmap and
            // descriptor for these three new blocks. The inode, its bitmap, its descriptor.
            (Op::Create(flat, Initial::InBody), (1 + 5 + 1 + 6 + 3, 3)),
            (Op::Mkdir(flat, Initial::InBody), (16 + 1 + 2, 4)),
            (Op::Create(flat, Initial::Block), (16 + 1 + 2 + 2, 4)),
            (Op::Create(one, Initial::InBody), (16 + 2 + 2, 4)),
            // Two tables, three new ones.
            (Op::Create(indirect, Initial::InBody), (16 + 4 + 4, 5)),
            (Op::Link(flat), (13 + 2, 3)),
            // Leaf, two index blocks, the directory, what is freed. The inode, its bit.
            (Op::Unlink(flat), (3 + 1 + 2 + 3, 1)),
            // The tree's leaf; it and the one that is left are freed.
            (Op::Unlink(one), (9 + 1 + 4, 3)),
            (Op::Unlink(deepest), (9 + 5 + 12, 7)),
            (Op::Unlink(indirect), (9 + 3 + 6, 4)),
            // Its block besides.
            (Op::Rmdir(flat), (9 + 3, 2)),
            (rename(flat, flat), (13 + 6 + 2 + 1 + 1, 4)),
            (rename(one, flat), (13 + 11 + 2 + 1 + 1, 6)),
            (
                Op::RenameWhiteout(flat, Initial::InBody),
                (13 + 2 + 2 + 1 + 1 + 3, 3),
            ),
            (Op::Exchange, (8, 0)),
            (
                Op::SetXattr {
                    len: 100,
                    others: 9,
                },
                (8, 2),
            ),
            (truncate(flat, 1, Was::Data), (1 + 2, 0)),
            (truncate(flat, 8, Was::Data), (1 + 16, 0)),
            (truncate(one, 0, Was::Data), (1 + 1 + 4, 1)),
            (truncate(one, 8, Was::Data), (1 + 1 + 16, 1)),
            (truncate(one, 8, Was::Metadata), (1 + 1 + 16, 1 + 7 * 16)),
            (truncate(deepest, 0, Was::Data), (1 + 5 + 12, 5)),
            (truncate(indirect, 0, Was::Data), (1 + 3 + 8, 3)),
            (Op::PunchStep(flat, 0), (1 + 1 + 4, 1)),
            (Op::FreeInode { ea_inodes: 9 }, (1 + 2 + 1 + 3, 1)),
            (Op::Allocate(flat, 1), (1 + 1 + 4, 1)),
            (Op::Allocate(flat, 0), (1, 0)),
            (Op::Allocate(one, 2), (1 + 2 + 4 + 12, 4)),
            (Op::Allocate(indirect, 2), (1 + 2 + 5 + 14, 5)),
            (Op::Convert(one, 1), (1 + 1 + 2 + 4, 2)),
            (Op::Swap(flat, one), (1 + 1 + 2 + 1 + 1 + 2 + 4, 3)),
        ] {
            let (blocks, revokes) = expected;
            assert_eq!(LARGE.credits(op), Credits { blocks, revokes }, "{op:?}");
        }
    }

    /// A removal does not ask for more than its budget allows to happen.
    #[test]
    fn budgets() {
        for map in DEPTHS {
            let least = least_budget(map);
            for was in [Was::Data, Was::Metadata] {
                let of = |budget| LARGE.credits(truncate(map, budget, was));
                assert_eq!(of(0), of(least));
                assert_eq!(of(least + 3).blocks, of(least).blocks + 6);
            }
            assert!(blocks(&LARGE, Op::Unlink(map)) <= 26);
        }
    }

    /// What C ext4 asks for, by its formulas, for the default features of mkfs.
    #[test]
    fn no_more_than_c_ext4_for_what_is_usual() {
        let flat = DEPTHS[0];
        let (data, index) = (20 + 6 - 2, 12);
        for (op, c) in [
            (Op::Create(flat, Initial::Block), data + index + 3),
            (Op::Mkdir(flat, Initial::Block), data + index + 3),
            (Op::Link(flat), data + index + 1),
            (Op::Unlink(flat), data),
            (Op::Rmdir(flat), data),
            (
                Op::Rename {
                    from: flat,
                    to: flat,
                },
                2 * data + index + 2,
            ),
            (
                Op::SetXattr {
                    len: 100,
                    others: 0,
                },
                7 + 1,
            ),
        ] {
            assert!(blocks(&LARGE, op) <= c, "{op:?}");
        }
    }

    #[test]
    fn more_of_anything_is_not_less() {
        for map in DEPTHS {
            for op in ops(map) {
                let large = blocks(&LARGE, op);
                assert!(blocks(&TINY, op) <= large && large >= 1, "{op:?}");
                let quota = Shape { quota: 2, ..LARGE };
                assert_eq!(blocks(&quota, op), large + 2);
                // Whatever inode is written may be the first large one.
                let small = Shape {
                    large_file: SUPER,
                    ..LARGE
                };
                assert_eq!(blocks(&small, op), large + 1);
                let ea = Shape {
                    ea_inode: true,
                    ..LARGE
                };
                assert!(blocks(&ea, op) >= large, "{op:?}");
            }
            for runs in 0..300 {
                let of = |n| blocks(&LARGE, Op::Allocate(map, n));
                assert!(of(runs + 1) > of(runs));
            }
            // No overflow.
            assert!(blocks(&LARGE, Op::Allocate(map, u32::MAX)) > 1 << 20);
        }
        for (less, more) in [(0, 1), (1, 2)] {
            for (less, more) in ops(DEPTHS[less]).into_iter().zip(ops(DEPTHS[more])) {
                assert!(blocks(&LARGE, less) <= blocks(&LARGE, more), "{less:?}");
            }
        }
    }

    /// A tree cannot be deeper than it can be.
    #[test]
    fn depth_is_bounded() {
        let wild = Map::Extents { depth: u16::MAX };
        for (op, most) in ops(wild).into_iter().zip(ops(DEPTHS[2])) {
            assert_eq!(LARGE.credits(op), LARGE.credits(most));
        }
    }
}
