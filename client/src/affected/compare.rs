//! From how cases stand to which ones a change concerns.

use std::collections::BTreeMap;

use serde::Serialize;
use thresh_core::reuse::KeyPart;

use super::standing::Standing;

/// A case that a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// nextest's binary id.
    pub binary_id: String,
    /// The case.
    pub name: String,
    /// Why: parts of its key, or `new`, `never reused`, `never passed`, `no pass is stored`.
    pub because: Vec<String>,
}

/// The cases of which it is not known that they behave as at the base.
pub fn affected(now: &[Standing], base: &[Standing]) -> Vec<Affected> {
    let base: BTreeMap<(&str, &str), &Standing> = base.iter().map(|case| (name(case), case)).collect();
    let concerned = now.iter().map(|case| match base.get(&name(case)) {
        Some(base) => concern(case, differences(case, base)),
        None => concern(case, vec!["new".to_owned()]),
    });
    concerned.flatten().collect()
}

/// The cases for which no stored pass stands.
pub fn unproven(now: &[Standing]) -> Vec<Affected> {
    let unproven = now.iter().filter(|case| !case.is_reused);
    let concerned = unproven.map(|case| {
        let because = match &case.since_pass {
            None => vec!["never passed".to_owned()],
            // A pass may be lost, or be distrusted since an audit.
            Some(parts) if parts.is_empty() => vec!["no pass is stored".to_owned()],
            Some(parts) => parts.clone(),
        };
        concern(case, because)
    });
    concerned.flatten().collect()
}

fn name(case: &Standing) -> (&str, &str) {
    (&case.binary_id, &case.name)
}

fn concern(case: &Standing, because: Vec<String>) -> Option<Affected> {
    (!because.is_empty()).then(|| Affected {
        binary_id: case.binary_id.clone(),
        name: case.name.clone(),
        because,
    })
}

fn differences(now: &Standing, base: &Standing) -> Vec<String> {
    let (Some(now_parts), Some(base_parts)) = (&now.parts, &base.parts) else {
        return vec!["never reused".to_owned()];
    };
    let pairs = KeyPart::ALL.iter().zip(now_parts.iter().zip(base_parts));
    let different: Vec<KeyPart> = pairs
        .filter(|(_, (now, base))| now != base)
        .map(|(part, _)| *part)
        .collect();
    let is_of_files = |part: &KeyPart| matches!(part, KeyPart::Files | KeyPart::Programs);
    let others: Vec<String> = different
        .iter()
        .filter(|part| !is_of_files(part))
        .map(|part| part.word().to_owned())
        .collect();
    if !others.is_empty() || different.is_empty() {
        return others;
    }
    // What it was seen to read has a say where nothing else differs: a case with other code may read other files.
    if now.records.iter().any(|record| base.records.contains(record)) {
        return Vec::new();
    }
    let is_known = !now.records.is_empty() || !base.records.is_empty();
    vec![
        if is_known {
            "files"
        } else {
            "files (unknown which it reads)"
        }
        .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str) -> Standing {
        Standing {
            binary_id: "it".to_owned(),
            name: name.to_owned(),
            is_reused: false,
            parts: Some(vec!["1".to_owned(); KeyPart::ALL.len()]),
            records: Vec::new(),
            since_pass: None,
        }
    }

    fn with(part: usize, value: &str, records: &[&str]) -> Standing {
        let mut standing = standing("a");
        standing.parts.as_mut().unwrap()[part] = value.to_owned();
        standing.records = records.iter().map(|record| (*record).to_owned()).collect();
        standing
    }

    fn because(now: &Standing, base: &Standing) -> Vec<String> {
        let found = affected(std::slice::from_ref(now), std::slice::from_ref(base));
        found.into_iter().flat_map(|case| case.because).collect()
    }

    #[test]
    fn the_same_key_is_left_alone_and_other_code_is_not() {
        let base = with(4, "1", &[]);
        assert!(because(&base, &base).is_empty());
        assert_eq!(because(&with(0, "2", &["r"]), &with(0, "1", &["r"])), ["code"]);
        assert_eq!(because(&with(2, "2", &[]), &base), ["environment"]);
        let mut other = base.clone();
        other.name = "b".to_owned();
        assert_eq!(because(&other, &base), ["new"]);
        other.parts = None;
        assert_eq!(because(&other, &other), ["never reused"]);
    }

    #[test]
    fn where_only_files_differ_a_record_that_holds_in_both_states_decides() {
        assert!(because(&with(4, "2", &["q", "r"]), &with(4, "1", &["r", "s"])).is_empty());
        assert!(because(&with(5, "2", &["r"]), &with(5, "1", &["r"])).is_empty());
        assert_eq!(because(&with(4, "2", &["q"]), &with(4, "1", &["r"])), ["files"]);
        assert_eq!(because(&with(4, "2", &[]), &with(4, "1", &["r"])), ["files"]);
        assert_eq!(
            because(&with(4, "2", &[]), &with(4, "1", &[])),
            ["files (unknown which it reads)"]
        );
    }

    #[test]
    fn without_a_base_passes_decide() {
        let mut passed = standing("a");
        passed.is_reused = true;
        let mut changed = standing("b");
        changed.since_pass = Some(vec!["files".to_owned()]);
        let mut lost = standing("c");
        lost.since_pass = Some(Vec::new());
        let found = unproven(&[passed, changed, lost, standing("d")]);
        let told: Vec<(&str, &str)> = found
            .iter()
            .map(|case| (case.name.as_str(), case.because[0].as_str()))
            .collect();
        assert_eq!(
            told,
            [("b", "files"), ("c", "no pass is stored"), ("d", "never passed")]
        );
    }
}
