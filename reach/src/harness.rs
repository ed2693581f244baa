//! The cases of a libtest harness, found in the object file that holds its `main`.
//!
//! `rustc --test` makes a `main` that hands `test::test_main_static` an array of references to descriptors, one for
//! each case. A descriptor (`test::TestDescAndFn`) refers to the case's name, its source file and its function. This array
//! is cut off: neither `main` leads to the cases nor one case to another. That is sound because a process that runs one case
//! by its exact name does nothing with the other descriptors but compare their names. From a descriptor lines,
//! columns and the source file are left out, which only listings show; all else counts: `ignore`, `should_panic` and
//! its text.
//!
//! The layout of a descriptor is that of one compiler's `test` crate. Every field is checked, and any doubt is a
//! [`HarnessError`]: no layout is ever guessed.

use std::collections::BTreeMap;

use object::elf;
use thresh_core::digest::{Digest, FieldHasher};

use crate::pieces::piece;
use crate::raw::{Place, Raw, RawSection, RawSymbol, Relocation, whole_address};

/// Why the cases of a harness cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HarnessError {
    #[error("it has no libtest harness")]
    None,
    #[error("more than one function starts its harness")]
    Several,
    #[error("its `main` does not look like that of a libtest harness")]
    Main,
    #[error("its array of cases does not look like that of a libtest harness")]
    Array,
    #[error("the descriptor of its case number {0} does not look like one of a known compiler")]
    Descriptor(usize),
}

/// What was found. Nodes are numbered as in the object's [`crate::unit::Unit`].
#[derive(Debug)]
pub(crate) struct Harness {
    /// None if there are no cases.
    pub(crate) array: Option<u32>,
    pub(crate) cases: Vec<Case>,
    /// By node.
    cuts: BTreeMap<u32, Cut>,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) ignored: bool,
    pub(crate) descriptor: u32,
}

/// A case, and what is left of its descriptor's node.
type CaseAndCut = (Case, (u32, Cut));

/// A node of which only a part counts.
#[derive(Debug)]
pub(crate) struct Cut {
    /// In place of the node's own content.
    pub(crate) content: Digest,
    /// The edges that stay, by their place among the node's edges.
    kept: Vec<usize>,
}

impl Cut {
    pub(crate) fn keeps(&self, place: usize) -> bool {
        self.kept.contains(&place)
    }
}

impl Harness {
    /// What is left of a node, if not all of it counts.
    pub(crate) fn cut(&self, node: u32) -> Option<&Cut> {
        self.cuts.get(&node)
    }
}

/// Whether a symbol is the function of libtest that a harness's `main` calls.
pub(crate) fn is_entry(symbol: &str) -> bool {
    symbol.contains("test_main_static")
        && ["test::test_main_static", "test::test_main_static_abort"]
            .contains(&crate::name::shown(symbol).as_str())
}

/// The fields of a descriptor of 64-bit compilers, as of Rust 1.95.
mod field {
    pub(super) const BYTES: usize = 152;
    pub(super) const PANIC: u64 = 0x00;
    pub(super) const PANIC_TEXT: u64 = 0x08;
    pub(super) const NAME_KIND: u64 = 0x18;
    pub(super) const NAME: u64 = 0x20;
    pub(super) const FILE: u64 = 0x38;
    pub(super) const IGNORE_TEXT: u64 = 0x48;
    /// Four numbers: first line, first column, last line, last column.
    pub(super) const LINES: u64 = 0x58;
    pub(super) const FLAGS: u64 = 0x78;
    pub(super) const FUNCTION_KIND: u64 = 0x80;
    pub(super) const FUNCTION: u64 = 0x88;
    /// A name that is a `&'static str`, and a function that is a plain test.
    pub(super) const STATIC_NAME: u64 = 0x8000_0000_0000_0001;
    pub(super) const STATIC_TEST: u64 = 0;
}

