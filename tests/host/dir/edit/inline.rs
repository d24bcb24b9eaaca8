// SPDX-License-Identifier: GPL-2.0

//! Inline directories against a map, and their conversion.

use proptest::prelude::*;

use rext4::engine::dir_edit;
use rext4::engine::dir_lookup::{self, Place};
use rext4::ondisk::dir::edit::NewEntry;
use rext4::ondisk::inline::edit::{grow, init_head, InlineDirMut, InlinePlace, InlineRoom};
use rext4::ondisk::inline::{InlineDir, HEAD_SIZE};
use rext4::ondisk::{FileBlock, Ino};

use super::store::Store;
use super::subject::{type_of, Model, Subject};
use crate::build::{self, Plan, PLAN};
use crate::memory::MemDir;

struct Inline {
    head: [u8; HEAD_SIZE],
    value: Vec<u8>,
    most: usize,
    plan: Plan,
    model: Model,
}

fn ino(n: u32) -> Ino {
    Ino::new(n).unwrap()
}

impl Inline {
    fn new(plan: Plan, most: usize) -> Self {
        let mut head = [0x55; HEAD_SIZE];
        init_head(&mut head, ino(2), plan.block_size);
        Self {
            head,
            value: Vec::new(),
            most,
            plan,
            model: Model::new(),
        }
    }

    fn edit(&mut self) -> InlineDirMut<'_> {
        InlineDirMut {
            head: &mut self.head,
            value: &mut self.value,
            limits: build::format(self.plan).limits,
        }
    }

    fn memory(&self) -> MemDir {
        let mut dir = MemDir::new(build::format(self.plan), vec![]);
        dir.inline = Some((self.head, self.value.clone()));
        dir.size = 60 + self.value.len() as u64;
        dir
    }

    fn place(&self, name: &[u8]) -> InlinePlace {
        match self.memory().lookup(name).unwrap().expect("name").place {
            Place::InlineFirst { offset } => InlinePlace::First(offset as usize),
            Place::InlineSecond { offset } => InlinePlace::Second(offset as usize),
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) {
        let dir = self.memory();
        let seen: Model = dir
            .read_all()
            .into_iter()
            .filter(|s| !s.name.starts_with(b"."))
            .map(|s| (s.name, (s.ino, s.file_type)))
            .collect();
        assert_eq!(seen, self.model);
        assert_eq!(dir.reported(), []);
        let empty = dir_edit::is_empty(&dir.view()).unwrap();
        assert_eq!(empty, self.model.is_empty());
    }

    /// `false` if it is full for good.
    fn insert(&mut self, name: &[u8], n: u32) -> bool {
        let new = NewEntry::new(name, ino(n), type_of(n).to_disk()).unwrap();
        loop {
            match self.edit().insert(&new).unwrap() {
                InlineRoom::At(_) => break,
                InlineRoom::Exists => panic!("exists"),
                InlineRoom::Full => {}
            }
            let (old, limits) = (self.value.len(), self.edit().limits);
            let mut value = self.value.clone();
            value.resize((old + 24).min(self.most), 0xff);
            if !grow(&mut value, old, limits).unwrap() {
                return false;
            }
            self.value = value;
        }
        self.model.insert(name.to_vec(), (n, type_of(n)));
        true
    }

    /// The same directory with a block.
    fn convert(&self) -> Subject {
        let plan = self.plan;
        let store = Store::new(plan.block_size, Vec::new());
        let mut subject = Subject::around(build::format(plan), store);
        subject.seed = plan.checksums.then_some(build::SEED);
        subject.store.begin(1);
        let inline = InlineDir::new(&self.head, Some(&self.value)).unwrap();
        dir_edit::convert_inline(&subject.view(), &inline).unwrap_err();
        assert_eq!(subject.store.end(), 1);
        assert_eq!(subject.store.len(), 0);
        subject.store.begin(0);
        dir_edit::convert_inline(&subject.view(), &inline).unwrap();
        subject.store.end();
        subject.model = self.model.clone();
        subject
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence(
        checksums in any::<bool>(),
        most in (0usize..30).prop_map(|n| n * 4),
        ops in prop::collection::vec((0u32..40, any::<bool>()), 1..120),
    ) {
        let plan = Plan { checksums, ..PLAN };
        let mut inline = Inline::new(plan, most);
        let mut full = 0;
        for (nr, replace) in ops {
            let name = format!("{nr}{}", "y".repeat(nr as usize % 7 * 3)).into_bytes();
            let known = inline.model.contains_key(&name);
            if !known {
                full += u32::from(!inline.insert(&name, 100 + nr));
            } else if replace {
                let place = inline.place(&name);
                let (n, file_type) = (300 + nr, type_of(300 + nr));
                let done = inline.edit().replace(&name, place, ino(n), file_type.to_disk());
                prop_assert_eq!(done, Ok(true));
                inline.model.insert(name, (n, file_type));
            } else {
                let place = inline.place(&name);
                prop_assert_eq!(inline.edit().remove(&name, place), Ok(true));
                inline.model.remove(&name);
            }
            inline.check();
        }
        let mut subject = inline.convert();
        subject.check();
        // Each entry is where readers from front to back know it.
        let mut before = inline.memory();
        before.format.dir_index = false;
        let mut after = subject.memory();
        after.format.dir_index = false;
        let places = |dir: &MemDir| -> Vec<_> {
            dir.read_all().into_iter().map(|s| (s.position, s.name)).collect()
        };
        prop_assert_eq!(places(&before), places(&after));
        for i in 0..200 + full {
            subject.insert(format!("more {i}").as_bytes(), 400);
        }
        subject.check();
    }
}

#[test]
fn damage_is_not_converted() {
    let mut inline = Inline::new(PLAN, 40);
    for i in 0..6 {
        inline.insert(format!("{i}").as_bytes(), 100 + i);
    }
    inline.head[8] = 4;
    let subject = Subject::around(build::format(PLAN), Store::new(1024, Vec::new()));
    let parts = InlineDir::new(&inline.head, Some(&inline.value)).unwrap();
    dir_edit::convert_inline(&subject.view(), &parts).unwrap_err();
    assert_eq!(subject.store.len(), 0);
    assert!(dir_lookup::lookup(&inline.memory().view(), b"1", FileBlock::ZERO).is_err());
}
