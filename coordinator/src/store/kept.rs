//! What is kept by key.

/// Entries of one kind; the keys of two kinds have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Test lists, by the digest of a binary and how it is listed.
    TestLists,
    /// Results of actions, by whose they are (instance and trust) and the action's digest.
    ActionResults,
    /// What cases were seen to read, and for each key of a case without that, which of these there are.
    Seen,
}
