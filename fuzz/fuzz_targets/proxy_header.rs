//! Any bytes as the beginning of a connection of a trusted proxy.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| plb_fuzz::laws::proxy_header(input));
