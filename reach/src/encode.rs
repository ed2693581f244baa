//! The form of what is kept on disk: numbers as LEB128, texts and lists with their length before them.
//!
//! A reader never trusts a length: it reads no further than the bytes it has, and reserves memory by them alone.

use thresh_core::digest::Digest;

/// The bytes end early, or a number or text in them is no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("truncated or damaged")]
pub(crate) struct Damaged;

/// Collects what is written.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub(crate) fn piece(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.piece(value.as_bytes());
    }

    pub(crate) fn digest(&mut self, value: &Digest) {
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn list<T>(
        &mut self,
        values: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        let values = values.into_iter();
        self.number(values.len() as u64);
        values.for_each(|value| each(self, value));
    }

    pub(crate) fn optional<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
    }

    /// Adds what another has collected.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// So many bytes of memory at most are reserved for each byte that is to be read. Most values take a few times what they are written as.
const SPREAD: usize = 4;

/// Reads what a [`Writer`] wrote.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    pub(crate) fn index(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Damaged> {
        match self.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    pub(crate) fn piece(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, Damaged> {
        let text = std::str::from_utf8(self.piece()?).map_err(|_| Damaged)?;
        Ok(text.to_owned())
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, Damaged> {
        Digest::try_from(self.take(32)?).map_err(|_| Damaged)
    }

    pub(crate) fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let count = self.number()?;
        let most = self.0.len() * SPREAD / size_of::<T>().max(1);
        let mut values = Vec::with_capacity(usize::try_from(count).map_or(most, |count| count.min(most)));
        for _ in 0..count {
            values.push(each(self)?);
        }
        Ok(values)
    }

    pub(crate) fn optional<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        if self.flag()? {
            each(self).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn end(&self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.number(u64::MAX);
        writer.list(&["a", "bc"], |writer, text| writer.text(text));
        writer.optional(Some(&Digest::of(b"x")), Writer::digest);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.number(), Ok(u64::MAX));
        assert_eq!(
            reader.list(Reader::text),
            Ok(vec!["a".to_owned(), "bc".to_owned()])
        );
        assert_eq!(reader.optional(Reader::digest), Ok(Some(Digest::of(b"x"))));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn a_huge_length_is_damage() {
        let mut writer = Writer::default();
        writer.number(u64::MAX);
        let bytes = writer.into_bytes();
        assert_eq!(Reader::new(&bytes).text(), Err(Damaged));
        assert_eq!(Reader::new(&bytes).list(Reader::digest), Err(Damaged));
    }
}
