//! Memory for large tables that a data core reads at random: in huge pages, and there before the
//! core touches it.
//!
//! A table that grew page by page as it filled would fault on the path of a decision for as long as
//! the node is young, and a random read through small pages walks the page tables each time. A node
//! that took all of it before it began would start late, and hold memory that it may never use. So
//! another thread takes it ahead of the core, through [`TableMemory`]. Memory that nobody took ahead
//! is taken when it is touched: slower, and otherwise the same. The only other thing here is the
//! prefetch instruction.

use bytemuck::Pod;
use memmap2::{Advice, MmapMut, MmapRaw};
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Smallest page of a processor that catraca runs on, bytes.
const PAGE_LEN: usize = 4096;

/// A fixed, zeroed table of plain values.
pub struct Table<T> {
    map: Arc<MmapRaw>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Table<T> {
    /// `len` zeroed values. Addresses only: the memory is taken as it is touched, or ahead of that
    /// through [`Self::memory`].
    ///
    /// # Errors
    /// When the system has no such addresses.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        assert!(len > 0 && size_of::<T>() > 0 && align_of::<T>() <= PAGE_LEN);
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes)?;
        // Advice only: with small pages everything is slower and otherwise the same.
        let _ = map.advise(Advice::HugePage);
        Ok(Self { map: Arc::new(MmapRaw::from(map)), len, element: PhantomData })
    }

    /// The table's memory, for the thread that takes it ahead.
    pub fn memory(&self) -> TableMemory {
        TableMemory(Arc::clone(&self.map))
    }
}

/// The memory of a [`Table`], which another thread may take ahead of the table's owner. It says
/// nothing of what is in it, and changes nothing there.
#[derive(Debug, Clone)]
pub struct TableMemory(Arc<MmapRaw>);

impl TableMemory {
    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: never, a table has a value.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Takes the pages of these bytes that were not touched yet. What is in them stays, so that the
    /// owner may write meanwhile.
    ///
    /// # Errors
    /// A kernel before 5.14, no memory left, or bytes that are not the table's.
    pub fn take(&self, from: usize, len: usize) -> io::Result<()> {
        self.0.advise_range(Advice::PopulateWrite, from, len)
    }
}

impl<T: Pod> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping begins at a page, which `zeroed` asserts to be aligned enough for
        // `T`; it has `len * size_of::<T>()` bytes, is initialised (the kernel zeroes it), lives as
        // long as `self`, and any bytes are a `T`, because `T` is `Pod`. A `TableMemory` shares the
        // mapping, and neither reads nor writes it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl<T: Pod> DerefMut for Table<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; `&mut self` makes the borrow the only one.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

/// Asks the processor to bring the cache line of `value` near. Does nothing where there is no such
/// instruction.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect but on the cache and faults on no address; SSE is part
        // of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_zeroed_and_keeps_what_is_written() {
        let mut table = Table::<u64>::zeroed(3_000_000).expect("24 MB");
        assert!(table.iter().all(|&value| value == 0));
        table[2_999_999] = 7;
        table[0] = 1;
        assert_eq!((table.len(), table[0], table[2_999_999]), (3_000_000, 1, 7));
        let memory = table.memory();
        assert_eq!(memory.len(), 24_000_000);
        if memory.take(0, memory.len()).is_ok() {
            assert_eq!((table[0], table[1_500_000], table[2_999_999]), (1, 0, 7));
        }
        assert!(memory.take(0, memory.len() + (1 << 22)).is_err(), "that is not the table's");
    }
}
