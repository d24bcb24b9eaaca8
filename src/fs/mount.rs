// SPDX-License-Identifier: GPL-2.0

//! Mounting.
//!
//! The order: find and verify the superblock; refuse what cannot be mounted; derive the geometry
//! and load what it leads to; replay the journal if it needs that, and then load everything once
//! more, since the replay may have changed any of it; read the root directory; for a mount that
//! writes, open the journal and say so in the superblock; deal with the orphans that a crash has
//! left, for which a read-only mount writes as well.

use super::{
    errors, file,
    inode::iget,
    journal, lazy_init,
    options::{self, MountedAs, Opt, Options, Parsed, Toggles},
    orphan,
    statfs::Super,
    super_info::SuperInfo,
    super_write, sysfs, Rext4Fs, Sb,
};
use crate::{
    linux::{
        fs_context::{ContextOps, FsContext, Given, ParamTable, SB_I_VERSION},
        super_block::{message, Level, NewSuper, Published, SuperFacts},
    },
    ondisk::{
        features::{Features, Incompat, RoCompat},
        inode::Purpose,
        superblock::{self, SuperError, Superblock},
        time, Geometry, Ino,
    },
};
use kernel::prelude::*;

/// Mounts and remounts rext4.
pub(crate) struct Mount;

/// Smallest block size in bytes, and the unit in which `sb=` counts.
const MIN_BLOCK_SIZE: u32 = 1024;

#[vtable]
impl ContextOps for Mount {
    type Fs = Rext4Fs;
    type Context = Parsed;
    type Opt = Opt;
    const PARAMETERS: ParamTable<Opt> = options::PARAMETERS;
    const SB_FLAGS: u32 = SB_I_VERSION;

    fn parse(ctx: &mut Parsed, fc: &FsContext, given: Given<'_, Opt>) -> Result {
        ctx.take(fc, given)
    }

    fn fill(ctx: &mut Parsed, mut new: NewSuper<'_, Rext4Fs>, fc: &FsContext) -> Result {
        let found = find_super(&mut new, ctx)?;
        check_features(&mut new, &found.raw)?;
        check_kind(&new, MountedAs::of(fc), &found.raw.features())?;
        let options = Options::for_mount(fc, ctx, &found.raw, &found.geometry)?;

        let needs_recovery = found.raw.features().has(Incompat::RECOVER);
        let lenient = needs_recovery && !options.has(Toggles::NOLOAD);
        let facts = facts(&found.geometry, &options);
        let info = load(&new, found, options, lenient)?;
        let mut sb = new.publish::<Super>(info, &facts)?;
        if journal::prepare(&sb)? {
            // The replay may have changed anything, the superblock included.
            let found = find_super_again(&sb, ctx)?;
            let options = Options::for_mount(fc, ctx, &found.raw, &found.geometry)?;
            let id = sb.id();
            let facts = self::facts(&found.geometry, &options);
            let info = SuperInfo::load(id, sb.device(), found.geometry, found.raw, options, false)?;
            sb = sb.replace(info, &facts)?;
        }

        // As ext4: the root directory is itself whatever else the superblock says of its number.
        let root = iget(&sb, Ino::ROOT, Purpose::Special)
            // There is no root directory without links.
            .map_err(|e| if e == ESTALE { EUCLEAN } else { e })
            .inspect_err(|_| message(Level::Err, sb.id(), fmt!("get root inode failed\n")))?;
        if !root.is_dir() || root.sectors() == 0 && !is_inline(&root) || root.size() == 0 {
            message(
                Level::Err,
                sb.id(),
                fmt!("corrupt root inode, run e2fsck\n"),
            );
            return Err(EUCLEAN);
        }
        sb.set_root(root)?;
        if !sb.is_rdonly() {
            super_write::begin(&sb, |journal| sb.keep_journal(journal))?;
            orphan::recover(&sb);
        } else if super_write::wants_cleanup(&sb)? {
            sb.set_rdonly(false);
            super_write::clean_up(&sb, |journal| sb.keep_journal(journal));
            sb.set_rdonly(true);
        }
        check_discard(&sb);
        // It sees for itself what there is to do.
        sb.start_background(0);
        sb.show::<sysfs::Surfaces>()?;
        announce(&sb);
        Ok(())
    }

