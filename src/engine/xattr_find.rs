// SPDX-License-Identifier: GPL-2.0

//! Finding and listing extended attributes.
//!
//! An inode's attributes are in its body, in a block, or in both, and the body is looked at
//! first. Either place is an [`XattrArea`] that has been verified (`ondisk::xattr`).
//!
//! Entries of a block are in order and C ext4 stops early; here all of them are looked at. There
//! are few, and a block that some tool left unsorted then finds what it lists.

use crate::ondisk::xattr::{self, Xattr, XattrArea, XattrError};

/// The attribute with name index `index` and, behind the prefix, the name `name`; `None` if it is
/// not in this area.
///
/// Where the value is follows from [`Xattr::value`]. Error: the area or the entry is bad.
#[inline]
pub fn find<'a>(
    area: &XattrArea<'a>,
    index: u8,
    name: &[u8],
) -> Result<Option<Xattr<'a>>, XattrError> {
    area.iter().find_next(index, name)
}

/// Calls `each` with the parts of the name of every attribute that user space may see: name
/// index, prefix, and the rest. Whether this user may see that name space is for the caller to
/// decide. Stops at the first error, of the area or of `each`.
pub fn list<E: From<XattrError>>(
    area: &XattrArea<'_>,
    mut each: impl FnMut(u8, &'static str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for xattr in area.iter() {
        let xattr = xattr?;
        if let Some(prefix) = xattr::prefix(xattr.index) {
            each(xattr.index, prefix, xattr.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::xattr::{XattrRules, XattrValue, MAGIC};

    #[test]
    fn find_and_list() {
        let mut space = MAGIC.to_le_bytes().to_vec();
        for (index, name) in [
            (1u8, &b"zz"[..]),
            (7, b"data"),
            (2, b""),
            (1, b"aa"),
            (9, b"c"),
        ] {
            space.extend_from_slice(&[name.len() as u8, index]);
            space.extend_from_slice(&[0; 14]);
            space.extend_from_slice(name);
            space.resize(space.len().next_multiple_of(4), 0);
        }
        space.extend_from_slice(&[0; 4]);
        let rules = XattrRules {
            ea_inode: false,
            first_ino: 11,
            inodes_count: 100,
        };
        let area = XattrArea::in_inode(&space, rules).unwrap();
        let value = |index, name| find(&area, index, name).unwrap().map(|x| x.value);
        assert_eq!(value(1, b"aa"), Some(XattrValue::Here(b"")));
        assert_eq!(value(7, b"data"), Some(XattrValue::Here(b"")));
        assert_eq!(value(1, b"a"), None);
        let mut names = Vec::new();
        list::<XattrError>(&area, |_, prefix, name| {
            names.push(prefix.to_string() + std::str::from_utf8(name).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(names, ["user.zz", "system.posix_acl_access", "user.aa"]);
        let stop = list(&area, |_, _, _| Err(XattrError::Header));
        assert_eq!(stop, Err(XattrError::Header));
    }
}
