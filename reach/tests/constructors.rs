//! Which constructors count for which cases, on small crates that `rustc` builds.

mod build;
mod keys;

use build::Workshop;
use keys::{changed, keys};
use thresh_reach::Locations;

/// A registry as `inventory` makes one: constructors put entries, each of them a static, into a list without an order.
const REGISTRY: &str = r#"
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
    pub struct Node { run: fn(u32) -> u32, next: AtomicPtr<Node> }
    pub struct Registry(AtomicPtr<Node>);
    impl Registry {
        fn submit(&self, node: &'static Node) {
            let mut head = self.0.load(SeqCst);
            loop {
                node.next.store(head, SeqCst);
                let new = std::ptr::from_ref(node).cast_mut();
                match self.0.compare_exchange(head, new, SeqCst, SeqCst) {
                    Ok(_) => return,
                    Err(now) => head = now,
                }
            }
        }
        fn sum(&self, x: u32) -> u32 {
            let (mut at, mut sum) = (self.0.load(SeqCst), 0);
            while let Some(node) = unsafe { at.as_ref() } {
                sum += (node.run)(x);
                at = node.next.load(SeqCst);
            }
            sum
        }
    }
    macro_rules! submit {
        ($registry:path, $run:expr) => {
            const _: () = {
                static NODE: super::Node = super::Node { run: $run, next: super::AtomicPtr::new(std::ptr::null_mut()) };
                extern "C" fn submit() { $registry.submit(&NODE) }
                #[used] #[unsafe(link_section = ".init_array")] static START: extern "C" fn() = submit;
            };
        };
    }
    static SHAPES: Registry = Registry(AtomicPtr::new(std::ptr::null_mut()));
    mod one { fn run(x: u32) -> u32 { x + 1 } submit!(super::SHAPES, run); }
    mod two { fn run(x: u32) -> u32 { x * 2 } submit!(super::SHAPES, run); }
    #[test] fn iterates() { assert_ne!(SHAPES.sum(3), 0); }
    #[test] fn computes() { assert_eq!(format!("{}", std::hint::black_box(1)), "1"); }
    #[test] #[should_panic] fn panics() { panic!("{}", std::hint::black_box(1)); }
    #[test] fn maps() { let map: std::collections::HashMap<_, _> = [(1, 2)].into(); assert_eq!(map[&1], 2); println!("{map:?}"); }
"#;

/// The cases whose key is another one when the source is changed.
fn changed_by(source: &str, from: &str, to: &str) -> Vec<String> {
    assert!(source.contains(from), "{from}");
    // A node for each module, as its own object file.
    let workshop = Workshop::new(&["-Ccodegen-units=64"]);
    let (old, new) = (workshop.build(source), workshop.build(&source.replace(from, to)));
    let names = |analysis| {
        keys(analysis, Locations::IgnoreUnlessObserved)
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&old), names(&new));
    changed(&old, &new, Locations::IgnoreUnlessObserved)
}

/// The same, of the registry with more in it.
fn changed_with(more: &str, from: &str, to: &str) -> Vec<String> {
    changed_by(&format!("{REGISTRY}\n{more}"), from, to)
}

const ALL: [&str; 4] = ["computes", "iterates", "maps", "panics"];

#[test]
fn an_entry_counts_for_who_reads_the_registry() {
    assert_eq!(changed_by(REGISTRY, "x * 2", "x * 3"), ["iterates"]);
    assert_eq!(changed_by(REGISTRY, "x + 1", "x + 4"), ["iterates"]);
}

#[test]
fn another_entry_counts_for_who_reads_the_registry() {
    let more = "mod three { fn run(x: u32) -> u32 { x * 7 } submit!(super::SHAPES, run); }";
    assert_eq!(changed_with("mod three {}", "mod three {}", more), ["iterates"]);
}

#[test]
fn what_can_do_more_than_compute_counts_for_all() {
    let print = "{ println!(\"{x}\"); x * 2 }";
    for entry in [
        print,
        "{ std::fs::read(\"/x\").map_or(x, |text| text.len() as u32) }",
        "{ std::env::var(\"X\").map_or(x, |text| text.len() as u32) }",
        "{ std::panic::catch_unwind(|| 1).unwrap_or(x) }",
        "{ std::panic::set_hook(Box::new(|_| ())); x }",
        "{ std::thread::spawn(move || x).join().unwrap_or(x) }",
    ] {
        let source = REGISTRY.replace("{ x * 2 }", entry);
        assert_eq!(changed_by(&source, "x + 1", "x + 4"), ALL, "{entry}");
    }
}

