//! What is known of functions of the C library, and of the standard library's own use of them.
//!
//! Lists of what is harmless only ever allow: a name that is not there may do anything.

use std::collections::HashSet;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Functions that a program can call without ever learning what is in a file, and without starting a program. They
/// compute, handle the process's own memory and threads, tell the time or give random numbers (of which no key knows), or write
/// to what is open. `getenv` and `getcwd` tell what is in a key: the environment and the working directory.
///
/// Deliberately absent: `read` (of what was inherited), everything about the local time and locales (which read files), `sysconf` and
/// `sched_getaffinity` (processors, memory), `mmap` and `mprotect` (code may be made at run time), `ioctl`, `fcntl`.
const HARMLESS: [&str; 5] = [
    // Memory and text.
    "memcpy memmove memset memcmp bcmp memchr memrchr memmem mempcpy strlen strnlen strcmp strncmp \
     strcasecmp strncasecmp strchr strrchr strstr strcpy strncpy strcat strncat strdup strndup strspn \
     strcspn strpbrk strtol strtoul strtoll strtoull strtod strtof atoi atol snprintf vsnprintf sprintf \
     bsearch abs labs __memcpy_chk __memmove_chk __memset_chk __strcpy_chk __strcat_chk \
     __strncpy_chk __snprintf_chk __vsnprintf_chk __sprintf_chk __ctype_b_loc __ctype_tolower_loc \
     __ctype_toupper_loc tolower toupper isspace isdigit isalpha isalnum malloc calloc realloc free \
     posix_memalign aligned_alloc memalign malloc_usable_size __errno_location __xpg_strerror_r",
    NUMBERS,
    // Threads.
    "pthread_create pthread_join pthread_detach pthread_self pthread_equal pthread_once pthread_attr_init \
     pthread_attr_destroy pthread_attr_setstacksize pthread_attr_getstack pthread_attr_getguardsize \
     pthread_getattr_np pthread_setname_np pthread_key_create pthread_key_delete pthread_getspecific \
     pthread_setspecific pthread_mutex_init pthread_mutex_destroy pthread_mutex_lock \
     pthread_mutex_trylock pthread_mutex_unlock pthread_mutexattr_init pthread_mutexattr_destroy \
     pthread_mutexattr_settype pthread_cond_init pthread_cond_destroy pthread_cond_wait \
     pthread_cond_timedwait pthread_cond_signal pthread_cond_broadcast pthread_condattr_init \
     pthread_condattr_destroy pthread_condattr_setclock pthread_rwlock_init pthread_rwlock_destroy \
     pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_rwlock_unlock sched_yield __tls_get_addr \
     __cxa_thread_atexit_impl __cxa_atexit atexit",
    // The process, the time, chance.
    "abort exit _exit getpid getppid gettid getuid geteuid getgid getegid getenv setenv unsetenv environ \
     __environ getcwd getauxval isatty clock_gettime clock_getres gettimeofday time nanosleep \
     clock_nanosleep usleep sleep getrandom getentropy sigaltstack sigemptyset sigaddset write writev \
     puts putchar printf gnu_get_libc_version",
    // Panics and what compilers refer to by themselves.
    "dl_iterate_phdr __dso_handle __stack_chk_fail __cxa_finalize __gmon_start__ _GLOBAL_OFFSET_TABLE_ \
     _ITM_registerTMCloneTable _ITM_deregisterTMCloneTable _Unwind_Resume _Unwind_RaiseException \
     _Unwind_DeleteException _Unwind_Backtrace _Unwind_FindEnclosingFunction _Unwind_GetCFA \
     _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData \
     _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_SetGR _Unwind_SetIP",
];

