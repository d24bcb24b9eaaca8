// SPDX-License-Identifier: GPL-2.0

//! Whole images that are damaged: those of the directory that `CORPUS` names (gzip and bzip2 are
//! unpacked), and some that this test damages itself. Each is opened as far as it goes, and
//! everything in it that this layer reads is read: no panic, no endless loop.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rext4::engine::backup;
use rext4::engine::overhead::overhead_clusters;
use rext4::ondisk::group::GroupDesc;
use rext4::ondisk::inode::{Inode, InodeError, Purpose, Refused};
use rext4::ondisk::superblock::Superblock;

use crate::common::{self, Image};
use crate::Opened;

/// What became of an image.
#[derive(Debug, Default)]
struct Outcome {
    groups: usize,
    inodes: usize,
    stale: usize,
    /// Messages, each once.
    errors: Vec<&'static str>,
}

impl Outcome {
    fn error(&mut self, message: &'static str) {
        if !self.errors.contains(&message) {
            self.errors.push(message);
        }
    }
}

/// Reads all that can be read.
fn walk(img: &Image) -> Outcome {
    let mut outcome = Outcome::default();
    let opened = match Opened::new(img) {
        Ok(opened) => opened,
        Err(e) => {
            outcome.error(e.message());
            return outcome;
        }
    };
    let geo = &opened.geo;
    let _ = backup::backups(geo).count();
    for group in opened.groups() {
        let bytes = opened.desc(group);
        if let Err(e) = GroupDesc::verify(geo, group, &bytes) {
            outcome.error(e.message());
        }
        if let Ok(desc) = GroupDesc::parse(geo, group, &bytes) {
            outcome.groups += 1;
            let bitmap = opened.block(desc.block_bitmap());
            let verdict = match desc.block_uninit() {
                false => desc.verify_block_bitmap(geo, &bitmap),
                true => Ok(()),
            };
            if let Err(e) = verdict {
                outcome.error(e.message());
            }
        }
    }
    match opened.zones() {
        Ok(zones) => {
            let _ = overhead_clusters(geo, opened.superblock().overhead_clusters(), &zones);
        }
        Err(e) => outcome.error(e.message()),
    }
    // An image of a few megabytes cannot have many.
    for number in 2..=geo.inodes_count().min(100_000) {
        let ino = geo.check_ino(number).expect("counted");
        let Ok(slot) = opened.slot(ino) else {
            continue;
        };
        let verify = |purpose| Inode::verify(geo, ino, &slot, purpose);
        let verdict = match geo.is_special_ino(ino) {
            true => verify(Purpose::Special),
            false => verify(Purpose::Path).or_else(|e| match e {
                Refused::Corrupt(InodeError::UnexpectedEaFlag) => verify(Purpose::EaInode),
                other => Err(other),
            }),
        };
        match verdict {
            Ok(_) => outcome.inodes += 1,
            Err(Refused::Stale) => outcome.stale += 1,
            // A free slot is all zeros, or keeps what it held.
            Err(Refused::Corrupt(_)) if slot[..28].iter().all(|byte| *byte == 0) => {}
            Err(Refused::Corrupt(e)) => outcome.error(e.message()),
        }
    }
    outcome
}

/// The image in a file, unpacked.
fn unpack(path: &Path) -> Image {
    let unpacker = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => "gzip",
        Some("bz2") => "bzip2",
        _ => "",
    };
    let img = Image::empty("corpus");
    if unpacker.is_empty() {
        std::fs::copy(path, img.path()).expect("copy an image");
        return img;
    }
    let out = std::fs::File::create(img.path()).expect("create an image");
    let status = Command::new(unpacker)
        .args(["-d", "-c"])
        .arg(path)
        .stdout(Stdio::from(out))
        .status()
        .expect("start the unpacker");
    assert!(status.success(), "{unpacker} {}", path.display());
    img
}

/// Ignored, so that a run without images is seen to have skipped it; tests/run.sh asks for it by name.
#[test]
#[ignore = "needs CORPUS"]
fn every_image_of_the_corpus_is_read_as_far_as_it_goes() {
    let dir = std::env::var_os("CORPUS").expect("CORPUS names a folder of images");
    let entries = std::fs::read_dir(&dir).expect("read the corpus directory");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|path| path.is_file() && path.to_string_lossy().contains(".img"));
    paths.sort();
    assert!(!paths.is_empty(), "no images in {dir:?}");
    let mut opened = 0;
    for path in &paths {
        let outcome = walk(&unpack(path));
        opened += usize::from(outcome.groups > 0);
        let name = path.file_name().expect("a name").to_string_lossy();
        println!("{name}: {outcome:?}");
    }
    println!("{} images, {opened} with readable groups", paths.len());
    assert!(opened > 0);
}

/// Repeats with the seed that is printed: `SEED=n`.
#[test]
fn images_with_flipped_bytes_are_read_as_far_as_they_go() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
    println!("SEED={seed}");
    // xorshift64*
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let cases: [&[&str]; 3] = [
        &["-b", "1024"],
        &["-b", "1024", "-O", "^metadata_csum,^flex_bg,^64bit"],
        &["-b", "4096", "-O", "^metadata_csum,bigalloc"],
    ];
    for args in cases {
        let img = common::mkfs(args, "8M");
        let whole = walk(&img);
        assert_eq!(whole.errors, Vec::<&str>::new(), "an image without damage");
        assert!(whole.groups > 0 && whole.inodes > 1);
        let (descs, metadata) = {
            let opened = Opened::new(&img).expect("a file system");
            let zones = opened.zones().expect("no overlap");
            let end = |zone: &rext4::engine::zones::Zone| {
                (zone.start().get() + u64::from(zone.len())) << opened.geo.block_bits()
            };
            let descs = opened.geo.gdt_block(0).expect("there is a group").get();
            let metadata = zones
                .zones()
                .iter()
                .map(end)
                .min()
                .expect("there is a zone");
            (descs << opened.geo.block_bits(), metadata)
        };
        let original = img.bytes();
        let mut differ = 0;
        for _ in 0..40 {
            for _ in 0..1 + random() % 20 {
                // Not only in the large part that is reserved or free.
                let at = match random() % 4 {
                    0 => 1024 + random() % 256,
                    1 => descs + random() % 64,
                    _ => 1024 + random() % (metadata - 1024),
                };
                img.poke(at, &[random() as u8]);
            }
            let outcome = walk(&img);
            differ += usize::from(!outcome.errors.is_empty());
            // The superblock's checksum would hide all that is behind it.
            let mut sb = vec![0; 1024];
            let file = std::fs::File::open(img.path()).expect("open the image");
            file.read_exact_at(&mut sb, 1024)
                .expect("read the superblock");
            crate::refusals::fix_checksum(&mut sb);
            if Superblock::verify(&sb).is_ok() {
                img.poke(2044, &sb[1020..]);
                let _ = walk(&img);
            }
            img.poke(0, &original[..metadata as usize]);
        }
        assert!(differ > 0, "no damage was noticed");
    }
}
