// SPDX-License-Identifier: GPL-2.0

//! Extent trees of any shape against a map of single blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use rext4::engine::extent_edit::{
    change_needs, least_budget, remove_needs, truncate_needs, ExtentEditor, Inserted, Progress,
    Shift,
};
use rext4::engine::extent_walk::ExtentTree;
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::ondisk::extent::{
    verify_block, verify_root, Extent, Node, RawEntry, RawExtent, MAX_DEPTH,
};
use rext4::ondisk::{FileBlock, FsBlock};

use crate::store::{Counts, Disk, Failure, Store, DATA, DEVICE};

pub const SEED: u32 = 0x1234_5678;
pub type Root = [u8; 60];
/// By logical block: the physical block, and whether it is unwritten.
pub type Model = BTreeMap<u32, (u64, bool)>;

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Op {
    Insert(u32, u32, u64, bool),
    Convert(u32, u32, bool),
    Remove(u32, u32, u32),
    Split(u32),
    /// What one entry has of these blocks comes to be in blocks from the third on, in that state.
    Remap(u32, u32, u64, bool),
    /// What is mapped from the first block on, from where on (or up to where) it has not been moved.
    Shift(u32, u32, Shift),
}

/// A tree, the blocks that it stands in, and what it should say.
pub struct File {
    pub root: Root,
    pub store: Store,
    pub model: Model,
    pub capacity: u16,
    pub seed: Option<u32>,
    block_size: usize,
}

pub fn empty_root() -> Root {
    let mut root = [0; 60];
    root[..8].copy_from_slice(&[0x0a, 0xf3, 0, 0, 4, 0, 0, 0]);
    root
}

pub fn extent(first: u32, len: u32, start: u64, unwritten: bool) -> Extent {
    Extent {
        first: FileBlock::new(first),
        len,
        start: FsBlock::new(start),
        unwritten,
    }
}

impl File {
    pub fn new(block_size: usize, capacity: u16) -> Self {
        Self {
            root: empty_root(),
            store: Store::new(Disk::default(), block_size),
            model: Model::new(),
            capacity,
            seed: Some(SEED),
            block_size,
        }
    }

    pub fn fork(&self) -> Self {
        Self {
            root: self.root,
            store: self.store.fork(),
            model: self.model.clone(),
            ..*self
        }
    }

    pub fn depth(&self) -> u16 {
        u16::from_le_bytes([self.root[6], self.root[7]])
    }

