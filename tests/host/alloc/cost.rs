// SPDX-License-Identifier: GPL-2.0

//! What it costs. To be run by hand, with optimisation:
//! `cargo test --release --test alloc -- --ignored --nocapture cost`

use std::hint::black_box;
use std::time::Instant;

use rext4::engine::alloc::runs::{storage_len, RunTree};
use rext4::engine::alloc::Run;
use rext4::ondisk::crc::crc32c;
use rext4::ondisk::crc_update::crc32c_flip;
use rext4::ondisk::Group;

use crate::images::Random;

/// Prints the nanoseconds that `f` takes, the best of five rounds.
fn measure(what: &str, turns: u32, mut f: impl FnMut(u32)) {
    let best = (0..5).map(|_| {
        let start = Instant::now();
        (0..turns).for_each(&mut f);
        start.elapsed().as_nanos() / u128::from(turns)
    });
    println!("{what:<50} {:>8} ns", best.min().unwrap_or(0));
}

#[test]
#[ignore = "a measurement"]
fn cost() {
    for (shape, every, hole) in [
        ("fresh", 0, 0),
        ("holes of 7", 16, 7),
        ("holes of 100", 256, 100),
    ] {
        let mut tree = RunTree::new(vec![0; storage_len(32768)], 32768).unwrap();
        let mut bytes = vec![if every == 0 { 0u8 } else { 0xff }; 4096];
        if let Some(holes) = 32768u32.checked_div(every) {
            for n in 0..holes {
                rext4::ondisk::bitmap::clear_run(&mut bytes, n * every, hole).unwrap();
            }
        }
        measure(&format!("{shape}: load a group of 32768"), 2000, |_| {
            tree.load(&bytes)
        });
        let mut random = Random(3);
        let mut goals = Vec::new();
        goals.resize_with(1024, || random.below(32768));
        let goal = |n: u32| goals[n as usize % 1024];
        for len in [1, 8, 128] {
            measure(&format!("{shape}: find {len}"), 100_000, |n| {
                black_box(tree.find(goal(n), len));
            });
            measure(
                &format!("{shape}: find, take, release {len}"),
                100_000,
                |n| {
                    if let Some(run) = tree.find(goal(n), len) {
                        tree.take(run).unwrap();
                        tree.release(run).unwrap();
                    }
                },
            );
        }
    }
    let mut tree = RunTree::new(vec![0; storage_len(32768)], 32768).unwrap();
    tree.clear();
    measure("take and release 32768", 2000, |_| {
        tree.take(Run::new(0, 32768)).unwrap();
        tree.release(Run::new(0, 32768)).unwrap();
    });
    let index = crate::index::new(8192);
    measure("index of 8192: set", 100_000, |n| {
        index.set(Group::new(n * 37 % 8192), n % 1000)
    });
    measure("index of 8192: set the largest", 100_000, |n| {
        index.set(Group::new(4321), 2000 + n % 7)
    });
    measure("index of 8192: find", 100_000, |n| {
        black_box(index.find(Group::new(n * 37 % 8192), 2000));
    });
    let block = vec![0x5au8; 4096];
    measure("checksum of 4096 bytes", 20_000, |n| {
        black_box(crc32c(n, &block));
    });
    measure("checksum of 4096 bytes, 8 bits flipped", 100_000, |n| {
        black_box(crc32c_flip(n, 4096, n % 32768, 8));
    });
}
