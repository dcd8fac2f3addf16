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

/// Numbers at the limits of common types, and what is no number.
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"99999999999999999999",
    b"-1",
    b"",
];
/// Values at the limits of a 32-bit field.
const FIELDS: &[[u8; 4]] = &[
    [0; 4],
    [0, 0, 0, 1],
    [0x7f, 0xff, 0xff, 0xff],
    [0x80, 0, 0, 0],
    [0xff; 4],
];
/// Separator of the head and the body of a SIP message.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Returns the seed with each of its decimal numbers in turn replaced by each number of a list of limits. The length of
/// a SIP body is corrected.
pub fn number_variants(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    digit_runs(seed).into_iter().flat_map(move |(start, end)| {
        NUMBERS.iter().map(move |number| {
            let mut octets = seed.to_vec();
            octets.splice(start..end, number.iter().copied());
            correct_length(seed, &octets).unwrap_or(octets)
        })
    })
}

/// Returns the seed with each four octets in turn replaced by each limit of a 32-bit field.
pub fn field_variants(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..seed.len().saturating_sub(3)).flat_map(move |start| {
        FIELDS.iter().map(move |field| {
            let mut octets = seed.to_vec();
            octets.splice(start..start + 4, *field);
            octets
        })
    })
}

fn digit_runs(octets: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, _) in octets
        .iter()
        .enumerate()
        .filter(|(_, octet)| octet.is_ascii_digit())
    {
        match runs.last_mut() {
            Some((_, end)) if *end == index => *end += 1,
            _ => runs.push((index, index + 1)),
        }
    }
    runs
}

/// Returns the message with the length of its body, if the seed had the right one and only the body differs.
fn correct_length(seed: &[u8], octets: &[u8]) -> Option<Vec<u8>> {
    let split = |message: &[u8]| {
        let at = message
            .windows(END_OF_HEAD.len())
            .position(|window| window == END_OF_HEAD)?;
        let (head, body) = message.split_at(at + END_OF_HEAD.len());
        Some((String::from_utf8(head.to_vec()).ok()?, body.to_vec()))
    };
    let ((before, old), (head, new)) = (split(seed)?, split(octets)?);
    let line = format!("Content-Length: {}\r\n", old.len());
    (before == head && head.contains(&line)).then(|| {
        let head = head.replace(&line, &format!("Content-Length: {}\r\n", new.len()));
        [head.into_bytes(), new].concat()
    })
}
