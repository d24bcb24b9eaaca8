// SPDX-License-Identifier: GPL-2.0

//! The options that have two states.

/// Options that are on or off, as a set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Toggles(u32);

impl Toggles {
    /// `minixdf`: statfs counts metadata as used space (`bsddf` does not).
    pub(crate) const MINIX_DF: Self = Self(1 << 0);
    /// `grpid`: new files inherit the group of their directory.
    pub(crate) const GRPID: Self = Self(1 << 1);
    /// `block_validity`. rext4 always checks; the option is kept to be shown.
    pub(crate) const BLOCK_VALIDITY: Self = Self(1 << 2);
    /// `dioread_nolock`.
    pub(crate) const DIOREAD_NOLOCK: Self = Self(1 << 3);
    /// `discard`.
    pub(crate) const DISCARD: Self = Self(1 << 4);
    /// `delalloc`.
    pub(crate) const DELALLOC: Self = Self(1 << 5);
    /// `warn_on_error`.
    pub(crate) const WARN_ON_ERROR: Self = Self(1 << 6);
    /// `journal_checksum`.
    pub(crate) const JOURNAL_CHECKSUM: Self = Self(1 << 7);
    /// `journal_async_commit`.
    pub(crate) const ASYNC_COMMIT: Self = Self(1 << 8);
    /// `noload` (`norecovery`): the journal is left alone.
    pub(crate) const NOLOAD: Self = Self(1 << 9);
    /// `barrier`.
    pub(crate) const BARRIER: Self = Self(1 << 10);
    /// `noauto_da_alloc`.
    pub(crate) const NO_AUTO_DA_ALLOC: Self = Self(1 << 11);
    /// `init_itable`.
    pub(crate) const INIT_ITABLE: Self = Self(1 << 12);
    /// `user_xattr`.
    pub(crate) const USER_XATTR: Self = Self(1 << 13);
    /// `acl`.
    pub(crate) const POSIX_ACL: Self = Self(1 << 14);
    /// `nouid32`: owners have 16 bits; the upper halves on disk are not looked at.
    pub(crate) const NO_UID32: Self = Self(1 << 15);
    /// `debug`.
    pub(crate) const DEBUG: Self = Self(1 << 16);
    /// Any kind of quota.
    pub(crate) const QUOTA: Self = Self(1 << 17);
    /// `usrquota`, together with `QUOTA`.
    pub(crate) const USRQUOTA: Self = Self(1 << 18);
    /// `grpquota`, together with `QUOTA`.
    pub(crate) const GRPQUOTA: Self = Self(1 << 19);
    /// `prjquota`, together with `QUOTA`.
    pub(crate) const PRJQUOTA: Self = Self(1 << 20);
    /// `nombcache`.
    pub(crate) const NO_MBCACHE: Self = Self(1 << 21);
    /// `no_prefetch_block_bitmaps`.
    pub(crate) const NO_PREFETCH: Self = Self(1 << 22);
    /// `data_err=abort`.
    pub(crate) const DATA_ERR_ABORT: Self = Self(1 << 23);
    /// `abort`.
    pub(crate) const ABORT: Self = Self(1 << 24);
    /// `inlinecrypt`: file contents are to be encrypted by the block layer.
    pub(crate) const INLINE_CRYPT: Self = Self(1 << 26);
    /// `journal_checksum` or `journal_async_commit` was asked for, not just implied.
    pub(super) const EXPLICIT_CHECKSUM: Self = Self(1 << 25);

    /// All that has to do with quotas.
    pub(super) const ANY_QUOTA: Self = Self::QUOTA
        .with(Self::USRQUOTA)
        .with(Self::GRPQUOTA)
        .with(Self::PRJQUOTA);

    /// The set as a number, for an atomic word.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The set that [`bits`](Self::bits) gave.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Both sets together.
    #[inline]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What `other` does not have.
    #[inline]
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is on.
    #[inline]
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is on.
    #[inline]
    pub(super) const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is on in one of the two only.
    #[inline]
    pub(super) const fn difference(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// `self`, with `which` on or off.
    pub(super) const fn turned(self, which: Self, on: bool) -> Self {
        if on {
            self.with(which)
        } else {
            self.without(which)
        }
    }
}
