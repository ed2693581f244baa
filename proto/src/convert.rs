//! Wire ⇄ core.
