//! The harness for tests of the whole program: fixtures with a model of their outcomes, end-to-end, conformance and tidy.
