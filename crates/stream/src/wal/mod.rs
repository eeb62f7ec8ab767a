//! The WAL kinds: an enum above the seams Disk and ObjectStore, one record format, one contract.
