//! Names of symbols: for humans, and without what a new version of a crate changes.

use crate::graph::GraphNode;

/// A name as a human writes it, without hashes.
pub(crate) fn shown(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// A name without the hash that ends it (legacy mangling) or that tells crates of one name apart (`Cs…_` in v0).
pub(crate) fn normalised(symbol: &str) -> String {
    shown(symbol)
}

/// The path of a function of the toolchain; of a method that of its type.
pub(crate) fn toolchain_path(node: &GraphNode<'_>) -> Option<String> {
    node.toolchain
        .then(|| shown(&node.name).trim_start_matches(['<', '&']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_left_out() {
        assert_eq!(normalised("_ZN4demo5COUNT17h0123456789abcdefE"), "demo::COUNT");
        assert_eq!(normalised("_RNvCs1234_4demo5COUNT"), "demo::COUNT");
        assert_eq!(normalised("errno"), "errno");
    }
}
