//! Memory for large tables that a data core reads at random: in huge pages, and all there before
//! the first transaction.
//!
//! A table that grew page by page as it filled would fault on the path of a decision for as long as
//! the node is young, and a random read through small pages walks the page tables each time. The
//! only other thing here is the prefetch instruction.

use bytemuck::Pod;
use memmap2::{Advice, MmapMut};
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Smallest page of a processor that catraca runs on, bytes: touching one byte in each populates
/// everything.
const PAGE_LEN: usize = 4096;

/// A fixed, zeroed table of plain values.
pub struct Table<T> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Table<T> {
    /// `len` zeroed values, whose memory is taken now.
    ///
    /// # Errors
    /// When the system has no such memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        assert!(len > 0 && size_of::<T>() > 0 && align_of::<T>() <= PAGE_LEN);
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut map = MmapMut::map_anon(bytes)?;
        // Advice only: with small pages everything is slower and otherwise the same.
        let _ = map.advise(Advice::HugePage);
        if map.advise(Advice::PopulateWrite).is_err() {
            // A kernel before 5.14: the same by hand.
            map.iter_mut().step_by(PAGE_LEN).for_each(|byte| *byte = std::hint::black_box(0));
        }
        Ok(Self { map, len, element: PhantomData })
    }
}

impl<T: Pod> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping begins at a page, which `zeroed` asserts to be aligned enough for
        // `T`; it has `len * size_of::<T>()` bytes, is initialised (the kernel zeroes it), lives as
        // long as `self`, and any bytes are a `T`, because `T` is `Pod`.
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
    }
}
