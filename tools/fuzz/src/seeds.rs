//! Valid inputs from the golden files of the crates' own tests.

const COMMANDS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../book/tests/golden/commands.txt"));
const MESSAGES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/tests/golden/messages.txt"));

/// Records of the log, one of every kind.
pub fn commands() -> Vec<Vec<u8>> {
    COMMANDS.lines().filter_map(|line| line.rsplit_once(": ")).map(|(_, hex)| bytes_of(hex)).collect()
}

/// Messages of one schema (`orders`, `market`), one of every kind.
pub fn messages(schema: &str) -> Vec<Vec<u8>> {
    let lines = MESSAGES.lines().filter_map(|line| line.strip_prefix(schema)?.strip_prefix(' '));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(_, hex)| bytes_of(hex)).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("golden files are hex") as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
