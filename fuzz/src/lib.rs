//! The laws that the tests try, for the targets of the fuzzer.

#[path = "../../tests/properties/laws/mod.rs"]
pub mod laws;
