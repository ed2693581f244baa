//! Why a message cannot be understood.

/// A message from outside that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid message: field `{field}` {problem}")]
pub struct InvalidMessage {
    /// The field's name in the .proto file.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl InvalidMessage {
    /// Names a field and what is wrong with it.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }
}

impl From<InvalidMessage> for tonic::Status {
    fn from(error: InvalidMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}
