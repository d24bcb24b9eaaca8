// SPDX-License-Identifier: GPL-2.0

//! Random changes of bodies and blocks against a map, and changes of arbitrary bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rext4::ondisk::xattr::{
    block_hash, entry_hash, value_hash, verify_block, verify_inode, XattrArea, XattrRules,
    XattrValue, MAGIC,
};
use rext4::ondisk::xattr_block;
use rext4::ondisk::xattr_edit::{
    put_block, put_body, remove_block, remove_body, survey_block, survey_body, NewValue, Spot,
};
use rext4::ondisk::{FsBlock, Ino};

use crate::disk::le32;

pub const RULES: XattrRules = XattrRules {
    ea_inode: true,
    first_ino: 11,
    inodes_count: 4096,
};

type Key = (u8, Vec<u8>);

/// A value, or the number and the length of an inode that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Here(Vec<u8>),
    Inode(u32, u32, u32),
}

impl Value {
    fn room(&self) -> usize {
        match self {
            Self::Here(value) => value.len().next_multiple_of(4),
            Self::Inode(..) => 0,
        }
    }

    fn as_new(&self) -> NewValue<'_> {
        match self {
            Self::Here(value) => NewValue::Here(value),
            Self::Inode(ino, hash, size) => NewValue::EaInode {
                ino: Ino::new(*ino).unwrap(),
                hash: *hash,
                size: *size,
            },
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(Key, Value),
    Remove(Key),
}

fn key() -> impl Strategy<Value = Key> {
    let name = prop_oneof![
        prop::collection::vec(1u8..4, 0..4),
        prop::collection::vec(0x80u8.., 4..30),
        Just(vec![b'n'; 255]),
    ];
    (prop_oneof![Just(1u8), Just(6), Just(7)], name)
}

fn op(len: usize) -> impl Strategy<Value = Op> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Here),
        2 => prop::collection::vec(any::<u8>(), 0..len).prop_map(Value::Here),
        1 => (11u32..4096, any::<u32>(), 1u32..1 << 20).prop_map(|(i, h, s)| Value::Inode(i, h, s)),
    ];
    prop_oneof![
        3 => (key(), value).prop_map(|(key, value)| Op::Put(key, value)),
        2 => key().prop_map(Op::Remove),
    ]
}

/// One of the two places, with what it should hold.
struct Area {
    bytes: Vec<u8>,
    block: bool,
    map: BTreeMap<Key, Value>,
}

impl Area {
    fn body(len: usize) -> Self {
        // What is no header may be anything.
        Self {
            bytes: vec![0x77; len],
            block: false,
            map: BTreeMap::new(),
        }
    }

    fn block(len: usize) -> Self {
        let mut bytes = vec![0x77; len];
        xattr_block::init(&mut bytes);
        Self {
            bytes,
            block: true,
            map: BTreeMap::new(),
        }
    }

    fn survey(&self, key: &Key) -> Spot {
        if self.block {
            survey_block(&self.bytes, RULES, key.0, &key.1).expect("survey")
        } else {
            survey_body(&self.bytes, RULES, key.0, &key.1).expect("survey")
        }
    }

    fn used(&self) -> usize {
        self.map
            .iter()
            .map(|(key, value)| (16 + key.1.len()).next_multiple_of(4) + value.room())
            .sum()
    }

    fn capacity(&self) -> usize {
        self.bytes.len() - if self.block { 32 + 4 } else { 4 + 4 }
    }

