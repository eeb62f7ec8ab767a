//! Data objects: blocks, index, footer (docs/formats/object.md).
