//! The command line of the comparison.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::balancer::Kind;
use crate::unit::Unit;

/// What can be said after `cargo bench --bench compare --`.
pub const USAGE: &str = "usage: cargo bench --bench compare -- [UNIT...] [OPTION...]
units (default: all)
  a  keep-alive GET           b  one GET a client connection
  c  TCP connect-echo-close   d  bulk, HTTP and TCP
  e  memory of an idle client f  a over 10 and over 1000 backends
  g  a beside idle clients    h  a with X-Forwarded-For, a request id and a route
  k  a with a cookie inserted l  a with an access log
  r  a with 1000 host routes  s  memory of a stalled reader
options
  --rounds N     rounds (default 5)
  --scale F      multiplies the exchanges of a round (default 1)
  --only LIST    of haproxy,plb,nginx,haproxy-splice,relay (default all)
  --plb PATH     the plb to measure (default: the one that cargo has built)
  --syscalls     count system calls with strace instead of measuring
  --csv          print every figure instead of a table";

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table of medians.
    Markdown,
    /// All of them.
    Csv,
}

/// What is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// CPU time and memory, in rounds.
    Costs,
    /// System calls.
    Calls,
}

/// The choices of whoever runs it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to measure.
    pub units: Vec<Unit>,
    /// How often.
    pub rounds: u32,
    /// A factor for the exchanges of a round.
    pub scale: f64,
    /// Whom to measure.
    pub kinds: Vec<Kind>,
    /// The program of plb.
    pub plb: PathBuf,
    /// What to find out.
    pub purpose: Purpose,
    /// How to print it.
    pub format: Format,
}

impl Options {
    /// Reads the arguments, the program's name left out; the error is for the user.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, lexopt::Error> {
        let mut options = Options::default();
        let mut units = Vec::new();
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Value(letter) => units.extend(units_of(&letter.string()?)?),
                Long("rounds") => options.rounds = parser.value()?.parse()?,
                Long("scale") => options.scale = parser.value()?.parse()?,
                Long("only") => options.kinds = kinds_of(&parser.value()?.string()?)?,
                Long("plb") => options.plb = parser.value()?.into(),
                Long("syscalls") => options.purpose = Purpose::Calls,
                Long("csv") => options.format = Format::Csv,
                Long("bench") => {}
                _ => return Err(argument.unexpected()),
            }
        }
        if !units.is_empty() {
            options.units = Unit::ALL.into_iter().filter(|unit| units.contains(unit)).collect();
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            units: Unit::ALL.to_vec(),
            rounds: 5,
            scale: 1.0,
            kinds: Kind::ALL.to_vec(),
            plb: PathBuf::from(env!("CARGO_BIN_EXE_plb")),
            purpose: Purpose::Costs,
            format: Format::Markdown,
        }
    }
}

fn units_of(letter: &str) -> Result<Vec<Unit>, String> {
    let units: Vec<Unit> = Unit::ALL.into_iter().filter(|unit| unit.letter() == letter).collect();
    if units.is_empty() { Err(format!("there is no unit {letter:?}: see the usage")) } else { Ok(units) }
}

fn kinds_of(list: &str) -> Result<Vec<Kind>, String> {
    let unknown = list.split(',').find(|name| Kind::ALL.iter().all(|kind| kind.name() != *name));
    match unknown {
        Some(name) => Err(format!("there is no balancer {name:?}: haproxy, plb, nginx, haproxy-splice or relay")),
        None => Ok(Kind::ALL.into_iter().filter(|kind| list.split(',').any(|name| name == kind.name())).collect()),
    }
}
