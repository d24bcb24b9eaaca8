// SPDX-License-Identifier: GPL-2.0

//! Inodes that are made.
//!
//! What can be found out before the transaction is, by [`Fresh::new`]: owner, mode, flags and
//! first attributes, in an inode that only memory knows. [`Fresh::make`] gives it a number and
//! writes its slot, in the handle of the operation; what it yields is [`Made`], an inode that
//! is on disk, but for its first attributes, its blocks and its name.
//!
//! An operation that fails after that [abandons](Made::abandon) it: the inode becomes an orphan in
//! the same transaction, and its eviction, after the handle has been stopped, frees all that it has
//! got by then. So nothing has to be undone piece by piece, and a crash in between is nothing
//! special.
//!
//! Locking: i_rwsem of the directory exclusively, as the VFS has it for everything that makes an
//! inode.

use super::{
    alloc,
    dir::{Dir, DirInode},
    fault::Fault,
    file::{File, FileInode, SpecialInode},
    inode::{number, vfs_flags, InodeInfo, MapKind, NewFacts, Pages},
    inode_write,
    options::Toggles,
    orphan,
    symlink::Symlink,
    tx::Handle,
    xattr_init::Initial,
    Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{alloc::orlov::Parent, credits, dirhash::DirHash},
    linux::{
        acl_change,
        dentry::Dentry,
        idmap::Idmap,
        inode_edit::InodeEdit as _,
        inode_new::{FreshInode, ReadyInode},
        random::random_u32,
    },
    ondisk::{
        extent::edit::EMPTY_ROOT,
        features::{Incompat, RoCompat},
        inode::{FileType, InodeFlags, I_BLOCK_SIZE},
        time::Timestamp,
        Ino,
    },
};
use core::cell::Cell;
use kernel::prelude::*;

/// The version of the hash function that spreads directories over the groups: half MD4.
const SPREAD_HASH: u8 = 1;

/// What a directory hands on to what is made in it.
const INHERITED: InodeFlags = InodeFlags::SECRM
    .union(InodeFlags::UNRM)
    .union(InodeFlags::COMPR)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::NODUMP)
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::NOCOMPR)
    .union(InodeFlags::JOURNAL_DATA)
    .union(InodeFlags::NOTAIL)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::PROJINHERIT)
    .union(InodeFlags::CASEFOLD)
    .union(InodeFlags::DAX);
/// Of these, what a regular file does not get.
const OF_DIRECTORIES: InodeFlags = InodeFlags::DIRSYNC
    .union(InodeFlags::TOPDIR)
    .union(InodeFlags::CASEFOLD)
    .union(InodeFlags::PROJINHERIT);
/// And what everything else gets.
const OF_OTHERS: InodeFlags = InodeFlags::NODUMP.union(InodeFlags::NOATIME);

/// What a new inode is to hold.
#[derive(Clone, Copy)]
pub(crate) enum Contents<'a> {
    /// Nothing yet: a regular file, a directory, a symbolic link with a block to come.
    Blocks,
    /// A directory that is in its inode, whose `i_block` this is.
    Inline(&'a [u8; I_BLOCK_SIZE]),
    /// The text of a symbolic link that fits the inode with its NUL.
    Link(&'a [u8]),
    /// A device with this major and minor number; a FIFO or a socket, for which they are 0.
    Special(u32, u32),
}

/// An inode in memory that is going to be made.
pub(crate) struct Fresh<'a> {
    inode: FreshInode<Rext4Fs>,
    name: Option<&'a Dentry<Rext4Fs>>,
    initial: Initial,
}

impl<'a> Fresh<'a> {
    /// Starts an inode of `mode` in `dir`. `name` is the one that it is made under; `None` for a
    /// file without one. To be called outside of a handle. May sleep.
    ///
    /// Errors: EPERM in a directory that has been removed; ENOMEM, and what reading the
    /// directory's ACL and security modules say.
    pub(crate) fn new(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        name: Option<&'a Dentry<Rext4Fs>>,
        mode: u16,
    ) -> Result<Self> {
        if dir.nlink() == 0 {
            return Err(EPERM);
        }
        let sb = dir.super_block();
        let inherited = acl_change::inherit(dir, mode)?;
        let mut inode = sb.new_inode()?;
        if sb.info().has(Toggles::GRPID) {
            inode.init_owner_bsd(idmap, dir, inherited.mode);
        } else {
            inode.init_owner(idmap, dir, inherited.mode);
        }
        let initial = Initial::gather(dir, &inode, name, inherited)?;
        Ok(Self {
            inode,
            name,
            initial,
        })
    }

