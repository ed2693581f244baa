//! Environment variables, laid out as the kernel takes them.

use std::borrow::Borrow;
use std::ffi::{CStr, CString, NulError, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Environment variables, laid out as the kernel takes them, sorted by name.
///
/// Most variables are the same for all cases of a binary: they are laid out once, and each process takes them as
/// they are.
#[derive(Clone, Debug)]
pub struct Block {
    /// An error is kept until a process is to be started with it, which then is not.
    variables: Result<Vec<Variable>, NulError>,
}

/// `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    text: CString,
    name_bytes: usize,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            variables: Ok(Vec::new()),
        }
    }
}

impl Block {
    /// The variables of this process.
    pub fn inherited() -> Self {
        let own: Vec<_> = std::env::vars_os().collect();
        Self::default().with(&own)
    }

    /// Adds or replaces variables; the last entry of a name wins.
    #[must_use]
    pub fn with(mut self, set: &[(OsString, OsString)]) -> Self {
        for (name, value) in set {
            if let Ok(variables) = &mut self.variables {
                match Variable::new(name, value) {
                    Ok(variable) => lay(variables, variable),
                    Err(error) => self.variables = Err(error),
                }
            }
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn value(&self, name: &str) -> Option<&OsStr> {
        let variables = self.variables.as_ref().ok()?;
        let found = variables.iter().find(|variable| variable.name() == name);
        found.map(Variable::value)
    }

    /// Lays `own` over these, without a copy of either.
    pub(super) fn overlaid<'a>(&'a self, own: &'a [Variable]) -> Result<Vec<&'a Variable>, NulError> {
        let common = self.variables.as_ref().map_err(Clone::clone)?;
        let mut all = Vec::with_capacity(common.len() + own.len());
        all.extend(common);
        own.iter().for_each(|variable| lay(&mut all, variable));
        Ok(all)
    }
}

impl Variable {
    pub(super) fn new(name: &OsStr, value: &OsStr) -> Result<Self, NulError> {
        // With room for the final zero, so that nothing is copied again.
        let mut text = Vec::with_capacity(name.len() + value.len() + 2);
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        Ok(Self {
            text: CString::new(text)?,
            name_bytes: name.len(),
        })
    }

    pub(super) fn text(&self) -> &CStr {
        &self.text
    }

    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.text.as_bytes()[..self.name_bytes])
    }

    pub(super) fn value(&self) -> &OsStr {
        OsStr::from_bytes(&self.text.as_bytes()[self.name_bytes + 1..])
    }
}

/// Puts a variable where its name belongs, in place of one of the same name.
fn lay<V: Borrow<Variable>>(variables: &mut Vec<V>, variable: V) {
    let place = variables.binary_search_by(|other| other.borrow().name().cmp(variable.borrow().name()));
    match place {
        Ok(at) => variables[at] = variable,
        Err(at) => variables.insert(at, variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(set: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        set.iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn texts(block: &Block, own: &[(&str, &str)]) -> Vec<String> {
        let own: Vec<_> = own
            .iter()
            .map(|(name, value)| Variable::new(name.as_ref(), value.as_ref()).unwrap())
            .collect();
        let all = block.overlaid(&own).unwrap();
        all.iter()
            .map(|variable| variable.text().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_last_of_a_name_wins_and_all_are_sorted() {
        let block = Block::default()
            .with(&pairs(&[("B", "1"), ("A", "x=y"), ("AB", "")]))
            .with(&pairs(&[("B", "2"), ("B", "3")]));
        assert_eq!(texts(&block, &[]), ["A=x=y", "AB=", "B=3"]);
        assert_eq!(
            texts(&block, &[("C", "4"), ("A", "5"), ("A", "6")]),
            ["A=6", "AB=", "B=3", "C=4"]
        );
    }

    #[test]
    fn a_zero_byte_is_told_when_the_variables_are_used() {
        let block = Block::default().with(&pairs(&[("A", "x\0y"), ("B", "1")]));
        assert!(block.overlaid(&[]).is_err());
        assert!(block.with(&pairs(&[("A", "1")])).overlaid(&[]).is_err());
    }
}
