// SPDX-License-Identifier: GPL-2.0

//! The order in which groups are tried, against a plain walk over all of them.

use proptest::prelude::*;
use std::sync::OnceLock;

use rext4::engine::alloc::goal::{
    beside, flex_groups, home, indirect_groups, is_small, Goal, Neighbour,
};
use rext4::engine::alloc::window::{plan, Need, LEAST_BYTES};
use rext4::engine::alloc::{cluster_of, first_block_of, Run, RunTree, Search};
use rext4::ondisk::{FileBlock, FsBlock, Geometry, Group};

use crate::shape::Opened;

/// 128 groups of 256 clusters, in flex groups of 16 or in none.
pub fn geometry(flex: bool) -> &'static Geometry {
    static GEOMETRIES: [OnceLock<Geometry>; 2] = [OnceLock::new(), OnceLock::new()];
    GEOMETRIES[usize::from(flex)].get_or_init(|| {
        let args: &[&str] = if flex {
            &["-b", "1024", "-g", "256", "-N", "2048"]
        } else {
            &["-b", "1024", "-g", "256", "-N", "2048", "-O", "^flex_bg"]
        };
        let fs = Opened::mkfs(args, "32769K");
        assert_eq!(fs.geo.groups_count(), 128);
        assert_eq!(fs.geo.flex_bits(), if flex { 4 } else { 0 });
        fs.geo
    })
}

type Tree = RunTree<Vec<u64>>;

