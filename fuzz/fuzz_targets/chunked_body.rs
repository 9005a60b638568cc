//! Any bytes as a chunked body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| plb_fuzz::laws::chunked_body(input));