/// Functions of numbers.
const NUMBERS: &str = "acos acosf acosh acoshf asin asinf asinh asinhf atan atanf atan2 atan2f atanh atanhf cbrt cbrtf ceil \
     ceilf copysign copysignf cos cosf cosh coshf erf erff erfc erfcf exp expf exp2 exp2f expm1 expm1f \
     fabs fabsf fdim fdimf floor floorf fma fmaf fmax fmaxf fmin fminf fmod fmodf frexp frexpf hypot \
     hypotf ldexp ldexpf lgamma_r lgammaf_r log logf log10 log10f log1p log1pf log2 log2f modf modff \
     nearbyint nearbyintf nextafter nextafterf pow powf remainder remainderf rint rintf round roundf \
     roundeven roundevenf scalbn scalbnf sin sinf sincos sincosf sinh sinhf sqrt sqrtf tan tanf tanh \
     tanhf tgamma tgammaf trunc truncf";

/// Functions that do nothing but to compute and to allocate memory, apart from [`NUMBERS`].
const COMPUTING: &str = "memcpy memmove memset memcmp bcmp memchr memrchr strlen malloc calloc realloc free \
     posix_memalign aligned_alloc __tls_get_addr _Unwind_Resume";

/// Functions by which a program comes to all of its environment, or hands it on to another program, and those that may do
/// anything.
const ENVIRONMENT: &str = "environ __environ _environ fork vfork _Fork __fork __vfork clone __clone system popen \
     wordexp syscall dlopen dlmopen dlsym dlvsym __libc_dlsym";

/// Beginnings of the names of such functions.
const STARTERS: &[&str] = &[
    "exec",
    "fexec",
    "posix_spawn",
    "pidfd_spawn",
    "__posix_spawn",
    "__exec",
];

/// The parts of the standard library that may call what only they are known to call harmlessly: beginnings of their paths,
/// and what they call.
const KNOWN: &[(&str, &[&str])] = &[
    // Waiting for another thread and waking it: `futex`.
    ("std::sys::sync::", &["syscall"]),
    ("std::sys::pal::unix::futex::", &["syscall"]),
    ("std::sync::", &["syscall"]),
    ("std::thread::", &["syscall"]),
    ("core::ptr::drop_in_place::<std::sync::", &["syscall"]),
    (
        "core::ptr::drop_in_place::<core::result::Result<std::sync::",
        &["syscall"],
    ),
    ("std::io::stdio::", &["syscall"]),
    // Where the C library may lack a function for a file's metadata, or for copying; it is imported as well.
    ("std::sys::fs::unix::try_statx", &["syscall"]),
    ("std::sys::io::kernel_copy::linux::", &["syscall"]),
    // The stack of a thread: its size, its guard page, and another one for signals.
    ("std::sys::thread::unix::Thread", &["dlsym", "sysconf", "prctl"]),
    (
        "std::sys::pal::unix::thread::Thread",
        &["dlsym", "sysconf", "prctl"],
    ),
    (
        "std::sys::pal::unix::stack_overflow::",
        &["syscall", "mmap64", "mprotect", "munmap", "sysconf", "pause"],
    ),
];

/// Parts of the standard library that are not looked into.
///
/// * What a panic is printed by. It writes to the standard error and looks for a backtrace; nothing of that comes back to who
///   panics. A hook that a case sets is code of its own, which it reaches where it sets it.
/// * What is done when there is no memory left: it says so and ends the process.
/// * Random numbers: before there is a system call for them they are read from a device.
const OPAQUE: &[&str] = &[
    "std::panicking::panic_with_hook",
    "std::panicking::rust_panic_with_hook",
    "std::panicking::default_hook",
    "std::alloc::rust_oom",
    "std::alloc::default_alloc_error_hook",
    "std::sys::random::linux::",
];

/// Each of [`OPAQUE`] has one of these, so that its mangled name has it as well.
const OPAQUE_WORDS: [&str; 3] = ["_hook", "rust_oom", "random"];

/// The library that has nearly all of [`HARMLESS`]. A binary without it is static, or has another one.
const C_LIBRARY: &str = "libc.so.6";

/// Dynamic libraries of the system whose functions are meant by [`HARMLESS`].
const LIBRARIES: &str = "libc.so.6 libm.so.6 libgcc_s.so.1 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 \
     ld-linux-x86-64.so.2 ld-linux-aarch64.so.1";

/// What an import is for whoever refers to it, but for [those that are known](is_known) to do nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// It can tell nothing of files.
    pub(crate) is_harmless: bool,
    /// It gives all of the environment, or may give it to others.
    pub(crate) gives_environment: bool,
}

