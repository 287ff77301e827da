//! The product, panel by panel: a few rows of `a` by some columns of `b`, both copied into the order
//! in which they are read.

use super::Number;

/// Rows of a panel of `a`.
const ROWS: usize = 4;
/// Columns of a panel of `b`: with [`ROWS`] what the registers of a processor hold.
const COLUMNS: usize = 16;

/// A matrix to read, with the strides of its rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<T> {
    pub at: *const T,
    pub rows: isize,
    pub columns: isize,
}

impl<T: Number> Matrix<T> {
    /// # Safety
    /// The number is readable.
    unsafe fn get(self, row: usize, column: usize) -> T {
        // SAFETY: the caller's promise.
        unsafe {
            *self
                .at
                .offset(row as isize * self.rows + column as isize * self.columns)
        }
    }
}

/// See [`super::sgemm`]: `sizes` are m, k and n, `c` a place and its strides.
///
/// # Safety
/// As there.
pub unsafe fn multiply<T: Number>(
    [m, k, n]: [usize; 3],
    alpha: T,
    a: Matrix<T>,
    b: Matrix<T>,
    beta: T,
    (c, row_stride, column_stride): (*mut T, isize, isize),
) {
    // [k, ROWS] and [k, COLUMNS]; what lies beyond the matrices stays zero and is never stored.
    let mut rows = vec![[T::ZERO; ROWS]; k];
    let mut columns = vec![[T::ZERO; COLUMNS]; k * n.div_ceil(COLUMNS)];
    for (panel, first) in (0..n).step_by(COLUMNS).enumerate() {
        for (at, of_column) in columns[panel * k..][..k].iter_mut().enumerate() {
            for (column, value) in of_column.iter_mut().enumerate().take(n - first) {
                // SAFETY: `at` is below k and the column below n.
                *value = unsafe { b.get(at, first + column) };
            }
        }
    }
    for top in (0..m).step_by(ROWS) {
        for (at, of_row) in rows.iter_mut().enumerate() {
            for (row, value) in of_row.iter_mut().enumerate().take(m - top) {
                // SAFETY: the row is below m and `at` below k.
                *value = unsafe { a.get(top + row, at) };
            }
        }
        for (panel, first) in (0..n).step_by(COLUMNS).enumerate() {
            let sums = sums(&rows, &columns[panel * k..][..k]);
            for (row, sums) in sums.iter().enumerate().take(m - top) {
                for (column, &sum) in sums.iter().enumerate().take(n - first) {
                    let offset = (top + row) as isize * row_stride
                        + (first + column) as isize * column_stride;
                    let scaled = if alpha == T::ONE {
                        sum
                    } else {
                        alpha.times(sum)
                    };
                    // SAFETY: row and column are those of a number of `c`, which is initialised
                    // where it is read.
                    unsafe {
                        let place = c.offset(offset);
                        place.write(if beta == T::ZERO {
                            scaled
                        } else {
                            scaled.plus(beta.times(*place))
                        });
                    }
                }
            }
        }
    }
}

type Panel<T> = [[T; COLUMNS]; ROWS];

/// The products of a panel's rows and columns, summed in their order.
fn sums<T: Number>(rows: &[[T; ROWS]], columns: &[[T; COLUMNS]]) -> Panel<T> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { sums_avx2(rows, columns) };
    }
    sums_of(rows, columns)
}

/// The same sums, eight at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2<T: Number>(rows: &[[T; ROWS]], columns: &[[T; COLUMNS]]) -> Panel<T> {
    sums_of(rows, columns)
}

#[inline(always)]
fn sums_of<T: Number>(rows: &[[T; ROWS]], columns: &[[T; COLUMNS]]) -> Panel<T> {
    let mut sums = [[T::ZERO; COLUMNS]; ROWS];
    for (of_row, of_column) in rows.iter().zip(columns) {
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let product = of_row[row].times(of_column[column]);
                sums[row][column] = sums[row][column].plus(product);
            }
        }
    }
    sums
}

/// The processor's own way and the plain one.
#[cfg(test)]
pub fn both<T: Number>(rows: &[[T; ROWS]], columns: &[[T; COLUMNS]]) -> (Panel<T>, Panel<T>) {
    (sums(rows, columns), sums_of(rows, columns))
}
