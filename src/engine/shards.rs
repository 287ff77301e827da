//! A batch in equal parts, one thread each: how the CPU backends use several cores.
//!
//! Burn's CPU backends run most elementwise work on one thread. Splitting a batch by prompts keeps
//! every core busy and, because the number of parts is a recipe field and not the number of cores,
//! gives the same bits on every machine.

use std::ops::Range;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::exit::ExitStatus;

/// The system gives no more threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread: {0}")]
pub struct ThreadError(#[from] rayon::ThreadPoolBuildError);

impl ExitStatus for ThreadError {}

/// Threads for the parts of a batch.
pub struct Shards {
    pools: Vec<ThreadPool>,
    count: usize,
}

impl Shards {
    /// `count` parts; one part runs on the calling thread.
    ///
    /// Every part has a thread pool of one: matrix products inside a part then stay on its thread
    /// instead of waiting for a shared pool.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(count: usize) -> Result<Self, ThreadError> {
        let pool = |_| Ok::<_, ThreadError>(ThreadPoolBuilder::new().num_threads(1).build()?);
        let pools = if count > 1 {
            (0..count).map(pool).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Self { pools, count })
    }

    /// The number of parts.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `total` things in as many contiguous ranges as there are parts, the first ones longer by one
    /// if they do not divide; empty ones are left out.
    pub fn ranges(&self, total: usize) -> Vec<Range<usize>> {
        let (size, longer) = (total / self.count, total % self.count);
        let start = |part: usize| part * size + part.min(longer);
        (0..self.count)
            .map(|part| start(part)..start(part + 1))
            .filter(|range| !range.is_empty())
            .collect()
    }

    /// Applies `work` to every item, item i on thread i; results in order. At most as many items as
    /// parts.
    pub fn map<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(usize, T) -> R + Sync,
    ) -> Vec<R> {
        if self.pools.is_empty() {
            return items
                .into_iter()
                .enumerate()
                .map(|(index, item)| work(index, item))
                .collect();
        }
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = items
                .into_iter()
                .enumerate()
                .map(|(index, item)| {
                    let pool = &self.pools[index % self.pools.len()];
                    scope.spawn(move || pool.install(|| work(index, item)))
                })
                .collect();
            // A panic in a part is a panic of the whole.
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }
}

/// Ranges of at most `at_once` of `count` things; 0 for no limit.
pub fn micro_batches(count: usize, at_once: usize) -> Vec<Range<usize>> {
    let size = if at_once == 0 { count.max(1) } else { at_once };
    (0..count)
        .step_by(size)
        .map(|start| start..(start + size).min(count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once_and_keep_their_order() {
        let shards = Shards::new(4).unwrap();
        assert_eq!(shards.ranges(6), [0..2, 2..4, 4..5, 5..6]);
        assert_eq!(shards.ranges(3), [0..1, 1..2, 2..3]);
        assert_eq!(micro_batches(5, 2), [0..2, 2..4, 4..5]);
        assert!(
            micro_batches(5, 0).into_iter().eq(std::iter::once(0..5))
                && micro_batches(2, 9).into_iter().eq(std::iter::once(0..2))
        );
        assert_eq!(
            shards.map(vec![1, 2, 3], |index, item| 10 * index + item),
            [1, 12, 23]
        );
        assert_eq!(Shards::new(1).unwrap().map(vec![5], |_, item| item), [5]);
    }
}
