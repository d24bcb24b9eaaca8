// SPDX-License-Identifier: GPL-2.0

//! Values of extended attributes in inodes of their own (EA inodes).
//!
//! An EA inode is a regular file that no directory leads to. Fields that such a file has no use
//! for have new meanings: the access time is a hash of the contents, change time and version are
//! a count of the attributes that share it. Old Lustre kept no hash and no count but noted the one
//! inode that owns the value; its EA inodes are still read.
//!
//! Reading the inode and its contents is the file system's part; this file compares what it found.
//!
//! Format: `Documentation/filesystems/ext4/eainode.rst`.

use super::crc::crc32c;
use super::xattr::XattrError;
use super::xattr_hash::{entry_hash, entry_hash_signed};
use super::Ino;

/// A value in an inode of its own, as its entry describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EaReference<'a> {
    /// The attribute's name.
    pub(super) name: &'a [u8],
    /// The entry's hash of name and value.
    pub(super) hash: u32,
    /// The EA inode; its number exists and is not reserved.
    pub ino: Ino,
    /// Length of the value, in bytes: 1 to 16 MiB.
    pub size: u32,
}

/// Facts of an EA inode, which its purpose has given new meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EaInode {
    /// Number of links.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Hash of the contents (`Inode::ea_hash`).
    pub hash: u32,
    /// Number of attributes that refer to it (`Inode::ea_ref_count`).
    pub references: u64,
    /// The inode that owns it, if Lustre made it (`Inode::ea_parent`).
    pub parent: u32,
    /// Its generation, and its owner's, if Lustre made it.
    pub generation: u32,
}

/// Who made an EA inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EaKind {
    /// ext4 as it is: contents may be shared and have a hash.
    Hashed,
    /// An old Lustre: contents belong to one inode and have no hash.
    Lustre,
}

/// The hash of a value in an inode of its own. `seed` is `Geometry::ea_hash_seed`.
#[inline]
pub fn value_hash(seed: u32, value: &[u8]) -> u32 {
    crc32c(seed, value)
}

/// What becomes of an EA inode when its count of references changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EaLife {
    /// It has this many references, as before or more or fewer.
    Goes(u64),
    /// It has its first reference: one link, and it is no orphan any more.
    Begins,
    /// It has lost its last one: no links, and it becomes an orphan.
    Ends,
}

/// Counts one more reference to an EA inode that has `references`.
///
/// Errors: [`XattrError::UnusedEaInode`] when there are too many to be true.
pub fn add_reference(references: u64) -> Result<EaLife, XattrError> {
    match references.checked_add(1) {
        Some(1) => Ok(EaLife::Begins),
        Some(more) => Ok(EaLife::Goes(more)),
        None => Err(XattrError::UnusedEaInode),
    }
}

/// Counts one reference less.
///
/// Errors: [`XattrError::UnusedEaInode`] when there is none.
pub fn drop_reference(references: u64) -> Result<EaLife, XattrError> {
    match references.checked_sub(1) {
        Some(0) => Ok(EaLife::Ends),
        Some(fewer) => Ok(EaLife::Goes(fewer)),
        None => Err(XattrError::UnusedEaInode),
    }
}

impl EaLife {
    /// The count of references now.
    #[inline]
    pub const fn references(self) -> u64 {
        match self {
            Self::Goes(n) => n,
            Self::Begins => 1,
            Self::Ends => 0,
        }
    }
}

impl EaInode {
    /// Whether Lustre made it, for the inode `owner`, whose entry has this hash. Lustre keeps no
    /// count of references: there is one.
    #[inline]
    pub fn made_by_lustre(&self, entry_hash: u32, owner: Ino, owner_generation: u32) -> bool {
        entry_hash != self.hash && self.parent == owner.get() && self.generation == owner_generation
    }
}

