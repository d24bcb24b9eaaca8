// SPDX-License-Identifier: GPL-2.0

//! Readdir and lookup from front to back.

use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dir_lookup;
use rext4::ondisk::dir::DirError;
use rext4::ondisk::{Corrupt, FileBlock};

use super::build::{self, names, Plan, PLAN};
use super::memory::{Error, MemDir, Seen};

const WIDE: CookieWidth = CookieWidth::Bits64;

/// A directory of `count` names in as many blocks as it takes, 12 entries each.
fn linear(plan: Plan, count: u32) -> MemDir {
    let mut all = vec![(12, b".".to_vec()), (2, b"..".to_vec())];
    all.extend(names(count));
    let blocks = all.chunks(12).map(|c| Some(build::leaf(plan, c))).collect();
    let mut dir = MemDir::new(build::format(plan), blocks);
    dir.format.dir_index = false;
    dir.seed = plan.checksums.then_some(build::SEED);
    dir
}

fn expected(dir: &MemDir) -> Vec<(u64, Vec<u8>)> {
    let size = u64::from(dir.format.limits.block_size);
    dir.raw_entries()
        .into_iter()
        .map(|(lblk, at, _, name)| (u64::from(lblk) * size + at as u64, name))
        .collect()
}

fn strip(seen: Vec<Seen>) -> Vec<(u64, Vec<u8>)> {
    seen.into_iter().map(|s| (s.position, s.name)).collect()
}

#[test]
fn order_and_positions() {
    for checksums in [false, true] {
        let dir = linear(Plan { checksums, ..PLAN }, 200);
        let all = expected(&dir);
        for per_call in [1, 2, 11, 12, 13, 1000] {
            let seen = dir.read_from(0, WIDE, 4, per_call).unwrap();
            assert_eq!(strip(seen), all);
        }
        for position in 0..=dir.size + 5 {
            let rest: Vec<_> = all
                .iter()
                .filter(|(p, _)| *p >= position)
                .cloned()
                .collect();
            let seen = dir.read_from(position, WIDE, 4, 50).unwrap();
            assert_eq!(strip(seen), rest, "{position}");
        }
        for position in [u64::MAX, 1 << 63, 1 << 40] {
            assert_eq!(dir.read_from(position, WIDE, 4, 50).unwrap(), []);
        }
    }
}

#[test]
fn lookup_wraps_around_from_the_hint() {
    let dir = linear(PLAN, 200);
    for (lblk, _, ino, name) in dir.raw_entries() {
        for hint in [0, 3, lblk, 1000] {
            let found = dir_lookup::lookup(&dir.view(), &name, FileBlock::new(hint));
            assert_eq!(found.unwrap().unwrap().ino.get(), ino);
        }
        dir.reads.set(0);
        let hint = FileBlock::new(lblk);
        dir_lookup::lookup(&dir.view(), &name, hint).unwrap();
        assert_eq!(dir.reads.get(), 1);
    }
    assert_eq!(dir.lookup(b"nothing").unwrap(), None);
}

#[test]
fn holes_are_skipped_as_wholes() {
    let mut dir = linear(PLAN, 100);
    let all = expected(&dir);
    dir.punch(2);
    dir.punch(3);
    let rest: Vec<_> = all
        .iter()
        .filter(|(p, _)| !(2048..4096).contains(p))
        .cloned()
        .collect();
    assert_eq!(strip(dir.read_all()), rest);
    assert_eq!(dir.lookup(b"nothing").unwrap(), None);
    // A size that nothing backs costs nothing.
    dir.size = 1 << 42;
    dir.most_reads = dir.reads.get() + 100;
    assert_eq!(strip(dir.read_all()), rest);
    assert_eq!(dir.lookup(b"nothing").unwrap(), None);
    assert_eq!(dir.reported(), []);
}

#[test]
fn damage_costs_the_rest_of_its_block() {
    let mut dir = linear(PLAN, 100);
    let all = expected(&dir);
    // A bad checksum: all of block 1. A bad record: the rest of block 3.
    dir.change(1, |b| b[9] ^= 1);
    let (at, victim) = all.iter().filter(|(p, _)| *p >= 3 * 1024).nth(5).unwrap();
    let offset = (at - 3 * 1024) as usize;
    dir.change(3, |b| {
        b[offset + 4] = 8;
        build::seal_leaf(PLAN, b);
    });
    let rest: Vec<_> = all
        .iter()
        .filter(|(p, _)| !(1024..2048).contains(p) && !(*at..4096).contains(p))
        .cloned()
        .collect();
    for per_call in [1, 5, 1000] {
        dir.reports.borrow_mut().clear();
        assert_eq!(strip(dir.read_from(0, WIDE, 4, per_call).unwrap()), rest);
        let reported = dir.reported();
        assert!(reported.contains(&Corrupt::Dir(DirError::Checksum)));
        assert!(reported.contains(&Corrupt::Dir(DirError::ShortRecord)));
    }
    // Positions inside the damage are no trap.
    for position in 0..dir.size {
        let rest: Vec<_> = rest.iter().filter(|(p, _)| *p >= position).collect();
        let seen = strip(dir.read_from(position, WIDE, 4, 1000).unwrap());
        assert!(seen.iter().eq(rest), "{position}");
    }
    // Lookup cannot tell whether the name is behind the damage.
    let checksum = Error::Corrupt(Corrupt::Dir(DirError::Checksum));
    assert_eq!(dir.lookup(victim), Err(checksum));
    let hint = FileBlock::new(2);
    let record = Error::Corrupt(Corrupt::Dir(DirError::ShortRecord));
    assert_eq!(dir_lookup::lookup(&dir.view(), victim, hint), Err(record));
    // An I/O error ends reading, behind what was good.
    dir.broken = Some(4);
    let (seen, error) = dir.read_from(0, WIDE, 4, 7).unwrap_err();
    assert_eq!(error, Error::Io);
    let good: Vec<_> = rest.iter().filter(|(p, _)| *p < 4096).cloned().collect();
    assert_eq!(strip(seen), good);
}
