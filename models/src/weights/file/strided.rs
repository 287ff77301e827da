//! Tensors that do not lie row by row, such as the transposed and cut-out ones that torch.save
//! writes as they are.

/// The values, each of `width` bytes, of a tensor of this shape whose index moves by `strides`
/// values in `bytes`, row by row. All of them must lie in `bytes`.
pub(super) fn row_by_row(
    bytes: &[u8],
    width: usize,
    shape: &[usize],
    strides: &[usize],
) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut values = Vec::with_capacity(count * width);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..count {
        values.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for dimension in (0..shape.len()).rev() {
            index[dimension] += 1;
            at += strides[dimension];
            if index[dimension] < shape[dimension] {
                break;
            }
            at -= strides[dimension] * shape[dimension];
            index[dimension] = 0;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::row_by_row;

    #[test]
    fn transposed_and_cut_out_tensors_are_read_in_order() {
        // [2, 3] of bytes, turned; every other column of it.
        let bytes = [0, 1, 2, 3, 4, 5];
        assert_eq!(row_by_row(&bytes, 1, &[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(row_by_row(&bytes, 1, &[2, 2], &[3, 2]), [0, 2, 3, 5]);
        let wide: Vec<u8> = (0..12).collect();
        assert_eq!(
            row_by_row(&wide, 2, &[3, 2], &[1, 3]),
            [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
        );
        assert_eq!(row_by_row(&[7], 1, &[], &[]), [7]);
    }
}
