// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists.
//!
//! The VFS asks for an inode's list through `get_inode_acl` (see [`super::inode`]), caches the
//! answer in the inode, and turns it into the value of `system.posix_acl_access` or
//! `system.posix_acl_default` for user space. A file system builds a [`PosixAcl`] with an
//! [`AclBuilder`], and stores what it gets from `set_acl` by [`Acl::entries`].

use super::{bindings, fs_type::FileSystem, super_block::SuperBlock};
use core::{marker::PhantomData, mem::ManuallyDrop, ops::Deref, ptr::NonNull};
use kernel::{
    ffi::{c_int, c_short, c_uint},
    prelude::*,
    types::Opaque,
};

/// The two lists that an inode can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclKind {
    /// Who may access the inode.
    Access,
    /// What new entries of a directory start with.
    Default,
}

impl AclKind {
    /// From the VFS's `ACL_TYPE_*`.
    pub(super) fn from_raw(kind: c_int) -> Option<Self> {
        match u32::try_from(kind) {
            Ok(bindings::ACL_TYPE_ACCESS) => Some(Self::Access),
            Ok(bindings::ACL_TYPE_DEFAULT) => Some(Self::Default),
            _ => None,
        }
    }

    /// The VFS's `ACL_TYPE_*`.
    pub(super) fn as_raw(self) -> c_int {
        // CAST: 0x8000 and 0x4000.
        (match self {
            Self::Access => bindings::ACL_TYPE_ACCESS,
            Self::Default => bindings::ACL_TYPE_DEFAULT,
        }) as c_int
    }
}

/// Whom an entry is about. Ids are those on disk, that is of the superblock's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclTag {
    /// The owner.
    UserObj,
    /// This user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// This group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everyone else.
    Other,
}

/// A complete list that somebody holds.
///
/// # Invariants
///
/// All entries are initialised. Nothing changes them, since a list is shared once it is complete.
#[repr(transparent)]
pub(crate) struct Acl(Opaque<bindings::posix_acl>);

impl Acl {
    /// # Safety
    ///
    /// `raw` must be NULL or a complete list that is held for `'a`.
    pub(super) unsafe fn from_raw<'a>(raw: *const bindings::posix_acl) -> Option<&'a Self> {
        // SAFETY: by contract; the layout is transparent.
        // INVARIANT: by contract.
        unsafe { raw.cast::<Self>().as_ref() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::posix_acl {
        self.0.get()
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> usize {
        // SAFETY: the header is the first part of a list (`struct_group_tagged`); the count in it
        // does not change. No reference to the header is made: others change what is beside it.
        unsafe {
            let header = self
                .as_raw()
                .cast::<bindings::posix_acl__bindgen_ty_1_posix_acl_hdr>();
            (*header).a_count as usize
        }
    }

    /// The entries: whom each is about, by ids as an inode of `sb` stores them, and its `rwx` bits.
    /// An entry of a kind that there is not is EINVAL.
    pub(crate) fn entries<'a, F: FileSystem>(
        &'a self,
        sb: &'a SuperBlock<F>,
    ) -> impl Iterator<Item = Result<(AclTag, u16)>> + 'a {
        // SAFETY: the namespace of a superblock is set when it is made, and stays.
        let ns = unsafe { (*sb.as_raw()).s_user_ns };
        // SAFETY: as above; the result borrows the superblock.
        unsafe { self.entries_in(ns) }
    }

    /// # Safety
    ///
    /// `ns` must be valid for as long as the result is used.
    unsafe fn entries_in<'a>(
        &'a self,
        ns: *mut bindings::user_namespace,
    ) -> impl Iterator<Item = Result<(AclTag, u16)>> + 'a {
        let first: *const bindings::posix_acl_entry =
            // SAFETY: a field of a valid list.
            unsafe { &raw const (*self.as_raw()).a_entries }.cast();
        (0..self.count()).map(move |i| {
            // SAFETY: by the type invariant there are `count` entries, all initialised; `self` is
            // borrowed by the iterator. The id is one number, of a user or of a group.
            unsafe {
                let entry = first.add(i);
                let id = &raw const (*entry).__bindgen_anon_1;
                // CAST: the tags are 0x01 to 0x20.
                let tag = match (*entry).e_tag as u32 {
                    bindings::ACL_USER_OBJ => AclTag::UserObj,
                    bindings::ACL_USER => AclTag::User(bindings::from_kuid(
                        ns,
                        id.cast::<bindings::kuid_t>().read(),
                    )),
                    bindings::ACL_GROUP_OBJ => AclTag::GroupObj,
                    bindings::ACL_GROUP => AclTag::Group(bindings::from_kgid(
                        ns,
                        id.cast::<bindings::kgid_t>().read(),
                    )),
                    bindings::ACL_MASK => AclTag::Mask,
                    bindings::ACL_OTHER => AclTag::Other,
                    _ => return Err(EINVAL),
                };
                Ok((tag, (*entry).e_perm))
            }
        })
    }
}

