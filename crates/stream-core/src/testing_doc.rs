//! Golden bytes: read from the format documents, so that document and code cannot part.

/// The bytes printed in the document's fenced block that opens with ````hex NAME`: of each line, what stands before `|`.
pub(crate) fn hex_block(document: &str, name: &str) -> String {
    let fence = format!("```hex {name}");
    let block = document.split(&fence).nth(1).unwrap_or_else(|| panic!("the document has no block {name:?}"));
    let block = block.split("```").next().unwrap_or_default();
    block.lines().filter_map(|line| line.split('|').next()).flat_map(str::split_whitespace).collect()
}

/// Bytes as the documents print them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
