//! Any bytes as what a client sends on one connection; the first one says where they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plb_fuzz::laws::{Answers, requests};

fuzz_target!(|input: &[u8]| {
    let Some((&split, input)) = input.split_first() else { return };
    let whole = requests(input, &[], Answers::InTime);
    assert_eq!(requests(input, &[usize::from(split)], Answers::InTime), whole);
    requests(input, &[usize::from(split)], Answers::Early);
});