/// Threads inherit how the processor rounds, so this is seen by cases that share no memory with it.
#[test]
fn what_changes_the_processors_state_counts_for_all() {
    let (changing, reading) = match std::env::consts::ARCH {
        "x86_64" => (
            "{ use std::arch::x86_64::*; unsafe { _mm_setcsr(_mm_getcsr() | 0x8040) }; x * 2 }",
            "{ x * 2 + unsafe { std::arch::x86_64::_mm_getcsr() } }",
        ),
        _ => (
            "{ unsafe { std::arch::asm!(\"msr fpcr, {}\", in(reg) 1u64 << 24) }; x * 2 }",
            "{ let state: u64; unsafe { std::arch::asm!(\"mrs {}, fpcr\", out(reg) state) }; x * 2 + state as u32 }",
        ),
    };
    let source = |entry| REGISTRY.replace("{ x * 2 }", entry);
    assert_eq!(changed_by(&source(changing), "x + 1", "x + 4"), ALL);
    assert_eq!(changed_by(&source(changing), "x * 2", "x * 3"), ALL);
    assert_eq!(changed_by(&source(reading), "x + 1", "x + 4"), ["iterates"]);
}

#[test]
fn registries_are_told_apart_unless_they_share_memory() {
    let other = |entry: &str| {
        format!(
            "static TOOLS: Registry = Registry(AtomicPtr::new(std::ptr::null_mut()));
            static COUNT: AtomicU32 = AtomicU32::new(0);
            mod three {{ fn run(x: u32) -> u32 {{ {entry} }} submit!(super::TOOLS, run); }}
            #[test] fn uses_tools() {{ assert_ne!(TOOLS.sum(3), 9); }}
            #[test] fn counts() {{ assert_ne!(COUNT.fetch_add(1, SeqCst), 9); }}"
        )
    };
    assert_eq!(changed_with(&other("x * 7"), "x * 7", "x * 8"), ["uses_tools"]);
    // A constructor might count, as it reaches what counts.
    let counting = "super::COUNT.fetch_add(x, super::SeqCst)";
    let more = "super::COUNT.fetch_add(x + 1, super::SeqCst)";
    assert_eq!(
        changed_with(&other(counting), counting, more),
        ["counts", "uses_tools"]
    );
    // And one entry may lead to the other registry.
    let leading = "super::SHAPES.sum(x)";
    assert_eq!(
        changed_with(&other(leading), "x * 2", "x * 3"),
        ["iterates", "uses_tools"]
    );
}

#[test]
fn memory_that_libtest_reaches_as_well_joins_all() {
    let more = "
        #[global_allocator] static COUNTING: Counting = Counting(AtomicU32::new(0));
        struct Counting(AtomicU32);
        unsafe impl std::alloc::GlobalAlloc for Counting {
            unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
                self.0.fetch_add(1, SeqCst);
                unsafe { std::alloc::System.alloc(layout) }
            }
            unsafe fn dealloc(&self, at: *mut u8, layout: std::alloc::Layout) { unsafe { std::alloc::System.dealloc(at, layout) } }
        }";
    let source = format!("{REGISTRY}\n{more}").replace("{ x * 2 }", "{ vec![x; 2].len() as u32 }");
    assert_eq!(changed_by(&source, "x + 1", "x + 4"), ALL);
}

#[test]
fn a_difference_in_a_constructor_is_explained() {
    let workshop = Workshop::new(&["-Ccodegen-units=64"]);
    let (old, new) = (
        workshop.build(REGISTRY),
        workshop.build(&REGISTRY.replace("x * 2", "x * 3")),
    );
    let told = thresh_reach::explain(&old, &new, "iterates", Locations::IgnoreUnlessObserved);
    let changed = told.expect("it differs").changed;
    assert!(
        changed.iter().any(|name| name.contains("two::run")),
        "{changed:?}"
    );
    assert_eq!(
        thresh_reach::explain(&old, &new, "computes", Locations::IgnoreUnlessObserved),
        None
    );
}