    fn reconfigure(ctx: &mut Parsed, sb: &Sb, fc: &mut FsContext) -> Result {
        let info = sb.info();
        let new = info
            .options
            .lock()
            .clone()
            .for_remount(fc, ctx, &info.geometry)?;
        let rdonly = if fc.changes_rdonly() {
            fc.asks_for_rdonly()
        } else {
            sb.is_rdonly()
        };
        let (before, was_rdonly) = (info.options.lock().clone(), sb.is_rdonly());
        if new.has(Toggles::ABORT) && !before.has(Toggles::ABORT) {
            errors::abort(sb);
        }
        // The journal is opened as they say.
        info.set_options(new);
        let changed = match (sb.is_rdonly(), rdonly) {
            (true, false) => super_write::remount_rw(sb, fc),
            (false, true) => super_write::remount_ro(sb, fc),
            _ => Ok(()),
        };
        if let Err(e) = changed {
            info.set_options(before);
            return Err(e);
        }
        super_write::set_journal_options(sb, &info.options.lock());
        lazy_init::update(sb);
        sb.start_background(0);
        let now = match (was_rdonly, rdonly) {
            (true, false) => " r/w",
            (false, true) => " ro",
            _ => "",
        };
        message(
            Level::Info,
            sb.id(),
            fmt!("re-mounted {}{}.\n", Uuid(info.geometry.uuid()), now),
        );
        Ok(())
    }
}

fn is_inline(inode: &super::VfsInode) -> bool {
    inode
        .data()
        .flags()
        .contains(crate::ondisk::inode::InodeFlags::INLINE_DATA)
}

/// A superblock and what it says about the shape of the file system.
struct Found {
    raw: KBox<Superblock>,
    geometry: Geometry,
}

/// Finds and verifies the superblock, and sets the block size that it asks for.
///
/// Errors: EINVAL when there is none or it makes no sense, EIO.
fn find_super(new: &mut NewSuper<'_, Rext4Fs>, ctx: &Parsed) -> Result<Found> {
    let size = new.set_min_block_size(MIN_BLOCK_SIZE).inspect_err(|_| {
        message(Level::Err, new.id(), fmt!("unable to set blocksize\n"));
    })?;
    let raw = read_super(new, ctx, size)?;
    let wanted = 1u32.wrapping_shl(raw.block_bits());
    let raw = if wanted == size {
        raw
    } else {
        drop(raw);
        new.set_block_size(wanted).inspect_err(|_| {
            message(Level::Err, new.id(), fmt!("bad block size {}\n", wanted));
        })?;
        read_super(new, ctx, wanted)?
    };
    let geometry = geometry_of(new.id(), &raw, ctx, new.device_bytes())?;
    if geometry.block_size() != wanted {
        message(Level::Err, new.id(), fmt!("magic mismatch, very weird!\n"));
        return Err(EINVAL);
    }
    Ok(Found { raw, geometry })
}

/// As [`find_super`], on a superblock that has its block size already.
fn find_super_again(sb: &Published<'_, Rext4Fs>, ctx: &Parsed) -> Result<Found> {
    let size = sb.block_size() as u32;
    let (block, offset) =
        superblock::location(ctx.sb_block().into(), size.trailing_zeros()).ok_or(EINVAL)?;
    let buffer = sb.device().read(block)?;
    let bytes = buffer.get(offset as usize..).ok_or(EINVAL)?;
    let raw = Superblock::verify(bytes).map_err(|e| refuse(sb.id(), false, e))?;
    let raw = KBox::new(raw.clone(), GFP_KERNEL)?;
    let geometry = geometry_of(sb.id(), &raw, ctx, sb.device_bytes())?;
    if geometry.block_size() != size {
        message(
            Level::Err,
            sb.id(),
            fmt!("journal changed the block size\n"),
        );
        return Err(EUCLEAN);
    }
    Ok(Found { raw, geometry })
}

fn read_super(
    new: &NewSuper<'_, Rext4Fs>,
    ctx: &Parsed,
    block_size: u32,
) -> Result<KBox<Superblock>> {
    let (block, offset) =
        superblock::location(ctx.sb_block().into(), block_size.trailing_zeros()).ok_or(EINVAL)?;
    let buffer = new.device().read(block).inspect_err(|_| {
        message(Level::Err, new.id(), fmt!("unable to read superblock\n"));
    })?;
    let bytes = buffer.get(offset as usize..).ok_or(EINVAL)?;
    let raw = Superblock::verify(bytes).map_err(|e| refuse(new.id(), new.is_silent(), e))?;
    Ok(KBox::new(raw.clone(), GFP_KERNEL)?)
}

fn geometry_of(id: &[u8], raw: &Superblock, ctx: &Parsed, device_bytes: u64) -> Result<Geometry> {
    // An unreadable feature is refused by name first; the geometry may depend on it.
    refuse_incompat(id, &raw.features())?;
    let (block, _) = superblock::location(ctx.sb_block().into(), raw.block_bits()).ok_or(EINVAL)?;
    Geometry::new(raw, block, Some(device_bytes)).map_err(|e| refuse(id, false, e))
}

