//! Memory as direct I/O wants it: whole pages, at a page's boundary.

use bytemuck::{Pod, Zeroable};
use catraca_wire::block::BLOCK_ALIGN;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
struct Page([u8; BLOCK_ALIGN]);

const _: () = assert!(align_of::<Page>() == BLOCK_ALIGN && size_of::<Page>() == BLOCK_ALIGN);

/// Pages of memory.
pub struct Pages(Box<[Page]>);

impl Pages {
    /// So many bytes, zeroed: a multiple of 4096.
    pub fn new(len: usize) -> Self {
        assert!(len.is_multiple_of(BLOCK_ALIGN), "{len} bytes are not whole pages");
        Self(bytemuck::zeroed_slice_box(len / BLOCK_ALIGN))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// All of it, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

/// Whether these bytes can be written as they lie.
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(BLOCK_ALIGN) && bytes.len().is_multiple_of(BLOCK_ALIGN)
}