    pub fn editor<'a>(
        &self,
        store: &'a Store,
    ) -> ExtentEditor<'a, Store, Store, crate::store::Device> {
        ExtentEditor::new(store, store, &DEVICE, self.seed, self.block_size)
            .with_capacity(self.capacity)
            .with_cluster_bits(self.store.cluster_bits())
    }

    /// One call of the editor for `op`; `Some` with what is left to do.
    pub fn step(&mut self, op: &Op) -> Result<Option<Op>, Failure> {
        let store = self.store.again();
        let editor = self.editor(&store);
        match *op {
            Op::Insert(first, len, start, unwritten) => {
                let taken = self.model.range(first..first + len).next().map(|(k, _)| *k);
                let new = extent(first, len, start, unwritten);
                let got = editor.insert(&mut self.root, &new)?;
                let want = taken.map_or(Inserted::Done, |at| Inserted::Taken(FileBlock::new(at)));
                assert_eq!(got, want, "{op:?}");
                if taken.is_none() {
                    for n in 0..len {
                        let block = start + u64::from(n);
                        self.model.insert(first + n, (block, unwritten));
                        let bits = self.store.cluster_bits();
                        self.store.change(|disk| {
                            let new = disk.data.insert(block >> bits);
                            assert!(new || bits > 0, "test's error");
                        });
                    }
                }
                Ok(None)
            }
            Op::Convert(from, to, unwritten) => {
                let end = editor.convert(
                    &mut self.root,
                    FileBlock::new(from),
                    FileBlock::new(to),
                    unwritten,
                )?;
                let end = end.get();
                assert!(end > from && end <= to, "{op:?} {end}");
                for (_, state) in self.model.range_mut(from..end) {
                    state.1 = unwritten;
                }
                Ok((end < to).then_some(Op::Convert(end, to, unwritten)))
            }
            Op::Split(at) => {
                editor.split(&mut self.root, FileBlock::new(at))?;
                Ok(None)
            }
            Op::Remap(at, len, start, unwritten) => {
                let Some(old) = self.entry(at, len) else {
                    let old = extent(at, len, DATA, false);
                    let ready = editor.remap(&self.root, &old, FsBlock::new(start), unwritten)?;
                    assert!(ready.is_none(), "{op:?}");
                    return Ok(None);
                };
                let ready = editor.remap(&self.root, &old, FsBlock::new(start), unwritten)?;
                ready.expect("what the tree says").apply(&mut self.root);
                for n in 0..old.len {
                    let new = start + u64::from(n);
                    let old = self.model.insert(at + n, (new, unwritten));
                    self.store.change(|disk| {
                        assert!(disk.data.remove(&old.expect("was there").0));
                        assert!(disk.data.insert(new), "test's error");
                    });
                }
                Ok(None)
            }
            Op::Shift(from, at, shift) => {
                let place = FileBlock::new(at);
                let got = editor.shift(&mut self.root, FileBlock::new(from), place, shift)?;
                let (next, moved) = match (got, shift) {
                    (Progress::Done, Shift::Back(_)) => (None, at.max(from)..u32::MAX),
                    (Progress::Done, Shift::Forth(_)) => (None, from..at),
                    (Progress::More(to), Shift::Back(_)) => (Some(to), at.max(from)..to.get()),
                    (Progress::More(to), Shift::Forth(_)) => (Some(to), to.get()..at),
                };
                let keys: Vec<u32> = self.model.range(moved).map(|(at, _)| *at).collect();
                let blocks: Vec<_> = keys.iter().map(|at| self.model.remove(at)).collect();
                for (at, block) in keys.iter().zip(blocks) {
                    let to = shift.of(FileBlock::new(*at)).expect("inside of a file");
                    let old = self.model.insert(to.get(), block.expect("was there"));
                    assert_eq!(old, None);
                }
                Ok(next.map(|next| Op::Shift(from, next.get(), shift)))
            }
            Op::Remove(from, to, budget) => {
                let got = editor.remove(
                    &mut self.root,
                    FileBlock::new(from),
                    FileBlock::new(to),
                    budget,
                );
                match got? {
                    Progress::Done => {
                        remove(&mut self.model, from, to);
                        Ok(None)
                    }
                    Progress::More(end) => {
                        let end = end.get();
                        assert!(end >= from && end <= to, "{op:?} {end}");
                        remove(&mut self.model, end, to);
                        Ok(Some(Op::Remove(from, end, budget)))
                    }
                }
            }
        }
    }

    /// Does `op`, each step after having tried it with every call failing; checks everything.
    pub fn run(&mut self, op: &Op, inject: bool) {
        let mut next = Some(op.clone());
        let mut steps = 0;
        while let Some(op) = next {
            if inject {
                self.try_failures(&op);
            }
            let depth = self.depth();
            self.store.settle();
            next = self.step(&op).expect("nothing fails");
            let counts = self.store.settle();
            self.within_needs(&op, depth, counts);
            self.audit();
            steps += 1;
            assert!(steps < 5000, "no end");
        }
    }

    /// What the credits are computed from must be what is used.
    fn within_needs(&self, op: &Op, depth: u16, counts: Counts) {
        let needs = match *op {
            Op::Remove(_, to, budget) if self.model.range(to..).next().is_none() => {
                truncate_needs(depth, budget)
            }
            Op::Remove(_, _, budget) => remove_needs(depth, budget),
            _ => change_needs(depth),
        };
        assert!(counts.dirtied <= needs.changed, "{op:?} {depth} {counts:?}");
        if let Op::Shift(..) = op {
            assert_eq!((counts.created, counts.freed), (0, 0));
        }
        assert!(
            counts.created <= needs.allocated,
            "{op:?} {depth} {counts:?}"
        );
        assert!(counts.freed <= needs.freed, "{op:?} {depth} {counts:?}");
        assert!(counts.dropped <= needs.dropped, "{op:?} {depth} {counts:?}");
        // One descent per call, and a look at the root's only child.
        let look = u32::from(matches!(op, Op::Remove(..)));
        // Neighbours in a cluster may be in other leaves.
        let again = u32::from(self.store.cluster_bits() > 0) * 2;
        assert!(counts.reads <= u32::from(depth) * (1 + again) + look);
    }

    /// Lets each call of one step fail.
    fn try_failures(&self, op: &Op) {
        for n in 1.. {
            let mut victim = self.fork();
            victim.store.fail_at(n);
            let result = victim.step(op);
            let failed = victim.store.has_failed();
            victim.store.fail_at(0);
            victim.store.settle();
            if !failed {
                result.expect("nothing fails");
                return;
            }
            assert_eq!(
                result.expect_err("an error is passed on"),
                Failure::Injected
            );
            if let Op::Remove(from, to, _) = *op {
                // What has been freed is gone from the tree, and nothing else.
                let kept = victim.mapped();
                let mut gone = victim.model.clone();
                gone.retain(|at, _| !kept.contains_key(at));
                assert!(gone.keys().all(|at| (from..to).contains(at)));
                let kept = victim.model.keys().filter(|at| !gone.contains_key(at));
                let kept = kept.filter(|at| (from..to).contains(at)).last();
                assert!(kept.is_none_or(|kept| gone.keys().all(|at| at > kept)));
                if gone.is_empty() {
                    assert_eq!(victim.root, self.root);
                    assert_eq!(victim.store.disk().nodes, self.store.disk().nodes);
                }
                victim.model.retain(|at, _| !gone.contains_key(at));
                victim.audit();
            } else {
                assert_eq!(victim.root, self.root);
                assert_eq!(victim.store.disk(), self.store.disk());
            }
        }
    }

    /// Checks that the tree is sound, says what it should, and that its blocks are those in use.
    pub fn audit(&self) {
        let disk = self.store.disk();
        verify_root(&self.root, &DEVICE).expect("root");
        let mut nodes = BTreeSet::new();
        let (root, depth) = Node::root(&self.root).expect("root");
        assert!(depth <= MAX_DEPTH);
        self.audit_node(&disk, root, depth, &mut nodes);
        let leaked = disk.leaked.iter().filter(|n| disk.nodes.contains_key(n));
        let leaked: BTreeSet<u64> = leaked.filter(|n| !nodes.contains(n)).copied().collect();
        nodes.extend(leaked);
        assert!(nodes.iter().eq(disk.nodes.keys()), "blocks in use");
        let mut seen = Vec::new();
        let store = self.store.again();
        ExtentTree::new(&self.root, self.seed, &DEVICE)
            .walk(&store, FileBlock::ZERO, FileBlock::END, |m| {
                seen.push(*m);
                ControlFlow::Continue(())
            })
            .expect("walk");
        let mut at = 0;
        for m in &seen {
            assert_eq!(m.lblk.get(), at);
            at = m.end().get();
        }
        assert_eq!(at, u32::MAX);
        assert_eq!(joined(&seen), model_runs(&self.model));
        let bits = self.store.cluster_bits();
        let data = self.model.values().map(|(block, _)| *block >> bits);
        assert_eq!(data.collect::<BTreeSet<u64>>(), disk.data);
    }

    /// What the tree says.
    fn mapped(&self) -> Model {
        let mut model = Model::new();
        let store = self.store.again();
        ExtentTree::new(&self.root, self.seed, &DEVICE)
            .walk(&store, FileBlock::ZERO, FileBlock::END, |m| {
                let unwritten = matches!(m.kind, MapKind::Unwritten(_));
                if let Some(start) = m.physical() {
                    for n in 0..m.len {
                        let block = start.get() + u64::from(n);
                        model.insert(m.lblk.get() + n, (block, unwritten));
                    }
                }
                ControlFlow::Continue(())
            })
            .expect("walk");
        model
    }

    fn audit_node(&self, disk: &Disk, node: Node<'_>, depth: u16, nodes: &mut BTreeSet<u64>) {
        let Node::Index(entries) = node else {
            assert_eq!(depth, 0);
            return;
        };
        for raw in entries.iter() {
            let index = raw.check(&DEVICE).expect("index");
            let number = index.child.get();
            assert!(nodes.insert(number), "block {number} is used twice");
            let bytes = &disk.nodes[&number];
            verify_block(bytes, self.seed, &DEVICE).expect("node");
            let max = u16::from_le_bytes([bytes[4], bytes[5]]);
            assert_eq!(max, self.capacity);
            let child = Node::child(bytes, depth - 1).expect("child");
            assert_eq!(child.first(), Some(raw.first()));
            self.audit_node(disk, child, depth - 1, nodes);
        }
    }

    /// What the entry with block `at` has of it and the `len - 1` blocks behind it.
    pub fn entry(&self, at: u32, len: u32) -> Option<Extent> {
        // Neither counted nor made to fail.
        let store = self.store.fork();
        let tree = ExtentTree::new(&self.root, self.seed, &DEVICE);
        let found = tree
            .lookup(&store, FileBlock::new(at))
            .expect("nothing fails");
        let found = found.clip(FileBlock::new(at), FileBlock::new(at + len))?;
        Some(Extent {
            first: found.lblk,
            len: found.len,
            start: found.physical()?,
            unwritten: matches!(found.kind, MapKind::Unwritten(_)),
        })
    }

    /// How many entries each leaf has, in order.
    pub fn leaves(&self) -> Vec<usize> {
        fn visit(disk: &Disk, node: Node<'_>, depth: u16, leaves: &mut Vec<usize>) {
            match node {
                Node::Leaf(entries) => leaves.push(entries.len()),
                Node::Index(entries) => {
                    for raw in entries.iter() {
                        let number = raw.check(&DEVICE).expect("index").child.get();
                        let child = Node::child(&disk.nodes[&number], depth - 1).expect("child");
                        visit(disk, child, depth - 1, leaves);
                    }
                }
            }
        }
        let (root, depth) = Node::root(&self.root).expect("root");
        let mut leaves = Vec::new();
        visit(&self.store.disk(), root, depth, &mut leaves);
        leaves
    }

    /// The extents of the leaf in the root.
    pub fn root_extents(&self) -> Vec<Extent> {
        match Node::root(&self.root).expect("root").0 {
            Node::Leaf(entries) => {
                let check = |raw: &RawExtent| raw.check(&DEVICE).expect("extent");
                entries.iter().map(check).collect()
            }
            Node::Index(_) => panic!("the root is no leaf"),
        }
    }
}

