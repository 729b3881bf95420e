//! Bytes in the order in which they came, in blocks: many at once change hands without being copied. Pure.

/// A block has so many bytes at most; a longer piece has one of its own.
pub(super) const BLOCK_BYTES: usize = 68 * 1024;
/// Empty blocks that are kept for later.
const SPARE_MAX: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
    /// Empty, to be used again.
    spare: Vec<Vec<u8>>,
}

impl Blocks {
    /// How many bytes are here.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies bytes to the end.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let fits =
            |last: &&mut Vec<u8>| last.len() + bytes.len() <= last.capacity().max(BLOCK_BYTES);
        if let Some(last) = self.blocks.last_mut().filter(fits) {
            last.extend_from_slice(bytes);
            return;
        }
        let mut block = self.spare.pop().unwrap_or_default();
        block.extend_from_slice(bytes);
        self.blocks.push(block);
    }

    /// Takes over bytes and leaves an empty vector in their place. Few in much room are copied, so that what is here takes at most
    /// about twice its bytes, and what is kept for later.
    pub(super) fn take_over(&mut self, bytes: &mut Vec<u8>) {
        if bytes.len() < BLOCK_BYTES / 2 || bytes.len() < bytes.capacity() / 2 {
            self.push(bytes);
            bytes.clear();
            return;
        }
        self.bytes += bytes.len();
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES));
        self.blocks.push(std::mem::replace(bytes, empty));
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.blocks)
    }

    /// Brings back what [`Blocks::take`] gave, to be used again; lets go of what a burst needed.
    pub(super) fn give_back(&mut self, blocks: Vec<Vec<u8>>) {
        let usual = blocks.into_iter().filter(|block| block.capacity() <= 2 * BLOCK_BYTES);
        for mut block in usual.take(SPARE_MAX.saturating_sub(self.spare.len())) {
            block.clear();
            self.spare.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capacity(blocks: &[Vec<u8>]) -> usize {
        blocks.iter().map(Vec::capacity).sum()
    }

    proptest! {
        #[test]
        fn what_came_leaves_in_its_order_and_takes_little_more_room(
            pieces in prop::collection::vec((any::<bool>(), any::<u8>(), 0..100_000_usize), 0..40),
            taken_after in 1..10_usize,
        ) {
            let (mut blocks, mut came, mut left) = (Blocks::default(), Vec::new(), Vec::new());
            let mut take = |blocks: &mut Blocks| {
                let (bytes, taken) = (blocks.len(), blocks.take());
                prop_assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), bytes);
                prop_assert!(capacity(&taken) <= 2 * bytes + 2 * SPARE_MAX * BLOCK_BYTES);
                left.extend(taken.concat());
                blocks.give_back(taken);
                prop_assert!(blocks.is_empty() && blocks.spare.len() <= SPARE_MAX);
                prop_assert!(capacity(&blocks.spare) <= 2 * SPARE_MAX * BLOCK_BYTES);
                Ok(())
            };
            for (number, (is_copied, byte, len)) in pieces.into_iter().enumerate() {
                let mut piece = vec![byte; len];
                came.extend_from_slice(&piece);
                if is_copied {
                    blocks.push(&piece);
                } else {
                    blocks.take_over(&mut piece);
                    prop_assert!(piece.is_empty());
                }
                if number % taken_after == 0 {
                    take(&mut blocks)?;
                }
            }
            take(&mut blocks)?;
            prop_assert!(came == left);
        }
    }

    #[test]
    fn a_full_block_is_not_copied() {
        let mut lines = vec![b'x'; BLOCK_BYTES];
        let place = lines.as_ptr();
        let mut blocks = Blocks::default();
        blocks.take_over(&mut lines);
        assert_eq!(blocks.take()[0].as_ptr(), place);
    }
}
