// SPDX-License-Identifier: GPL-2.0

//! Attributes of the files of an image, changed by the engine's plans: allocation, sharing of
//! blocks and of EA inodes as the file system would do them.

use std::collections::{BTreeMap, BTreeSet};

use rext4::engine::mapping::MapKind;
use rext4::engine::xattr_edit::{
    other_ea_inodes, plan, plan_in_body, Block, BlockFate, Body, Outcome, Plan, Quick, Refused,
    Request,
};
use rext4::ondisk::ea_inode::{add_reference, drop_reference, EaLife};
use rext4::ondisk::inode::{Inode, InodeFlags, Purpose};
use rext4::ondisk::inode_edit::InodeEdit;
use rext4::ondisk::seal::Seal;
use rext4::ondisk::xattr::{
    value_hash, verify_block, verify_inode, EaInode, XattrArea, XattrRules, XattrValue,
};
use rext4::ondisk::xattr_block::{self, ea_references};
use rext4::ondisk::xattr_edit::NewValue;
use rext4::ondisk::{FsBlock, Ino};

use crate::bitmaps::{allocate, allocate_inode, free, free_inode};
use crate::disk::Fs;
use crate::edited::{edit, edit_super, slot, slot_at, with_inode};

/// Attributes by index and name.
pub type Attrs = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// How often each fate of a block, and each way of values, was met.
#[derive(Default, Debug)]
pub struct Met {
    pub changed: u32,
    pub copied: u32,
    pub new: u32,
    pub freed: u32,
    pub left: u32,
    pub shared: u32,
    pub body: u32,
    /// Changes that concern the body alone, and were seen to without asking for more.
    pub quick: u32,
    pub ea_inodes: u32,
    pub ea_shared: u32,
    pub ea_freed: u32,
    pub no_space: u32,
    pub unchanged: u32,
}

pub struct Store {
    pub fs: Fs,
    pub rules: XattrRules,
    blocks: BTreeSet<u64>,
    /// EA inodes by their values.
    values: BTreeMap<Vec<u8>, u32>,
    pub met: Met,
}

/// What follows the extra fields of an inode, and the number of its block.
pub fn places(fs: &Fs, ino: u32) -> (Option<Vec<u8>>, Option<u64>) {
    with_inode(fs, ino, |inode| {
        let block = inode.xattr_block().map(FsBlock::get);
        (inode.xattr_space().map(<[u8]>::to_vec), block)
    })
}

impl Store {
    pub fn new(fs: Fs) -> Self {
        Self {
            rules: XattrRules::new(&fs.geometry),
            fs,
            blocks: BTreeSet::new(),
            values: BTreeMap::new(),
            met: Met::default(),
        }
    }

    fn block_size(&self) -> usize {
        self.fs.geometry.block_size() as usize
    }

    /// Changes a block as the transaction would: the checksum comes last, from the seed alone.
    fn write_block(&mut self, number: u64, change: impl FnOnce(&mut [u8])) {
        let size = self.block_size();
        let bytes = &mut self.fs.bytes[number as usize * size..][..size];
        change(bytes);
        let seal = Seal::xattr(self.fs.geometry.csum_seed(), FsBlock::new(number));
        seal.defer(bytes);
        if let Some((kind, _)) = seal.parts() {
            kind.settle(bytes);
        }
    }

    fn count(
        &mut self,
        ino: u32,
        change: fn(u64) -> Result<EaLife, rext4::ondisk::xattr::XattrError>,
    ) {
        let number = Ino::new(ino).unwrap();
        let (now, size) = {
            let slot = slot(&self.fs, ino);
            let ea = Inode::verify(&self.fs.geometry, number, slot, Purpose::EaInode);
            let ea = ea.expect("EA inode");
            (ea.ea_ref_count(), ea.size())
        };
        let life = change(now).expect("count");
        edit(&mut self.fs, ino, |e| {
            e.set_ea_ref_count(life.references());
            e.set_links(u16::from(life != EaLife::Ends));
        });
        if life == EaLife::Ends {
            self.met.ea_freed += 1;
            let start = self.contents_start(ino);
            let blocks = size.div_ceil(self.block_size() as u64) as u32;
            free(&mut self.fs, start, blocks);
            free_inode(&mut self.fs, ino);
            edit(&mut self.fs, ino, |e| e.set_dtime(1_700_000_000));
            self.values.retain(|_, &mut n| n != ino);
        }
    }

    fn contents_start(&self, ino: u32) -> u64 {
        match self
            .fs
            .lookup(&self.fs.inode(ino), 0)
            .expect("mapping")
            .kind
        {
            MapKind::Written(start) => start.get(),
            other => panic!("{other:?}"),
        }
    }

