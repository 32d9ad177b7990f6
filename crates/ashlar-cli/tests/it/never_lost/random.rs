//! Numbers that look random and can be had again.

/// The xorshift64* generator (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled").
pub struct Random(u64);

impl Random {
    /// Seeded from `ASHLAR_TEST_SEED`, else from the clock. The seed is printed, which a test that
    /// fails shows.
    pub fn new() -> Self {
        let seed: u64 = std::env::var("ASHLAR_TEST_SEED").ok().map_or_else(
            || {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.unwrap().subsec_nanos().into()
            },
            |seed| seed.parse().expect("ASHLAR_TEST_SEED is a number"),
        );
        println!("ASHLAR_TEST_SEED={seed}");
        // Zero would stay zero.
        Self(seed | (1 << 63))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// A number from a range.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}
