// SPDX-License-Identifier: GPL-2.0

//! Every file of real images maps as debugfs says it does.

use rext4::engine::mapping::MapKind;
use rext4::ondisk::inline::{InlineData, InlineDir};
use rext4::ondisk::FileBlock;

use crate::common::{self, Image};
use crate::disk::{depth, le32, push, stat, Dir, Fs, Inode, Run};

/// Compares all of a file: hop by hop, leaf by leaf, and around every seam.
fn compare(fs: &Fs, path: &str, inode: &Inode, want: &[Run]) {
    fs.verify_root(inode).expect(path);
    assert_eq!(fs.runs(inode), want, "{path}");
    let before = |at: u32| want[..want.partition_point(|r| r.0 <= at)].last();
    let model = |at: u32| {
        let (lblk, _, start, unwritten) = *before(at).filter(|r| at - r.0 < r.1)?;
        Some((start + u64::from(at - lblk), unwritten))
    };
    // All of a file of few runs, some of one of many.
    let some = want.iter().step_by(want.len() / 1000 + 1);
    let seams = some.flat_map(|&(lblk, len, ..)| [lblk, lblk + len / 2, lblk + len]);
    let mut places: Vec<u32> = seams.flat_map(|b| [b.wrapping_sub(1), b, b + 1]).collect();
    places.extend([0, 1, 11, 12, 13, 267, 268, 1_000_000, u32::MAX - 1]);
    for at in places.into_iter().filter(|&at| at < u32::MAX) {
        let one = fs.lookup(inode, at).expect(path);
        let (joined, seen) = fs.lookup_leaf(inode, at).expect(path);
        for m in [&one, &joined] {
            let within = m.clip(FileBlock::new(at), FileBlock::new(at + 1));
            let within = within.unwrap_or_else(|| panic!("{path}: {m:?} is not around {at}"));
            let got = match within.kind {
                MapKind::Hole => None,
                MapKind::Written(b) => Some((b.get(), false)),
                MapKind::Unwritten(b) => Some((b.get(), true)),
                MapKind::Delayed | MapKind::InFlight => panic!("not on disk: {m:?}"),
            };
            assert_eq!(got, model(at), "{path}: {m:?} at {at}");
        }
        // What one leaf tells is true, in order, and joined.
        let mut runs = Vec::new();
        seen.iter().for_each(|m| push(&mut runs, m));
        assert!(seen.contains(&joined), "{path}: {joined:?}");
        assert_eq!(
            runs.len(),
            seen.iter().filter(|m| m.kind != MapKind::Hole).count()
        );
        for (lblk, len, start, unwritten) in runs {
            assert_eq!(model(lblk), Some((start, unwritten)), "{path}");
            let last = model(lblk + len - 1);
            assert_eq!(
                last,
                Some((start + u64::from(len) - 1, unwritten)),
                "{path}"
            );
        }
        // A hole of an extent tree is whole, not only as long as the leaf can tell.
        if inode.extents && one.kind == MapKind::Hole {
            let before = before(at).map_or(0, |r| r.0 + r.1);
            let after = want
                .iter()
                .find(|(l, ..)| *l > at)
                .map_or(u32::MAX, |r| r.0);
            assert_eq!((one.lblk.get(), one.end().get()), (before, after), "{path}");
        }
    }
}

/// Compares the files of an image; returns how many runs there were.
fn compare_all(img: &Image, paths: &[&str]) -> usize {
    let paths: Vec<_> = paths.iter().map(|p| p.to_string()).collect();
    let files = stat(img, &paths);
    assert_eq!(files.len(), paths.len());
    let fs = Fs::open(img);
    let mut count = 0;
    for (path, (ino, want)) in &files {
        compare(&fs, path, &fs.inode(*ino), want);
        count += want.len();
    }
    count
}

