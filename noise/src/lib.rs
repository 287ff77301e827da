//! Every random number: a counter-based stream keyed by (seed, purpose, step, index).
//!
//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//! Randomness is data, drawn on the host and uploaded. The same recipe sees the same noise on every
//! backend, a resumed run needs no generator state, and two streams never collide.

// Functions that round alike on every machine, in the tests of this crate, too.
use afd_exact as _;

/// What a stream of random numbers is for. Streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; index = hash of the tensor's name.
    Weights = 1,
    /// Noise that a rollout starts from and re-noises with.
    Rollout = 2,
    /// Noise levels of the forward process.
    Sigma = 3,
    /// Noise of the forward process.
    ForwardProcess = 4,
    /// Directions of the finite-difference R1/R2 penalties.
    Penalty = 5,
    /// Instance noise on both sides of the discriminator.
    InstanceNoise = 6,
    /// Which prompts are drawn.
    Prompts = 7,
    /// The teacher's own randomness: what a prompt does not fix.
    World = 8,
    /// Word vectors.
    Words = 9,
    /// Shifts and brightness applied to both sides of the discriminator.
    Augmentation = 10,
    /// Which clips the fresh discriminator of an evaluation trains on, and the noise of generation.
    Evaluation = 11,
    /// Which mismatched prompt a teacher clip is paired with.
    Mismatch = 12,
    /// How a scene that is filmed again differs from the first time.
    FilmedAgain = 13,
    /// Weights of the fixed network whose features Fréchet and kernel distances compare.
    FeatureNetwork = 14,
    /// Which prompts a bootstrap resamples; index = how many there are.
    Bootstrap = 15,
}

/// A stream of random numbers; cheap to make, never shared.
#[derive(Debug, Clone)]
pub struct Noise {
    key: [u32; 2],
    counter: [u32; 4],
    buffer: [u32; 4],
    used: usize,
    spare: Option<f32>,
}

impl Noise {
    /// The stream for (seed, purpose, step, index).
    pub fn new(seed: u64, purpose: Purpose, step: u64, index: u64) -> Self {
        // Seed, purpose, step and index are hashed into key and counter so that any of them may use
        // all of its 64 bits.
        let key = mix(mix(seed) ^ u64::from(purpose as u32));
        let start = mix(mix(key ^ step) ^ index.rotate_left(32));
        Self {
            key: [key as u32, (key >> 32) as u32],
            counter: [0, 0, start as u32, (start >> 32) as u32],
            buffer: [0; 4],
            used: 4,
            spare: None,
        }
    }

    /// 32 uniform bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.buffer = philox(self.counter, self.key);
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in 0..count; `count` must be positive.
    pub fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.bits()) * count as u64) >> 32) as usize
    }

    /// Standard normal (Box-Muller through `libm`, so that every machine draws the same value).
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // Uniform in (0, 1]: the logarithm is finite.
        let uniform = ((self.bits() >> 8) + 1) as f32 / (1u32 << 24) as f32;
        let radius = libm::sqrtf(-2.0 * libm::logf(uniform));
        let (sine, cosine) = libm::sincosf(std::f32::consts::TAU * self.uniform());
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// `count` standard normals.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// A uniformly random order of 0..count (Fisher-Yates).
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// A 64-bit key for a name (FNV-1a, then mixed): the `index` of streams that belong to a named
/// thing.
pub fn key_of(name: &str) -> u64 {
    mix(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// SplitMix64's finaliser: a bijection on 64 bits in which every input bit reaches every output
/// bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let left = u64::from(counter[0]) * 0xd251_1f53;
        let right = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [
            key[0].wrapping_add(0x9e37_79b9),
            key[1].wrapping_add(0xbb67_ae85),
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_test_vectors() {
        // Random123 known-answer tests for philox4x32-10.
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let draws = Noise::new(7, Purpose::Rollout, 0, 0).normals(40_000);
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f32>() / draws.len() as f32;
        // Five standard errors: 1/sqrt(40000) = 0.005 for the mean, sqrt(2/40000) = 0.007 for the
        // variance.
        assert!(
            mean.abs() < 0.025 && (variance - 1.0).abs() < 0.035,
            "mean {mean}, variance {variance}"
        );
    }

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |seed, purpose, step, index| Noise::new(seed, purpose, step, index).bits();
        let base = first(1, Purpose::Rollout, 2, 3);
        assert_eq!(base, first(1, Purpose::Rollout, 2, 3));
        for other in [
            first(2, Purpose::Rollout, 2, 3),
            first(1, Purpose::Sigma, 2, 3),
            first(1, Purpose::Rollout, 3, 3),
            first(1, Purpose::Rollout, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn an_order_is_a_permutation() {
        let mut order = Noise::new(1, Purpose::Prompts, 0, 0).order(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