impl EaReference<'_> {
    /// The entry's hash of name and value.
    #[inline]
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// Checks that `ea`, the inode referred to, can hold the value of an attribute of inode
    /// `owner`. That it has the EA inode flag is for whoever reads it to check
    /// (`Purpose::EaInode`); that it is not the owner itself must be checked before, with
    /// [`check_owner`](Self::check_owner).
    pub fn check_inode(
        &self,
        ea: &EaInode,
        owner: Ino,
        owner_generation: u32,
    ) -> Result<EaKind, XattrError> {
        let lustre = ea.made_by_lustre(self.hash, owner, owner_generation);
        // Lustre keeps no count of references.
        if ea.links != 1 || (ea.references == 0 && !lustre) {
            return Err(XattrError::UnusedEaInode);
        }
        if ea.size != u64::from(self.size) {
            return Err(XattrError::EaInodeSize);
        }
        Ok(if lustre {
            EaKind::Lustre
        } else {
            EaKind::Hashed
        })
    }

    /// Checks that the inode referred to is not the one that has the attribute. To be asked
    /// before the EA inode is read, which would wait for the owner.
    #[inline]
    pub fn check_owner(&self, owner: Ino) -> Result<(), XattrError> {
        if self.ino == owner {
            Err(XattrError::OwnEaInode)
        } else {
            Ok(())
        }
    }

    /// Checks the value that was read from a hashed EA inode. `seed` is `Geometry::ea_hash_seed`.
    ///
    /// The entry's hash covers the name, whose bytes some kernels took as signed: both are good.
    pub fn verify_value(&self, value: &[u8], ea: &EaInode, seed: u32) -> Result<(), XattrError> {
        let hash = value_hash(seed, value);
        let word = hash.to_le_bytes();
        let good = hash == ea.hash
            && (entry_hash(self.name, &word) == self.hash
                || entry_hash_signed(self.name, &word) == self.hash);
        if good {
            Ok(())
        } else {
            Err(XattrError::EaInodeHash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_references() {
        assert_eq!(add_reference(0), Ok(EaLife::Begins));
        assert_eq!(add_reference(1), Ok(EaLife::Goes(2)));
        assert_eq!(add_reference(u64::MAX), Err(XattrError::UnusedEaInode));
        assert_eq!(drop_reference(0), Err(XattrError::UnusedEaInode));
        assert_eq!(drop_reference(1), Ok(EaLife::Ends));
        assert_eq!(drop_reference(1 << 40), Ok(EaLife::Goes((1 << 40) - 1)));
        let count = |life: Result<EaLife, _>| life.unwrap().references();
        assert_eq!(count(add_reference(0)), 1);
        assert_eq!(count(add_reference(5)), 6);
        assert_eq!(count(drop_reference(1)), 0);
    }

    #[test]
    fn ea_inode_rules() {
        let value = vec![7u8; 5000];
        let hash = crc32c(9, &value);
        let name = "n\u{e4}me".as_bytes();
        let reference = EaReference {
            name,
            hash: entry_hash(name, &hash.to_le_bytes()),
            ino: Ino::new(77).unwrap(),
            size: 5000,
        };
        let ea = EaInode {
            links: 1,
            size: 5000,
            hash,
            references: 2,
            parent: 0,
            generation: 5,
        };
        let owner = Ino::new(12).unwrap();
        assert_eq!(reference.check_inode(&ea, owner, 5), Ok(EaKind::Hashed));
        assert_eq!(reference.verify_value(&value, &ea, 9), Ok(()));
        let signed = EaReference {
            hash: entry_hash_signed(name, &hash.to_le_bytes()),
            ..reference
        };
        assert_ne!(signed.hash, reference.hash);
        assert_eq!(signed.verify_value(&value, &ea, 9), Ok(()));
        for bad in [
            reference.verify_value(&value[1..], &ea, 9),
            reference.verify_value(&value, &ea, 8),
            EaReference {
                hash: 1,
                ..reference
            }
            .verify_value(&value, &ea, 9),
        ] {
            assert_eq!(bad, Err(XattrError::EaInodeHash));
        }
        let lustre = EaInode {
            parent: 12,
            references: 0,
            ..ea
        };
        assert_eq!(reference.check_inode(&lustre, owner, 5), Ok(EaKind::Lustre));
        for (bad, error) in [
            (EaInode { links: 2, ..ea }, XattrError::UnusedEaInode),
            (EaInode { links: 0, ..ea }, XattrError::UnusedEaInode),
            (
                EaInode {
                    references: 0,
                    ..ea
                },
                XattrError::UnusedEaInode,
            ),
            (EaInode { size: 4999, ..ea }, XattrError::EaInodeSize),
        ] {
            assert_eq!(reference.check_inode(&bad, owner, 5), Err(error));
        }
        assert_eq!(reference.check_owner(owner), Ok(()));
        assert_eq!(
            reference.check_owner(Ino::new(77).unwrap()),
            Err(XattrError::OwnEaInode)
        );
    }
}
