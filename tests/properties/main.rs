//! Tries the laws that hold for any bytes, `laws/`, on good inputs at every split point and on seeded mutations of them.
//!
//! `PLB_SEEDS=n` tries n mutations for each law; `PLB_SEED=n` tries one and prints it (with `--nocapture`).
//! `fuzz/` tries the same laws with a fuzzer.

mod laws;

use std::panic::{AssertUnwindSafe, catch_unwind};

use laws::Answers;
use laws::specimens::{CHUNKS, CONFIGURATIONS, COOKIES, Chance, PATHS, PROXY_HEADERS, REQUESTS, RESPONSES, damaged};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Tries a law with mutations of these specimens; `seeds` of them unless it is told otherwise. Gives the sum of what
/// the law gives.
fn try_mutations(seeds: u64, specimens: &[&[u8]], law: impl Fn(&mut Chance, &[u8]) -> usize) -> usize {
    let try_one = |seed| {
        let mut chance = Chance(seed);
        let input = damaged(&mut chance, specimens);
        law(&mut chance, &input)
    };
    if let Some(seed) = number("PLB_SEED") {
        println!("{}", damaged(&mut Chance(seed), specimens).escape_ascii());
        return try_one(seed);
    }
    let seeds = 0..number("PLB_SEEDS").unwrap_or(seeds);
    let outcomes = seeds.map(|seed| match catch_unwind(AssertUnwindSafe(|| try_one(seed))) {
        Ok(count) => count,
        Err(_) => panic!("PLB_SEED={seed}: {}", damaged(&mut Chance(seed), specimens).escape_ascii()),
    });
    outcomes.sum()
}

#[test]
fn a_request_head_is_judged_alike_however_it_comes_and_written_as_it_was_meant() {
    REQUESTS.iter().for_each(|input| laws::request_head(input));
    try_mutations(20_000, REQUESTS, |_, input| {
        laws::request_head(input);
        0
    });
}

#[test]
fn a_response_head_is_judged_alike_however_it_comes_and_written_as_it_was_meant() {
    RESPONSES.iter().for_each(|input| laws::response_head(input));
    try_mutations(5_000, RESPONSES, |_, input| {
        laws::response_head(input);
        0
    });
}

#[test]
fn a_chunked_body_ends_where_a_second_reader_says_it_ends() {
    CHUNKS.iter().for_each(|input| laws::chunked_body(input));
    try_mutations(20_000, CHUNKS, |_, input| {
        laws::chunked_body(input);
        0
    });
}

#[test]
fn what_is_forwarded_are_the_requests_that_a_second_reader_sees() {
    for input in REQUESTS {
        let whole = laws::requests(input, &[], Answers::InTime);
        assert!(whole > 0, "refused: {}", input.escape_ascii());
        let everywhere: Vec<usize> = (1..input.len()).collect();
        for splits in everywhere.chunks(1).chain([&everywhere[..]]) {
            assert_eq!(laws::requests(input, splits, Answers::InTime), whole, "split at {splits:?}");
            laws::requests(input, splits, Answers::Early);
        }
    }
    let seeds = 5_000;
    let forwarded = try_mutations(seeds, REQUESTS, |chance, input| {
        let whole = laws::requests(input, &[], Answers::InTime);
        let split = [chance.below(input.len() + 1)];
        assert_eq!(laws::requests(input, &split, Answers::InTime), whole, "split at {split:?}");
        laws::requests(input, &split, Answers::Early);
        whole
    });
    let meant = number("PLB_SEED").is_some() || number("PLB_SEEDS").is_some() || forwarded as u64 > seeds / 4;
    assert!(meant, "only {forwarded} requests survived: the damage is too heavy to mean much");
}

#[test]
fn what_a_client_gets_are_the_responses_that_a_second_reader_sees() {
    for input in RESPONSES {
        laws::responses(input, &[]);
        (1..input.len()).for_each(|split| laws::responses(input, &[split]));
        laws::responses(input, &(1..input.len()).collect::<Vec<_>>());
    }
    try_mutations(5_000, RESPONSES, |chance, input| {
        laws::responses(input, &[]);
        laws::responses(input, &[chance.below(input.len() + 1)]);
        0
    });
}

#[test]
fn a_path_means_the_same_to_rules_and_to_a_second_reader_however_it_is_spelled() {
    PATHS.iter().for_each(|input| laws::path(input));
    try_mutations(10_000, PATHS, |_, input| {
        laws::path(input);
        0
    });
}

#[test]
fn cookies_that_are_to_stay_stay_and_others_go() {
    COOKIES.iter().for_each(|input| laws::cookies(input));
    try_mutations(10_000, COOKIES, |_, input| {
        laws::cookies(input);
        0
    });
}

#[test]
fn a_proxy_header_is_one_where_a_second_reader_says_so_however_it_comes() {
    PROXY_HEADERS.iter().for_each(|input| laws::proxy_header(input));
    try_mutations(20_000, PROXY_HEADERS, |_, input| {
        laws::proxy_header(input);
        0
    });
}

#[test]
fn no_configuration_makes_the_reader_panic() {
    try_mutations(300, CONFIGURATIONS, |_, input| {
        laws::configuration(input);
        0
    });
}
