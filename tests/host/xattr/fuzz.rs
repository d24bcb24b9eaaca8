// SPDX-License-Identifier: GPL-2.0

//! Bytes of any kind as attributes and access control lists.

use proptest::prelude::*;
use rext4::engine::xattr_find;
use rext4::ondisk::acl::Acl;
use rext4::ondisk::xattr::{
    block_hash, verify_block, verify_inode, XattrArea, XattrError, XattrRules, XattrValue, MAGIC,
};
use rext4::ondisk::FsBlock;

const RULES: XattrRules = XattrRules {
    ea_inode: true,
    first_ino: 11,
    inodes_count: 4096,
};

/// Bytes that look like entries often enough.
fn body(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => Just(0u8),
        3 => 1u8..8,
        2 => 8u8..64,
        1 => any::<u8>()
    ];
    prop::collection::vec(byte, 0..len)
}

fn check(area: &XattrArea<'_>, bytes: &[u8], verified: bool) -> Result<(), TestCaseError> {
    let inside = bytes.as_ptr_range();
    let mut count = 0;
    for xattr in area.iter() {
        count += 1;
        prop_assert!(count * 16 <= bytes.len() + 16);
        let xattr = match xattr {
            Ok(xattr) => xattr,
            Err(_) => {
                prop_assert!(!verified);
                continue;
            }
        };
        if let XattrValue::Here(value) = xattr.value {
            if !value.is_empty() {
                let range = value.as_ptr_range();
                prop_assert!(range.start >= inside.start && range.end <= inside.end);
            }
        }
        if verified {
            let found = xattr_find::find(area, xattr.index, xattr.name);
            prop_assert!(matches!(found, Ok(Some(_))));
            prop_assert!(!xattr.name.contains(&0));
        }
    }
    let listed = xattr_find::list::<XattrError>(area, |_, _, _| Ok(()));
    prop_assert!(listed.is_ok() || !verified);
    let _ = xattr_find::find(area, 1, b"a");
    let _ = block_hash(area);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn inode_area(body in body(400)) {
        let mut space = MAGIC.to_le_bytes().to_vec();
        space.extend(&body);
        let verified = verify_inode(&space, RULES).is_ok();
        match XattrArea::in_inode(&space, RULES) {
            Some(area) => check(&area, &space, verified)?,
            None => prop_assert!(body.len() < 4),
        }
        let _ = verify_inode(&body, RULES);
    }

    #[test]
    fn block_area(body in body(1024)) {
        let mut block = vec![0; 32];
        block[..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[8] = 1;
        block.extend(&body);
        let verified = verify_block(&block, FsBlock::new(9), RULES, None).is_ok();
        let area = XattrArea::in_block(&block, RULES).unwrap();
        check(&area, &block, verified)?;
        prop_assert!(verify_block(&body, FsBlock::new(9), RULES, Some(1)).is_err());
    }

    #[test]
    fn access_control_list(
        tags in prop::collection::vec(prop_oneof![Just(1u8), Just(2), Just(4), Just(8), Just(16), Just(32), any::<u8>()], 0..12),
        cut in 0usize..8,
    ) {
        let mut value = vec![1, 0, 0, 0];
        for tag in &tags {
            value.extend([*tag, 0, 7, 0]);
            if matches!(tag, 2 | 8) {
                value.extend([9, 0, 0, 0]);
            }
        }
        value.truncate(value.len().saturating_sub(cut));
        if let Ok(Some(acl)) = Acl::parse(&value) {
            prop_assert_eq!(acl.iter().count(), acl.count());
            prop_assert_eq!(cut % 4, 0);
        }
    }
}
