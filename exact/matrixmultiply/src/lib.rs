//! Matrix products with one order of sums on every processor.
//!
//! The crate of this name on crates.io picks a kernel by the processor's features: with and without
//! fused multiply-add, whose results differ in the last bits. ndarray, and so Burn's exact-test
//! backend, call it by name, and have no other seam. This one has its interface, and one rule:
//!
//! `c[i][j] = alpha * (a[i][0] * b[0][j] + a[i][1] * b[1][j] + ...) + beta * c[i][j]`,
//!
//! summed from left to right, each product and each sum rounded. Columns are summed side by side, so
//! how many a processor does at once changes the time and no bit; Rust never fuses a product with a
//! sum by itself.

mod number;
mod panels;

use number::Number;
use panels::Matrix;

/// A complex number: real and imaginary part.
#[allow(non_camel_case_types)]
pub type c32 = [f32; 2];
/// A complex number: real and imaginary part.
#[allow(non_camel_case_types)]
pub type c64 = [f64; 2];

/// How an operand of a complex product is taken.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CGemmOption {
    /// As it is.
    Standard,
}

macro_rules! product {
    ($name:ident, $number:ty $(, $option:ident)*) => {
        /// `c = alpha a b + beta c`, with `a` of m x k, `b` of k x n and `c` of m x n numbers; rs and
        /// cs are the strides of rows and columns, in numbers. With `beta` zero `c` is not read.
        ///
        /// # Safety
        /// Every number of `a` and `b` is readable and every number of `c` is writable at its
        /// strides; numbers of `c` have places of their own, apart from those of `a` and `b`; those
        /// of `c` are initialised unless `beta` is zero.
        #[allow(clippy::too_many_arguments)]
        pub unsafe fn $name(
            $($option: CGemmOption, _: CGemmOption,)*
            m: usize,
            k: usize,
            n: usize,
            alpha: $number,
            a: *const $number,
            rsa: isize,
            csa: isize,
            b: *const $number,
            rsb: isize,
            csb: isize,
            beta: $number,
            c: *mut $number,
            rsc: isize,
            csc: isize,
        ) {
            $(let _ = $option;)*
            // SAFETY: the caller's promise is that of `multiply`.
            unsafe {
                panels::multiply(
                    [m, k, n],
                    alpha,
                    Matrix { at: a, rows: rsa, columns: csa },
                    Matrix { at: b, rows: rsb, columns: csb },
                    beta,
                    (c, rsc, csc),
                );
            }
        }
    };
}

product!(sgemm, f32);
product!(dgemm, f64);
product!(cgemm, c32, option);
product!(zgemm, c64, option);

#[cfg(test)]
mod tests;