/// Finds the harness in the object that refers to libtest's entry.
pub(crate) fn find(raw: &Raw<'_>) -> Result<Harness, HarnessError> {
    let entry = |relocation: &Relocation| {
        let symbol = raw.symbols.get(relocation.symbol as usize);
        symbol.is_some_and(|symbol| is_entry(symbol.name))
    };
    let calls =
        |section: &&RawSection<'_>| section.has(elf::SHF_ALLOC) && section.relocations.iter().any(&entry);
    let mut mains = raw
        .sections
        .iter()
        .enumerate()
        .filter(|(_, section)| calls(section));
    let (main, section) = mains.next().ok_or(HarnessError::None)?;
    if mains.next().is_some() {
        return Err(HarnessError::Several);
    }
    let finding = Finding { raw };
    let (array, array_index) = finding.array(section, &entry)?;
    let cases = match array {
        Some(array) => finding.cases(array)?,
        None => Vec::new(),
    };
    let kept = section
        .relocations
        .iter()
        .filter(|relocation| relocation.symbol != 0);
    let kept = kept.enumerate().filter(|(_, relocation)| entry(relocation));
    let main_cut = Cut {
        content: finding.main_content(section, cases.len()),
        kept: kept.map(|(place, _)| place).collect(),
    };
    let array = array_index.map(|index| finding.node(index));
    let array_cut = array.map(|array| {
        let content = Digest::of(b"the array of cases");
        (
            array,
            Cut {
                content,
                kept: Vec::new(),
            },
        )
    });
    let main_cut = (finding.node(main as u32), main_cut);
    let (cases, cuts): (Vec<Case>, Vec<(u32, Cut)>) = cases.into_iter().unzip();
    Ok(Harness {
        array,
        cases,
        cuts: cuts.into_iter().chain(array_cut).chain([main_cut]).collect(),
    })
}

struct Finding<'r, 'd> {
    raw: &'r Raw<'d>,
}

impl<'r, 'd> Finding<'r, 'd> {
    /// The node of a section: loaded sections are counted.
    fn node(&self, section: u32) -> u32 {
        let before = self.raw.sections.iter().take(section as usize);
        before.filter(|section| section.has(elf::SHF_ALLOC)).count() as u32
    }

    fn place(&self, relocation: &Relocation) -> Option<(&'r RawSymbol<'d>, u32)> {
        let symbol = self.raw.symbols.get(relocation.symbol as usize)?;
        match symbol.place {
            Place::Section(section) => Some((symbol, section)),
            _ => None,
        }
    }

    /// What `main` refers to besides libtest's entry: one section of data, or none if there are no cases.
    fn array(
        &self,
        main: &RawSection<'d>,
        entry: &impl Fn(&Relocation) -> bool,
    ) -> Result<(Option<&'r RawSection<'d>>, Option<u32>), HarnessError> {
        let mut found = None;
        for relocation in main.relocations.iter().filter(|relocation| !entry(relocation)) {
            let (symbol, section) = self.place(relocation).ok_or(HarnessError::Main)?;
            let inside =
                symbol.value == 0 && (symbol.kind == elf::STT_SECTION || symbol.bind == elf::STB_LOCAL);
            if !inside || found.is_some_and(|found| found != section) {
                return Err(HarnessError::Main);
            }
            found = Some(section);
        }
        let array = found.and_then(|section| self.raw.sections.get(section as usize));
        if array.is_some_and(|array| array.has(elf::SHF_EXECINSTR) || array.data.is_empty()) {
            return Err(HarnessError::Main);
        }
        match array {
            // No cases: an address of nothing, in no section or in one without relocations.
            Some(array) if array.relocations.is_empty() => Err(HarnessError::Main),
            array => Ok((array, found)),
        }
    }

    /// The code of `main` without the number of cases, which is an immediate of one instruction: the second argument.
    /// Where that is not found exactly once all code counts, and then another case changes every key.
    fn main_content(&self, main: &RawSection<'d>, cases: usize) -> Digest {
        let number = u32::try_from(cases).unwrap_or(u32::MAX);
        let instruction = if self.raw.machine == elf::EM_AARCH64 {
            // mov w1, #number (the assembler writes the same for x1, with one bit more)
            (0x5280_0001 | (number << 5)).to_le_bytes().to_vec()
        } else {
            [&[0xbe][..], &number.to_le_bytes()].concat()
        };
        let mut code = main.data.to_vec();
        let found = |code: &[u8]| {
            let all = code.windows(instruction.len()).enumerate();
            let all = all.filter(|(_, window)| *window == instruction).map(|(at, _)| at);
            all.collect::<Vec<usize>>()
        };
        let known = self.raw.machine != elf::EM_AARCH64 || number < 1 << 16;
        if let [at] = found(&code)[..]
            && known
        {
            code[at..at + instruction.len()].fill(0);
        }
        let mut hasher = FieldHasher::new("thresh reach harness main v1");
        hasher.field(&code);
        for relocation in &main.relocations {
            hasher.field(&relocation.offset.to_le_bytes());
            hasher.field(&relocation.kind.to_le_bytes());
            hasher.field(&relocation.addend.to_le_bytes());
        }
        hasher.finish()
    }