/// What the policy is to find, from all groups' real state.
fn model(geo: &Geometry, trees: &[Tree], goal: Goal, len: u32, min: u32) -> Option<(u32, Run)> {
    let (group, cluster) = cluster_of(geo, goal.block());
    let own = group.get();
    if let Goal::Extend(_) = goal {
        let here = trees[own as usize].run_at(cluster, len);
        if here >= min {
            return Some((own, Run::new(cluster, here)));
        }
    }
    let longest = trees.iter().map(Tree::longest).max().unwrap();
    let least = len.min(longest);
    if least < min {
        return None;
    }
    let flex = flex_groups(geo, group);
    let mut order = vec![own];
    order.extend(flex.clone().filter(|g| *g > own));
    order.extend(flex.clone().filter(|g| *g < own));
    order.extend(flex.end() + 1..geo.groups_count());
    order.extend(0..*flex.start());
    let found = order
        .into_iter()
        .find(|g| trees[*g as usize].longest() >= least)?;
    let tree = &trees[found as usize];
    let from = if found == own { cluster } else { 0 };
    let run = tree.find(from, least).or_else(|| tree.find(0, least));
    Some((found, run.unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_first_group_that_fits(
        flex in any::<bool>(),
        holes in prop::collection::vec((0u32..128, 0u32..256, 1u32..60), 0..40),
        asks in prop::collection::vec((1u64..32768, 1u32..80, 1u32..80, any::<bool>()), 1..20),
        loaded in any::<bool>(),
    ) {
        let geo = geometry(flex);
        let mut trees: Vec<Tree> = (0..128).map(|_| RunTree::new(vec![0; 64], 256).unwrap()).collect();
        for (group, start, len) in holes {
            let tree = &mut trees[group as usize];
            for at in start..(start + len).min(256) {
                let _ = tree.release(Run::new(at, 1));
            }
        }
        let index = crate::index::new(128);
        for (tree, group) in trees.iter().zip(0..) {
            index.set(Group::new(group), if loaded { tree.longest() } else { tree.free() });
        }
        for (block, len, min, extend) in asks {
            let (len, min) = (len.max(min), min);
            let goal = FsBlock::new(block);
            let goal = if extend { Goal::Extend(goal) } else { Goal::Near(goal) };
            let mut search = Search::new(geo, goal, len, min);
            let (mut found, mut tries) = (None, 0);
            while let Some(attempt) = search.next(&index) {
                tries += 1;
                prop_assert!(tries <= 128 * 9);
                let tree = &trees[attempt.group.get() as usize];
                let want = attempt.want;
                // As GroupMap::choose, which has a test of its own.
                found = if want.exact {
                    let here = tree.run_at(want.goal, want.len);
                    (here >= want.min).then(|| Run::new(want.goal, here))
                } else if tree.longest() >= want.min {
                    let len = want.len.min(tree.longest());
                    tree.find(want.goal, len).or_else(|| tree.find(0, len))
                } else {
                    None
                }
                .map(|run| (attempt.group.get(), run));
                if found.is_some() {
                    break;
                }
                if !want.exact {
                    index.set(attempt.group, tree.longest());
                }
            }
            let want = model(geo, &trees, goal, len, min);
            if loaded {
                prop_assert_eq!(found, want);
                prop_assert!(tries <= 2);
            } else {
                // Hints that promise too much cost tries, and perhaps a shorter run; never space.
                prop_assert_eq!(found.is_some(), want.is_some());
                let better = |g: &Tree| found.is_some_and(|(_, run)| g.longest() >= 2 * run.len.max(1));
                let exact = matches!(goal, Goal::Extend(_));
                prop_assert!(exact || found.is_none_or(|(_, run)| run.len == len || !trees.iter().any(better)));
            }
        }
    }
}

#[test]
fn nodes_that_are_out_of_date_hide_no_space() {
    // An index whose group was set after its nodes were read: here, one that says 0 at the top.
    let geo = geometry(true);
    let index = crate::index::new(128);
    let mut search = Search::new(geo, Goal::Near(FsBlock::new(5000)), 10, 3);
    assert_eq!(search.next(&index), None);
    assert_eq!(search.next(&index), None);
    // Space that comes up during a search is found by its last pass.
    let mut search = Search::new(geo, Goal::Extend(FsBlock::new(5000)), 10, 3);
    index.set(Group::new(19), 3);
    let exact = search.next(&index).expect("the goal");
    assert!(exact.want.exact && exact.group == Group::new(19));
    let last = search.next(&index).expect("the group");
    assert_eq!(
        (last.group.get(), last.want.min, last.want.exact),
        (19, 3, false)
    );
    // A goal that is nowhere is the beginning.
    index.set(Group::new(0), 50);
    let mut search = Search::new(geo, Goal::Extend(FsBlock::new(1 << 40)), 10, 3);
    let first = search.next(&index).expect("a group");
    assert_eq!((first.group.get(), first.want.goal), (0, 0));
}

#[test]
fn only_the_first_groups() {
    let geo = geometry(true);
    let index = crate::index::new(128);
    for group in [3, 40, 41, 100] {
        index.set(Group::new(group), 200);
    }
    let groups = |goal: u64, among: u32, len: u32| {
        let mut search = Search::new(geo, Goal::Extend(FsBlock::new(goal)), len, 10).among(among);
        let mut found = vec![];
        while let Some(attempt) = search.next(&index) {
            assert!(attempt.group.get() < among);
            // A goal that is not among them says nothing.
            assert!(!attempt.want.exact || goal / 256 < u64::from(among));
            if !found.contains(&attempt.group.get()) {
                found.push(attempt.group.get());
            }
        }
        found
    };
    assert_eq!(groups(40 * 256 + 5, 128, 10), [40, 41, 100, 3]);
    assert_eq!(groups(40 * 256 + 5, 41, 10), [40, 3]);
    assert_eq!(groups(100 * 256 + 5, 41, 10), [3, 40]);
    assert_eq!(groups(100 * 256 + 5, 1, 10), [0; 0]);
    assert_eq!(groups(5, 0, 10), [0; 0]);
    // All blocks of this one have numbers of 32 bits.
    assert_eq!(indirect_groups(geo), 128);
}

#[test]
fn how_much_is_set_aside() {
    let geo = geometry(true);
    let free = u64::from(u32::MAX);
    let need = Need {
        first: 0,
        now: 4,
        soon: 10,
        hole: u32::MAX,
        alone: false,
        size: 0,
        grows: false,
    };
    let len = |need: Need, free: u64| plan(geo, &need, free).len;
    // A file that does not grow gets what is dirty, as far as a group goes.
    assert_eq!(len(need, free), 10);
    assert_eq!(len(Need { soon: 5000, ..need }, free), 256);
    assert_eq!(len(Need { hole: 6, ..need }, free), 6);
    let grows = Need {
        grows: true,
        ..need
    };
    // As much again as it has, at least and at most so much; here a group is less than the most.
    assert_eq!(len(grows, free), LEAST_BYTES / 1024);
    assert_eq!(len(Need { size: 100, ..grows }, free), 128);
    assert_eq!(
        len(
            Need {
                size: 1 << 40,
                ..grows
            },
            free
        ),
        256
    );
    assert_eq!(
        len(
            Need {
                hole: 20,
                size: 100,
                ..grows
            },
            free
        ),
        20
    );
    // No more than a fair part of what is free, but what is dirty.
    assert_eq!(len(Need { size: 100, ..grows }, 64 * 32), 32);
    assert_eq!(len(Need { size: 100, ..grows }, 0), 10);
    assert_eq!(
        len(
            Need {
                now: 300,
                soon: 1,
                ..grows
            },
            0
        ),
        300
    );
    // What comes before has room, in one group with the rest.
    let alone = Need {
        alone: true,
        size: 100,
        first: 70,
        ..grows
    };
    assert_eq!(plan(geo, &alone, free).before, 70);
    let alone = Need {
        first: 1000,
        size: 1000,
        ..alone
    };
    let found = plan(geo, &alone, free);
    assert_eq!((found.before, found.len), (0, 256));
    assert_eq!(plan(geo, &Need { hole: 10, ..alone }, free).before, 232);
    assert_eq!(
        plan(
            geo,
            &Need {
                grows: false,
                ..alone
            },
            free
        )
        .before,
        0
    );
}

#[test]
fn goals_lie_beside_what_is_there() {
    let geo = geometry(true);
    let neighbour = Neighbour {
        lblk: FileBlock::new(100),
        len: 10,
        start: FsBlock::new(5000),
    };
    let goal = |lblk| beside(geo, FileBlock::new(lblk), neighbour);
    assert_eq!(goal(110), Some(Goal::Extend(FsBlock::new(5010))));
    assert_eq!(goal(111), Some(Goal::Near(FsBlock::new(5011))));
    assert_eq!(goal(90), Some(Goal::Near(FsBlock::new(4990))));
    assert_eq!(goal(100_000), None);
    let low = Neighbour {
        start: FsBlock::new(20),
        ..neighbour
    };
    assert_eq!(beside(geo, FileBlock::new(50), low), None);
    assert_eq!(beside(geo, FileBlock::new(80), low), None, "the boot block");
}

#[test]
fn homes_are_where_ext4_has_them() {
    let block = |geo, group, contents, colour| home(geo, Group::new(group), contents, colour).get();
    let flex = geometry(true);
    assert_eq!(block(flex, 37, false, 0), 32 * 256 + 1);
    assert_eq!(block(flex, 37, true, 0), 33 * 256 + 1);
    assert_eq!(block(flex, 37, true, 35), 33 * 256 + 1 + 3 * 16);
    let plain = geometry(false);
    assert_eq!(block(plain, 37, true, 0), 37 * 256 + 1);
    assert!(is_small(3, 16, 16, true));
    assert!(
        !is_small(17, 16, 16, true) && !is_small(3, 17, 16, true) && !is_small(3, 3, 16, false)
    );
    let end = first_block_of(plain, Group::new(127), 255);
    assert_eq!(end.get(), 32768);
}
