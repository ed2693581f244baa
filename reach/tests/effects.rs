//! What the code of a case can ask of the operating system, on small crates that `rustc` builds.

mod build;

use std::collections::BTreeMap;

use build::Workshop;
use thresh_reach::{Analysis, Locations};

/// By case, whether it opens files and whether it sees its package's version.
fn effects(analysis: &Analysis) -> BTreeMap<String, (bool, bool)> {
    let keys = analysis.summary().keys(Locations::IgnoreUnlessObserved);
    keys.map(|case| (case.name.to_owned(), (case.opens, case.sees_version)))
        .collect()
}

/// Checks the effects of all cases: those whose name begins so open files, and those whose name ends so see the version.
fn check(source: &str) {
    let analysis = Workshop::new(&[]).build(source);
    assert_eq!(analysis.summary().whole(), None);
    let found = effects(&analysis);
    assert!(!found.is_empty());
    for (name, (opens, sees_version)) in found {
        assert_eq!(opens, name.starts_with("opens"), "{name} opens");
        assert_eq!(sees_version, name.ends_with("sees"), "{name} sees the version");
    }
}

#[test]
fn what_computes_opens_nothing() {
    check(
        r#"
        use std::collections::HashMap;
        use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, OnceLock, RwLock, mpsc};
        static LAZY: LazyLock<String> = LazyLock::new(|| "lazy".to_owned());
        static ONCE: OnceLock<u32> = OnceLock::new();
        #[test] fn nothing() {}
        #[test] fn formats() { assert_eq!(format!("{:>5} {:?}", 1.5f64, vec!["a"]), "  1.5 [\"a\"]"); }
        #[test] fn prints() { println!("out"); eprintln!("err"); }
        #[test] fn maps() { let map: HashMap<_, _> = [(1, "a".to_owned())].into(); assert_eq!(map[&1], "a"); }
        #[test] fn locks() {
            let pair = Arc::new((Mutex::new(0), Condvar::new()));
            *pair.0.lock().unwrap() += 1;
            pair.1.notify_all();
            assert_eq!(*RwLock::new(3).read().unwrap() + LAZY.len() + *ONCE.get_or_init(|| 1) as usize, 8);
        }
        #[test] fn spawns() {
            let (send, receive) = mpsc::channel();
            let thread = std::thread::Builder::new().name("t".to_owned()).spawn(move || send.send(7)).unwrap();
            thread.join().unwrap().unwrap();
            let wall = Barrier::new(2);
            std::thread::scope(|scope| { scope.spawn(|| wall.wait()); wall.wait(); });
            assert_eq!(receive.recv(), Ok(7));
        }
        #[test] fn waits() {
            let start = std::time::Instant::now();
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            assert!(start.elapsed().as_nanos() > 0 && std::time::SystemTime::now() > std::time::UNIX_EPOCH);
        }
        #[test] fn asks() { assert!(std::env::var("HOME").is_ok() || std::env::current_dir().is_ok()); }
        #[test] #[should_panic(expected = "so it does")] fn panics() { panic!("so it does") }
        #[test] fn catches() {
            let old = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| ()));
            assert!(std::panic::catch_unwind(|| assert_eq!(1, std::hint::black_box(2))).is_err());
            std::panic::set_hook(old);
        }
        #[test] fn fails() -> Result<(), Box<dyn std::error::Error>> { Ok(assert_eq!("1".parse::<u32>()?, 1)) }
        "#,
    );
}

#[test]
fn what_reaches_the_system_is_told() {
    check(
        r#"
        use std::process::Command;
        unsafe extern "C" {
            fn open(path: *const u8, flags: i32) -> i32;
            fn syscall(number: i64, ...) -> i64;
            fn dlsym(handle: *const u8, name: *const u8) -> *const u8;
            fn localtime_r(time: *const i64, out: *mut [u64; 9]) -> *const u8;
        }
        trait Reads { fn read(&self) -> usize; }
        struct File;
        impl Reads for File { fn read(&self) -> usize { std::fs::read("/etc/hostname").map_or(0, |text| text.len()) } }
        static TABLE: [&(dyn Reads + Sync); 1] = [&File];
        type Open = unsafe extern "C" fn(*const u8, i32) -> i32;
        static POINTER: Open = open;
        #[test] fn opens_a_file() { assert!(std::fs::File::open("/x").is_err()); }
        #[test] fn opens_by_table() { assert_ne!(TABLE[std::hint::black_box(0)].read(), 1 << 40); }
        #[test] fn opens_by_pointer() { assert_eq!(unsafe { std::hint::black_box(POINTER)(c"/".as_ptr().cast(), 0) }, 3); }
        #[test] fn opens_in_a_thread() { std::thread::spawn(|| File.read()).join().unwrap(); }
        #[test] fn opens_when_it_drops() {
            struct Guard;
            impl Drop for Guard { fn drop(&mut self) { assert!(std::fs::metadata("/").is_ok()) } }
            let _guard = Guard;
            assert_eq!(std::hint::black_box(1), 1);
        }
        #[test] fn opens_in_a_hook() { std::panic::set_hook(Box::new(|_| { File.read(); })); }
        #[test] fn opens_a_port() { assert!(std::net::TcpListener::bind("127.0.0.1:0").is_ok()); }
        #[test] fn opens_the_input() { assert!(std::io::stdin().lines().next().is_none()); }
        #[test] fn opens_processors() { assert!(std::thread::available_parallelism().is_ok()); }
        #[test] fn opens_the_local_time() { unsafe { localtime_r(&0, &mut [0; 9]); } }
        #[test] fn opens_a_list() { assert!(std::fs::read_dir("/").is_ok()); }
        #[test] fn opens_a_process_and_sees() { assert!(Command::new("true").status().is_ok()); }
        #[test] fn opens_by_number_and_sees() { assert_ne!(unsafe { syscall(2, c"/".as_ptr(), 0) }, 0); }
        #[test] fn opens_by_name_and_sees() { assert!(!unsafe { dlsym(std::ptr::null(), c"open".as_ptr().cast()) }.is_null()); }
        #[cfg(target_arch = "x86_64")]
        #[test] fn opens_by_instruction_and_sees() {
            let mut done: i64 = 39;
            unsafe { std::arch::asm!("syscall", inout("rax") done, out("rcx") _, out("r11") _) };
            assert!(done > 0);
        }
        "#,
    );
}

