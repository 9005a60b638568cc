//! Any bytes as the value of `Cookie` or `Set-Cookie`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| plb_fuzz::laws::cookies(input));
