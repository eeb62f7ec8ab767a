//! Little-endian fields of fixed records, read in order.

/// Reads a record whose whole length the caller has made sure of.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Over exactly one record.
    pub(crate) fn new(record: &'a [u8]) -> Fields<'a> {
        Fields(record)
    }

    /// The next `N` bytes.
    ///
    /// # Panics
    /// Beyond the record: its reader and its length disagree, a programmer's error that any input would show.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().expect("a record is as long as its fields");
        self.0 = rest;
        *field
    }

    pub(crate) fn skip(&mut self, len: usize) {
        self.0 = &self.0[len..];
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(crate) fn i16(&mut self) -> i16 {
        i16::from_le_bytes(self.take())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }

    pub(crate) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take())
    }
}
