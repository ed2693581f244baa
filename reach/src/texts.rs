//! Many texts in one memory, by number: an object has thousands of names.

use std::ops::Index;

use crate::encode::{Damaged, Reader, Writer};

#[derive(Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Texts {
    all: String,
    /// Where each one ends; the next begins there.
    ends: Vec<usize>,
}

impl Texts {
    /// Adds a text and returns its number.
    pub(crate) fn add(&mut self, text: &str) -> u32 {
        self.all.push_str(text);
        self.ends.push(self.all.len());
        self.ends.len() as u32 - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.text(&self.all);
        let mut start = 0;
        writer.list(&self.ends, |writer, end| {
            writer.number((end - start) as u64);
            start = *end;
        });
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let all = reader.text()?;
        let mut end = 0usize;
        let ends = reader.list(|reader| {
            end = end.checked_add(reader.index()? as usize).ok_or(Damaged)?;
            all.is_char_boundary(end).then_some(end).ok_or(Damaged)
        })?;
        Ok(Self { all, ends })
    }
}

impl Index<u32> for Texts {
    type Output = str;

    fn index(&self, number: u32) -> &str {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[number]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_numbers() {
        let mut texts = Texts::default();
        assert_eq!((texts.add("a"), texts.add(""), texts.add("äb")), (0, 1, 2));
        let mut writer = Writer::default();
        texts.write(&mut writer);
        let bytes = writer.into_bytes();
        let read = Texts::read(&mut Reader::new(&bytes)).expect("it was written so");
        assert_eq!((&read[0], &read[1], &read[2], read.len()), ("a", "", "äb", 3));
    }

    #[test]
    fn a_text_that_ends_within_a_letter_is_damage() {
        let mut writer = Writer::default();
        writer.text("ä");
        writer.list([1u64, 1], Writer::number);
        let bytes = writer.into_bytes();
        assert_eq!(Texts::read(&mut Reader::new(&bytes)).err(), Some(Damaged));
    }
}
