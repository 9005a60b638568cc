//! Any bytes as a response head.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| plb_fuzz::laws::response_head(input));
