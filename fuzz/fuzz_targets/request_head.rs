//! Any bytes as a request head.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| plb_fuzz::laws::request_head(input));
