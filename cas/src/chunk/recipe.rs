//! The bytes of a recipe: a header line with the version, the digest of its base (32 bytes, zero for none), then for
//! each chunk its digest (32 bytes) and its length in bytes (4, little-endian).

use thresh_core::chunk::{InvalidPart, Part, Recipe};
use thresh_core::digest::Digest;

const HEADER: &[u8] = b"thresh recipe 1\n";
const NO_BASE: [u8; 32] = [0; 32];
const PART_BYTES: usize = 36;

/// Bytes that are no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// It does not begin as a recipe of this version does.
    #[error("read a recipe: it does not begin as one")]
    Header,
    /// It ends within a part.
    #[error("read a recipe: it ends within a part")]
    Truncated,
    /// A chunk is empty or too long.
    #[error("read a recipe: {0}")]
    Part(#[from] InvalidPart),
}

/// Reads what [`encode_recipe`] wrote.
///
/// # Errors
/// The bytes are no recipe.
pub fn decode_recipe(encoded: &[u8]) -> Result<Recipe, RecipeError> {
    let rest = encoded.strip_prefix(HEADER).ok_or(RecipeError::Header)?;
    let (base, rest) = rest.split_first_chunk().ok_or(RecipeError::Truncated)?;
    let (parts, left) = rest.as_chunks::<PART_BYTES>();
    if !left.is_empty() {
        return Err(RecipeError::Truncated);
    }
    let part = |bytes: &[u8; PART_BYTES]| {
        let (digest, size) = bytes.split_first_chunk().expect("a part is longer than a digest");
        Part {
            digest: Digest::from_bytes(*digest),
            size: u32::from_le_bytes(size.try_into().expect("4 bytes are left")),
        }
    };
    let base = (*base != NO_BASE).then(|| Digest::from_bytes(*base));
    Ok(Recipe::new(parts.iter().map(part).collect())?.with_base(base))
}

/// Writes a recipe as bytes.
pub fn encode_recipe(recipe: &Recipe) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER.len() + NO_BASE.len() + recipe.parts().len() * PART_BYTES);
    out.extend_from_slice(HEADER);
    out.extend_from_slice(
        recipe
            .base()
            .as_ref()
            .map_or(&NO_BASE, Digest::as_bytes)
            .as_slice(),
    );
    for Part { digest, size } in recipe.parts() {
        out.extend_from_slice(digest.as_bytes());
        out.extend_from_slice(&size.to_le_bytes());
    }
    out
}
