//! What a case was seen to depend on.
//!
//! A worker that observes a case's processes turns each of their system calls into [`Act`]s on [`Resolved`] paths; the
//! [`Recorder`] makes an [`Observation`] of them. A pass may be stored with an observation: it stands for another run
//! when every [`Entry`] has the same content, metadata, target, names or absence then, and nothing makes the
//! observation [unusable](Observation::unobservable).
//!
//! Method. A path is resolved component by component as the kernel does ([`resolve()`]), and each symbolic link on the way
//! is an entry too. Of a path that leads nowhere the *first* absent component is the entry. What the case made itself is
//! no input, but that it was absent before is; what it wrote over ([`Access::Replaced`]) or changed is told apart.
//!
//! Soundness. An entry is left out only if the state that the case met was its own doing. Whether an effect came to
//! pass is not known when it is recorded: the file met later tells, by its [`Stamp`]. What was not expected there, a
//! file that somebody else put into a folder of the case, say, makes the case unobservable: nothing is guessed.
//!
//! Deliberately absent: system calls and file systems (the worker's), and digests of what was read (the client's).

mod access;
mod entry;
mod fitness;
mod names;
mod own;
mod place;
mod recorder;
mod resolve;
#[cfg(test)]
mod tests;

pub use access::{Access, Accesses};
pub use entry::{Contact, Entry, Fact, Kind, Observation, Stamp, Unobservable, UnobservableKind};
pub use fitness::Unfit;
pub use names::names_digest;
pub use place::{Place, Redirect, place};
pub use recorder::{Act, BYTES_MAX, ENTRIES_MAX, Recorder};
pub use resolve::{End, LastLink, Resolved, Seen, resolve};
