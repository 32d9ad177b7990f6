//! Reading contents out of a range of a layer.

use std::io::{self, Read};
use std::ops::Range;

use ashlar_object::Digest;

use crate::PackError;

/// A range of one layer's blob, and the contents it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which layer of the stack.
    pub layer: usize,
    /// Which bytes of its blob.
    pub range: Range<u64>,
    contents: Vec<(Digest, Range<u64>)>,
}

impl Fetch {
    /// The contents that the range holds, in the order in which they lie there.
    pub fn contents(&self) -> impl ExactSizeIterator<Item = Digest> + '_ {
        self.contents.iter().map(|(digest, _)| *digest)
    }

    /// Takes the bytes of the range and hands each content to `each`. The reader that `each` gets
    /// fails with `InvalidData` or `UnexpectedEof` instead of ending when the content is not what
    /// its digest says; nothing may be used before it has ended. What `each` leaves unread is
    /// passed over unchecked.
    ///
    /// # Errors
    /// When the bytes end early or are not what the table of contents says, or `each` fails.
    pub fn read(
        &self,
        bytes: &mut dyn Read,
        each: &mut dyn FnMut(&Digest, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let _ = (bytes, each);
        Err(PackError::Toc("it cannot be read yet".to_owned()))
    }
}
