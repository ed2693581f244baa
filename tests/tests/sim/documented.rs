//! Every invariant is explained.

use thresh_core::schedule::INVARIANTS;
use thresh_tests::thresh::repository;

#[test]
fn the_page_of_invariants_has_each_of_them() {
    let page = repository().join("docs/invariants.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let names: Vec<&str> = INVARIANTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows, names, "{} and INVARIANTS differ", page.display());
    for (name, holds) in INVARIANTS {
        assert!(
            text.contains(holds),
            "{} says something else of {name}",
            page.display()
        );
    }
}