/// A complete list, with one reference.
///
/// # Invariants
///
/// We own one reference, and all entries are initialised.
pub(crate) struct PosixAcl(NonNull<bindings::posix_acl>);

impl PosixAcl {
    /// # Safety
    ///
    /// `raw` must be NULL or a complete list, of which a reference passes to the result.
    pub(super) unsafe fn from_raw(raw: *mut bindings::posix_acl) -> Option<Self> {
        // INVARIANT: by contract.
        NonNull::new(raw).map(Self)
    }

    /// Gives the reference to the VFS.
    pub(super) fn into_raw(self) -> *mut bindings::posix_acl {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

// SAFETY: a list is reference-counted atomically and does not change.
unsafe impl Send for PosixAcl {}

impl Deref for PosixAcl {
    type Target = Acl;

    fn deref(&self) -> &Acl {
        // SAFETY: by the type invariant all entries are initialised, and we hold the list; the
        // layout is transparent. (`AclBuilder`, whose list is incomplete, does not come here.)
        unsafe { &*self.0.as_ptr().cast() }
    }
}

impl Drop for PosixAcl {
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own a reference.
        unsafe { bindings::posix_acl_release(self.0.as_ptr()) };
    }
}

/// A list that is being built.
///
/// # Invariants
///
/// `acl` has room for `count` entries, of which the first `filled`, not more than `count`, are
/// initialised. `ns` is the user namespace of a superblock that lives for `'a`.
pub(crate) struct AclBuilder<'a> {
    // Released when the builder is dropped unfinished; nothing but the reference count of an
    // incomplete list is looked at.
    acl: PosixAcl,
    filled: usize,
    count: usize,
    ns: *mut bindings::user_namespace,
    _sb: PhantomData<&'a ()>,
}

impl<'a> AclBuilder<'a> {
    /// A list of `count` entries for an inode of `sb`.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new<F: FileSystem>(sb: &'a SuperBlock<F>, count: usize) -> Result<Self> {
        // SAFETY: the namespace of a superblock is set when it is made, and stays.
        let ns = unsafe { (*sb.as_raw()).s_user_ns };
        // SAFETY: as above; the result borrows the superblock.
        unsafe { Self::in_namespace(ns, count) }
    }

    /// # Safety
    ///
    /// `ns` must be valid for `'a`.
    unsafe fn in_namespace(ns: *mut bindings::user_namespace, count: usize) -> Result<Self> {
        let n = c_uint::try_from(count)?;
        // SAFETY: no preconditions; NOFS since the VFS may ask for a list from anywhere.
        let acl = unsafe { bindings::posix_acl_alloc(n, bindings::GFP_NOFS) };
        // INVARIANT: room for `count` entries, none of which is initialised; `ns` by contract.
        Ok(Self {
            acl: PosixAcl(NonNull::new(acl).ok_or(ENOMEM)?),
            filled: 0,
            count,
            ns,
            _sb: PhantomData,
        })
    }

    /// Appends an entry: whom it is about, and the `rwx` bits.
    ///
    /// Errors: EINVAL if there are `count` entries already.
    pub(crate) fn push(&mut self, tag: AclTag, perm: u16) -> Result {
        if self.filled >= self.count {
            return Err(EINVAL);
        }
        let (e_tag, id) = match tag {
            AclTag::UserObj => (bindings::ACL_USER_OBJ, None),
            AclTag::User(id) => (bindings::ACL_USER, Some(id)),
            AclTag::GroupObj => (bindings::ACL_GROUP_OBJ, None),
            AclTag::Group(id) => (bindings::ACL_GROUP, Some(id)),
            AclTag::Mask => (bindings::ACL_MASK, None),
            AclTag::Other => (bindings::ACL_OTHER, None),
        };
        // SAFETY: by the type invariant and the check there is room for one more entry behind the
        // `filled` ones; nobody else has a pointer to the list. The namespace is alive because the
        // superblock is.
        unsafe {
            let first: *mut bindings::posix_acl_entry =
                (&raw mut (*self.acl.0.as_ptr()).a_entries).cast();
            let entry = first.add(self.filled);
            // Entries without an id still have the bytes of one.
            entry.write_bytes(0, 1);
            // CAST: the tags are 0x01 to 0x20.
            (*entry).e_tag = e_tag as c_short;
            (*entry).e_perm = perm;
            match (tag, id) {
                (AclTag::User(_), Some(id)) => {
                    *(*entry).__bindgen_anon_1.e_uid.as_mut() = bindings::make_kuid(self.ns, id)
                }
                (AclTag::Group(_), Some(id)) => {
                    *(*entry).__bindgen_anon_1.e_gid.as_mut() = bindings::make_kgid(self.ns, id)
                }
                _ => {}
            }
        }
        // INVARIANT: one more entry is initialised.
        self.filled = self.filled.saturating_add(1);
        Ok(())
    }

    /// The list.
    ///
    /// Errors: EINVAL if entries are missing.
    pub(crate) fn finish(self) -> Result<PosixAcl> {
        if self.filled != self.count {
            return Err(EINVAL);
        }
        // INVARIANT: all entries are initialised, by the type invariant.
        Ok(self.acl)
    }
}

