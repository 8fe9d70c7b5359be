//! Height and width, written as one number for squares.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Height and width of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageSize(pub(crate) [usize; 2]);

impl Serialize for ImageSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self([height, width]) = self;
        if height == width { height.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ImageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl<'de> Visitor<'de> for SizeVisitor {
            type Value = ImageSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one size for squares, or [height, width]")
            }

            fn visit_i64<E: serde::de::Error>(self, size: i64) -> Result<ImageSize, E> {
                let size = usize::try_from(size).map_err(E::custom)?;
                Ok(ImageSize([size, size]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<ImageSize, A::Error> {
                match (sizes.next_element()?, sizes.next_element()?, sizes.next_element::<usize>()?) {
                    (Some(height), Some(width), None) => Ok(ImageSize([height, width])),
                    _ => Err(A::Error::custom("expected two numbers, [height, width]")),
                }
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}
