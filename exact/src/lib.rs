//! Elementary functions that round alike on every machine, and the level of this one.
//!
//! `f32::exp`, `f64::sin` and their kin are the C library's, and glibc picks one of several versions
//! of them by the processor (with and without fused multiply-add), which differ in the last bit.
//! Burn calls them, and so do rapier and nalgebra. Here the same names are defined by `libm`, plain
//! Rust without a look at the processor. A program that links this crate gets these, in every crate
//! of it: a definition in the program comes before a shared library's.
//!
//! A crate whose results depend on such functions says `use afd_exact as _;`, so that its tests are
//! linked with them, too. What LLVM makes of them by itself (square roots, fused multiply-add,
//! rounding, remainders) is exact by IEEE 754 and stays.

mod level;

pub use level::processor_level;

/// Defines C functions of one number by those of `libm`.
macro_rules! functions {
    ($number:ty: $($name:ident($($argument:ident),+)),+ $(,)?) => {$(
        // Unsafe, since the name is taken for the whole program. Name, arguments and meaning are
        // those of C's math.h, which is what the compiler's calls expect.
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $number),+) -> $number {
            libm::$name($($argument),+)
        }
    )+};
}

functions!(f32:
    acosf(x), asinf(x), atanf(x), atan2f(y, x), cbrtf(x), cosf(x), coshf(x), expf(x), exp2f(x),
    expm1f(x), hypotf(x, y), log10f(x), log1pf(x), log2f(x), logf(x), powf(x, y), sinf(x), sinhf(x),
    tanf(x), tanhf(x),
);
functions!(f64:
    acos(x), asin(x), atan(x), atan2(y, x), cbrt(x), cos(x), cosh(x), exp(x), exp2(x), expm1(x),
    hypot(x, y), log(x), log10(x), log1p(x), log2(x), pow(x, y), sin(x), sinh(x), tan(x), tanh(x),
);

/// Both at once: the compiler makes this call of a sine and a cosine of one number.
///
/// # Safety
/// `sine` and `cosine` are valid for writing, as in the C library's function of this name.
// Unsafe name: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn sincosf(x: f32, sine: *mut f32, cosine: *mut f32) {
    let (sin, cos) = (libm::sinf(x), libm::cosf(x));
    // SAFETY: the caller's promise.
    unsafe {
        sine.write(sin);
        cosine.write(cos);
    }
}

/// [`sincosf`] of an `f64`.
///
/// # Safety
/// As there.
// Unsafe name: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn sincos(x: f64, sine: *mut f64, cosine: *mut f64) {
    let (sin, cos) = (libm::sin(x), libm::cos(x));
    // SAFETY: the caller's promise.
    unsafe {
        sine.write(sin);
        cosine.write(cos);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    /// Numbers over the whole range, most of them where the functions bend.
    fn numbers() -> impl Iterator<Item = f64> {
        (0..20_000u32).map(|at| {
            // A Weyl sequence: the golden ratio's fractional part.
            let share = (f64::from(at) * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0;
            share * [1.0, 8.0, 80.0, 700.0][at as usize % 4]
        })
    }

    /// How many of the results differ from `libm`'s; NaN equals NaN.
    macro_rules! differ {
        ($number:ty, $($method:ident as $function:ident),+) => {$({
            let of = |x: f64| {
                let x = black_box(x as $number);
                (x.$method().to_bits(), libm::$function(x).to_bits(), x.$method().is_nan())
            };
            let differ = numbers().map(of).filter(|(ours, libm, nan)| ours != libm && !nan);
            assert_eq!(differ.count(), 0, stringify!($function));
        })+};
    }

    #[test]
    fn the_standard_library_s_functions_are_these() {
        differ!(
            f32,
            exp as expf,
            exp2 as exp2f,
            exp_m1 as expm1f,
            ln as logf,
            ln_1p as log1pf,
            log2 as log2f,
            log10 as log10f,
            sin as sinf,
            cos as cosf,
            tan as tanf,
            tanh as tanhf,
            sinh as sinhf,
            cosh as coshf,
            asin as asinf,
            acos as acosf,
            atan as atanf,
            cbrt as cbrtf
        );
        differ!(
            f64,
            exp as exp,
            exp2 as exp2,
            exp_m1 as expm1,
            ln as log,
            ln_1p as log1p,
            log2 as log2,
            log10 as log10,
            sin as sin,
            cos as cos,
            tan as tan,
            tanh as tanh,
            sinh as sinh,
            cosh as cosh,
            asin as asin,
            acos as acos,
            atan as atan,
            cbrt as cbrt
        );
        for x in numbers() {
            let y = black_box(x / 3.0 + 0.7);
            let (f, g) = (black_box(x.abs() as f32), y as f32);
            assert_eq!(f.powf(g).to_bits(), libm::powf(f, g).to_bits(), "{f}^{g}");
            assert_eq!(
                x.abs().powf(y).to_bits(),
                libm::pow(x.abs(), y).to_bits(),
                "{x}^{y}"
            );
            assert_eq!(x.hypot(y).to_bits(), libm::hypot(x, y).to_bits());
            assert_eq!(f.hypot(g).to_bits(), libm::hypotf(f, g).to_bits());
            assert_eq!(x.atan2(y).to_bits(), libm::atan2(x, y).to_bits());
            assert_eq!(f.atan2(g).to_bits(), libm::atan2f(f, g).to_bits());
            let (sin, cos) = black_box(x).sin_cos();
            assert_eq!((sin.to_bits(), cos.to_bits()), {
                (libm::sin(x).to_bits(), libm::cos(x).to_bits())
            });
            let (sin, cos) = black_box(g).sin_cos();
            assert_eq!((sin.to_bits(), cos.to_bits()), {
                (libm::sinf(g).to_bits(), libm::cosf(g).to_bits())
            });
        }
    }

    #[test]
    fn they_are_close_to_the_truth() {
        // Against f64, whose own error is far below an f32's. FreeBSD's authors, from whom libm has
        // its functions, claim one unit in the last place for all but tanh's two.
        for x in numbers().filter(|x| x.abs() < 80.0) {
            let single = x as f32;
            let wide = f64::from(single);
            for (found, truth) in [
                (single.exp(), wide.exp()),
                (single.tanh(), wide.tanh()),
                (single.sin(), wide.sin()),
                (single.abs().ln(), wide.abs().ln()),
            ] {
                let unit = f64::from((truth as f32).abs().next_up()) - (truth as f32).abs() as f64;
                assert!(
                    (f64::from(found) - truth).abs() <= 2.0 * unit,
                    "{x}: {found}, expected {truth}"
                );
            }
        }
    }
}
