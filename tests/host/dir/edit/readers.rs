// SPDX-License-Identifier: GPL-2.0

//! Readers who are interrupted by changes: whoever stays is seen once.

use std::collections::BTreeSet;

use rext4::engine::dir_batch::Record;
use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::readdir::{self, Cursor};

use super::subject::Subject;
use crate::build::{Lcg, Plan, PLAN};

/// Reads `per_call` names at a time and changes the directory in between. `fresh`: each call has
/// a cursor of its own, as with NFS or a seek, and nothing but the position to go by.
fn interrupted(subject: &mut Subject, per_call: usize, fresh: bool, grow: bool, seed: u64) {
    let mut rng = Lcg(seed);
    let stay: BTreeSet<Vec<u8>> = subject
        .model
        .keys()
        .filter(|name| name[0] == b's')
        .cloned()
        .collect();
    let (mut cursor, mut records) = (Cursor::new(), vec![Record::EMPTY; 64]);
    let mut position = 0;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let before = subject.store.len();
    for nr in 0u32.. {
        let count = seen.len();
        if fresh {
            cursor = Cursor::new();
        }
        let mut left = per_call;
        let dir = subject.memory();
        let emit = |item: &readdir::Item<'_>| {
            if left == 0 {
                return false;
            }
            left -= 1;
            seen.push(item.name.to_vec());
            true
        };
        let wide = CookieWidth::Bits64;
        readdir::fill(&dir.view(), &mut cursor, &mut records, position, wide, emit).unwrap();
        position = cursor.position();
        if seen.len() == count {
            break;
        }
        for _ in 0..rng.below(60) + per_call * 8 {
            let victim = subject.model.keys().rev().find(|name| name[0] == b'v');
            match victim.cloned() {
                Some(name) => subject.remove(&name),
                None => break,
            }
        }
        for i in 0..if grow && nr < 40 { rng.below(40) } else { 0 } {
            subject.insert(format!("new-{nr}-{i}").as_bytes(), 500);
        }
    }
    subject.check();
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    once.retain(|name| name[0] == b's');
    seen.retain(|name| name[0] == b's');
    assert_eq!(seen.len(), stay.len(), "a name came twice, or not at all");
    assert!(once.iter().eq(stay.iter()));
    assert!(grow || subject.store.len() < before, "{before}");
}

#[test]
fn every_name_that_stays_comes_once() {
    for (dir_index, checksums) in [(true, true), (true, false), (false, true)] {
        for per_call in [1, 7, 60] {
            for (fresh, grow) in [(false, false), (false, true), (true, false), (true, true)] {
                let plan = Plan { checksums, ..PLAN };
                let mut subject = Subject::create(plan);
                subject.format.dir_index = dir_index;
                for i in 0..1200u32 {
                    // Those that go are at the end, so that blocks go without an index, too.
                    let stays = if dir_index { i % 15 == 0 } else { i < 130 };
                    let kind = if stays { "stay" } else { "void" };
                    let name = format!("{kind}-{i:04}{}", "x".repeat((i * 13 % 31) as usize));
                    subject.insert(name.as_bytes(), 100 + i);
                }
                interrupted(&mut subject, per_call, fresh, grow, per_call as u64);
            }
        }
    }
}

/// A directory that gets its index while it is being read, in hash order before and after.
#[test]
fn becoming_indexed() {
    for fresh in [false, true] {
        let mut subject = Subject::create(PLAN);
        for i in 0..20u32 {
            subject.insert(format!("stay-{i}").as_bytes(), 100 + i);
        }
        assert_eq!(subject.store.len(), 1);
        interrupted(&mut subject, 2, fresh, true, 3);
        assert!(subject.indexed.get());
    }
}
