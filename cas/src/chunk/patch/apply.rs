//! From a patch to the content.

use super::columns::{Reading, Recent, number, take, unzigzag};
use super::{NEW, WORD};

/// The content of `size` bytes that a patch makes of its base; `None` where it makes none. Takes no more memory than
/// that, whatever the patch says.
pub(in crate::chunk) fn apply(patch: &[u8], base: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut columns = Reading::of(patch)?;
    let mut content = copies(&mut columns, base, size)?;
    corrections(&mut columns, &mut content)?;
    let spent = [columns.runs, columns.literals, columns.ranks, columns.addends];
    spent.iter().all(|column| column.is_empty()).then_some(content)
}

/// Puts literals and copies together.
fn copies(columns: &mut Reading<'_>, base: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(size);
    let mut end: i64 = 0;
    while content.len() < size {
        let literals = number(&mut columns.runs)? as usize;
        let literals = take(&mut columns.literals, literals)?;
        if literals.len() > size - content.len() {
            return None;
        }
        content.extend_from_slice(literals);
        if content.len() == size {
            break;
        }
        let count = number(&mut columns.runs)? as usize;
        let begin = end + i64::from(unzigzag(number(&mut columns.runs)?));
        let begin = usize::try_from(begin).ok()?;
        let copied = base.get(begin..begin.checked_add(count)?)?;
        // A run of nothing would let a patch go on for ever.
        if literals.is_empty() && copied.is_empty() || copied.len() > size - content.len() {
            return None;
        }
        content.extend_from_slice(copied);
        end = i64::try_from(begin + count).ok()?;
    }
    Some(content)
}

/// Adds what the corrections say.
fn corrections(columns: &mut Reading<'_>, content: &mut [u8]) -> Option<()> {
    let (mut recent, mut rest) = (Recent::default(), content);
    while !columns.gaps.is_empty() {
        let gap = number(&mut columns.gaps)? as usize;
        let rank = *take(&mut columns.ranks, 1)?.first()?;
        let addend = if rank == NEW {
            let addend = *take(&mut columns.addends, WORD)?.first_chunk()?;
            let addend = u32::from_le_bytes(addend);
            recent.add(addend);
            addend
        } else {
            recent.at(rank)?
        };
        let (word, behind) = rest.get_mut(gap..)?.split_first_chunk_mut::<WORD>()?;
        *word = u32::from_le_bytes(*word).wrapping_add(addend).to_le_bytes();
        rest = behind;
    }
    Some(())
}
