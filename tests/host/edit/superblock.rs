// SPDX-License-Identifier: GPL-2.0

//! Superblocks that were changed, as dumpe2fs and e2fsck see them.

use rext4::ondisk::mount_state::ErrorEntry;
use rext4::ondisk::superblock::Superblock;
use rext4::ondisk::Ino;

use crate::common::{self, field, Image};
use crate::disk::Fs;
use crate::edited::{assert_clean, edit_super, store};

fn changed(args: &[&str], change: impl FnOnce(&mut Superblock)) -> (Image, String) {
    let image = common::mkfs(args, "16M");
    let mut fs = Fs::open(&image);
    edit_super(&mut fs, change);
    store(&fs, &image);
    let dump = common::dumpe2fs(&image);
    assert!(!dump.to_lowercase().contains("checksum error"), "{dump}");
    (image, dump)
}

fn assert_fields(dump: &str, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        let found = field(dump, name).unwrap_or("(missing)");
        assert!(found.contains(value), "{name}: {found}, not {value}");
    }
}

const KINDS: &[&[&str]] = &[
    &[],
    &["-b", "1024", "-O", "^metadata_csum,^64bit"],
    &["-b", "4096", "-O", "^has_journal,metadata_csum"],
];

#[test]
fn what_a_mount_writes() {
    for args in KINDS {
        let (image, dump) = changed(args, |sb| {
            sb.set_valid(false);
            sb.count_mount();
            sb.count_mount();
            sb.set_mtime(0x1_0000_0000);
            sb.set_wtime(1_000_000_000);
            sb.set_last_mounted(b"/mnt/somewhere");
            sb.set_kbytes_written(123_456);
        });
        assert_fields(
            &dump,
            &[
                ("Filesystem state", "not clean"),
                ("Mount count", "2"),
                ("Last mount time", "Sun Feb  7 06:28:16 2106"),
                ("Last write time", "Sun Sep  9 01:46:40 2001"),
                ("Last mounted on", "/mnt/somewhere"),
            ],
        );
        if !args.contains(&"-b") {
            assert_fields(&dump, &[("Lifetime writes", "121 MB")]);
        }
        let mut fs = Fs::open(&image);
        edit_super(&mut fs, |sb| {
            assert_eq!((sb.mtime(), sb.wtime()), (0x1_0000_0000, 1_000_000_000));
            assert_eq!((sb.mnt_count(), sb.kbytes_written()), (2, 123_456));
            sb.set_valid(true);
            sb.set_mtime(1_000_000_000);
        });
        store(&fs, &image);
        assert_clean(&image);
        let dump = common::dumpe2fs(&image);
        assert_eq!(field(&dump, "Filesystem state"), Some("clean"));
    }
}

#[test]
fn features_that_come_into_use() {
    let (image, dump) = changed(&["-O", "^large_file,^ext_attr"], |sb| {
        assert!(sb.add_large_file() && !sb.add_large_file());
        assert!(sb.add_ext_attr() && !sb.add_ext_attr());
        sb.set_needs_recovery();
        sb.set_orphan_present(true);
    });
    let features = field(&dump, "Filesystem features").unwrap();
    for name in ["large_file", "ext_attr", "needs_recovery", "orphan_present"] {
        assert!(features.split(' ').any(|f| f == name), "{name}: {features}");
    }
    let mut fs = Fs::open(&image);
    edit_super(&mut fs, |sb| {
        sb.clear_needs_recovery();
        sb.set_orphan_present(false);
    });
    store(&fs, &image);
    assert_clean(&image);
    let dump = common::dumpe2fs(&image);
    let features = field(&dump, "Filesystem features").unwrap();
    assert!(!features.contains("needs_recovery") && !features.contains("orphan_present"));
}

#[test]
fn revision_0_becomes_dynamic() {
    let (image, dump) = changed(&["-E", "revision=0"], |sb| {
        assert!(sb.add_large_file());
        assert_eq!(sb.rev_level(), 1);
    });
    assert_fields(
        &dump,
        &[
            ("Filesystem revision #", "1 (dynamic)"),
            ("Inode size", "128"),
            ("First inode", "11"),
            ("Filesystem features", "large_file"),
        ],
    );
    assert_clean(&image);
}

