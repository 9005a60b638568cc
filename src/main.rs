//! The program: arguments, exit codes, the stages of start-up.

fn main() {}
