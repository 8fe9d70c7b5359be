//! Numbers for names.

/// FNV-1a, 64 bits: the `index` of a stream that is keyed by a name, such as that of a weight.
///
/// ```
/// assert_eq!(ct_random::hash_name(""), 0xcbf2_9ce4_8422_2325);
/// assert_eq!(ct_random::hash_name("a"), 0xaf63_dc4c_8601_ec8c);
/// ```
pub fn hash_name(name: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    name.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