#[test]
fn what_an_administrator_sets() {
    for args in KINDS {
        let (image, dump) = changed(args, |sb| {
            assert!(sb.set_volume_name(b"sixteen bytes ok"));
            assert!(!sb.set_volume_name(b"seventeen bytes.."));
            assert!(sb.set_volume_name(b"short"));
            assert!(sb.set_r_blocks_count(77));
            let wide = sb.features().has(rext4::ondisk::features::Incompat::BIT64);
            assert_eq!(sb.set_r_blocks_count(1 << 32), wide);
            assert!(sb.set_r_blocks_count(77));
            sb.set_reserved_for(70_001, 70_002);
            sb.set_last_mounted(&[b'x'; 100]);
        });
        assert_fields(
            &dump,
            &[
                ("Filesystem volume name", "short"),
                ("Reserved block count", "77"),
                // dumpe2fs knows 16 bits of it.
                ("Reserved blocks uid", "4465"),
                ("Reserved blocks gid", "4466"),
            ],
        );
        let bytes = image.bytes();
        let sb = Superblock::verify(&bytes[1024..]).unwrap();
        assert_eq!((sb.def_resuid(), sb.def_resgid()), (70_001, 70_002));
        let mounted = field(&dump, "Last mounted on").unwrap();
        assert_eq!(mounted, "x".repeat(63));
        assert_clean(&image);
    }
}

fn error(time: u64, func: &[u8]) -> ErrorEntry<'_> {
    ErrorEntry {
        time,
        ino: 12,
        block: 1234,
        func,
        line: 99,
        errcode: 5,
    }
}

#[test]
fn the_error_record() {
    let first = error(1_000_000_000, b"first_function");
    let last = error(
        0x1_2345_6789,
        b"a_function_whose_name_has_more_than_32_bytes",
    );
    let (image, dump) = changed(&[], |sb| {
        sb.record_errors(&first, &error(1_100_000_000, b"between"), 1);
        sb.record_errors(&error(7, b"later"), &last, 2);
    });
    assert_fields(
        &dump,
        &[
            ("Filesystem state", "clean with errors"),
            ("FS Error count", "3"),
            ("First error time", "Sun Sep  9 01:46:40 2001"),
            ("First error function", "first_function"),
            ("First error line #", "99"),
            ("First error inode #", "12"),
            ("First error block #", "1234"),
            ("First error err", "EFSCORRUPTED"),
            ("Last error function", "a_function_whose_name_has_more_t"),
            ("Last error time", "2124"),
        ],
    );
    let bytes = image.bytes();
    let sb = Superblock::verify(&bytes[1024..]).unwrap();
    assert_eq!(sb.first_error(), first);
    let cut = ErrorEntry {
        func: &last.func[..32],
        ..last
    };
    assert_eq!(sb.last_error(), cut);
    let mut fs = Fs::open(&image);
    edit_super(&mut fs, |sb| {
        sb.record_errors(&first, &first, u32::MAX);
        assert_eq!(sb.error_count(), u32::MAX);
        let late = error(u64::MAX, b"");
        sb.record_errors(&late, &late, 0);
        assert_eq!(sb.last_error().time, (1 << 40) - 1);
        assert_eq!(sb.last_error().func, b"");
    });
}

#[test]
fn state_and_orphans() {
    let (_, dump) = changed(&["-O", "^orphan_file"], |sb| {
        sb.set_last_orphan(Ino::new(13));
        assert_eq!(sb.last_orphan(), 13);
    });
    assert_fields(&dump, &[("First orphan inode", "13")]);
    let (image, dump) = changed(&[], |sb| {
        sb.set_orphan_recovery(true);
        assert!(sb.state().in_orphan_recovery() && sb.state().is_valid());
        sb.set_orphan_recovery(false);
        assert!(!sb.state().in_orphan_recovery() && sb.state().is_valid());
        sb.set_last_orphan(Ino::new(13));
        sb.set_last_orphan(None);
    });
    assert_eq!(field(&dump, "First orphan inode"), None);
    assert_clean(&image);
}
