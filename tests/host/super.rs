// SPDX-License-Identifier: GPL-2.0

//! Superblock, geometry, groups, inodes and the block validity table, on images that mkfs.ext4
//! makes, compared with what dumpe2fs and debugfs say; and on the same images damaged.

mod common;

#[path = "super/corpus.rs"]
mod corpus;
#[path = "super/damage.rs"]
mod damage;
#[path = "super/dump.rs"]
mod dump;
#[path = "super/files.rs"]
mod files;
#[path = "super/layout.rs"]
mod layout;
#[path = "super/refusals.rs"]
mod refusals;

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::Image;
use rext4::engine::zones::{self, Zone, Zones};
use rext4::ondisk::group::{GroupDesc, GroupError};
use rext4::ondisk::inode::{Inode, Purpose, Refused};
use rext4::ondisk::superblock::{SuperError, Superblock, PRIMARY_OFFSET, SIZE};
use rext4::ondisk::{FsBlock, Geometry, Group, Ino};

/// An image opened as a mount would: superblock, geometry, and blocks on demand (images may be
/// larger than memory).
pub struct Opened {
    pub file: File,
    pub sb: Vec<u8>,
    pub geo: Geometry,
}

impl Opened {
    pub fn new(img: &Image) -> Result<Self, SuperError> {
        let file = File::open(img.path()).expect("open the image");
        let size = file.metadata().expect("size of the image").len();
        let mut sb = vec![0; SIZE];
        file.read_exact_at(&mut sb, PRIMARY_OFFSET)
            .map_err(|_| SuperError::Truncated)?;
        let verified = Superblock::verify(&sb)?;
        let sb_block = PRIMARY_OFFSET >> verified.block_bits();
        let geo = Geometry::new(verified, sb_block, Some(size))?;
        Ok(Self { file, sb, geo })
    }

    pub fn superblock(&self) -> &Superblock {
        Superblock::verify(&self.sb).expect("it was verified before")
    }

    pub fn block(&self, block: FsBlock) -> Vec<u8> {
        let mut bytes = vec![0; self.geo.block_size() as usize];
        let offset = block.get() << self.geo.block_bits();
        self.file
            .read_exact_at(&mut bytes, offset)
            .expect("read a block that is on the device");
        bytes
    }

    /// The bytes of a group's descriptor.
    pub fn desc(&self, group: Group) -> Vec<u8> {
        let (block, offset) = self.geo.desc_location(group).expect("the group exists");
        self.block(block)[offset as usize..][..self.geo.desc_size().into()].to_vec()
    }

    pub fn groups(&self) -> impl Iterator<Item = Group> {
        (0..self.geo.groups_count()).map(Group::new)
    }

    /// The bytes of an inode's slot.
    pub fn slot(&self, ino: Ino) -> Result<Vec<u8>, GroupError> {
        let place = self.geo.inode_location(ino);
        let bytes = self.desc(place.group);
        let desc = GroupDesc::parse(&self.geo, place.group, &bytes)?;
        let block = desc
            .inode_table_block(&self.geo, place.block)
            .expect("inside the table");
        let at = place.offset as usize;
        Ok(self.block(block)[at..][..self.geo.inode_size().into()].to_vec())
    }

    /// Verifies an inode and hands it to `f`.
    pub fn inode<T>(
        &self,
        ino: u32,
        purpose: Purpose,
        f: impl FnOnce(&Inode<'_>) -> T,
    ) -> Result<T, Refused> {
        let ino = self.geo.check_ino(ino).expect("the inode exists");
        let slot = self.slot(ino).expect("the descriptor is fit for use");
        Inode::verify(&self.geo, ino, &slot, purpose).map(|inode| f(&inode))
    }

    pub fn zones(&self) -> Result<Zones<Vec<Zone>>, GroupError> {
        let mut list = Vec::new();
        zones::collect(
            &self.geo,
            |group| Ok(GroupDesc::parse(&self.geo, group, &self.desc(group))?.places()),
            |zone| {
                list.push(zone);
                Ok(())
            },
        )?;
        Zones::build(&self.geo, list)
    }
}
