// SPDX-License-Identifier: GPL-2.0

//! Which groups to try for a run of clusters, and for which length.
//!
//! A [`Search`] is a walk that the caller drives: it takes a [`Try`], locks the group, loads it if
//! need be, asks its map to [choose](super::GroupMap::choose), and comes back for the next one if
//! there was nothing. The order:
//!
//! 1. exactly at the goal, if the blocks go on from an extent of the file: any length, since a
//!    longer extent costs nothing;
//! 2. with the whole length: the goal's group, the others of its flex group (forward, then from
//!    its front), the groups behind, the groups before;
//! 3. the same with half the length, or with the longest run that there is if that is shorter;
//!    and so on down to the least that is of use;
//! 4. all groups whose own number says that they have that, in case the index was out of date.
//!
//! Halving bounds the rounds, and the index lets each of them pass over the groups that cannot
//! help; so a search that ends in the first group costs one look at the index, and one on a
//! file system in pieces goes almost at once to where the longest pieces are.
//!
//! For a group in which there was nothing, the caller must put its real number into the index;
//! or it comes again in each round.

use core::ops::Deref;
use core::sync::atomic::AtomicU32;

use super::goal::{flex_groups, Goal};
use super::map::Want;
use super::{cluster_of, GroupIndex};
use crate::ondisk::{Geometry, Group};

/// A group to look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// Which.
    pub group: Group,
    /// For what.
    pub want: Want,
    /// How far the search has come.
    pub round: Round,
}

/// The rounds of a search, as statistics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Exactly at the goal.
    Goal,
    /// With the whole length.
    Whole,
    /// With less, but more than the least.
    Part,
    /// With the least that is of use.
    Least,
    /// Through all groups, whatever the index says.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// At the goal exactly.
    Exact,
    /// Before the first round.
    Start,
    /// In a round, in this leg of it.
    Leg(u8),
    /// Through all groups' own numbers: so many are left.
    Rest(u32),
    Done,
}

/// Legs of a round: the goal's group; behind and before it in its flex group; behind and before
/// the flex group.
const LEGS: u8 = 5;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Search {
    stage: Stage,
    groups: u32,
    goal_group: u32,
    goal_cluster: u32,
    /// The flex group: its first group, and one past its last.
    flex: (u32, u32),
    /// What is wanted, what will do, and what will do in this round.
    len: u32,
    min: u32,
    least: u32,
    /// The group to go on at.
    cursor: u32,
}

impl Search {
    /// A search for `len` clusters, or at least `min` of them (1 or more), near `goal`. A goal
    /// outside the file system means its beginning.
    pub fn new(geo: &Geometry, goal: Goal, len: u32, min: u32) -> Self {
        let block = geo.check_block(goal.block().get());
        let (group, cluster) = block.map_or((Group::new(0), 0), |block| cluster_of(geo, block));
        let flex = flex_groups(geo, group);
        let len = len.max(1);
        Self {
            stage: match goal {
                Goal::Extend(_) if block.is_some() => Stage::Exact,
                _ => Stage::Start,
            },
            groups: geo.groups_count(),
            goal_group: group.get(),
            goal_cluster: cluster,
            flex: (*flex.start(), flex.end().saturating_add(1)),
            len,
            min: min.clamp(1, len),
            least: len,
            cursor: 0,
        }
    }

    /// Looks into the first `groups` groups only.
    pub fn among(mut self, groups: u32) -> Self {
        self.groups = self.groups.min(groups);
        if self.goal_group >= self.groups {
            self.stage = Stage::Start;
            (self.goal_group, self.goal_cluster) = (0, 0);
            self.flex = (0, 1);
        }
        self.flex.1 = self.flex.1.min(self.groups);
        self
    }

    /// The next group to try; `None` if there is no space. Each group comes at most once for each
    /// length, and there are at most 32 lengths.
    pub fn next<S>(&mut self, index: &GroupIndex<S>) -> Option<Try>
    where
        S: Deref<Target = [AtomicU32]>,
    {
        loop {
            match self.stage {
                Stage::Exact => {
                    self.stage = Stage::Start;
                    if index.get(Group::new(self.goal_group)) >= self.min {
                        return Some(self.attempt(self.goal_group, self.min, true));
                    }
                }
                Stage::Start if self.groups == 0 => self.stage = Stage::Done,
                Stage::Start => self.begin(index.max()),
                Stage::Leg(leg) => {
                    let (from, end) = self.groups_of(leg);
                    let from = from.max(self.cursor);
                    if let Some(group) = index.find_in(from, end, self.least) {
                        self.cursor = group.get().saturating_add(1);
                        return Some(self.attempt(group.get(), self.least, false));
                    }
                    self.cursor = 0;
                    self.stage = Stage::Leg(leg.saturating_add(1));
                    if leg.saturating_add(1) >= LEGS {
                        self.relax(index.max());
                    }
                }
                Stage::Rest(0) | Stage::Done => {
                    self.stage = Stage::Done;
                    return None;
                }
                Stage::Rest(left) => {
                    let group = self.cursor;
                    self.stage = Stage::Rest(left.saturating_sub(1));
                    self.cursor = if group.saturating_add(1) < self.groups {
                        group.saturating_add(1)
                    } else {
                        0
                    };
                    if index.get(Group::new(group)) >= self.min {
                        return Some(self.attempt(group, self.min, false));
                    }
                }
            }
        }
    }

    /// The first round, with no more than there is in a row.
    fn begin(&mut self, longest: u32) {
        self.least = self.len.min(longest).max(self.min);
        self.stage = if longest < self.min {
            self.rest()
        } else {
            Stage::Leg(0)
        };
    }

    /// The next round.
    fn relax(&mut self, longest: u32) {
        if self.least <= self.min || longest < self.min {
            self.stage = self.rest();
        } else {
            self.least = (self.least >> 1).min(longest).max(self.min);
            self.stage = Stage::Leg(0);
        }
    }

    fn rest(&mut self) -> Stage {
        self.cursor = self.goal_group;
        Stage::Rest(self.groups)
    }

    /// The groups of a leg.
    fn groups_of(&self, leg: u8) -> (u32, u32) {
        let behind = self.goal_group.saturating_add(1);
        match leg {
            0 => (self.goal_group, behind.min(self.groups)),
            1 => (behind, self.flex.1),
            2 => (self.flex.0, self.goal_group),
            3 => (self.flex.1, self.groups),
            _ => (0, self.flex.0),
        }
    }

    fn attempt(&self, group: u32, min: u32, exact: bool) -> Try {
        let goal = if group == self.goal_group {
            self.goal_cluster
        } else {
            0
        };
        let round = match self.stage {
            _ if exact => Round::Goal,
            Stage::Rest(_) => Round::All,
            _ if min == self.len => Round::Whole,
            _ if min > self.min => Round::Part,
            _ => Round::Least,
        };
        Try {
            group: Group::new(group),
            want: Want {
                goal,
                len: self.len,
                min,
                exact,
            },
            round,
        }
    }
}
