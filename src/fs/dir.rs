// SPDX-License-Identifier: GPL-2.0

//! Directories: looking up names and reading entries.
//!
//! The engine does both; this file gives it the directory's blocks, through the directory's block
//! map and the buffer cache, and turns what it finds into inodes.

use super::{
    fault::Fault,
    file::{self, File},
    fileattr,
    inode::{iget, number, with_inline},
    map, namei, rename, setattr, vec, Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        dir::{DirBlock, DirBlocks, Directory, Verdict},
        dir_batch::Record,
        dir_cookie::CookieWidth,
        dir_lookup,
        mapping::MapKind,
        readdir::{self, Cursor},
    },
    linux::{
        acl::{Acl, AclKind, PosixAcl},
        buffer::{Buffer, Verified},
        dentry::{Dentry, Instantiated, Negative},
        dir::{DirContext, DirOps},
        fiemap::FiemapInfo,
        file::FileOps as _,
        fileattr::FileAttr,
        idmap::Idmap,
        inode_ops::InodeOps,
        namei_ops::{Rename, Tmpfile},
        setattr::SetAttr,
        stat::KStat,
        super_block::{message, Level},
        xattr::ListBuffer,
    },
    ondisk::{
        dir::{FileType, NAME_MAX},
        inline::InlineDir,
        inode::{InodeFlags, Purpose},
        Corrupt, FileBlock,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{prelude::*, sync::aref::ARef};

/// The blocks of one directory.
pub(super) struct Blocks<'a> {
    dir: &'a VfsInode,
}

impl<'a> Blocks<'a> {
    /// Those of `dir`.
    #[inline]
    pub(super) fn new(dir: &'a VfsInode) -> Self {
        Self { dir }
    }
}

impl<'a> DirBlocks for Blocks<'a> {
    type Block = Buffer<'a>;
    type Error = Fault;

    #[inline]
    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Buffer<'a>>, Fault>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        let (m, _) = map::lookup(self.dir, lblk, false)?;
        let MapKind::Written(start) = m.kind else {
            return Ok(DirBlock::Hole(lblk.distance_to(m.end()).max(1)));
        };
        let block = start.get().wrapping_add(m.lblk.distance_to(lblk).into());
        let buffer = self.dir.super_block().device().read(block)?;
        if !buffer.is_verified(Verified::Dir) && verify(&buffer)? == Verdict::Passed {
            buffer.set_verified(Verified::Dir);
        }
        Ok(DirBlock::Mapped(buffer))
    }

    fn report(&self, what: Corrupt, lblk: FileBlock) {
        if matches!(what, Corrupt::Dx(_)) {
            // The entries can still be had, by reading from front to back.
            warn(self.dir, lblk, what);
        } else {
            Fault::Corrupt(what).report_inode(self.dir, "directory");
        }
    }

    fn relax(&self) -> Result<(), Fault> {
        crate::linux::sched::relax()?;
        Ok(())
    }

    fn readahead(&self, lblk: FileBlock, blocks: u32) {
        // Only what is known without asking the disk.
        if let Ok((m, _)) = map::lookup(self.dir, lblk, true) {
            if let MapKind::Written(start) = m.kind {
                let skip = m.lblk.distance_to(lblk);
                let len = blocks.min(m.len.saturating_sub(skip));
                self.dir
                    .super_block()
                    .device()
                    .read_ahead(start.get().wrapping_add(skip.into()), len);
            }
        }
    }
}

/// Reports damage that nothing is lost by.
#[cold]
fn warn(dir: &VfsInode, lblk: FileBlock, what: Corrupt) {
    let sb = dir.super_block();
    sb.info().errors.count_warning();
    if sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: inode #{}: lblock {}: {}, run e2fsck -D\n",
                dir.ino(),
                lblk.get(),
                what.message()
            ),
        );
    }
}

/// Runs `f` over `dir` as the engine sees it.
pub(super) fn with_directory<'d, R>(
    dir: &'d VfsInode,
    f: impl FnOnce(&Directory<'_, Blocks<'d>>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let blocks = Blocks { dir };
    let directory = in_blocks(&blocks)?;
    if !dir.data().flags().contains(InodeFlags::INLINE_DATA) {
        return f(&directory);
    }
    with_inline(dir, |i_block, value| {
        f(&Directory {
            inline: Some(InlineDir::new(i_block, value).map_err(Corrupt::from)?),
            ..directory
        })
    })
}

