//! Any bytes as what a backend answers; the first one says where they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plb_fuzz::laws::responses;

fuzz_target!(|input: &[u8]| {
    let Some((&split, input)) = input.split_first() else { return };
    responses(input, &[]);
    responses(input, &[usize::from(split)]);
});
