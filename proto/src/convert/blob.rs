//! Chunks and recipes.

use thresh_core::chunk::{BASES_MAX, CHUNK_BYTES_MAX, Codec, Frame, Part, Recipe};
use thresh_core::digest::Digest;

use super::{InvalidMessage, digest_from_wire, digest_to_wire};
use crate::v1;

/// Returns a chunk on its way.
pub fn frame_to_wire(frame: Frame) -> v1::Frame {
    let codec = match frame.codec {
        Codec::Raw => v1::frame::Codec::Raw,
        Codec::Zstd => v1::frame::Codec::Zstd,
    };
    v1::Frame {
        digest: digest_to_wire(frame.digest),
        size_bytes: frame.size,
        codec: codec.into(),
        bases: frame.bases.into_iter().map(digest_to_wire).collect(),
        data: frame.data.into(),
    }
}

/// Reads a chunk on its way. Its data is not looked at.
///
/// # Errors
/// A digest or the codec cannot be understood, or the chunk is longer than any may be.
pub fn frame_from_wire(frame: v1::Frame) -> Result<Frame, InvalidMessage> {
    let codec = match v1::frame::Codec::try_from(frame.codec) {
        Ok(v1::frame::Codec::Raw) => Codec::Raw,
        Ok(v1::frame::Codec::Zstd) => Codec::Zstd,
        Err(unknown) => return Err(InvalidMessage::new("frame.codec", unknown.to_string())),
    };
    let too_long = |field| InvalidMessage::new(field, format!("is longer than {CHUNK_BYTES_MAX} bytes"));
    if frame.size_bytes as usize > CHUNK_BYTES_MAX {
        return Err(too_long("frame.size_bytes"));
    }
    if frame.data.len() > CHUNK_BYTES_MAX {
        return Err(too_long("frame.data"));
    }
    Ok(Frame {
        digest: digest_from_wire("frame.digest", &frame.digest)?,
        size: frame.size_bytes,
        bases: bases_from_wire("frame.bases", &frame.bases)?,
        codec,
        data: frame.data.into(),
    })
}

/// Reads the chunks that one may be packed against.
///
/// # Errors
/// One is none, or there are too many.
pub fn bases_from_wire<B: AsRef<[u8]>>(
    field: &'static str,
    bases: &[B],
) -> Result<Vec<Digest>, InvalidMessage> {
    if bases.len() > BASES_MAX {
        return Err(InvalidMessage::new(
            field,
            format!("holds more than {BASES_MAX} chunks"),
        ));
    }
    digests_from_wire(field, bases)
}

/// Reads digests.
///
/// # Errors
/// One is none.
pub fn digests_from_wire<B: AsRef<[u8]>>(
    field: &'static str,
    digests: &[B],
) -> Result<Vec<Digest>, InvalidMessage> {
    let digests = digests.iter();
    digests
        .map(|digest| digest_from_wire(field, digest.as_ref()))
        .collect()
}

/// Returns how a blob is put together.
pub fn recipe_to_wire(recipe: &Recipe) -> v1::Recipe {
    let parts = recipe.parts().iter();
    let digests: Vec<u8> = parts.clone().flat_map(|part| *part.digest.as_bytes()).collect();
    v1::Recipe {
        digests: digests.into(),
        sizes_bytes: parts.map(|part| part.size).collect(),
        base: recipe.base().map(digest_to_wire).unwrap_or_default(),
    }
}

/// Reads how a blob is put together.
///
/// # Errors
/// There are not as many digests as lengths, or a length is not allowed.
pub fn recipe_from_wire(recipe: &v1::Recipe) -> Result<Recipe, InvalidMessage> {
    let (digests, left) = recipe.digests.as_chunks::<32>();
    if !left.is_empty() || digests.len() != recipe.sizes_bytes.len() {
        let problem = format!(
            "has {} bytes for {} chunks",
            recipe.digests.len(),
            recipe.sizes_bytes.len()
        );
        return Err(InvalidMessage::new("recipe.digests", problem));
    }
    let parts = digests.iter().zip(&recipe.sizes_bytes);
    let parts = parts.map(|(digest, size)| Part {
        digest: Digest::from_bytes(*digest),
        size: *size,
    });
    let base = match recipe.base.as_ref() {
        [] => None,
        base => Some(digest_from_wire("recipe.base", base)?),
    };
    let made = Recipe::new(parts.collect())
        .map_err(|error| InvalidMessage::new("recipe.sizes_bytes", format!("cannot be: {error}")))?;
    Ok(made.with_base(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let part = |content: &[u8]| Part {
            digest: Digest::of(content),
            size: content.len() as u32,
        };
        let recipe = Recipe::new(vec![part(b"one"), part(b"three")]).unwrap();
        recipe.with_base(Some(Digest::of(b"base")))
    }

    #[test]
    fn a_recipe_comes_back_as_it_was() {
        assert_eq!(recipe_from_wire(&recipe_to_wire(&recipe())), Ok(recipe()));
        let plain = recipe().with_base(None);
        assert_eq!(recipe_from_wire(&recipe_to_wire(&plain)), Ok(plain));
    }

    #[test]
    fn a_recipe_that_cannot_be_is_refused() {
        let field = |change: fn(&mut v1::Recipe)| {
            let mut wire = recipe_to_wire(&recipe());
            change(&mut wire);
            recipe_from_wire(&wire).unwrap_err().field
        };
        assert_eq!(field(|wire| wire.sizes_bytes[0] = 0), "recipe.sizes_bytes");
        assert_eq!(field(|wire| wire.sizes_bytes[0] = u32::MAX), "recipe.sizes_bytes");
        assert_eq!(field(|wire| wire.sizes_bytes.push(1)), "recipe.digests");
        assert_eq!(
            field(|wire| wire.digests = wire.digests.slice(1..)),
            "recipe.digests"
        );
        assert_eq!(field(|wire| wire.base = wire.digests.slice(1..)), "recipe.base");
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let frame = Frame {
            digest: Digest::of(b"content"),
            size: 7,
            bases: vec![Digest::of(b"base")],
            codec: Codec::Zstd,
            data: b"data".to_vec(),
        };
        let wire = frame_to_wire(frame.clone());
        assert_eq!(frame_from_wire(wire.clone()), Ok(frame));
        let field = |frame| frame_from_wire(frame).unwrap_err().field;
        let long = u32::try_from(CHUNK_BYTES_MAX).unwrap() + 1;
        let mut announced = wire.clone();
        announced.size_bytes = long;
        assert_eq!(field(announced), "frame.size_bytes");
        let mut sent = wire.clone();
        sent.data = vec![0; long as usize].into();
        assert_eq!(field(sent), "frame.data");
        let mut unknown = wire;
        unknown.codec = 9;
        assert_eq!(field(unknown), "frame.codec");
    }
}
