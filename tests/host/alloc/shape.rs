// SPDX-License-Identifier: GPL-2.0

//! Images opened for change: superblock, groups and bitmaps in memory, written back at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use rext4::engine::alloc::disk::GroupBuffers;
use rext4::engine::alloc::map::GroupMap;
use rext4::engine::alloc::metadata::verify_block_bitmap;
use rext4::engine::alloc::runs::storage_len;
use rext4::engine::zones::{self, Zone, Zones};
use rext4::ondisk::group::{GroupDesc, GroupError};
use rext4::ondisk::superblock::{Superblock, PRIMARY_OFFSET, SIZE};
use rext4::ondisk::{FsBlock, Geometry, Group};

use crate::common::{self, Image};

pub type Map = GroupMap<Vec<u64>>;

pub struct Opened {
    pub img: Image,
    file: File,
    pub geo: Geometry,
    pub zones: Zones<Vec<Zone>>,
    /// Metadata blocks as they have been changed.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Opened {
    pub fn mkfs(args: &[&str], size: &str) -> Self {
        Self::new(common::mkfs(args, size))
    }

    pub fn new(img: Image) -> Self {
        let file = File::options()
            .read(true)
            .write(true)
            .open(img.path())
            .expect("open the image");
        let size = file.metadata().expect("size of the image").len();
        let mut sb = vec![0; SIZE];
        file.read_exact_at(&mut sb, PRIMARY_OFFSET).expect("read");
        let verified = Superblock::verify(&sb).expect("a superblock");
        let sb_block = PRIMARY_OFFSET >> verified.block_bits();
        let geo = Geometry::new(verified, sb_block, Some(size)).expect("a geometry");
        let mut opened = Self {
            img,
            file,
            zones: Zones::build(&geo, Vec::new()).expect("no zones"),
            geo,
            blocks: BTreeMap::new(),
        };
        let mut list = Vec::new();
        zones::collect(
            &opened.geo,
            |group| {
                let bytes = opened.desc(group);
                let desc = GroupDesc::verify(&opened.geo, group, &bytes)?;
                Ok::<_, GroupError>(desc.places())
            },
            |zone| {
                list.push(zone);
                Ok(())
            },
        )
        .expect("descriptors");
        opened.zones = Zones::build(&opened.geo, list).expect("zones");
        opened
    }

    pub fn groups(&self) -> impl Iterator<Item = Group> {
        (0..self.geo.groups_count()).map(Group::new)
    }

    pub fn block(&self, block: FsBlock) -> Vec<u8> {
        if let Some(bytes) = self.blocks.get(&block.get()) {
            return bytes.clone();
        }
        let mut bytes = vec![0; self.geo.block_size() as usize];
        let offset = block.get() << self.geo.block_bits();
        self.file.read_exact_at(&mut bytes, offset).expect("read");
        bytes
    }

    /// The bytes of a group's descriptor.
    pub fn desc(&self, group: Group) -> Vec<u8> {
        let (block, offset) = self.geo.desc_location(group).expect("the group exists");
        self.block(block)[offset as usize..][..self.geo.desc_size().into()].to_vec()
    }

    /// Runs `f` on the descriptor of a group.
    pub fn with_desc<T>(&self, group: Group, f: impl FnOnce(&GroupDesc<'_>) -> T) -> T {
        let bytes = self.desc(group);
        f(&GroupDesc::verify(&self.geo, group, &bytes).expect("a descriptor"))
    }

    pub fn block_bitmap(&self, group: Group) -> Vec<u8> {
        self.block(self.with_desc(group, |desc| desc.block_bitmap()))
    }

    pub fn inode_bitmap(&self, group: Group) -> Vec<u8> {
        self.block(self.with_desc(group, |desc| desc.inode_bitmap()))
    }

    /// Builds a group's map as the module would.
    pub fn map(&self, group: Group) -> Result<Map, GroupError> {
        let (desc, bitmap) = (self.desc(group), self.block_bitmap(group));
        let desc = GroupDesc::verify(&self.geo, group, &desc)?;
        if !desc.block_uninit() {
            verify_block_bitmap(&self.geo, group, &desc, &self.zones, &bitmap)?;
        }
        let storage = vec![0x77; storage_len(self.geo.clusters_per_group().get())];
        GroupMap::build(storage, &self.geo, group, &desc, &bitmap, &self.zones)
    }

    /// Changes a group's descriptor and its block or inode bitmap in memory.
    pub fn change<T>(
        &mut self,
        group: Group,
        inodes: bool,
        f: impl FnOnce(&mut GroupBuffers<'_>, &Zones<Vec<Zone>>) -> T,
    ) -> T {
        let at = self.with_desc(group, |desc| {
            if inodes {
                desc.inode_bitmap()
            } else {
                desc.block_bitmap()
            }
        });
        let mut bitmap = self.block(at);
        let (gdt, offset) = self.geo.desc_location(group).expect("the group exists");
        let mut descs = self.block(gdt);
        let result = f(
            &mut GroupBuffers {
                geo: &self.geo,
                group,
                desc: &mut descs[offset as usize..],
                bitmap: &mut bitmap,
            },
            &self.zones,
        );
        self.blocks.insert(gdt.get(), descs);
        self.blocks.insert(at.get(), bitmap);
        result
    }

    /// Writes everything back, with the superblock's free counts.
    pub fn write_back(&mut self) {
        for (block, bytes) in std::mem::take(&mut self.blocks) {
            let offset = block << self.geo.block_bits();
            self.file.write_all_at(&bytes, offset).expect("write");
        }
        let (mut clusters, mut inodes) = (0u64, 0);
        for group in self.groups() {
            self.with_desc(group, |desc| {
                clusters += u64::from(desc.free_clusters());
                inodes += desc.free_inodes();
            });
        }
        let mut sb = vec![0; SIZE];
        self.file
            .read_exact_at(&mut sb, PRIMARY_OFFSET)
            .expect("read");
        let verified = Superblock::verify_mut(&mut sb).expect("a superblock");
        verified.set_free_counts(clusters << self.geo.cluster_bits(), inodes);
        verified.update_checksum();
        self.file.write_all_at(&sb, PRIMARY_OFFSET).expect("write");
    }
}

/// `e2fsck -fn`: its status and what it says.
pub fn fsck(img: &Image) -> (i32, String) {
    let mut command: Command = common::tool("e2fsck");
    let out = command.arg("-fn").arg(img).output().expect("start e2fsck");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    (out.status.code().unwrap_or(-1), text)
}

pub fn expect_clean(img: &Image, what: &str) {
    let (status, text) = fsck(img);
    assert_eq!(status, 0, "{what}: {text}");
}