pub fn remove(model: &mut Model, from: u32, to: u32) {
    model.retain(|at, _| !(from..to).contains(at));
}

pub type Run = (u32, u32, u64, bool);

fn push(runs: &mut Vec<Run>, (lblk, len, start, unwritten): Run) {
    if let Some(last) = runs.last_mut() {
        if last.0 + last.1 == lblk && last.2 + u64::from(last.1) == start && last.3 == unwritten {
            last.1 += len;
            return;
        }
    }
    runs.push((lblk, len, start, unwritten));
}

pub fn joined(seen: &[Mapping]) -> Vec<Run> {
    let mut runs = Vec::new();
    for m in seen {
        match m.kind {
            MapKind::Hole => (),
            MapKind::Written(b) => push(&mut runs, (m.lblk.get(), m.len, b.get(), false)),
            MapKind::Unwritten(b) => push(&mut runs, (m.lblk.get(), m.len, b.get(), true)),
            MapKind::Delayed | MapKind::InFlight => panic!("not on disk: {m:?}"),
        }
    }
    runs
}

pub fn model_runs(model: &Model) -> Vec<Run> {
    let mut runs = Vec::new();
    for (at, (block, unwritten)) in model {
        push(&mut runs, (*at, 1, *block, *unwritten));
    }
    runs
}