/// Prints why a superblock is no good.
#[cold]
fn refuse(id: &[u8], silent: bool, e: SuperError) -> Error {
    match e {
        SuperError::BadMagic if silent => (),
        SuperError::BadMagic => message(Level::Err, id, fmt!("VFS: Can't find ext4 filesystem\n")),
        SuperError::BadChecksum => message(
            Level::Err,
            id,
            fmt!("found ext4 filesystem with invalid superblock checksum.  Run e2fsck?\n"),
        ),
        e => message(Level::Err, id, fmt!("{}\n", e.message())),
    }
    if e.is_checksum() {
        EUCLEAN
    } else {
        EINVAL
    }
}

fn refuse_incompat(id: &[u8], features: &Features) -> Result {
    if let Some(name) = features.unsupported_incompat() {
        message(
            Level::Err,
            id,
            fmt!(
                "couldn't mount because of unsupported optional feature {}\n",
                name
            ),
        );
        return Err(EINVAL);
    }
    Ok(())
}

/// Refuses features that rext4 does not have; those that only forbid writing make the mount
/// read-only if it may be.
fn check_features(new: &mut NewSuper<'_, Rext4Fs>, raw: &Superblock) -> Result {
    let features = raw.features();
    refuse_incompat(new.id(), &features)?;
    if new.is_rdonly() {
        return Ok(());
    }
    if features.has(RoCompat::READONLY) {
        message(Level::Info, new.id(), fmt!("filesystem is read-only\n"));
        new.force_rdonly();
        return Ok(());
    }
    if new.device_is_rdonly() {
        new.force_rdonly();
        return Ok(());
    }
    if let Some(name) = features.unsupported_ro_compat() {
        message(
            Level::Err,
            new.id(),
            fmt!(
                "couldn't mount RDWR because of unsupported optional feature {}\n",
                name
            ),
        );
        return Err(EINVAL);
    }
    Ok(())
}

/// Refuses what the drivers of ext2 and ext3, whose names the mount may have used, could not read.
fn check_kind(new: &NewSuper<'_, Rext4Fs>, kind: MountedAs, features: &Features) -> Result {
    let (name, old) = match kind {
        MountedAs::Ext4 => return Ok(()),
        MountedAs::Ext2 => ("ext2", features.are_of_ext2(new.is_rdonly())),
        MountedAs::Ext3 => ("ext3", features.are_of_ext3(new.is_rdonly())),
    };
    if !old {
        // A type that is only being tried; ext4 will be tried as well.
        if !new.is_silent() {
            message(
                Level::Err,
                new.id(),
                fmt!(
                    "couldn't mount as {} due to feature incompatibilities\n",
                    name
                ),
            );
        }
        return Err(EINVAL);
    }
    message(
        Level::Info,
        new.id(),
        fmt!("mounting {} file system using the ext4 subsystem\n", name),
    );
    Ok(())
}

fn facts(geometry: &Geometry, options: &Options) -> SuperFacts {
    let wide = geometry.inode_size() > 128;
    SuperFacts {
        magic: superblock::MAGIC.into(),
        max_bytes: i64::try_from(geometry.max_extent_bytes()).unwrap_or(i64::MAX),
        time_min: time::MIN,
        time_max: if wide {
            time::MAX_EXTRA
        } else {
            time::MAX_PLAIN
        },
        time_gran: if wide { 1 } else { 1_000_000_000 },
        uuid: *geometry.uuid(),
        posix_acl: options.has(Toggles::POSIX_ACL),
    }
}

fn load(
    new: &NewSuper<'_, Rext4Fs>,
    found: Found,
    options: Options,
    lenient: bool,
) -> Result<SuperInfo> {
    SuperInfo::load(
        new.id(),
        new.device(),
        found.geometry,
        found.raw,
        options,
        lenient,
    )
}

/// Turns `discard` off where the device does nothing with it.
fn check_discard(sb: &Sb) {
    let info = sb.info();
    if !info.has(Toggles::DISCARD) || sb.device().can_discard() {
        return;
    }
    message(
        Level::Warning,
        sb.id(),
        fmt!("mounting with \"discard\" option, but the device does not support discard\n"),
    );
    let options = info.options.lock().clone();
    info.set_options(options.without_discard());
}

/// The message of a mount that has worked.
fn announce(sb: &Sb) {
    if let Some(size) = file::untorn_block(sb) {
        message(
            Level::Notice,
            sb.id(),
            fmt!("Supports (experimental) DIO atomic writes awu_min: {size}, awu_max: {size}\n"),
        );
    }
    let u = sb.info().geometry.uuid();
    message(
        Level::Info,
        sb.id(),
        fmt!(
            "mounted filesystem {} {} with{}. Quota mode: none.\n",
            Uuid(u),
            if sb.is_rdonly() { "ro" } else { "r/w" },
            sb.info().options.lock().journal_description()
        ),
    );
}

/// A UUID in its usual form.
struct Uuid<'a>(&'a [u8; 16]);

impl kernel::fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}
