//! A hash that is the same on every machine, in every version and in every run.
//!
//! It is for what several processes have to agree on. Whoever knows it can find values that are alike: tables of what
//! clients choose need a secret instead.

/// FNV-1a of 64 bits (RFC 9923 section 2) over these parts, as if they were one. Its high bits hardly depend on the last
/// bytes: mix it before they are looked at, as by a seed of [`Rng`](super::rng::Rng).
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_that_others_know() {
        assert_eq!(stable_hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(&[b"a"]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_hash(&[b"foobar"]), 0x8594_4171_f739_67e8);
        assert_eq!(stable_hash(&[b"foo", b"", b"bar"]), stable_hash(&[b"foobar"]));
    }
}
