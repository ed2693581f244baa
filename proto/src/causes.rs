//! What went wrong, whole.

use std::error::Error;

/// Returns the message of an error with those of all its causes. tonic's own say nothing.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut out, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        let message = error.to_string();
        // Some errors repeat their cause in their own message.
        if !out.ends_with(&message) {
            out = format!("{out}: {message}");
        }
        next = error.source();
    }
    out
}
