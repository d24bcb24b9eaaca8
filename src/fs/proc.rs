// SPDX-License-Identifier: GPL-2.0

//! What rext4 shows in /proc/fs/<type>/<device>/.
//!
//! `mb_groups` and its like are about the allocator, in C ext4's shape: free space as its buddies
//! would have it, and how searches go. On a file system that has never been written the groups are
//! read for that, and what is only read for it is forgotten again.

use super::{
    fault::Fault,
    groups::{Groups, Locked},
    tunables::Number,
    Rext4Fs, Sb,
};
use crate::{
    engine::alloc::Summary,
    linux::proc::{Contents, ProcFile},
    ondisk::Group,
};
use kernel::{prelude::*, seq_file::SeqFile, seq_print};

/// The files there.
pub(crate) const FILES: &[ProcFile<Rext4Fs>] = &[
    ProcFile {
        name: c"options",
        contents: Contents::Whole(show_options),
    },
    ProcFile {
        name: c"es_shrinker_info",
        contents: Contents::Whole(show_caches),
    },
    ProcFile {
        name: c"mb_groups",
        contents: Contents::Entries(groups_count, show_group),
    },
    ProcFile {
        name: c"mb_stats",
        contents: Contents::Whole(show_stats),
    },
    ProcFile {
        name: c"mb_structs_summary",
        contents: Contents::Whole(show_structs),
    },
];

/// Orders that `mb_groups` shows.
const SHOWN: usize = 14;

/// All options that are in effect, defaults included.
fn show_options(sb: &Sb, out: &SeqFile) -> Result {
    sb.info().options.lock().show_all(sb.is_rdonly(), out);
    Ok(())
}

/// The extent status caches that do not fit their inodes.
fn show_caches(sb: &Sb, out: &SeqFile) -> Result {
    let facts = sb.cache_facts();
    let info = sb.info();
    seq_print!(
        out,
        "stats:\n  {} objects\n  {} reclaimable objects\n  {}/{} cache hits/misses\n",
        facts.ranges,
        facts.shrinkable,
        info.cache_hits.sum(),
        info.cache_misses.sum()
    );
    if facts.inodes != 0 {
        seq_print!(out, "  {} inodes on list\n", facts.inodes);
    }
    seq_print!(
        out,
        "average:\n  {} us scan time\n  {} shrunk objects\n",
        facts.scan_us,
        facts.shrunk
    );
    if let Some((ino, ranges, shrinkable)) = facts.most {
        seq_print!(
            out,
            "maximum:\n  {} inode ({} objects, {} reclaimable)\n  {} us max scan time\n",
            ino,
            ranges,
            shrinkable,
            facts.max_scan_us
        );
    }
    Ok(())
}

fn groups_count(sb: &Sb) -> u64 {
    sb.info().geometry.groups_count().into()
}

/// One group: what is free in it.
fn show_group(sb: &Sb, at: u64, out: &SeqFile) -> Result {
    let geo = &sb.info().geometry;
    let groups = Groups::known(sb)?;
    let number = u32::try_from(at)?;
    if number == 0 {
        seq_print!(
            out,
            "#group: free  frags first [ 2^0   2^1   2^2   2^3   2^4   2^5   2^6   \
             2^7   2^8   2^9   2^10  2^11  2^12  2^13  ]\n"
        );
    }
    let mut locked = groups.lock(Group::new(number)).ok_or(EUCLEAN)?;
    let summary = match summary(sb, &mut locked) {
        Ok(summary) => summary,
        Err(e) => {
            drop(locked);
            let why = e.report(sb, 0, "block bitmap");
            seq_print!(out, "#{:<5}: {}\n", number, reason(why));
            return Ok(());
        }
    };
    let first = summary.first_free;
    seq_print!(
        out,
        "#{:<5}: {:<5} {:<5} {:<5} [",
        number,
        summary.free,
        summary.fragments,
        first.unwrap_or(geo.clusters_per_group().get())
    );
    for count in summary.buddies.iter().take(SHOWN) {
        seq_print!(out, " {:<5}", count);
    }
    seq_print!(out, " ]");
    if !locked.trusts_clusters() {
        seq_print!(out, " Block bitmap corrupted!");
    }
    seq_print!(out, "\n");
    Ok(())
}

/// What is free in a group. A map that has to be built for it is forgotten again.
fn summary(sb: &Sb, locked: &mut Locked<'_>) -> Result<Summary, Fault> {
    let bits = sb.info().geometry.block_bits();
    if sb.is_rdonly() {
        // e2fsck may have changed what it says.
        locked.forget();
    }
    if let Some(map) = locked.known_map() {
        return Ok(Summary::of(map.tree(), bits));
    }
    if !locked.trusts_clusters() {
        return Err(EUCLEAN.into());
    }
    let summary = Summary::of(locked.map(sb)?.tree(), bits);
    locked.forget();
    Ok(summary)
}

/// In C ext4's words.
fn reason(error: Error) -> &'static str {
    match error {
        e if e == EUCLEAN => "Corrupt filesystem",
        e if e == EIO => "IO failure",
        e if e == ENOMEM => "Out of memory",
        _ => "error",
    }
}

/// How searches for free clusters go.
fn show_stats(sb: &Sb, out: &SeqFile) -> Result {
    let info = sb.info();
    seq_print!(out, "mballoc:\n");
    if info.tunables.get(Number::MbStats) == 0 {
        seq_print!(out, "\tmb stats collection turned off.\n");
        seq_print!(
            out,
            "\tTo enable, please write \"1\" to sysfs file mb_stats.\n"
        );
        return Ok(());
    }
    let groups = Groups::known(sb)?;
    groups.stats.show(info.geometry.groups_count(), out);
    Ok(())
}

/// How many groups have which free space, of those whose maps are in memory.
fn show_structs(sb: &Sb, out: &SeqFile) -> Result {
    let info = sb.info();
    let groups = Groups::known(sb)?;
    let bits = info.geometry.block_bits();
    let orders = (bits as usize).saturating_add(2);
    let (mut largest, mut average) = ([0u32; 32], [0u32; 32]);
    for number in 0..info.geometry.groups_count() {
        let Some(mut locked) = groups.lock(Group::new(number)) else {
            continue;
        };
        let Some(map) = locked.known_map() else {
            continue;
        };
        let summary = Summary::of(map.tree(), bits);
        drop(locked);
        for (counts, order) in [
            (&mut largest, summary.largest()),
            (&mut average, summary.average(bits)),
        ] {
            if let Some(count) = order.and_then(|order| counts.get_mut(order as usize)) {
                *count = count.saturating_add(1);
            }
        }
        crate::linux::sched::relax()?;
    }
    let optimized = info.options.lock().optimize_scan();
    seq_print!(out, "optimize_scan: {}\n", u32::from(optimized));
    for (name, counts) in [
        ("max_free_order_lists", &largest),
        ("avg_fragment_size_lists", &average),
    ] {
        seq_print!(out, "{}:\n", name);
        for (order, count) in counts.iter().take(orders).enumerate() {
            seq_print!(out, "\tlist_order_{}_groups: {}\n", order, count);
        }
    }
    Ok(())
}
