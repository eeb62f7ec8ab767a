//! Batches that are built and read back, cut, damaged, and made to lie.
