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
//! What directories and block maps do in the worst case is named here ([`dir_add`],
//! [`DIR_REMOVE`], [`map_insert`]) and derived from what `dir_edit` and the editors of block maps
//! may do; they and this file change together.
//!
//! Not counted: quota files (quota is off; see [`Shape::quota`]), and data.

use crate::ondisk::features::Incompat;
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

/// Blocks that an edit of a structure changes, and how many more it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Existing blocks that change.
    pub changed: u32,
    /// Blocks that are allocated.
    pub new: u32,
}

/// Where the first attributes of a new inode go (ACLs, security label).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// There are none, or they fit the inode's body.
    InBody,
    /// They may need an attribute block.
    Block,
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
    /// A name is removed; the inode may become an orphan.
    Unlink,
    /// An empty directory is removed, and becomes an orphan.
    Rmdir,
    /// A name moves to a directory with this map, perhaps in place of another.
    Rename(Map),
    /// As `Rename`, and a whiteout is left.
    RenameWhiteout(Map),
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
    /// One run of a file is freed, and the nodes that become empty.
    TruncateStep(Map),
    /// An inode without blocks is freed, with its attribute block.
    FreeInode {
        /// How many values of its attributes are in EA inodes.
        ea_inodes: u32,
    },
    /// This many separate runs are allocated and put into a map, wherever they belong.
    Allocate(Map, u32),
    /// This many existing runs become written.
    Convert(Map, u32),
}

/// Index blocks on the way to a directory's leaf: root and one level.
const INDEX_LEVELS: u32 = 2;
/// As [`INDEX_LEVELS`], with `large_dir`.
const INDEX_LEVELS_LARGE: u32 = 3;
/// Levels of indirect blocks.
const INDIRECT_LEVELS: u32 = 3;
/// Levels of nodes below the root of the deepest extent tree.
const EXTENT_DEPTH_MAX: u32 = 5;

/// Adding a name to a directory with an index of up to `levels` levels: the leaf is split (it and
/// a new leaf), and each index block on the way (it and a new one; for the root, a new block that
/// takes its entries). A linear directory that gets its index is less: two leaves and a root.
pub const fn dir_add(levels: u32) -> Worst {
    Worst {
        changed: levels.saturating_add(1),
        new: levels.saturating_add(1),
    }
}

/// Removing a name, or changing where one leads: its block. Index blocks stay.
pub const DIR_REMOVE: Worst = Worst { changed: 1, new: 0 };

/// Putting one run into a block map, or several that continue each other, so that they end up in
/// one leaf or in two neighbours.
///
/// Extents: the leaf and each node above it may be split, which adds one block per level, and the
/// root may move into a new node. The root itself is in the inode. Indirect: a block on the way
/// may be new at every level, and the run may go on in the next one; a run that crosses from one
/// tree (single, double, triple) to the next has new blocks on one side only.
pub const fn map_insert(map: Map) -> Worst {
    match map {
        Map::Extents { depth } => {
            let depth = depth_of(depth);
            Worst {
                changed: depth,
                new: depth.saturating_add(1),
            }
        }
        Map::Indirect => Worst {
            changed: INDIRECT_LEVELS,
            new: INDIRECT_LEVELS,
        },
    }
}