/// A file with unwritten extents, written ones and holes, by debugfs alone.
fn fragmented(block_size: &str, size: &str, blocks: u32, punches: u32) -> Image {
    let img = common::mkfs(&["-b", block_size], size);
    let mut commands = vec!["write /dev/null empty".to_string()];
    let source = Image::empty("source");
    source.poke(0, &vec![0x5a; 300 << 10]);
    commands.push(format!("write {} dense", source.path().display()));
    commands.push("write /dev/null file".into());
    commands.push(format!("fallocate /file 3 {}", blocks - 1));
    for n in 0..punches {
        // Holes of 1 to 3 blocks, some of which join.
        let at = (n * 7919) % (blocks - 4);
        commands.push(format!("punch /file {at} {}", at + n % 3));
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    common::debugfs(&img, &commands);
    img
}

#[test]
fn extents_of_1k_blocks_as_debugfs_punched_them() {
    let img = fragmented("1024", "64M", 20000, 2500);
    assert!(depth(&img, "/file") >= 2);
    assert!(compare_all(&img, &["/empty", "/dense", "/file"]) > 900);
}

#[test]
fn extents_of_4k_blocks_as_debugfs_punched_them() {
    let img = fragmented("4096", "128M", 20000, 500);
    assert!(depth(&img, "/file") >= 1);
    assert!(compare_all(&img, &["/empty", "/dense", "/file"]) > 400);
}

#[test]
fn extents_of_64k_blocks_as_debugfs_punched_them() {
    let img = fragmented("65536", "512M", 4000, 300);
    assert!(depth(&img, "/file") >= 1);
    assert!(compare_all(&img, &["/empty", "/dense", "/file"]) > 200);
}

#[test]
fn a_tree_of_three_levels_and_its_read_count() {
    let dir = Dir::new("levels");
    // Every other 1 KiB block has data; mke2fs leaves blocks of zeros out.
    let data: Vec<_> = (0..30000u64).map(|n| (n * 2048, 1024)).collect();
    dir.sparse("file", 30000 * 2048, &data);
    let from = dir.path().to_str().expect("UTF-8");
    let img = common::mkfs(&["-b", "1024", "-d", from], "64M");
    let depth = depth(&img, "/file");
    assert!(depth >= 3, "{depth}");
    assert_eq!(compare_all(&img, &["/file"]), 30000);
    let fs = Fs::open(&img);
    let ino = stat(&img, &["/file".into()])["/file"].0;
    fs.lookup(&fs.inode(ino), 1234).expect("lookup");
    assert_eq!(fs.reads.get(), depth);
}

#[test]
fn extents_without_checksums_and_with_bigalloc() {
    let dir = Dir::new("bigalloc");
    dir.sparse("dense", 1 << 20, &[(0, 1 << 20)]);
    dir.sparse(
        "sparse",
        1 << 30,
        &[(0, 1), (1 << 20, 100_000), (1 << 29, 70_000)],
    );
    let from = dir.path().to_str().expect("UTF-8");
    for features in [
        "^metadata_csum",
        "^metadata_csum,^64bit",
        "bigalloc",
        "^flex_bg,meta_bg,^resize_inode",
    ] {
        let img = common::mkfs(&["-b", "4096", "-O", features, "-d", from], "64M");
        assert!(compare_all(&img, &["/dense", "/sparse"]) >= 4, "{features}");
    }
}

/// Files that reach every level of a block map, and the seams between levels.
fn block_mapped(fs_type: &str, block_size: u64) {
    let per_block = block_size / 4;
    let dir = Dir::new(&format!("{fs_type}-{block_size}"));
    let at = |block: u64, blocks: u64| (block * block_size, blocks * block_size);
    dir.sparse("empty", 0, &[]);
    dir.sparse("tiny", 5, &[(0, 5)]);
    dir.sparse("direct", 12 * block_size, &[at(0, 12)]);
    dir.sparse("hole", 300 * block_size, &[]);
    let dense = (per_block + 20).min(300);
    dir.sparse("dense", dense * block_size, &[at(0, dense)]);
    let ind = 12;
    let dind = ind + per_block;
    let tind = dind + per_block * per_block;
    let end = tind + per_block * per_block * per_block;
    // The largest sparse file that the tools and this file system hold.
    let last = (end - 1)
        .min(u64::from(u32::MAX) - 2)
        .min((1 << 41) / block_size);
    for (name, block) in [
        ("ind", ind),
        ("dind", dind),
        ("tind", tind),
        ("inside", dind + 5 * per_block + 7),
        ("last", last),
    ] {
        if block > last {
            continue;
        }
        let before = at(block - 1, 1);
        let data = [at(3, 1), before, at(block, 2.min(last + 1 - block))];
        dir.sparse(name, (block + 2).min(last + 1) * block_size, &data);
    }
    let from = dir.path().to_str().expect("UTF-8");
    let block_size = block_size.to_string();
    let args = [
        "-t",
        fs_type,
        "-b",
        &block_size,
        "-O",
        "large_file",
        "-d",
        from,
    ];
    let img = common::mkfs(&args, "256M");
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("list")
        .map(|e| {
            format!(
                "/{}",
                e.expect("entry").file_name().to_str().expect("UTF-8")
            )
        })
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert!(compare_all(&img, &names) >= 12);
    let fs = Fs::open(&img);
    for (path, (ino, _)) in stat(&img, &["/empty".into(), "/hole".into(), "/ind".into()]) {
        let inode = fs.inode(ino);
        assert!(!inode.extents, "{path} has extents");
    }
}

#[test]
fn block_maps_of_ext2_with_1k_blocks() {
    block_mapped("ext2", 1024);
}

#[test]
fn block_maps_of_ext3_with_4k_blocks() {
    block_mapped("ext3", 4096);
}

#[test]
fn block_maps_of_ext2_with_64k_blocks() {
    block_mapped("ext2", 65536);
}

#[test]
fn a_map_of_holes_is_one_hole() {
    let dir = Dir::new("holes");
    dir.sparse("hole", 1 << 30, &[]);
    dir.sparse("one", 1 << 30, &[((12 + 256 + 256 * 30) << 10, 1024)]);
    let from = dir.path().to_str().expect("UTF-8");
    let img = common::mkfs(&["-t", "ext2", "-b", "1024", "-d", from], "16M");
    let files = stat(&img, &["/hole".into(), "/one".into()]);
    let fs = Fs::open(&img);
    let whole = fs
        .lookup(&fs.inode(files["/hole"].0), 20_000_000)
        .expect("lookup");
    assert_eq!(whole.end(), FileBlock::END);
    let whole = fs.lookup(&fs.inode(files["/hole"].0), 5).expect("lookup");
    assert_eq!((whole.lblk, whole.end()), (FileBlock::ZERO, FileBlock::END));
    // Before the one block: the missing subtrees of the double indirect block, and the missing
    // pointers of the indirect block.
    let one = fs.inode(files["/one"].0);
    let before = fs.lookup(&one, 12 + 256 + 100).expect("lookup");
    assert_eq!((before.lblk.get(), before.len), (12 + 256, 256 * 30));
    assert_eq!(fs.reads.get(), 1);
    let behind = fs.lookup(&one, 12 + 256 + 256 * 30 + 9).expect("lookup");
    assert_eq!(
        (behind.lblk.get(), behind.len),
        (12 + 256 + 256 * 30 + 1, 255)
    );
    assert_eq!(fs.reads.get(), 2);
}

/// The value of `system.data` in an inode's body, by hand.
fn system_data(raw: &[u8]) -> Option<&[u8]> {
    let extra = usize::from(u16::from_le_bytes(raw[0x80..0x82].try_into().unwrap()));
    let body = &raw[0x80 + extra..];
    if le32(body, 0) != 0xea02_0000 {
        return None;
    }
    let entries = &body[4..];
    let mut at = 0;
    while le32(entries, at) != 0 {
        let (name_len, index) = (usize::from(entries[at]), entries[at + 1]);
        let offset = usize::from(u16::from_le_bytes([entries[at + 2], entries[at + 3]]));
        let size = le32(entries, at + 8) as usize;
        if index == 7 && &entries[at + 16..][..name_len] == b"data" {
            return Some(&entries[offset..][..size]);
        }
        at += (16 + name_len + 3) & !3;
    }
    None
}

#[test]
fn inline_files_hold_what_was_written() {
    let img = common::mkfs(&["-b", "4096", "-O", "inline_data", "-I", "256"], "16M");
    let sizes = [0usize, 1, 59, 60, 61, 100, 128];
    let mut sources = Vec::new();
    let mut commands = Vec::new();
    for size in sizes {
        let source = Image::empty("source");
        let bytes: Vec<u8> = (0..size).map(|n| (n * 7 + size) as u8).collect();
        source.poke(0, &bytes);
        commands.push(format!("write {} f{size}", source.path().display()));
        sources.push((source, bytes));
    }
    commands.push("mkdir dir".into());
    commands.push("mkdir dir/sub".into());
    commands.push("write /dev/null dir/file".into());
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    common::debugfs(&img, &commands);
    let mut paths: Vec<_> = sizes.iter().map(|size| format!("f{size}")).collect();
    paths.extend(["/dir".to_string(), "/dir/sub".into()]);
    let files = stat(&img, &paths);
    let fs = Fs::open(&img);
    let mut inline = 0;
    for (size, (_, want)) in sizes.iter().zip(&sources) {
        let inode = fs.inode(files[&format!("f{size}")].0);
        assert_eq!(inode.size, *size as u64);
        if le32(&inode.raw, 0x20) & 0x1000_0000 == 0 {
            // debugfs gives an empty file an empty extent tree or block map.
            assert_eq!(*size, 0);
            continue;
        }
        inline += 1;
        let value = system_data(&inode.raw);
        let data = InlineData::new(&inode.i_block, value, inode.size).expect("inline data");
        let mut out = vec![0; *size];
        assert_eq!(data.copy_to(0, &mut out), *size);
        assert_eq!(out, *want);
        assert_eq!(data.parts().0.len(), (*size).min(60));
    }
    assert!(inline >= sizes.len() - 1);
    let (dir, sub) = (files["/dir"].0, files["/dir/sub"].0);
    for (ino, parent) in [(dir, 2), (sub, dir)] {
        let inode = fs.inode(ino);
        let inline = InlineDir::new(&inode.i_block, system_data(&inode.raw)).expect("inline");
        assert_eq!(inline.raw_parent(), parent);
        assert_eq!(inline.areas().0.len(), 56);
    }
    let first = fs.inode(dir);
    let first = InlineDir::new(&first.i_block, system_data(&first.raw)).expect("inline");
    // The first entry of /dir is /dir/sub.
    assert_eq!(le32(first.areas().0, 0), sub);
}
