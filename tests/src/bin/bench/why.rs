//! Why a target is missed, as far as figures tell.

use crate::measure::median;

/// What is said of a missed target that nothing explains.
pub(crate) const UNKNOWN: &str = "no reason is known: a regression?";

/// Says that the median of `ours` is above that of `theirs` by no more than noise: by no more than repeats of both
/// typically are off their medians. Returns nothing where it is more; where there is one repeat only, returns that
/// nobody can tell. All are in `unit`.
pub(crate) fn noise(ours: &[f64], theirs: &[f64], unit: &str) -> Option<String> {
    let middle = |values: &[f64]| median(values.iter().copied());
    let missed_by = middle(ours) - middle(theirs);
    if ours.len() < 2 || theirs.len() < 2 {
        return Some(format!(
            "missed by {missed_by:.3} {unit} in a single repeat: more repeats tell whether that is noise"
        ));
    }
    let noise = deviation(ours) + deviation(theirs);
    (missed_by <= noise).then(|| {
        format!(
            "missed by {missed_by:.3} {unit}, which is noise: repeats of both together are typically {noise:.3} \
             {unit} off their medians"
        )
    })
}

/// The median distance of the values from their median.
fn deviation(values: &[f64]) -> f64 {
    let middle = median(values.iter().copied());
    median(values.iter().map(|value| (value - middle).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_differ_by_is_noise_and_no_more() {
        let theirs = [6.39, 6.40, 6.90];
        let said = noise(&[6.40, 6.42, 6.47], &theirs, "s").expect("repeats differ by more");
        assert!(
            said.starts_with("missed by 0.020 s, which is noise") && said.contains("typically 0.030 s"),
            "{said}"
        );
        assert_eq!(noise(&[6.44, 6.46, 6.51], &theirs, "s"), None);
    }

    #[test]
    fn one_repeat_tells_nothing_of_noise() {
        let said = noise(&[6.4], &[5.9], "s").expect("nobody can tell");
        assert!(said.contains("0.500 s in a single repeat"), "{said}");
    }
}