#[test]
fn who_looks_at_the_version_is_told() {
    check(
        r#"
        unsafe extern "C" { static environ: *const *const u8; }
        const NAME: &str = "CARGO_PKG_VERSION_MAJOR";
        fn lookup(name: &str) -> bool { std::env::var(name).is_ok() }
        #[test] fn by_name_sees() { lookup("CARGO_PKG_VERSION"); }
        #[test] fn by_constant_sees() { assert!(NAME.len() > 3); }
        #[test] fn by_list_sees() { assert!(std::env::vars().next().is_some()); }
        #[test] fn by_pointer_sees() { assert!(unsafe { !environ.is_null() }); }
        #[test] fn by_front_sees() { lookup(&format!("CARGO_{}", std::hint::black_box("X"))); }
        #[test] fn by_back_sees() { lookup(&format!("{}_VERSION", std::hint::black_box("X"))); }
        #[test] fn opens_its_environment_sees() { assert!(std::fs::read("/proc/self/environ").is_ok()); }
        #[test] fn opens_another_file() { assert!(std::fs::read("/proc/self/stat").is_ok()); }
        #[test] fn by_another_name() { lookup("HOME"); }
        #[test] fn nothing() {}
        "#,
    );
}

#[test]
fn in_optimised_code_every_case_may_see_the_version() {
    let analysis = Workshop::new(&[]).build("#[test] fn nothing() {}");
    let mut keys = analysis.summary().keys(Locations::Exact);
    assert!(keys.all(|case| case.sees_version && !case.opens));
}

#[test]
fn what_starts_with_the_process_is_for_all() {
    let start = |body: &str| {
        format!(
            "extern \"C\" fn start() {{ {body} }}
            #[used] #[unsafe(link_section = \".init_array\")] static START: extern \"C\" fn() = start;"
        )
    };
    let open = start("std::fs::read(\"/x\").unwrap_err();");
    // It may be handed the environment.
    check(&format!("{open} #[test] fn opens_and_sees() {{}}"));
    let ask = start("std::hint::black_box(std::env::var(\"X\").is_ok());");
    check(&format!("{ask} #[test] fn only_sees() {{}}"));
    // What only computes counts for who reads what it has written.
    let compute = start("AT.store(1, SeqCst);");
    check(&format!(
        "use std::sync::atomic::{{AtomicU32, Ordering::SeqCst}};
        static AT: AtomicU32 = AtomicU32::new(0);
        {compute} #[test] fn reads_and_sees() {{ assert_eq!(AT.load(SeqCst), 1) }} #[test] fn nothing() {{}}"
    ));
}

#[test]
fn an_allocator_is_for_all() {
    let allocator = |body: &str| {
        format!(
            "use std::alloc::{{GlobalAlloc, Layout, System}};
            struct Mine;
            unsafe impl GlobalAlloc for Mine {{
                unsafe fn alloc(&self, layout: Layout) -> *mut u8 {{ {body} unsafe {{ System.alloc(layout) }} }}
                unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {{ unsafe {{ System.dealloc(at, layout) }} }}
            }}
            #[global_allocator] static MINE: Mine = Mine;"
        )
    };
    let opening = allocator(
        r#"unsafe extern "C" { fn open(path: *const u8, flags: i32) -> i32; } unsafe { open(c"/x".as_ptr().cast(), 0) };"#,
    );
    check(&format!("{opening} #[test] fn opens_by_it() {{}}"));
    let counting = allocator("std::hint::black_box(1);");
    check(&format!("{counting} #[test] fn by_it() {{}}"));
}

#[test]
fn with_libraries_that_are_not_known_nothing_is() {
    let workshop = Workshop::new(&[]);
    std::fs::write(workshop.path().join("f.c"), "int f(void) { return 1; }").expect("written");
    workshop.run("cc", &["-shared", "-fPIC", "-o", "libf.so", "f.c"]);
    let source = "
        #[link(name = \"f\")] unsafe extern \"C\" { fn f() -> i32; }
        #[test] fn calls() { assert_ne!(unsafe { f() }, 9) } #[test] fn other() {}";
    let mut workshop = workshop;
    workshop.flags.push("-L.".to_owned());
    let found = effects(&workshop.build(source));
    assert!(
        found.values().all(|effects| *effects == (true, true)),
        "{found:?}"
    );
    workshop.flags = vec!["-Clink-arg=-Wl,-rpath,/x".to_owned()];
    let found = effects(&workshop.build("#[test] fn nothing() {}"));
    assert!(
        found.values().all(|effects| *effects == (true, true)),
        "{found:?}"
    );
}
