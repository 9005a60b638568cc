//! `Source`: what an event is about, packed into a `mio::Token`.
//!
//! ```text
//! [ generation 32 | index 29 | kind 3 ]
//! ```
//! The generation makes an event for a socket that was freed meanwhile recognisable: its id is stale.

use mio::Token;

use super::probe::Probe;
use super::stream::Stream;
use crate::base::arena::Id;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A listening socket, by its position.
    Listener(u32),
    /// A client's or a backend's connection.
    Stream(Id<Stream>),
    /// A probe's connection.
    Probe(Id<Probe>),
    /// The pipe that a signal writes to, by its position.
    Signal(u32),
}

const KIND_BITS: u32 = 3;
const INDEX_BITS: u32 = 29;

const _: () = assert!(usize::BITS >= 64, "a token has to hold an id: plb needs a 64-bit host");

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        let (kind, index, generation) = match source {
            Source::Listener(index) => (0, index, 0),
            Source::Stream(id) => (1, id.index(), id.generation()),
            Source::Probe(id) => (2, id.index(), id.generation()),
            Source::Signal(index) => (3, index, 0),
        };
        debug_assert!(index < 1 << INDEX_BITS, "more sockets than any process can have");
        let packed = u64::from(generation) << (KIND_BITS + INDEX_BITS) | u64::from(index) << KIND_BITS | kind;
        Token(packed as usize)
    }
}

impl From<Token> for Source {
    fn from(token: Token) -> Source {
        let packed = token.0 as u64;
        let index = (packed >> KIND_BITS) as u32 & ((1 << INDEX_BITS) - 1);
        let generation = (packed >> (KIND_BITS + INDEX_BITS)) as u32;
        match packed & ((1 << KIND_BITS) - 1) {
            0 => Source::Listener(index),
            1 => Source::Stream(Id::from_parts(index, generation)),
            2 => Source::Probe(Id::from_parts(index, generation)),
            _ => Source::Signal(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_source() {
        let sources = [
            Source::Listener(7),
            Source::Stream(Id::from_parts(0, u32::MAX)),
            Source::Stream(Id::from_parts((1 << INDEX_BITS) - 1, 1)),
            Source::Probe(Id::from_parts(3, 4)),
            Source::Signal(2),
        ];
        for source in sources {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