    /// Whether it was carried out.
    fn apply(&mut self, op: &Op) -> Result<bool, TestCaseError> {
        match op {
            Op::Put(key, value) => {
                let spot = self.survey(key);
                prop_assert_eq!(spot.is_new(), !self.map.contains_key(key));
                let old = self.map.insert(key.clone(), value.clone());
                let fits = self.used() <= self.capacity();
                let size = match value {
                    Value::Here(value) => value.len(),
                    Value::Inode(..) => 0,
                };
                prop_assert_eq!(spot.fits(key.1.len(), size), fits);
                if !fits {
                    self.map.remove(key);
                    self.map.extend(old.map(|old| (key.clone(), old)));
                    return Ok(false);
                }
                if self.block {
                    put_block(&mut self.bytes, &spot, key.0, &key.1, &value.as_new());
                } else {
                    put_body(&mut self.bytes, &spot, key.0, &key.1, &value.as_new());
                }
            }
            Op::Remove(key) => {
                let spot = self.survey(key);
                let found = self.map.remove(key).is_some();
                prop_assert_eq!(spot.is_new(), !found);
                if !found {
                    return Ok(false);
                }
                prop_assert_eq!(spot.is_alone(), self.map.is_empty());
                if self.block {
                    remove_block(&mut self.bytes, &spot);
                } else {
                    remove_body(&mut self.bytes, &spot);
                }
            }
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        if self.block {
            let verdict = verify_block(&self.bytes, FsBlock::new(9), RULES, None);
            prop_assert_eq!(verdict, Ok(()));
            prop_assert_eq!(xattr_block::owners(&self.bytes), Ok(1));
        } else {
            prop_assert_eq!(verify_inode(&self.bytes, RULES), Ok(()));
        }
        let area = if self.block {
            XattrArea::in_block(&self.bytes, RULES).ok()
        } else {
            XattrArea::in_inode(&self.bytes, RULES)
        };
        let Some(area) = area else {
            prop_assert!(self.map.is_empty());
            return Ok(());
        };
        prop_assert!(self.block || !self.map.is_empty());
        let mut keys = Vec::new();
        let mut at = if self.block { 32 } else { 4 };
        for xattr in area.iter() {
            let xattr = xattr.expect("attribute");
            let key = (xattr.index, xattr.name.to_vec());
            let value = self.map.get(&key).expect("in the map");
            let hash = le32(&self.bytes, at + 12);
            match (xattr.value, value) {
                (XattrValue::Here(found), Value::Here(value)) => {
                    prop_assert_eq!(found, &value[..]);
                    let expected = match self.block {
                        true => entry_hash(&key.1, value),
                        false => 0,
                    };
                    prop_assert_eq!(hash, expected);
                }
                (XattrValue::EaInode(found), Value::Inode(ino, sum, size)) => {
                    prop_assert_eq!((found.ino.get(), found.size), (*ino, *size));
                    prop_assert_eq!(hash, entry_hash(&key.1, &sum.to_le_bytes()));
                }
                _ => prop_assert!(false, "another kind of value"),
            }
            at += (16 + key.1.len()).next_multiple_of(4);
            keys.push(key);
        }
        prop_assert_eq!(keys.len(), self.map.len());
        if self.block {
            let sorted = keys
                .windows(2)
                .all(|k| (k[0].0, k[0].1.len(), &k[0].1) < (k[1].0, k[1].1.len(), &k[1].1));
            prop_assert!(sorted);
            prop_assert_eq!(xattr_block::hash(&self.bytes), block_hash(&area));
        }
        // Between names and values there is nothing, and values are packed.
        let values: usize = self.map.values().map(Value::room).sum();
        let gap = &self.bytes[at..self.bytes.len() - values];
        prop_assert!(gap.iter().all(|&byte| byte == 0));
        Ok(())
    }
}

fn run(mut area: Area, ops: &[Op]) -> Result<(), TestCaseError> {
    for op in ops {
        let before = area.bytes.clone();
        if area.apply(op)? {
            area.check()?;
        } else {
            prop_assert!(before == area.bytes);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn body_as_a_map(len in prop_oneof![Just(96usize), Just(100), Just(352), Just(8), Just(864)],
                     ops in prop::collection::vec(op(100), 1..60)) {
        run(Area::body(len), &ops)?;
    }

    #[test]
    fn block_as_a_map(len in prop_oneof![Just(1024usize), Just(2048)],
                      ops in prop::collection::vec(op(600), 1..60)) {
        run(Area::block(len), &ops)?;
    }

    #[test]
    fn largest_block_as_a_map(ops in prop::collection::vec(op(40_000), 1..12)) {
        run(Area::block(65_536), &ops)?;
    }

    /// The order in which attributes came does not matter for whether blocks are equal.
    #[test]
    fn equal_blocks(ops in prop::collection::vec(op(60), 1..20), other in op(60)) {
        let mut area = Area::block(4096);
        for op in &ops {
            area.apply(op)?;
        }
        let mut again = Area::block(4096);
        for (key, value) in area.map.iter().rev() {
            again.apply(&Op::Put(key.clone(), value.clone()))?;
        }
        xattr_block::add_owner(&mut again.bytes);
        prop_assert_eq!(xattr_block::equal(&area.bytes, &again.bytes), Ok(true));
        prop_assert_eq!(xattr_block::hash(&area.bytes), xattr_block::hash(&again.bytes));
        again.apply(&other)?;
        let equal = area.map == again.map;
        prop_assert_eq!(xattr_block::equal(&area.bytes, &again.bytes), Ok(equal));
    }

    /// On any bytes: what verifies can be surveyed or is refused, what is surveyed can be
    /// changed, and verifies then.
    #[test]
    fn any_body(mut bytes in bytes(300), key in key(), value in prop::collection::vec(any::<u8>(), 0..50)) {
        bytes.splice(..0, MAGIC.to_le_bytes());
        let verified = verify_inode(&bytes, RULES).is_ok();
        if let Ok(spot) = survey_body(&bytes, RULES, key.0, &key.1) {
            if spot.fits(key.1.len(), value.len()) {
                let mut changed = bytes.clone();
                put_body(&mut changed, &spot, key.0, &key.1, &NewValue::Here(&value));
                prop_assert!(!verified || verify_inode(&changed, RULES).is_ok());
            }
            let mut changed = bytes.clone();
            remove_body(&mut changed, &spot);
            prop_assert!(!verified || verify_inode(&changed, RULES).is_ok());
            // Other bytes than those surveyed: nonsense, but no panic.
            changed.reverse();
            put_body(&mut changed[..bytes.len() / 2], &spot, key.0, &key.1, &NewValue::Here(&value));
            remove_body(&mut changed[..bytes.len() / 2], &spot);
        }
    }

    #[test]
    fn any_block(mut bytes in bytes(400), key in key(), value in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut header = vec![0; 32];
        header[..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4] = 1;
        header[8] = 1;
        bytes.splice(..0, header);
        let verify = |bytes: &[u8]| verify_block(bytes, FsBlock::new(9), RULES, None);
        let verified = verify(&bytes).is_ok();
        if let Ok(spot) = survey_block(&bytes, RULES, key.0, &key.1) {
            if spot.fits(key.1.len(), value.len()) {
                let mut changed = bytes.clone();
                put_block(&mut changed, &spot, key.0, &key.1, &NewValue::Here(&value));
                prop_assert!(!verified || verify(&changed).is_ok());
            }
            let mut changed = bytes.clone();
            remove_block(&mut changed, &spot);
            prop_assert!(!verified || verify(&changed).is_ok());
            let _ = xattr_block::equal(&bytes, &changed);
        }
    }
}

/// Entries at the start, often enough, with values that may overlap.
fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let entry = (
        prop_oneof![Just(1u8), Just(6), Just(7)],
        prop::collection::vec(1u8..4, 0..3),
        prop_oneof![3 => 100u16..300, 1 => any::<u16>()],
        prop_oneof![5 => 0u32..60, 1 => any::<u32>()],
        prop_oneof![6 => Just(0u32), 1 => 0u32..5000],
    );
    prop::collection::vec(entry, 0..5).prop_map(move |entries| {
        let mut out = Vec::new();
        for (index, name, offset, size, inum) in entries {
            out.extend([name.len() as u8, index]);
            out.extend((offset & !3).to_le_bytes());
            out.extend(inum.to_le_bytes());
            out.extend(size.to_le_bytes());
            out.extend([0; 4]);
            out.extend(&name);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out.extend([0; 4]);
        out.resize(out.len().max(len), 0x55);
        out
    })
}

#[test]
fn owners_of_a_block() {
    use xattr_block::{give_up, GivenUp};
    let mut block = vec![0xaa; 1024];
    xattr_block::init(&mut block);
    assert_eq!(give_up(&block), Ok(GivenUp::Free));
    for owners in 1..xattr_block::SHARED_MAX {
        assert_eq!(xattr_block::owners(&block), Ok(owners));
        assert!(xattr_block::can_share(&block));
        xattr_block::add_owner(&mut block);
        assert_eq!(give_up(&block), Ok(GivenUp::Shared));
    }
    assert!(!xattr_block::can_share(&block));
    xattr_block::drop_owner(&mut block);
    assert!(xattr_block::can_share(&block));
    xattr_block::own(&mut block);
    assert_eq!(give_up(&block), Ok(GivenUp::Free));
    block[4] = 0;
    assert!(give_up(&block).is_err() && !xattr_block::can_share(&block));
    block[0] = 1;
    assert!(xattr_block::owners(&block).is_err());
    assert_eq!(value_hash(3, b"abc"), rext4::ondisk::crc::crc32c(3, b"abc"));
}