    /// Finds or makes an EA inode; counts a reference.
    fn ea_inode(&mut self, value: &[u8]) -> u32 {
        if let Some(&ino) = self.values.get(value) {
            self.met.ea_shared += 1;
            self.count(ino, add_reference);
            return ino;
        }
        self.met.ea_inodes += 1;
        let size = self.block_size();
        let blocks = value.len().div_ceil(size);
        let start = allocate(&mut self.fs, blocks as u32);
        self.fs.bytes[start as usize * size..][..blocks * size].fill(0);
        self.fs.bytes[start as usize * size..][..value.len()].copy_from_slice(value);
        let ino = allocate_inode(&mut self.fs);
        let hash = value_hash(self.fs.geometry.ea_hash_seed(), value);
        let at = slot_at(&self.fs, ino);
        let geo = self.fs.geometry.clone();
        let slot = &mut self.fs.bytes[at..at + usize::from(geo.inode_size())];
        let mut e = InodeEdit::fresh(&geo, slot).unwrap();
        e.set_mode(0o100_600);
        e.set_links(1);
        e.set_flags(InodeFlags::EA_INODE.union(InodeFlags::EXTENTS));
        e.set_size(value.len() as u64).unwrap();
        e.set_blocks((blocks * size / 512) as u64).unwrap();
        let root = e.i_block();
        root[..8].copy_from_slice(&[0x0a, 0xf3, 1, 0, 4, 0, 0, 0]);
        root[16..18].copy_from_slice(&(blocks as u16).to_le_bytes());
        root[20..24].copy_from_slice(&(start as u32).to_le_bytes());
        e.set_ea_hash(hash);
        e.set_ea_ref_count(add_reference(0).unwrap().references());
        e.finish_as(Ino::new(ino).unwrap());
        self.values.insert(value.to_vec(), ino);
        ino
    }

    /// Sets or removes an attribute of a file.
    pub fn set(&mut self, ino: u32, request: &Request<'_>) -> Result<(), Refused> {
        let (body, block) = places(&self.fs, ino);
        let size = self.fs.geometry.block_size();
        let space = body.as_deref().map_or(Body::None, Body::Read);
        let ask = |block| plan(request, space, block, self.rules, size);
        let outcome = match block {
            None => ask(Block::None),
            Some(number) => match ask(Block::Unread) {
                Ok(Outcome::NeedBlock) => ask(Block::Read(self.fs.block(number))),
                other => other,
            },
        };
        let quick = plan_in_body(request, space, block.is_some(), self.rules, size);
        match (quick, &outcome) {
            (Ok(Quick::Ask), _) | (Ok(Quick::Unchanged), Ok(Outcome::Unchanged)) => (),
            (Ok(Quick::Change(change)), Ok(Outcome::Change(plan))) => {
                assert!(plan.changes_body() && plan.block() == BlockFate::Keep);
                assert!(!plan.value_in_inode() && plan.old_ea_inode().is_none());
                let (mut one, mut other) = (body.clone().unwrap(), body.clone().unwrap());
                change.apply(request, &mut one);
                let value = NewValue::Here(request.value.unwrap_or_default());
                plan.apply_body(request, &value, &mut other);
                assert_eq!(one, other);
                self.met.quick += 1;
            }
            (Err(one), Err(other)) => assert_eq!(one, *other),
            (quick, outcome) => panic!("{quick:?}, but {outcome:?}"),
        }
        match outcome {
            Ok(Outcome::Change(plan)) => {
                self.carry_out(ino, request, &plan, block);
                Ok(())
            }
            Ok(Outcome::Unchanged) => {
                self.met.unchanged += 1;
                Ok(())
            }
            Ok(Outcome::NeedBlock) => panic!("there is no other block"),
            Err(e) => {
                self.met.no_space += u32::from(e == Refused::NoSpace);
                Err(e)
            }
        }
    }

    fn carry_out(&mut self, ino: u32, request: &Request<'_>, plan: &Plan, block: Option<u64>) {
        edit_super(&mut self.fs, |sb| {
            sb.add_ext_attr();
        });
        let value = request.value.unwrap_or_default();
        let value = if plan.value_in_inode() {
            NewValue::EaInode {
                ino: Ino::new(self.ea_inode(value)).unwrap(),
                hash: value_hash(self.fs.geometry.ea_hash_seed(), value),
                size: value.len() as u32,
            }
        } else {
            NewValue::Here(value)
        };
        let now = match (plan.block(), block) {
            (BlockFate::Keep, block) => block,
            (BlockFate::Leave, Some(old)) => {
                self.met.left += 1;
                self.write_block(old, xattr_block::drop_owner);
                None
            }
            (BlockFate::Free, Some(old)) => {
                self.met.freed += 1;
                self.drop_block(old);
                None
            }
            (BlockFate::Change, Some(old)) => {
                self.met.changed += 1;
                let mut bytes = self.fs.block(old).to_vec();
                plan.apply_block(request, &value, &mut bytes);
                Some(match self.share(&bytes, Some(old)) {
                    Some(other) => {
                        self.drop_block(old);
                        other
                    }
                    None => {
                        self.write_block(old, |to| to.copy_from_slice(&bytes));
                        old
                    }
                })
            }
            (BlockFate::Copy, Some(old)) => {
                self.met.copied += 1;
                let mut bytes = self.fs.block(old).to_vec();
                let area = XattrArea::in_block(&bytes, self.rules).unwrap();
                let others: Vec<_> = other_ea_inodes(&area, request)
                    .map(|r| r.unwrap().ino.get())
                    .collect();
                for other in others {
                    self.count(other, add_reference);
                }
                plan.apply_block(request, &value, &mut bytes);
                self.write_block(old, xattr_block::drop_owner);
                Some(self.share_or_write(bytes))
            }
            (BlockFate::New, None) => {
                self.met.new += 1;
                let mut bytes = vec![0x99; self.block_size()];
                plan.apply_block(request, &value, &mut bytes);
                Some(self.share_or_write(bytes))
            }
            (fate, block) => panic!("{fate:?} {block:?}"),
        };
        if let Some(dropped) = plan.old_ea_inode().filter(|d| d.uncount) {
            self.count(dropped.inode.ino.get(), drop_reference);
        }
        self.met.body += u32::from(plan.changes_body());
        let sectors = with_inode(&self.fs, ino, |inode| inode.sectors());
        let one = (self.block_size() / 512) as u64;
        // The owner is charged for values in other inodes.
        let charge = |size: u32| u64::from(size).div_ceil(one * 512) * one;
        let sectors = match value {
            NewValue::EaInode { size, .. } => sectors + charge(size),
            NewValue::Here(_) => sectors,
        };
        let sectors = sectors - plan.old_ea_inode().map_or(0, |d| charge(d.inode.size));
        let sectors = match (block, now) {
            (None, Some(_)) => sectors + one,
            (Some(_), None) => sectors - one,
            _ => sectors,
        };
        edit(&mut self.fs, ino, |e| {
            e.set_xattr_block(now.map(FsBlock::new));
            e.set_blocks(sectors).unwrap();
            if plan.changes_body() {
                plan.apply_body(request, &value, e.xattr_space().unwrap());
            }
        });
    }

