//! What the processor can do, as the fast CPU backend's matrix kernels choose by it.

/// The processor's level: of x86-64 `x86-64-v2` to `x86-64-v4` (System V psABI), else its family,
/// such as `aarch64`.
///
/// flex's bits are equal among processors of one level, ndarray's among all.
pub fn processor_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            "x86-64-v4"
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            "x86-64-v3"
        } else {
            "x86-64-v2"
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH
}