const fn depth_of(depth: u16) -> u32 {
    let depth = depth as u32;
    if depth < EXTENT_DEPTH_MAX {
        depth
    } else {
        EXTENT_DEPTH_MAX
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
            quota: 0,
        }
    }

    /// The table.
    pub fn credits(&self, op: Op) -> Credits {
        let mut revokes = 0;
        let blocks = match op {
            Op::Create(dir, initial) => sum(&[self.new_inode(initial), self.name_added(dir)]),
            // Its first block; the map is in the inode.
            Op::Mkdir(dir, initial) | Op::SlowSymlink(dir, initial) => sum(&[
                self.new_inode(initial),
                self.name_added(dir),
                1,
                self.bits(1),
            ]),
            Op::Tmpfile(initial) => sum(&[self.new_inode(initial), ORPHAN_ADD]),
            // The inode with its count, and the orphan that it may have been.
            Op::Link(dir) => sum(&[self.name_added(dir), INODE, ORPHAN_DEL]),
            // Both inodes.
            Op::Unlink | Op::Rmdir => sum(&[DIR_REMOVE.changed, INODE, INODE, ORPHAN_ADD]),
            Op::Rename(dir) => self.rename(dir),
            // In the place of the old name, which changes anyway.
            Op::RenameWhiteout(dir) => sum(&[self.rename(dir), self.new_inode(Initial::InBody)]),
            // Two names, the two directories' inodes, two inodes (times), and if they are
            // directories their first blocks (`..`).
            Op::Exchange => sum(&[
                DIR_REMOVE.changed,
                DIR_REMOVE.changed,
                INODE,
                INODE,
                INODE,
                INODE,
                1,
                1,
            ]),
            Op::SetAttr => INODE,
            // The orphan while it shrinks; `large_file` when it grows.
            Op::SetSize => sum(&[INODE, ORPHAN_ADD, SUPER]),
            Op::SetXattr { len, others } => {
                revokes = 1;
                self.set_xattr(len, others)
            }
            // `large_file`, when the size is the first one above 2 GiB.
            Op::UpdateInode => sum(&[INODE, SUPER]),
            Op::OrphanAdd => sum(&[INODE, ORPHAN_ADD]),
            Op::OrphanDel => sum(&[INODE, ORPHAN_DEL]),
            // The nodes on the way to the run; those that become empty are freed, each perhaps in
            // another group than the run.
            Op::TruncateStep(map) => {
                let nodes = map_insert(map).changed;
                revokes = nodes;
                sum(&[INODE, nodes, self.bits(nodes.saturating_add(1))])
            }
            // Its slot, its bit, the orphan that it was; its attribute block, which may only lose
            // an owner; a reference less, and perhaps a new orphan, per EA inode.
            Op::FreeInode { ea_inodes } => {
                revokes = 1;
                let ea_inodes = if self.ea_inode { ea_inodes } else { 0 };
                sum(&[
                    INODE,
                    INODE_BITS,
                    ORPHAN_DEL,
                    1,
                    self.bits(1),
                    ea_counts(ea_inodes),
                ])
            }
            Op::Allocate(map, runs) => {
                let nodes = Self::inserts(map, runs);
                let taken = nodes.new.saturating_add(runs);
                sum(&[INODE, SUPER, nodes.changed, nodes.new, self.bits(taken)])
            }
            // A run may be split in three: two more entries, in one leaf or two neighbours.
            Op::Convert(map, runs) => {
                let nodes = Self::inserts(map, runs);
                sum(&[INODE, SUPER, nodes.changed, nodes.new, self.bits(nodes.new)])
            }
        };
        Credits {
            blocks: blocks.saturating_add(self.quota),
            revokes,
        }
    }

    /// Bitmaps and descriptors for blocks that are allocated or freed in `runs` runs: one of each
    /// per run, but no more than there are. A run lies in one group.
    fn bits(&self, runs: u32) -> u32 {
        runs.min(self.groups)
            .saturating_add(runs.min(self.gdt_blocks))
    }

    /// A name in a directory: the blocks that are split, their allocation, the blocks of the map
    /// that new blocks are put into, and the directory's inode.
    fn name_added(&self, dir: Map) -> u32 {
        let names = dir_add(self.index_levels);
        // New blocks are added at the end, so that they continue each other.
        let map = map_insert(dir);
        let taken = names.new.saturating_add(map.new);
        sum(&[
            INODE,
            names.changed,
            names.new,
            map.changed,
            map.new,
            self.bits(taken),
        ])
    }

    /// An inode that is allocated and written, with its first attributes.
    fn new_inode(&self, initial: Initial) -> u32 {
        let attributes = match initial {
            Initial::InBody => 0,
            // The block (or another owner of an equal one), its allocation, and `ext_attr`. These
            // attributes are small: none is in an inode of its own.
            Initial::Block => sum(&[1, self.bits(1), SUPER]),
        };
        sum(&[INODE, INODE_BITS, attributes])
    }

    /// The new name (or in its place the old one's entry), the old name, the inodes of the other
    /// directory, of what moves and of what goes, which becomes an orphan, and the block with `..`.
    fn rename(&self, dir: Map) -> u32 {
        sum(&[
            self.name_added(dir),
            DIR_REMOVE.changed,
            INODE,
            INODE,
            INODE,
            ORPHAN_ADD,
            1,
        ])
    }

    /// The inode; the old block (changed, or an owner less, or freed), and its bits; the new block
    /// (or another owner of an equal one), and its bits; `ext_attr`. With EA inodes: the old
    /// value's count and its becoming an orphan; the new value's inode with its bits and its
    /// blocks, which are journalled; one count per value of the attribute block when that is
    /// copied.
    fn set_xattr(&self, len: u32, others: u32) -> u32 {
        let places = sum(&[INODE, 1, self.bits(1), 1, self.bits(1), SUPER]);
        if !self.ea_inode {
            return places;
        }
        let blocks = len.div_ceil(self.block_size.max(1));
        // One run each, if free space is like that; four of them fit the inode, else a node takes
        // them: 16 MiB in blocks of 1 KiB are more than one node of 84, so as many as it takes.
        let nodes = blocks.div_ceil(EXTENTS_PER_NODE_MIN).saturating_add(1);
        let nodes = if blocks <= EXTENTS_IN_ROOT { 0 } else { nodes };
        let taken = blocks.saturating_add(nodes);
        let new = if len == 0 {
            0
        } else {
            sum(&[INODE, INODE_BITS, taken, self.bits(taken)])
        };
        sum(&[places, ea_counts(1), new, ea_counts(others)])
    }

    /// Several runs that need have nothing to do with one another. The first may raise the tree by
    /// a level; the others find it raised.
    fn inserts(map: Map, runs: u32) -> Worst {
        let one = map_insert(map);
        let Some(more) = runs.checked_sub(1) else {
            return Worst { changed: 0, new: 0 };
        };
        let each = match map {
            // Without a level before, all go to the one node that the root has moved into; it has
            // room for them, or is split.
            Map::Extents { depth: 0 } => Worst {
                changed: 0,
                new: more.div_ceil(EXTENTS_PER_NODE_MIN / 2),
            },
            Map::Extents { .. } => Worst {
                changed: more.saturating_mul(one.changed),
                new: more.saturating_mul(one.changed),
            },
            Map::Indirect => Worst {
                changed: more.saturating_mul(one.changed),
                new: more.saturating_mul(one.new),
            },
        };
        Worst {
            changed: one.changed.saturating_add(each.changed),
            new: one.new.saturating_add(each.new),
        }
    }
}

