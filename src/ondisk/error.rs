// SPDX-License-Identifier: GPL-2.0

//! The ways in which a file system can be corrupt.
//!
//! Each area of the format has an enumeration of its own beside its structures; [`Corrupt`]
//! gathers them so that a caller can carry one type up to the boundary where it becomes an
//! errno (EUCLEAN, or EFSBADCRC where only the checksum is wrong) and a message. Every variant
//! has a fixed text, since a message may be printed where nothing can be allocated.

use core::fmt;

macro_rules! corrupt {
    ($( $(#[$doc:meta])* $variant:ident($ty:path) ),* $(,)?) => {
        /// Why a piece of metadata cannot be used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Corrupt {
            $( $(#[$doc])* $variant($ty), )*
        }

        $( impl From<$ty> for Corrupt {
            fn from(e: $ty) -> Self {
                Self::$variant(e)
            }
        } )*

        impl Corrupt {
            /// What is wrong, as a fixed text for the log.
            pub const fn message(self) -> &'static str {
                match self {
                    $( Self::$variant(e) => e.message(), )*
                }
            }

            /// Whether the checksum, and nothing else that was looked at, is wrong.
            pub const fn is_checksum(self) -> bool {
                match self {
                    $( Self::$variant(e) => e.is_checksum(), )*
                }
            }
        }
    };
}

corrupt! {
    /// Superblock or geometry.
    Super(super::superblock::SuperError),
    /// Directory block.
    Dir(super::dir::DirError),
    /// Directory index.
    Dx(super::dx::DxError),
    /// Extended attributes.
    Xattr(super::xattr::XattrError),
    /// Access control list.
    Acl(super::acl::AclError),
    /// Group descriptor or bitmap.
    Group(super::group::GroupError),
    /// Inode.
    Inode(super::inode::InodeError),
    /// Orphan file.
    Orphan(super::orphan::OrphanError),
    /// Multiple mount protection.
    Mmp(super::mmp::MmpError),
    /// Journal superblock.
    Journal(super::journal::JournalError),
    /// Extent tree.
    Extent(super::extent::ExtentError),
    /// Indirect block map.
    Indirect(super::indirect::IndirectError),
    /// Inline data.
    Inline(super::inline::InlineError),
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// Declares an area's error enumeration: each variant with its text; `checksum` marks the
/// variants that mean "the checksum does not match".
#[macro_export]
#[doc(hidden)]
macro_rules! corrupt_area {
    ($(#[$meta:meta])* $name:ident { $( $variant:ident = $text:literal $([$kind:ident])? ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( #[doc = $text] $variant, )*
        }

        impl $name {
            /// The fixed text of this error.
            pub const fn message(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }

            /// Whether this variant stands for a checksum mismatch.
            pub const fn is_checksum(self) -> bool {
                match self { $( Self::$variant => false $(|| $crate::corrupt_area!(@$kind))?, )* }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.message())
            }
        }
    };
    (@checksum) => { true };
}
