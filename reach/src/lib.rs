//! What each case of a test binary can reach in the link graph, as a key.
//!
//! `cargo` calls [`compile()`] in rustc's place, and that has rustc call [`link()`] in the linker's. It calls the real linker, then takes what was linked apart and keeps an
//! [`Analysis`] under the digest of what is loaded of the linked binary; [`Summary::keys`] gives a *code key* for each case. Two cases with
//! one key execute the same code on the same data, wherever the rest of their binaries differs. [`explain()`] says what
//! differs between two analyses, and how the case reaches it.
//!
//! # Method
//!
//! `rustc` emits a section for each function and each constant. Sections are nodes, relocations are edges: what a case can
//! execute or read is what its descriptor reaches, as `--gc-sections` reckons it.
//!
//! 1. `arguments`: the command line, its response files, flags that change what names mean.
//! 2. `excerpt`, `raw`, `unit`, `sections`, `frames`, `pieces`, `fields`: an object file as nodes, with unwind tables joined to their functions, and
//!    references into merged sections led to the piece that is meant.
//! 3. `inputs`, `memo`: all files of the link; graphs of archives are kept by digest.
//! 4. `resolve`: which definition a name leads to, which members of archives are taken and in which order, which COMDAT groups.
//! 5. `harness`: the array of libtest's descriptors, which is cut off, and the descriptor of each case.
//! 6. `graph`, `assemble`, `condense`: the graph, and a hash of all that a node reaches, by content and never by name.
//! 7. `compare`, `made`, `memory`, `filled`, `unwind`: whether the binary is what the graph says, byte by byte. `certain`: what is refused
//!    before.
//! 8. `location`, `passed`: which constants are locations of panics, and who can observe their lines.
//! 9. `constructors`: which of what is called before `main` counts for which case.
//! 10. `marks`, `imports`, `effects`: what a case's own reach can ask of the operating system.
//! 11. `record`, `analysis`, `explain`: what is kept, and what is said of it.
//!
//! A case's key is made of the hash of its descriptor, of the constructors that count for it (`constructors`), and of what is *common* to
//! all cases: what `main`, start-up code and the other constructors reach, what the binary exports to dynamic libraries and by which names, notes, the linker's flags, the
//! libraries that it is loaded with by name, and those of the build whole, and the pages of its thread-locals. What lies between `__start_x` and `__stop_x` belongs to who refers to these.
//!
//! # Why it is sound
//!
//! Code touches other code and data only through addresses, and every address of another section in an object is a
//! relocation. So a process executes and reads nothing but what its roots reach; equal keys mean bisimilar reach
//! (proved in `condense`), with the same identity of everything that can be written to and of all named statics
//! (`unit`). That the linker has made this graph and no other is not assumed: the binary is compared with it (`compare`; on x86-64).
//! Whatever is not understood makes the binary one piece ([`Summary::whole`]): truncated and foreign objects,
//! bitcode, linker scripts, renamed symbols, descriptors of an unknown layout, flags that are not known, a binary that is not what the graph
//! says, names for which the linker may have chosen another definition, names that are defined nowhere and looked for in no dynamic
//! library. A list (`__start_x`) of which the linker may leave members out is as much as the binary. Where a library is loaded that is not the
//! system's, or code looks for one, everybody may see the lines of panics.
//!
//! # What is not seen
//!
//! Code that looks at itself other than through addresses it was given:
//! - Backtraces. Names of symbols and debug information are not in a key; a case whose outcome depends on the text of a
//!   backtrace needs its binary's digest. Nor are lines of panics that a case reads from the standard error of a child.
//! - Its own file (`/proc/self/exe`), `dlsym` on itself for what the binary does not export, the memory map and what `dl_iterate_phdr` tells of
//!   it, an address computed from another section's, or code that runs on into the next one.
//! - A constructor that changes the arguments and the environment, which the loader hands to it.
//! - Whether two functions, or two constants without a name, have one address or two: compilers promise neither.
//! - On AArch64, COMDAT groups with one signature and different contents, of which another is taken than is thought (C++ forbids them).
//! - Libraries of the system, startup files and compiler-runtime archives that `cc` adds by itself: named, not read. They
//!   belong to the platform's part of a key.
//!
//! # Deliberately absent
//!
//! Which files a case reads (only whether it can read one is told); what a child process reaches; machines other than x86-64 and AArch64. Nothing here is asynchronous, and
//! nothing here decides: keys are looked up elsewhere.

mod analysis;
mod arguments;
mod assemble;
mod backwards;
mod certain;
mod compare;
mod compiler;
mod condense;
mod constructors;
mod effects;
mod encode;
mod excerpt;
mod explain;
mod fields;
mod filled;
mod frames;
mod graph;
mod harness;
mod image;
mod imports;
mod inputs;
mod instructions;
mod linker;
mod location;
mod made;
mod marks;
mod memo;
mod memory;
mod name;
mod passed;
mod pieces;
mod raw;
mod record;
mod resolve;
mod sections;
mod texts;
mod trim;
mod unit;
mod unwind;

pub use analysis::{Analysis, CaseKey, LoadError, Locations, Summary, analyse};
pub use compiler::{COMPILER_VARIABLE, compile, compiler, is_compiler};
pub use explain::{Difference, explain};
pub use linker::{
    FOLDER_VARIABLE, LINKER_DEFAULT, LINKER_VARIABLE, WRAPPER_PREFIX, is_wrapper, link, wrapper_name,
};
pub use trim::trim;