    fn drop_block(&mut self, old: u64) {
        self.blocks.remove(&old);
        free(&mut self.fs, old, 1);
    }

    fn share_or_write(&mut self, bytes: Vec<u8>) -> u64 {
        if let Some(other) = self.share(&bytes, None) {
            return other;
        }
        let number = allocate(&mut self.fs, 1);
        self.write_block(number, |to| to.copy_from_slice(&bytes));
        self.blocks.insert(number);
        number
    }

    /// Looks for an equal block, and uses it in place of this one.
    fn share(&mut self, bytes: &[u8], not: Option<u64>) -> Option<u64> {
        let hash = xattr_block::hash(bytes).unwrap();
        let other = self.blocks.iter().copied().find(|&number| {
            let other = self.fs.block(number);
            Some(number) != not
                && hash != 0
                && xattr_block::hash(other) == Ok(hash)
                && xattr_block::equal(bytes, other).unwrap()
                && xattr_block::can_share(other)
        })?;
        self.met.shared += 1;
        self.write_block(other, xattr_block::add_owner);
        // One block names the EA inodes now where there were two.
        let area = XattrArea::in_block(bytes, self.rules).unwrap();
        let inodes: Vec<_> = ea_references(&area).map(|r| r.unwrap().ino.get()).collect();
        for ino in inodes {
            self.count(ino, drop_reference);
        }
        Some(other)
    }

    /// All attributes of a file, with every check on the way.
    pub fn read(&self, ino: u32) -> Attrs {
        let mut attrs = Attrs::new();
        let (body, block) = places(&self.fs, ino);
        let body = body.unwrap_or_default();
        assert_eq!(verify_inode(&body, self.rules), Ok(()));
        let mut take = |area: XattrArea<'_>| {
            for xattr in area.iter() {
                let xattr = xattr.unwrap();
                let value = match xattr.value {
                    XattrValue::Here(value) => value.to_vec(),
                    XattrValue::EaInode(reference) => {
                        let number = reference.ino;
                        let slot = slot(&self.fs, number.get());
                        let ea = Inode::verify(&self.fs.geometry, number, slot, Purpose::EaInode);
                        let ea = ea.expect("EA inode");
                        let start = self.contents_start(number.get()) as usize;
                        let value =
                            &self.fs.bytes[start * self.block_size()..][..ea.size() as usize];
                        let facts = EaInode {
                            links: ea.links_count().into(),
                            size: ea.size(),
                            hash: ea.ea_hash(),
                            references: ea.ea_ref_count(),
                            parent: ea.ea_parent(),
                            generation: ea.generation(),
                        };
                        let owner = Ino::new(ino).unwrap();
                        reference.check_inode(&facts, owner, 0).unwrap();
                        let seed = self.fs.geometry.ea_hash_seed();
                        reference.verify_value(value, &facts, seed).unwrap();
                        value.to_vec()
                    }
                };
                let key = (xattr.index, xattr.name.to_vec());
                assert!(attrs.insert(key, value).is_none(), "twice");
            }
        };
        if let Some(area) = XattrArea::in_inode(&body, self.rules) {
            take(area);
        }
        if let Some(number) = block {
            let bytes = self.fs.block(number);
            let seed = self.fs.geometry.csum_seed();
            verify_block(bytes, FsBlock::new(number), self.rules, seed).expect("block");
            take(XattrArea::in_block(bytes, self.rules).unwrap());
        }
        attrs
    }
}
