// SPDX-License-Identifier: GPL-2.0

//! The walk's way through a directory: every entry by readdir, with cookies of both widths and
//! with too little memory, from arbitrary positions, and every name by lookup.

use rext4::engine::dir::{DirBlock, DirBlocks, DirFormat, Directory, Verdict};
use rext4::engine::dir_batch::Record;
use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dir_lookup::lookup;
use rext4::engine::readdir::{fill, Cursor};
use rext4::ondisk::inline::InlineDir;
use rext4::ondisk::inode::{Inode, InodeFlags};
use rext4::ondisk::{Corrupt, FileBlock, Ino};

use super::{Failure, Walker, READS};

impl Walker<'_> {
    /// Reads directory `ino`; `child` gets the inode of each entry.
    pub(super) fn directory(
        &self,
        ino: Ino,
        inode: &Inode<'_>,
        mut child: impl FnMut(Ino),
    ) -> Result<(), Failure> {
        let inline = inode.flags().contains(InodeFlags::INLINE_DATA);
        let dir = Directory {
            blocks: &Blocks {
                walker: self,
                inode,
            },
            format: &DirFormat::new(self.geo),
            ino,
            size: inode.size(),
            seed: inode.csum_seed(),
            indexed: inode.flags().contains(InodeFlags::INDEX),
            version: 1,
            inline: if inline {
                Some(InlineDir::new(inode.i_block(), self.inline_value(inode)?)?)
            } else {
                None
            },
        };
        let mut names = Vec::new();
        let mut positions = Vec::new();
        // No more entries than the blocks that exist can hold, whatever the size says; a block
        // may be mapped more than once.
        let most = READS as usize * (self.geo.block_size() as usize / 8);
        for width in [CookieWidth::Bits64, CookieWidth::Bits32] {
            let mut cursor = Cursor::new();
            let mut records = [Record::EMPTY; 64];
            let mut count = 0;
            let result = fill(&dir, &mut cursor, &mut records, 0, width, |item| {
                assert!(item.name.len() <= 255);
                assert!(item.ino.get() <= self.geo.inodes_count());
                child(item.ino);
                if names.len() < 200 {
                    names.push(item.name.to_vec());
                    positions.push(item.position);
                }
                count += 1;
                assert!(count <= most, "the directory does not end");
                true
            });
            self.totals.borrow_mut().entries += count as u64;
            if let Err(e) = result {
                self.failed(e);
            }
        }
        positions.extend([
            1,
            2,
            3,
            4096,
            1 << 31,
            (1 << 62) + 5,
            u64::MAX >> 1,
            u64::MAX,
        ]);
        for (n, position) in positions
            .iter()
            .step_by(positions.len() / 12 + 1)
            .enumerate()
        {
            let mut cursor = Cursor::new();
            // Too little room for a leaf: several passes.
            let mut records = [Record::EMPTY; 5];
            let mut left = 40;
            let result = fill(
                &dir,
                &mut cursor,
                &mut records,
                *position,
                if n % 2 == 0 {
                    CookieWidth::Bits64
                } else {
                    CookieWidth::Bits32
                },
                |_| {
                    left -= 1;
                    left > 0
                },
            );
            result.unwrap_or_else(|e| self.failed(e));
        }
        names.extend([
            b".".to_vec(),
            b"..".to_vec(),
            b"absent".to_vec(),
            vec![b'x'; 255],
            vec![0xff; 256],
            Vec::new(),
        ]);
        for (n, name) in names.iter().enumerate() {
            match lookup(&dir, name, FileBlock::new(n as u32 % 7)) {
                Ok(Some(found)) => assert!(found.ino.get() <= self.geo.inodes_count()),
                Ok(None) => (),
                Err(e) => self.failed(e),
            }
        }
        if inline {
            return Ok(());
        }
        self.map(inode, |_| ())
    }
}

/// A directory's blocks.
struct Blocks<'w, 'a> {
    walker: &'w Walker<'a>,
    inode: &'w Inode<'w>,
}

impl<'a> DirBlocks for Blocks<'_, 'a> {
    type Block = &'a [u8];
    type Error = Failure;

    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<&'a [u8]>, Failure>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        // A walk over holes only must not last for ever either.
        self.walker.reads.set(self.walker.reads.get() + 1);
        let (block, hole) = self.walker.bmap(self.inode, lblk)?;
        let Some(block) = block else {
            return Ok(DirBlock::Hole(hole));
        };
        let bytes = self.walker.block(block)?;
        self.walker.checked(verify(bytes).map(|_: Verdict| ()))?;
        Ok(DirBlock::Mapped(bytes))
    }

    fn report(&self, what: Corrupt, lblk: FileBlock) {
        let _ = lblk;
        self.walker.error(what);
    }

    fn relax(&self) -> Result<(), Failure> {
        if self.walker.reads.get() > READS {
            return Err(Failure::Io);
        }
        Ok(())
    }
}