/// What is known of an import by its name.
pub(crate) fn by_name(import: &str) -> Import {
    static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        HARMLESS
            .iter()
            .flat_map(|names| names.split_ascii_whitespace())
            .collect()
    });
    let starts = || STARTERS.iter().any(|start| import.starts_with(start));
    Import {
        is_harmless: NAMES.contains(import),
        gives_environment: has(ENVIRONMENT, import) || starts(),
    }
}

/// Whether a function does nothing but to compute and to allocate memory, and has no other input than what it is given.
pub(crate) fn only_computes(import: &str) -> bool {
    has(COMPUTING, import) || has(NUMBERS, import)
}

/// Whether a function of the toolchain with this path is known to do nothing of what its import could do.
pub(crate) fn is_known(import: &str, path: &str) -> bool {
    let mut known = KNOWN.iter().filter(|(start, _)| path.starts_with(start));
    known.any(|(_, imports)| imports.contains(&import))
}

/// Whether a mangled name may be that of a path that [`is_opaque`]. This is asked of every function.
pub(crate) fn may_be_opaque(symbol: &str) -> bool {
    static FINDERS: LazyLock<[Finder<'_>; 3]> = LazyLock::new(|| OPAQUE_WORDS.map(Finder::new));
    FINDERS.iter().any(|word| word.find(symbol.as_bytes()).is_some())
}

/// Whether a function of the toolchain is not looked into.
pub(crate) fn is_opaque(path: &str) -> bool {
    OPAQUE.iter().any(|start| path.starts_with(start))
}

/// Whether these libraries, which a binary is loaded with, have all that is imported, and are those that are meant here.
pub(crate) fn are_known(libraries: &[String]) -> bool {
    libraries.iter().any(|library| library == C_LIBRARY)
        && libraries.iter().all(|library| has(LIBRARIES, library))
}

fn has(names: &str, name: &str) -> bool {
    names.split_ascii_whitespace().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_harmless(import: &str) -> bool {
        by_name(import).is_harmless
    }

    #[test]
    fn only_what_is_listed_is_harmless() {
        assert!(is_harmless("memcpy") && is_harmless("_Unwind_SetIP") && is_harmless("truncf"));
        for name in [
            "open64",
            "read",
            "mmap64",
            "ioctl",
            "localtime_r",
            "sysconf",
            "_end",
            "memcpy memmove",
            "",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
    }

    #[test]
    fn what_only_the_standard_library_may_do_others_may_not() {
        let may = by_name("syscall");
        assert!(!may.is_harmless && may.gives_environment);
        assert!(is_known(
            "syscall",
            "std::sys::sync::mutex::futex::Mutex>::lock_contended"
        ));
        for path in ["std::fs::read", "demo::std::sys::sync::lock"] {
            assert!(!is_known("syscall", path), "{path}");
        }
    }

    #[test]
    fn every_opaque_path_has_a_word() {
        for path in OPAQUE {
            assert!(OPAQUE_WORDS.iter().any(|word| path.contains(word)), "{path}");
        }
        let hook = "_ZN3std9panicking20rust_panic_with_hook17h0123456789abcdefE";
        assert!(may_be_opaque(hook) && is_opaque(&crate::name::shown(hook)));
        assert!(!may_be_opaque(
            "_ZN5alloc3vec16Vec$LT$T$C$A$GT$4push17h0123456789abcdefE"
        ));
    }

    #[test]
    fn processes_inherit_the_environment() {
        for name in ["environ", "execvp", "posix_spawnp", "fork", "system"] {
            assert!(by_name(name).gives_environment, "{name}");
        }
        assert!(!by_name("getenv").gives_environment);
    }

    #[test]
    fn libraries_are_those_of_the_system() {
        let known =
            |names: &[&str]| are_known(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(known(&["libgcc_s.so.1", "libc.so.6"]));
        assert!(!known(&["libc.so.6", "libssl.so.3"]));
        assert!(!known(&[]), "a static binary");
    }
}
