use super::*;

/// Numbers that no order of sums leaves alone.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The rule, word by word.
fn by_the_rule([m, k, n]: [usize; 3], a: &[f32], b: &[f32]) -> Vec<f32> {
    let of = |place: usize| {
        let (row, column) = (place / n, place % n);
        (0..k).fold(0.0f32, |sum, at| {
            // A product and a sum, each rounded: kept apart from the optimizer.
            sum + std::hint::black_box(a[row * k + at] * b[at * n + column])
        })
    };
    (0..m * n).map(of).collect()
}

fn product(
    [m, k, n]: [usize; 3],
    (a, rsa, csa): (&[f32], usize, usize),
    (b, rsb, csb): (&[f32], usize, usize),
) -> Vec<f32> {
    let mut c = vec![f32::NAN; m * n];
    let strides = [rsa, csa, rsb, csb, n].map(|stride| stride as isize);
    // SAFETY: all three are as large as their sizes and strides say.
    unsafe {
        sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            strides[0],
            strides[1],
            b.as_ptr(),
            strides[2],
            strides[3],
            0.0,
            c.as_mut_ptr(),
            strides[4],
            1,
        );
    }
    c
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn transposed(rows: usize, columns: usize, values: &[f32]) -> Vec<f32> {
    (0..rows * columns)
        .map(|at| values[at % rows * columns + at / rows])
        .collect()
}

#[test]
fn every_size_and_layout_has_the_bits_of_the_rule() {
    for sizes @ [m, k, n] in [
        [1, 1, 1],
        [1, 7, 1],
        [4, 3, 16],
        [5, 9, 17],
        [3, 100, 33],
        [64, 27, 8],
        [0, 3, 2],
        [2, 0, 3],
        [17, 300, 31],
    ] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let expected = bits(&by_the_rule(sizes, &a, &b));
        let found = product(sizes, (&a, k, 1), (&b, n, 1));
        assert_eq!(bits(&found), expected, "{sizes:?}");
        let (a, b) = (transposed(m, k, &a), transposed(k, n, &b));
        let found = product(sizes, (&a, 1, m), (&b, 1, k));
        assert_eq!(bits(&found), expected, "{sizes:?}, transposed");
    }
}

#[test]
fn eight_at_once_have_the_bits_of_one_at_a_time() {
    // The processor's own way against the plain one, where they differ.
    let rows: Vec<[f32; 4]> = numbers(4 * 50, 3)
        .chunks(4)
        .map(|of| of.try_into().unwrap())
        .collect();
    let columns: Vec<[f32; 16]> = numbers(16 * 50, 4)
        .chunks(16)
        .map(|of| of.try_into().unwrap())
        .collect();
    let (own, plain) = panels::both(&rows, &columns);
    assert_eq!(bits(own.as_flattened()), bits(plain.as_flattened()));
}

#[test]
fn long_sums_stay_near_the_truth() {
    // A 3 x 3 x 3 convolution of 64 channels. Rounding of n sums in a row grows as sqrt(n): 42
    // units of 6e-8, and the worst of 64 x 64 of them is a few times that; 1e-6 of the absolute
    // sum, which is 20 times the sum's own size, bounds it.
    let sizes @ [m, k, n] = [64, 1728, 64];
    let (a, b) = (numbers(m * k, 5), numbers(k * n, 6));
    let found = product(sizes, (&a, k, 1), (&b, n, 1));
    for (place, found) in found.into_iter().enumerate() {
        let (row, column) = (place / n, place % n);
        let terms = (0..k).map(|at| f64::from(a[row * k + at]) * f64::from(b[at * n + column]));
        let (truth, size) = terms.fold((0.0, 0.0), |(truth, size), term| {
            (truth + term, size + term.abs())
        });
        assert!((f64::from(found) - truth).abs() <= 1e-6 * size, "{place}");
    }
}

#[test]
fn scales_are_applied_to_the_sum_and_to_what_is_there() {
    let (a, b, mut c) = ([1.0, 2.0], [3.0, 4.0], [10.0]);
    // SAFETY: one row of two by one column of two.
    unsafe {
        dgemm(
            1,
            2,
            1,
            2.0,
            a.as_ptr(),
            2,
            1,
            b.as_ptr(),
            1,
            1,
            0.5,
            c.as_mut_ptr(),
            1,
            1,
        );
    }
    assert_eq!(c, [27.0]);
}

#[test]
fn complex_numbers_multiply_as_such() {
    let (a, b, mut c) = (
        [[1.0f64, 2.0], [0.0, 1.0]],
        [[3.0, -1.0], [5.0, 0.0]],
        [[0.0, 0.0]],
    );
    let option = CGemmOption::Standard;
    // SAFETY: one row of two by one column of two.
    unsafe {
        zgemm(
            option,
            option,
            1,
            2,
            1,
            [1.0, 0.0],
            a.as_ptr(),
            2,
            1,
            b.as_ptr(),
            1,
            1,
            [0.0, 0.0],
            c.as_mut_ptr(),
            1,
            1,
        );
    }
    // (1 + 2i)(3 - i) + 5i = 5 + 5i + 5i.
    assert_eq!(c, [[5.0, 10.0]]);
}
