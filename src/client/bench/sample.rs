//! What was measured: latencies, errors, and the figures made of them.
//!
//! Latencies go into buckets of 1.6 % width, so that recording one is an addition and rounds of
//! any length take the same memory.

use std::time::Duration;

/// Buckets in each power of two, as a power of two.
const PRECISION_BITS: u32 = 6;
const PER_OCTAVE: usize = 1 << PRECISION_BITS;

/// Longer latencies (137 s) count as this; no request is waited for that long.
const NANOSECONDS_MAX: u64 = (1 << 37) - 1;
const BUCKETS: usize = (37 - PRECISION_BITS as usize + 1) * PER_OCTAVE;

/// Latencies of one client in one round.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

/// What went wrong, by kind; `first` is an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// Replies whose status was not 200.
    pub(super) status: u64,
    /// Replies with `"error"` in the body.
    pub(super) sql: u64,
    /// Connections refused, cut, timed out or out of frame.
    pub(super) broken: u64,
    /// The first of them in words.
    pub(super) first: Option<String>,
}

/// All that happened in one round.
#[derive(Clone, Default)]
pub(super) struct Sample {
    pub(super) latencies: Histogram,
    pub(super) errors: Errors,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, latency: Duration) {
        self.counts[bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX))] += 1;
        self.total += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.total
    }

    /// The latency, in microseconds, that `percent` of all do not exceed; 0 when there is none.
    pub(super) fn percentile(&self, percent: u64) -> f64 {
        let rank = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && seen > 0 {
                return middle(index) / 1000.0;
            }
        }
        0.0
    }

    fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }
}

impl Errors {
    pub(super) fn count(&self) -> u64 {
        self.status + self.sql + self.broken
    }

    fn add(&mut self, other: &Errors) {
        self.status += other.status;
        self.sql += other.sql;
        self.broken += other.broken;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

impl Sample {
    /// Adds what another client saw in the same round.
    pub(super) fn add(&mut self, other: &Sample) {
        self.latencies.add(&other.latencies);
        self.errors.add(&other.errors);
    }
}

/// Values below `PER_OCTAVE` have a bucket each; each further power of two is cut into as many.
fn bucket(nanoseconds: u64) -> usize {
    let value = nanoseconds.min(NANOSECONDS_MAX);
    let shift = value.max(1).ilog2().saturating_sub(PRECISION_BITS);
    let base = usize::try_from(shift).unwrap_or(0) * PER_OCTAVE;
    base + usize::try_from(value >> shift).unwrap_or(0)
}

/// The middle of a bucket, in nanoseconds; the exact value where buckets are one wide.
fn middle(bucket: usize) -> f64 {
    let shift = (bucket / PER_OCTAVE).saturating_sub(1);
    let low = ((bucket - shift * PER_OCTAVE) as u64) << shift;
    let width = 1_u64 << shift;
    (low + (width - 1) / 2) as f64
}

/// The middle value; the mean of the two middle ones of an even number; 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.len(), values.len() % 2) {
        (0, _) => 0.0,
        (_, 1) => values[half],
        _ => values[half - 1].midpoint(values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanoseconds: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for value in nanoseconds {
            histogram.record(Duration::from_nanos(value));
        }
        histogram
    }

    #[test]
    fn a_bucket_holds_what_is_near_its_middle() {
        for value in (0..200).chain([1_000, 65_535, 65_536, 1_234_567, 9_876_543_210]) {
            let (middle, value) = (middle(bucket(value)), value as f64);
            assert!((middle - value).abs() <= value / 64.0, "{value} became {middle}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1, "the last bucket takes the rest");
        assert!((1..1_000_000).is_sorted_by_key(bucket), "larger values, later buckets");
    }

    #[test]
    fn percentiles_are_ranks() {
        let hundred = of((1..=100).map(|i| i * 1_000_000));
        for (percent, expected) in [(1, 1_000.0), (50, 50_000.0), (99, 99_000.0), (100, 1e5)] {
            let found: f64 = hundred.percentile(percent);
            assert!((found - expected).abs() <= expected / 64.0, "p{percent} is {found}");
        }
        assert!(of([]).percentile(50).abs() < f64::EPSILON, "nothing gives 0");
        assert!(of([0]).percentile(50).abs() < f64::EPSILON, "a zero is one");
        let mut both = of([1_000; 99]);
        both.add(&of([1_000_000_000]));
        assert_eq!(both.count(), 100, "added up");
        assert!(both.percentile(99) < 1.1 && both.percentile(100) > 9e5, "one slow of hundred");
    }

    #[test]
    fn medians_are_in_the_middle() {
        for (values, expected) in
            [(vec![], 0.0), (vec![7.0], 7.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)]
        {
            assert!((median(values.clone()) - expected).abs() < 1e-9, "{values:?}");
        }
    }
}
