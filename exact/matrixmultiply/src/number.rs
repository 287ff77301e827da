//! What a product needs of its numbers.

/// A real or complex number.
pub trait Number: Copy + PartialEq {
    const ZERO: Self;
    const ONE: Self;

    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! real {
    ($number:ty) => {
        impl Number for $number {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
        }

        impl Number for [$number; 2] {
            const ZERO: Self = [0.0, 0.0];
            const ONE: Self = [1.0, 0.0];

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                [self[0] + other[0], self[1] + other[1]]
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                let [[a, b], [c, d]] = [self, other];
                [a * c - b * d, a * d + b * c]
            }
        }
    };
}

real!(f32);
real!(f64);