/// A place on the device for each block of the file, in one of three regions, so that neighbours
/// continue each other if they are in the same one.
pub fn place(region: u64, at: u32) -> u64 {
    DATA + (region << 24) + u64::from(at)
}

/// Operations on the first `space` blocks.
fn ops(space: u32, len: u32, count: usize) -> impl Strategy<Value = Vec<(Op, u32)>> {
    let insert = (0..space, 1..len, 0..3u64, any::<bool>())
        .prop_map(|(at, len, region, unwritten)| Op::Insert(at, len, place(region, at), unwritten));
    let convert = (0..space, 1..2 * len, any::<bool>())
        .prop_map(|(at, len, unwritten)| Op::Convert(at, at + len, unwritten));
    let punch = (0..space, 1..4 * len, 0..8u32)
        .prop_map(|(at, len, budget)| Op::Remove(at, at + len, budget));
    let truncate = (0..space, 0..50u32).prop_map(|(at, budget)| Op::Remove(at, u32::MAX, budget));
    let op = prop_oneof![12 => insert, 4 => convert, 3 => punch, 1 => truncate];
    let chunk = prop_oneof![Just(u32::MAX), 1..4u32];
    prop::collection::vec((op, chunk), 1..count)
}

pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn small_nodes(ops in ops(900, 5, 250)) {
        let mut file = File::new(1024, 6);
        for (op, chunk) in &ops {
            file.store.limit(*chunk);
            file.run(op, true);
        }
        file.run(&Op::Remove(0, u32::MAX, 3), true);
        prop_assert!(file.store.disk() == Disk::default() || !file.store.disk().leaked.is_empty());
    }

    #[test]
    fn full_nodes(ops in ops(2000, 4, 120), start in 300..900u32, block_size in prop_oneof![Just(1024usize), Just(4096)]) {
        let mut file = File::new(block_size, if block_size == 1024 { 84 } else { 340 });
        // A leaf or more to begin with.
        for n in 0..start {
            file.run_quietly(&Op::Insert(n * 2, 1, place(u64::from(n % 100) + 3, n * 2), n % 3 == 0));
        }
        for (op, chunk) in &ops {
            file.store.limit(*chunk);
            file.run(op, true);
        }
    }
}