/// As [`with_directory`], without a lock while `f` runs, which may touch memory of user space: a
/// page fault may start a handle, and wait for one that waits for xattr_sem. A directory that is
/// in its inode is copied, to `copy`, which is kept for the next time.
fn with_copy<'d, R>(
    dir: &'d VfsInode,
    copy: &mut KVec<u8>,
    f: impl FnOnce(&Directory<'_, Blocks<'d>>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let blocks = Blocks { dir };
    let directory = in_blocks(&blocks)?;
    if !dir.data().flags().contains(InodeFlags::INLINE_DATA) {
        return f(&directory);
    }
    // Before the lock is taken: with it held, memory must not be waited for.
    if copy.is_empty() {
        let geo = &dir.super_block().info().geometry;
        *copy = vec::filled(0u8, geo.inode_size().into())?;
    }
    let (head, len) = with_inline(dir, |i_block, value| {
        for (to, from) in copy.iter_mut().zip(value.unwrap_or(&[])) {
            *to = *from;
        }
        Ok((*i_block, value.map(<[u8]>::len)))
    })?;
    let value = len.and_then(|len| copy.get(..len));
    f(&Directory {
        inline: Some(InlineDir::new(&head, value).map_err(Corrupt::from)?),
        ..directory
    })
}

/// A directory as it is but for entries in its inode.
fn in_blocks<'a, 'd>(blocks: &'a Blocks<'d>) -> Result<Directory<'a, Blocks<'d>>, Fault> {
    let dir = blocks.dir;
    let info = dir.data();
    Ok(Directory {
        blocks,
        format: &dir.super_block().info().dir_format,
        ino: number(dir)?,
        size: dir.size(),
        seed: info.csum_seed(),
        indexed: info.flags().contains(InodeFlags::INDEX),
        version: info.changes.load(Relaxed),
        inline: None,
    })
}

/// Inode operations of directories.
pub(crate) struct DirInode;

#[vtable]
impl InodeOps for DirInode {
    type Fs = Rext4Fs;

    fn lookup(dir: &VfsInode, name: &[u8]) -> Result<Option<ARef<VfsInode>>> {
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let found = with_directory(dir, |d| dir_lookup::lookup(d, name, FileBlock::ZERO))
            .map_err(|e| e.report_inode(dir, "lookup"))?;
        let Some(found) = found else {
            return Ok(None);
        };
        if u64::from(found.ino.get()) == dir.ino() {
            return Err(damaged(dir, "entry links to the directory itself"));
        }
        match iget(dir.super_block(), found.ino, Purpose::Path) {
            Ok(inode) => Ok(Some(inode)),
            Err(e) if e == ESTALE => Err(damaged(dir, "deleted inode referenced")),
            Err(e) => Err(e),
        }
    }

    fn getattr(inode: &VfsInode, stat: &mut KStat<'_>) {
        file::getattr(inode, stat);
    }

    fn listxattr(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result {
        super::xattr::list(inode, out)
    }

    fn get_acl(inode: &VfsInode, kind: AclKind) -> Result<Option<PosixAcl>> {
        super::acl::get(inode, kind)
    }

    fn set_acl(
        idmap: Idmap<'_>,
        _name: &Dentry<Rext4Fs>,
        inode: &VfsInode,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        super::acl::set(idmap, inode, acl, kind)
    }

    fn fiemap(inode: &VfsInode, info: &mut FiemapInfo<'_>, start: u64, len: u64) -> Result {
        file::fiemap(inode, info, start, len)
    }

    fn fileattr_get(inode: &VfsInode, out: &mut FileAttr<'_>) -> Result {
        fileattr::get(inode, out)
    }

    fn fileattr_set(idmap: Idmap<'_>, inode: &VfsInode, wanted: &FileAttr<'_>) -> Result {
        fileattr::set(idmap, inode, wanted)
    }

    fn setattr(attr: &mut SetAttr<'_, Rext4Fs>) -> Result {
        setattr::setattr::<Self>(attr)
    }

    fn create<'a>(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        name: Negative<'a, Rext4Fs>,
        mode: u16,
    ) -> Result<Instantiated<'a>> {
        namei::create(idmap, dir, name, mode)
    }

    fn link<'a>(
        inode: &VfsInode,
        dir: &VfsInode,
        name: Negative<'a, Rext4Fs>,
    ) -> Result<Instantiated<'a>> {
        namei::link(inode, dir, name)
    }

    fn unlink(dir: &VfsInode, name: &Dentry<Rext4Fs>, inode: &VfsInode) -> Result {
        namei::unlink(dir, name, inode)
    }

    fn symlink<'a>(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        name: Negative<'a, Rext4Fs>,
        target: &[u8],
    ) -> Result<Instantiated<'a>> {
        namei::symlink(idmap, dir, name, target)
    }

    fn mkdir<'a>(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        name: Negative<'a, Rext4Fs>,
        mode: u16,
    ) -> Result<Instantiated<'a>> {
        namei::mkdir(idmap, dir, name, mode)
    }

    fn rmdir(dir: &VfsInode, name: &Dentry<Rext4Fs>, inode: &VfsInode) -> Result {
        namei::rmdir(dir, name, inode)
    }

    fn mknod<'a>(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        name: Negative<'a, Rext4Fs>,
        mode: u16,
        rdev: (u32, u32),
    ) -> Result<Instantiated<'a>> {
        namei::mknod(idmap, dir, name, mode, rdev)
    }

    fn rename(args: &Rename<'_, Rext4Fs>) -> Result {
        rename::rename(args)
    }

    fn tmpfile<'a>(
        idmap: Idmap<'_>,
        dir: &VfsInode,
        file: Tmpfile<'a, Rext4Fs>,
        mode: u16,
    ) -> Result<Instantiated<'a>> {
        namei::tmpfile(idmap, dir, file, mode)
    }
}

