// SPDX-License-Identifier: GPL-2.0

//! Hashes of names, against debugfs.

use rext4::engine::dirhash::DirHash;

use crate::common;

use super::build::Lcg;

/// Bytes that pass debugfs' command line: printable, no quotes or blanks, and UTF-8 for more.
fn name(rng: &mut Lcg, len: usize) -> String {
    let mut name = String::new();
    while name.len() < len {
        let left = len - name.len();
        name.push(match rng.below(4) {
            0 if left > 1 => char::from_u32(0x80 + rng.next() % 0x700).unwrap(),
            1 if left > 2 => char::from_u32(0x1000 + rng.next() % 0x2000).unwrap(),
            _ => char::from(b'a' + (rng.next() % 26) as u8),
        });
    }
    name
}

#[test]
fn as_debugfs_computes_them() {
    let image = common::mkfs(&["-t", "ext2"], "1M");
    let mut rng = Lcg(1);
    let names: Vec<_> = (1..=255).map(|len| name(&mut rng, len)).collect();
    let seeds = [
        ("00000000-0000-0000-0000-000000000000", [0u32; 4]),
        (
            "01234567-89ab-cdef-0123-456789abcdef",
            [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89],
        ),
    ];
    let mut commands = Vec::new();
    let mut expected = Vec::new();
    for (uuid, seed) in seeds {
        for version in 0..=5u8 {
            let hash = DirHash::new(version, false, &seed).unwrap();
            for name in &names {
                commands.push(format!("dx_hash -h {version} -s {uuid} {name}"));
                let h = hash.hash(name.as_bytes());
                expected.push(format!(
                    "Hash of {name} is 0x{:08x} (minor 0x{:08x})",
                    h.major, h.minor
                ));
            }
        }
    }
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let output = common::debugfs(&image, &commands);
    let lines: Vec<_> = output
        .lines()
        .filter(|l| l.starts_with("Hash of"))
        .collect();
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(&expected) {
        // debugfs prints without leading zeros.
        let number = |s: &str, mark: &str| {
            let at = s.rfind(mark).unwrap() + mark.len();
            let digits: String = s[at..]
                .chars()
                .take_while(char::is_ascii_hexdigit)
                .collect();
            u32::from_str_radix(&digits, 16).unwrap()
        };
        for mark in [" is 0x", "(minor 0x"] {
            assert_eq!(number(line, mark), number(expected, mark), "{line}");
        }
    }
}
