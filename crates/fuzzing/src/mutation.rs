//! Reproducible mutations of a seed.

/// Inserted tokens: separators of headers, fields and lengths.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b":",
    b" ",
    b"=",
    b"/",
    b"-1",
    b"%00",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"99999999999999999999",
    b"SIP/2.0",
    b"tag=",
    b"Content-Length: ",
    b"m=audio ",
    b"a=crypto:",
];

/// Pseudo-random numbers by xorshift.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or_default()
    }
}

/// Returns the mutation of a seed with this number: octets changed, removed, repeated or inserted,
/// or the end truncated. The same number gives the same mutation.
pub fn mutate_seed(seed: &[u8], number: u64) -> Vec<u8> {
    let mut random = XorShift(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut octets = seed.to_vec();
    for _ in 0..=random.below(4) {
        mutate(&mut octets, &mut random);
    }
    octets
}

fn mutate(octets: &mut Vec<u8>, random: &mut XorShift) {
    let start = random.below(octets.len() + 1);
    let end = (start + random.below(12)).min(octets.len());
    let new = match random.below(6) {
        0 => vec![u8::try_from(random.below(256)).unwrap_or_default()],
        1 => TOKENS
            .get(random.below(TOKENS.len()))
            .copied()
            .unwrap_or_default()
            .to_vec(),
        2 => octets.get(start..end).unwrap_or_default().repeat(2),
        3 => Vec::new(),
        4 => return octets.truncate(start),
        _ => {
            let flipped = octets
                .get(start..end)
                .unwrap_or_default()
                .iter()
                .map(|octet| octet ^ 1 << random.below(8));
            flipped.collect()
        }
    };
    octets.splice(start..end, new);
}