    /// What the credits of its making depend on.
    pub(crate) fn credits(&self) -> credits::Initial {
        self.initial.credits()
    }

    /// Makes the inode, with `links` links (0 for a file without a name), in `handle`. `name`
    /// decides where a directory goes. May sleep.
    ///
    /// Errors: ENOSPC when there is no inode left; EIO, damage, those of a journal that has been
    /// given up. Nothing has been made then.
    pub(crate) fn make(
        self,
        handle: &Handle<'_>,
        dir: &VfsInode,
        name: &[u8],
        contents: Contents<'_>,
        links: u32,
    ) -> Result<Made, Fault> {
        let sb = dir.super_block();
        let is_dir = FileType::from_mode(self.inode.mode()) == Some(FileType::Directory);
        let parent = parent(sb, dir)?;
        let hash = if is_dir && parent.spreads {
            spread_hash(sb, name)
        } else {
            0
        };
        let ino = alloc::take_inode(sb, handle, &parent, is_dir, hash)?;
        let geo = &sb.info().geometry;
        dir.data().set_last_group(geo.inode_location(ino).group);
        self.fill(handle, dir, ino, contents, links)
            .map_err(|Unmade { error, in_use }| {
                if !in_use {
                    // It has just been taken: what is wrong then has been reported.
                    let _ = alloc::free_inode(sb, handle, ino, is_dir);
                }
                error
            })
    }

    fn fill(
        self,
        handle: &Handle<'_>,
        dir: &VfsInode,
        ino: Ino,
        contents: Contents<'_>,
        links: u32,
    ) -> Result<Made, Unmade> {
        let sb = dir.super_block();
        let Self {
            mut inode,
            name,
            mut initial,
        } = self;
        let mode = inode.mode();
        let file_type = FileType::from_mode(mode).ok_or(EINVAL)?;
        let now = inode.touch_ctime();
        inode.set_mtime(now);
        inode.set_atime(now);
        let (secs, nanos) = now;
        let facts = facts(sb, dir, file_type, contents, Timestamp { secs, nanos });
        inode.data_mut().set_up(sb, ino, &facts)?;
        inode.set_generation(facts.generation);
        // As C ext4 starts to count; the lowest bit is the VFS's.
        inode.set_raw_version(1 << 1);
        let mut inode = inode.insert(ino.get().into()).map_err(|_| {
            alloc::distrust_inode(sb, ino);
            Unmade {
                error: EIO.into(),
                in_use: true,
            }
        })?;
        initial.seal(dir, &inode, name)?;
        let shown = vfs_flags(facts.flags);
        inode.set_vfs_flags(shown, shown);
        let mut rdev = None;
        match (file_type, contents) {
            (FileType::Regular, _) => {
                inode.set_regular::<FileInode, File, Pages>(sb.info().min_folio_order);
            }
            (FileType::Directory, _) => inode.set_directory::<DirInode, Dir>(),
            (FileType::Symlink, Contents::Link(text)) => {
                inode.set_size(text.len() as u64);
                inode.set_symlink::<Symlink>(Some(InodeInfo::fast_link));
            }
            (FileType::Symlink, _) => inode.set_symlink::<Symlink>(None),
            (_, Contents::Special(major, minor)) => {
                inode.set_special::<SpecialInode>(mode, (major, minor));
                rdev = file_type.is_device().then_some((major, minor));
            }
            _ => return Err(EINVAL.into()),
        }
        if initial.has_no_acl() {
            inode.has_no_acl();
        }
        match links {
            0 => inode.clear_nlink(),
            1 => {}
            n => inode.set_nlink(n),
        }
        let inode = inode.seal();
        inode_write::prepare(handle, &inode)?.store_fresh(rdev)?;
        let mut made = Made {
            inode,
            initial,
            named: Cell::new(false),
        };
        made.inode.set_allocated();
        Ok(made)
    }
}

/// An inode could not be made.
struct Unmade {
    error: Fault,
    /// The number is somebody else's.
    in_use: bool,
}

impl<E: Into<Fault>> From<E> for Unmade {
    fn from(e: E) -> Self {
        Self {
            error: e.into(),
            in_use: false,
        }
    }
}

