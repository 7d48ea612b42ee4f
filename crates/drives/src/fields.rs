//! Fields: numbers and byte strings, put behind one another and taken off the front again.
//!
//! Numbers are little-endian; a byte string stands behind its length as a number of four bytes.

use uuid::Uuid;

use crate::frame::Address;

/// Takes fields off the front of bytes. Every call gives `None` where the bytes end before the field does.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    /// Offset of the next field.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Whether every field was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A number of one byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// A number of two bytes.
    pub(crate) fn half(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// A number of four bytes.
    pub(crate) fn short(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of eight bytes.
    pub(crate) fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length or a count, of four bytes.
    pub(crate) fn length(&mut self) -> Option<usize> {
        self.short().map(|length| length as usize)
    }

    /// A byte string behind its length.
    pub(crate) fn field(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    pub(crate) fn address(&mut self) -> Option<Address> {
        Some(Address { segment: self.short()?, offset: self.short()? })
    }
}

/// Puts a length or a count.
pub(crate) fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("what is encoded is smaller than 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
}

/// Puts a byte string behind its length.
pub(crate) fn push_field(bytes: &mut Vec<u8>, field: &[u8]) {
    push_length(bytes, field.len());
    bytes.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_in_order_and_none_beyond_the_end() {
        let mut bytes = vec![7, 1, 2];
        push_field(&mut bytes, b"name");
        let mut fields = Fields::of(&bytes);
        assert_eq!((fields.byte(), fields.half()), (Some(7), Some(0x0201)));
        assert_eq!((fields.offset(), fields.field()), (3, Some(&b"name"[..])));
        assert!(fields.is_empty());
        assert_eq!((fields.short(), fields.take(usize::MAX)), (None, None));
    }
}