/// Reports an entry of `dir` that leads nowhere good.
#[cold]
fn damaged(dir: &VfsInode, what: &'static str) -> Error {
    let inode_error = crate::ondisk::inode::InodeError::DeletedReferenced;
    Fault::Corrupt(inode_error.into()).report_inode(dir, what)
}

/// Operations on an open directory.
pub(crate) struct Dir;

/// What an open directory remembers between two getdents calls.
#[derive(Default)]
pub(crate) struct DirState {
    cursor: Cursor,
    records: KVec<Record>,
    /// What has been copied out of the inode of a directory that is in it.
    inline: KVec<u8>,
}

impl DirOps for Dir {
    type Fs = Rext4Fs;
    type State = DirState;
    type File = File;

    fn iterate(dir: &VfsInode, state: &mut DirState, ctx: &mut DirContext<'_>) -> Result {
        if state.records.is_empty() {
            // Nearly every leaf in a single pass (see `readdir::fill`), and bounded.
            let len = (dir.super_block().block_size() >> 4).min(MAX_RECORDS);
            state.records = vec::filled(Record::EMPTY, len)?;
        } else if state.cursor.is_crowded() && state.records.len() < CROWD_RECORDS {
            // Without memory it just takes longer.
            if let Ok(mut more) = vec::filled(Record::EMPTY, CROWD_RECORDS) {
                for (to, from) in more.iter_mut().zip(state.records.iter()) {
                    *to = *from;
                }
                state.records = more;
            }
        }
        let Ok(position) = u64::try_from(ctx.position()) else {
            return Err(EINVAL);
        };
        let width = width(ctx.narrow());
        let DirState {
            cursor,
            records,
            inline,
        } = state;
        let result = with_copy(dir, inline, |d| {
            readdir::fill(d, cursor, records, position, width, |item| {
                ctx.set_position(item.position as i64);
                ctx.emit(item.name, item.ino.get().into(), dtype(item.file_type))
            })
        });
        ctx.set_position(cursor.position() as i64);
        result.map_err(|e| e.report_inode(dir, "readdir"))
    }

    fn seek_limits(dir: &VfsInode, narrow: bool) -> (i64, i64) {
        let hashed = with_directory(dir, |d| Ok(d.hash_order())).unwrap_or(false);
        if hashed {
            let end = width(narrow).end() as i64;
            (end, end)
        } else {
            (File::max_bytes(dir), dir.size() as i64)
        }
    }
}

/// The most records of a batch: 1024 of 16 bytes, which suffices for blocks of 16 KiB; larger
/// blocks take a few passes.
const MAX_RECORDS: usize = 1024;
/// The same where a hash goes on over several leaves, which are read once per batch.
const CROWD_RECORDS: usize = 4096;

fn width(narrow: bool) -> CookieWidth {
    if narrow {
        CookieWidth::Bits32
    } else {
        CookieWidth::Bits64
    }
}

/// The `DT_*` value of a file type: the type bits of a mode, shifted down.
#[inline]
fn dtype(file_type: FileType) -> u8 {
    match file_type {
        FileType::Unknown => 0,
        FileType::Regular => 8,
        FileType::Directory => 4,
        FileType::CharDevice => 2,
        FileType::BlockDevice => 6,
        FileType::Fifo => 1,
        FileType::Socket => 12,
        FileType::Symlink => 10,
    }
}