/// A place on the device for each block of a file with clusters, which stay together.
fn clustered(bits: u32, at: u32) -> u64 {
    place(
        u64::from((at >> bits).wrapping_mul(2_654_435_761) >> 30),
        at,
    )
}

proptest! {
    #![proptest_config(cases(32))]

    /// A cluster is in use for as long as one of its blocks is mapped, whichever extent and leaf
    /// that is in, and whatever fails.
    #[test]
    fn clusters(ops in ops(900, 9, 200), bits in 1..6u32) {
        let mut file = File::new(1024, 6);
        file.store.use_clusters(bits);
        for (op, chunk) in &ops {
            file.store.limit(*chunk);
            match *op {
                Op::Insert(at, len, _, unwritten) => {
                    // Within one cluster: others may be elsewhere.
                    let len = len.min((1 << bits) - (at & ((1 << bits) - 1)));
                    file.run(&Op::Insert(at, len, clustered(bits, at), unwritten), true);
                }
                ref op => file.run(op, true),
            }
        }
        file.run(&Op::Remove(0, u32::MAX, 3), true);
        prop_assert!(file.store.disk() == Disk::default() || !file.store.disk().leaked.is_empty());
    }
}

impl File {
    /// Does `op` without looking at anything.
    pub fn run_quietly(&mut self, op: &Op) {
        let mut next = Some(op.clone());
        while let Some(op) = next {
            next = self.step(&op).expect("nothing fails");
        }
        self.store.settle();
    }
}

/// A random walk that keeps the tree growing until it is deep, then takes it apart from anywhere.
#[test]
fn every_depth_comes_and_goes() {
    let mut file = File::new(1024, 6);
    let mut deepest = 0;
    let mut next = 1u32;
    let mut random = move |n: u32| {
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (next >> 8) % n
    };
    for n in 0..3000u32 {
        let at = random(20_000) * 2;
        if !file.model.contains_key(&at) {
            file.run_quietly(&Op::Insert(at, 1, place(1, at), at % 4 == 0));
        }
        if file.depth() > deepest || n % 250 == 0 {
            deepest = file.depth();
            file.audit();
            file.try_failures(&Op::Insert(41_000, 3, place(2, 41_000), true));
        }
    }
    assert_eq!(deepest, MAX_DEPTH);
    while !file.model.is_empty() {
        let at = random(41_000);
        file.store.limit(1 + random(3));
        file.run_quietly(&Op::Remove(at, at + 1 + random(1200), random(9)));
        if random(12) == 0 {
            file.audit();
            let end = at + 1 + random(300);
            file.try_failures(&Op::Remove(at, end, 4));
        }
        if file.model.len() < 200 {
            file.run(&Op::Remove(0, u32::MAX, 0), false);
        }
    }
    assert_eq!(file.root[..8], empty_root()[..8]);
    assert!(file.store.disk().nodes.is_empty());
    assert_eq!(least_budget(5), 6);
}