/// Extents that the root in the inode holds.
const EXTENTS_IN_ROOT: u32 = 4;
/// Extents that a node holds in the smallest block: (1024 - 12) / 12, without the checksum.
const EXTENTS_PER_NODE_MIN: u32 = 84;

/// Counts of EA inodes: their slots; those that end or begin go through the orphan file or list,
/// where each may be in another block.
fn ea_counts(n: u32) -> u32 {
    n.saturating_mul(INODE.saturating_add(ORPHAN_ADD))
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

    fn ops(map: Map) -> [Op; 20] {
        [
            Op::Create(map, Initial::Block),
            Op::Mkdir(map, Initial::Block),
            Op::SlowSymlink(map, Initial::Block),
            Op::Tmpfile(Initial::Block),
            Op::Link(map),
            Op::Unlink,
            Op::Rmdir,
            Op::Rename(map),
            Op::RenameWhiteout(map),
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
            Op::TruncateStep(map),
            Op::FreeInode { ea_inodes: 3 },
            Op::Allocate(map, 3),
            Op::Convert(map, 3),
        ]
    }

    fn blocks(shape: &Shape, op: Op) -> u32 {
        shape.credits(op).blocks
    }

    /// Rows of the table, worked out by hand for a large file system.
    #[test]
    fn rows() {
        let flat = DEPTHS[0];
        for (op, expected) in [
            // Parent; leaf, node, root and as many new ones; a node for the extents; bitmap and
            // descriptor for these four new blocks. The inode, its bitmap, its descriptor.
            (Op::Create(flat, Initial::InBody), 1 + 6 + 1 + 8 + 3),
            (Op::Mkdir(flat, Initial::InBody), 19 + 1 + 2),
            (Op::Create(flat, Initial::Block), 19 + 1 + 2 + 1),
            (Op::Create(DEPTHS[1], Initial::InBody), 19 + 2 + 2),
            (Op::Link(flat), 16 + 2),
            (Op::Unlink, 4),
            (Op::Rename(flat), 16 + 1 + 3 + 1 + 1),
            (Op::Exchange, 8),
            (
                Op::SetXattr {
                    len: 100,
                    others: 9,
                },
                8,
            ),
            (Op::TruncateStep(flat), 1 + 2),
            (Op::TruncateStep(DEPTHS[1]), 1 + 1 + 4),
            (Op::Allocate(flat, 1), 2 + 1 + 4),
            (Op::Allocate(flat, 0), 2),
            (Op::Allocate(DEPTHS[1], 2), 2 + 2 + 3 + 10),
            (Op::Convert(DEPTHS[1], 1), 2 + 1 + 2 + 4),
        ] {
            assert_eq!(blocks(&LARGE, op), expected, "{op:?}");
        }
        assert_eq!(LARGE.credits(Op::TruncateStep(DEPTHS[2])).revokes, 5);
        assert_eq!(LARGE.credits(Op::Unlink).revokes, 0);
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
            (Op::Unlink, data),
            (Op::Rmdir, data),
            (Op::Rename(flat), 2 * data + index + 2),
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
        assert_eq!(map_insert(wild), map_insert(DEPTHS[2]));
    }
}