#[kunit_tests(rext4_acl)]
mod tests {
    use super::*;

    const LIST: [(AclTag, u16); 6] = [
        (AclTag::UserObj, 7),
        (AclTag::User(1000), 6),
        (AclTag::GroupObj, 5),
        (AclTag::Group(70_000), 4),
        (AclTag::Mask, 6),
        (AclTag::Other, 0),
    ];

    fn ns() -> *mut bindings::user_namespace {
        &raw mut bindings::init_user_ns
    }

    /// What is put into a list comes out of it.
    #[test]
    fn lists_keep_their_entries() -> Result {
        // SAFETY: the initial namespace is always there.
        let mut list = unsafe { AclBuilder::in_namespace(ns(), LIST.len()) }?;
        for (tag, perm) in LIST {
            list.push(tag, perm)?;
        }
        assert_eq!(list.push(AclTag::Other, 0), Err(EINVAL));
        let acl = list.finish()?;
        assert_eq!(acl.count(), LIST.len());
        // SAFETY: as above.
        let mut entries = unsafe { acl.entries_in(ns()) };
        for expected in LIST {
            assert_eq!(entries.next(), Some(Ok(expected)));
        }
        assert!(entries.next().is_none());
        Ok(())
    }

    /// A list that was not filled is none.
    #[test]
    fn short_lists() -> Result {
        // SAFETY: as above.
        let mut list = unsafe { AclBuilder::in_namespace(ns(), 2) }?;
        list.push(AclTag::UserObj, 7)?;
        assert!(list.finish().is_err_and(|e| e == EINVAL));
        // SAFETY: as above.
        let none = unsafe { AclBuilder::in_namespace(ns(), 0) }?.finish()?;
        // SAFETY: as above.
        assert!(unsafe { none.entries_in(ns()) }.next().is_none());
        Ok(())
    }

    /// A tag that there is not is an error, in its place.
    #[test]
    fn unknown_tags() -> Result {
        // SAFETY: as above.
        let mut list = unsafe { AclBuilder::in_namespace(ns(), 2) }?;
        list.push(AclTag::UserObj, 7)?;
        list.push(AclTag::Other, 1)?;
        let acl = list.finish()?;
        // SAFETY: nobody else knows the list, which has two entries.
        unsafe {
            let first: *mut bindings::posix_acl_entry = (&raw mut (*acl.as_raw()).a_entries).cast();
            (*first).e_tag = 3;
        }
        // SAFETY: as above.
        let mut entries = unsafe { acl.entries_in(ns()) };
        assert_eq!(entries.next(), Some(Err(EINVAL)));
        assert_eq!(entries.next(), Some(Ok((AclTag::Other, 1))));
        Ok(())
    }

    /// The two kinds are those of the VFS.
    #[test]
    fn kinds() {
        for kind in [AclKind::Access, AclKind::Default] {
            assert_eq!(AclKind::from_raw(kind.as_raw()), Some(kind));
        }
        assert_eq!(AclKind::from_raw(0), None);
    }
}
