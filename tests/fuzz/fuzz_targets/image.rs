// SPDX-License-Identifier: GPL-2.0

//! The input is a whole image: walked from superblock to file maps, once as it is and once with
//! the checks left out that a cached block has passed before.

#![no_main]

#[allow(dead_code)]
#[path = "../../host/flip/walker.rs"]
mod walker;

libfuzzer_sys::fuzz_target!(|image: &[u8]| {
    walker::walk(image, false);
    walker::walk(image, true);
});