/// An inode that is on disk, but for its first attributes, its blocks and its name; nobody else can
/// use it yet. One that is not wanted after all is to be [abandoned](Self::abandon): it must not
/// be dropped inside of a handle.
#[must_use]
pub(crate) struct Made {
    inode: ReadyInode<Rext4Fs>,
    initial: Initial,
    /// A directory has its name, whether that could be stored or not.
    named: Cell<bool>,
}

impl Made {
    /// A directory has its name now.
    pub(crate) fn has_name(&self) {
        self.named.set(true);
    }

    /// Whether a directory has its name.
    pub(crate) fn is_named(&self) -> bool {
        self.named.get()
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &VfsInode {
        &self.inode
    }

    /// Stores its first attributes.
    ///
    /// Errors: ENOSPC, EIO, and so on: the inode is to be abandoned then.
    pub(crate) fn store_attributes(&self, handle: &Handle<'_>) -> Result<(), Fault> {
        self.initial.store(handle, &self.inode)
    }

    /// The inode, to be opened to everybody.
    pub(crate) fn into_ready(self) -> ReadyInode<Rext4Fs> {
        self.inode
    }

    /// It has got its name, and nobody needs it in memory now. Not in a handle.
    pub(crate) fn release(self) {
        drop(self.inode.finish());
    }

    /// It is not wanted: it becomes an orphan in `handle`, which is stopped, and then goes.
    pub(crate) fn abandon(self, handle: Handle<'_>) {
        self.inode.clear_nlink();
        // If this fails the journal has been given up, and nothing of it all reaches the disk; or
        // there is none, and e2fsck will find it.
        let _ = orphan::add(&handle, &self.inode);
        let _ = inode_write::store(&handle, &self.inode);
        let _ = handle.stop();
    }
}

/// What a new inode starts with.
fn facts(
    sb: &Sb,
    dir: &VfsInode,
    file_type: FileType,
    contents: Contents<'_>,
    now: Timestamp,
) -> NewFacts {
    let geo = &sb.info().geometry;
    let parent = dir.data();
    let inherits_project =
        geo.has(RoCompat::PROJECT) && parent.flags().contains(InodeFlags::PROJINHERIT);
    let wanted = match file_type {
        FileType::Directory => INHERITED,
        FileType::Regular => InodeFlags::from_bits(INHERITED.bits() & !OF_DIRECTORIES.bits()),
        _ => OF_OTHERS,
    };
    let mut flags = parent.flags().intersection(wanted);
    let mut root = [0; I_BLOCK_SIZE];
    let map_kind = match contents {
        Contents::Blocks if geo.has(Incompat::EXTENTS) => {
            flags = flags.union(InodeFlags::EXTENTS);
            root = EMPTY_ROOT;
            MapKind::Extents
        }
        Contents::Blocks => MapKind::Indirect,
        Contents::Inline(head) => {
            flags = flags.union(InodeFlags::INLINE_DATA);
            root = *head;
            MapKind::None
        }
        Contents::Link(text) => {
            for (to, from) in root.iter_mut().zip(text) {
                *to = *from;
            }
            MapKind::None
        }
        Contents::Special(..) => MapKind::None,
    };
    NewFacts {
        map_kind,
        flags,
        generation: random_u32(),
        crtime: now,
        projid: if inherits_project { parent.projid() } else { 0 },
        root,
        may_inline: file_type == FileType::Regular && geo.has(Incompat::INLINE_DATA),
    }
}

/// The directory, as the search for a group sees it.
fn parent(sb: &Sb, dir: &VfsInode) -> Result<Parent, Fault> {
    let geo = &sb.info().geometry;
    let ino = number(dir)?;
    Ok(Parent {
        ino,
        group: geo.inode_location(ino).group,
        last: dir.data().last_group(),
        spreads: ino == Ino::ROOT || dir.data().flags().contains(InodeFlags::TOPDIR),
    })
}

/// Where the search for a directory that is to be spread begins.
fn spread_hash(sb: &Sb, name: &[u8]) -> u32 {
    let geo = &sb.info().geometry;
    match DirHash::new(SPREAD_HASH, geo.hash_unsigned(), geo.hash_seed()) {
        Some(hash) if !name.is_empty() => hash.hash(name).major,
        _ => random_u32(),
    }
}
