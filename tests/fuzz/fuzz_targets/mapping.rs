// SPDX-License-Identifier: GPL-2.0

//! The input is one file's map and the blocks that it leads to; see `rext4::fuzz::mapping`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rext4::fuzz::mapping::run(input));
