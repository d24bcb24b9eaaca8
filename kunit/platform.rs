// SPDX-License-Identifier: GPL-2.0

//! What the kernel-free rooms take from the kernel: checksums, and the sequence that readers of
//! the extent status cache rely on.

use kernel::prelude::*;

#[kunit_tests(rext4_platform)]
mod tests {
    use crate::{
        linux::{bdev::DeviceNumber, seqcount::SeqCount, super_block::as_file_name},
        ondisk::crc::{crc16, crc32c},
    };

    /// The check values of the two algorithms, for "123456789".
    #[test]
    fn checksums_are_those_of_the_format() {
        assert_eq!(crc32c(!0, b"123456789"), !0xe306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
    }

    /// A checksum may be computed in parts.
    #[test]
    fn checksums_continue() {
        assert_eq!(
            crc32c(crc32c(!0, b"12345"), b"6789"),
            crc32c(!0, b"123456789")
        );
        assert_eq!(crc16(crc16(!0, b"12345"), b"6789"), crc16(!0, b"123456789"));
    }

    /// A reader notices a change before, during and after.
    #[test]
    fn a_sequence_tells_of_changes() {
        let seq = SeqCount::new();
        let before = seq.begin().unwrap_or(1);
        assert!(seq.still(before));
        seq.write(|| {
            assert!(seq.begin().is_none());
            assert!(!seq.still(before));
        });
        assert!(!seq.still(before));
        let after = seq.begin().unwrap_or(1);
        assert!(after != before && after & 1 == 0);
        assert!(seq.still(after));
    }

    /// A device's name is a file's in sysfs and proc.
    #[test]
    fn slashes_in_device_names() {
        let mut name = *b"etherd/e0.0\0";
        as_file_name(&mut name);
        assert_eq!(&name, b"etherd!e0.0\0");
    }

    /// The stored form of device numbers, with minor numbers beyond 8 bits.
    #[test]
    fn device_numbers() {
        let major_minor = |stored| DeviceNumber::decode(stored).map(DeviceNumber::parts);
        assert_eq!(major_minor(0), None);
        assert_eq!(major_minor(0x0802), Some((8, 2)));
        assert_eq!(major_minor(0x1235_0867), Some((0x508, 0x12367)));
        assert_eq!(major_minor(0xffff_ffff), Some((0xfff, 0xf_ffff)));
    }
}