    fn cases(&self, array: &RawSection<'d>) -> Result<Vec<CaseAndCut>, HarnessError> {
        if array.data.len() != array.relocations.len() * 8 || array.data.iter().any(|byte| *byte != 0) {
            return Err(HarnessError::Array);
        }
        let mut cases = Vec::with_capacity(array.relocations.len());
        for (number, relocation) in array.relocations.iter().enumerate() {
            let (symbol, section) = self.place(relocation).ok_or(HarnessError::Array)?;
            let whole = relocation.kind == whole_address(self.raw.machine) && relocation.addend == 0;
            if relocation.offset != number as u64 * 8 || !whole || symbol.value != 0 {
                return Err(HarnessError::Array);
            }
            cases.push(self.case(section).ok_or(HarnessError::Descriptor(number + 1))?);
        }
        Ok(cases)
    }

    fn case(&self, index: u32) -> Option<CaseAndCut> {
        let section = self.raw.sections.get(index as usize)?;
        if section.data.len() != field::BYTES || section.has(elf::SHF_EXECINSTR) {
            return None;
        }
        let known = [
            field::PANIC_TEXT,
            field::NAME,
            field::FILE,
            field::IGNORE_TEXT,
            field::FUNCTION,
        ];
        let plain = |relocation: &Relocation| {
            known.contains(&relocation.offset) && relocation.kind == whole_address(self.raw.machine)
        };
        if !section.relocations.iter().all(plain) {
            return None;
        }
        let kinds = number(section, field::NAME_KIND)? == field::STATIC_NAME
            && number(section, field::FUNCTION_KIND)? == field::STATIC_TEST
            && number(section, field::PANIC)? <= 2;
        let flags = section.data.get(field::FLAGS as usize..)?.get(..4)?;
        let lines =
            (0..4).all(|line| number(section, field::LINES + 8 * line).is_some_and(|line| line < 1 << 32));
        if !kinds || !lines || flags[..3].iter().any(|flag| *flag > 1) || flags[3] > 3 {
            return None;
        }
        let file = self.text(section, field::FILE)?;
        if !file.ends_with(".rs") || !self.is_function(section) {
            return None;
        }
        let descriptor = self.node(index);
        let case = Case {
            name: self.text(section, field::NAME)?,
            ignored: flags[0] == 1,
            descriptor,
        };
        Some((case, (descriptor, cut(section))))
    }

    fn relocation<'s>(&self, section: &'s RawSection<'d>, offset: u64) -> Option<&'s Relocation> {
        section
            .relocations
            .iter()
            .find(|relocation| relocation.offset == offset)
    }

    fn is_function(&self, section: &RawSection<'d>) -> bool {
        let relocation = self.relocation(section, field::FUNCTION);
        let symbol = relocation.and_then(|relocation| self.raw.symbols.get(relocation.symbol as usize));
        symbol.is_some_and(|symbol| match symbol.place {
            Place::Section(section) => self
                .raw
                .sections
                .get(section as usize)
                .is_some_and(|section| section.has(elf::SHF_EXECINSTR)),
            // Its object says what it is, and the graph leads there.
            Place::Undefined => true,
            _ => false,
        })
    }

    /// A `&'static str` of a descriptor.
    fn text(&self, section: &RawSection<'d>, offset: u64) -> Option<String> {
        let relocation = self.relocation(section, offset)?;
        let length = usize::try_from(number(section, offset + 8)?).ok()?;
        let bytes = match piece(self.raw, relocation) {
            Some(piece) => piece.bytes.get(usize::try_from(piece.offset).ok()?..)?,
            None => {
                let (symbol, target) = self.place(relocation)?;
                let start = symbol.value.checked_add_signed(relocation.addend)?;
                self.raw
                    .sections
                    .get(target as usize)?
                    .data
                    .get(usize::try_from(start).ok()?..)?
            }
        };
        String::from_utf8(bytes.get(..length)?.to_vec()).ok()
    }
}

fn number(section: &RawSection<'_>, offset: u64) -> Option<u64> {
    let at = usize::try_from(offset).ok()?;
    let bytes = section.data.get(at..at + 8)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// A descriptor without its source file and lines.
fn cut(section: &RawSection<'_>) -> Cut {
    let mut data = section.data.to_vec();
    data[field::LINES as usize..field::FLAGS as usize].fill(0);
    data[field::FILE as usize..field::IGNORE_TEXT as usize].fill(0);
    let mut hasher = FieldHasher::new("thresh reach descriptor v1");
    hasher.field(&data);
    let mut kept = Vec::new();
    let edges = section
        .relocations
        .iter()
        .filter(|relocation| relocation.symbol != 0);
    for (place, relocation) in edges
        .enumerate()
        .filter(|(_, relocation)| relocation.offset != field::FILE)
    {
        hasher.field(&relocation.offset.to_le_bytes());
        kept.push(place);
    }
    Cut {
        content: hasher.finish(),
        kept,
    }
}
