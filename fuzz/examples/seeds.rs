//! Writes the inputs that the tests start from to `corpus/`, one folder a target, and their splinters to `dictionary`.

use std::fs;
use std::path::Path;

use plb_fuzz::laws::specimens::{
    CHUNKS, CONFIGURATIONS, COOKIES, PATHS, PROXY_HEADERS, REQUESTS, RESPONSES, SPLINTERS,
};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of the last two, the first byte is the place of the split.
    let targets = [
        ("request_head", REQUESTS, ""),
        ("response_head", RESPONSES, ""),
        ("chunked_body", CHUNKS, ""),
        ("configuration", CONFIGURATIONS, ""),
        ("path", PATHS, ""),
        ("cookies", COOKIES, ""),
        ("proxy_header", PROXY_HEADERS, ""),
        ("requests", REQUESTS, "@"),
        ("responses", RESPONSES, "@"),
    ];
    for (target, specimens, before) in targets {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder).expect("the folder can be made");
        for (number, specimen) in specimens.iter().enumerate() {
            let bytes = [before.as_bytes(), specimen].concat();
            fs::write(folder.join(format!("seed-{number}")), bytes).expect("there is room");
        }
    }
    let quoted = |splinter: &&[u8]| splinter.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let lines: String = SPLINTERS.iter().map(|splinter| format!("\"{}\"\n", quoted(splinter))).collect();
    fs::write(root.join("dictionary"), lines).expect("there is room");
}
