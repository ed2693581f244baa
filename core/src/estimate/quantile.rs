//! Weighted quantiles.

/// Returns the smallest value at or below which at least the share `q` of all weight lies. Values and weights
/// that are not finite, and weights that are not positive, are left out; `None` when nothing is left.
pub(super) fn weighted_quantile(values: impl IntoIterator<Item = (f64, f64)>, q: f64) -> Option<f64> {
    let mut values: Vec<(f64, f64)> = values
        .into_iter()
        .filter(|(value, weight)| value.is_finite() && weight.is_finite() && *weight > 0.0)
        .collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let goal = q * values.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let reached = values.iter().find(|(_, weight)| {
        sum += weight;
        sum >= goal
    });
    reached.or(values.last()).map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::weighted_quantile;

    #[test]
    fn weights_count() {
        let even = [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0)];
        assert_eq!(weighted_quantile(even, 0.5), Some(2.0));
        assert_eq!(weighted_quantile([(1.0, 1.0), (9.0, 5.0)], 0.5), Some(9.0));
        assert_eq!(weighted_quantile([], 0.5), None);
        assert_eq!(
            weighted_quantile([(f64::NAN, 1.0), (2.0, 1.0), (3.0, 0.0)], 0.9),
            Some(2.0)
        );
    }
}
