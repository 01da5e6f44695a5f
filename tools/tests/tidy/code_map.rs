//! The order of rooms in each crate, as the code map of `docs/ARCHITECTURE.md` gives it, and the imports that break it.
//!
//! A row is `| path | caption | invariant |`, from the highest room to the lowest. Its path is a folder or a file
//! without `.rs` directly below the crate's `src`, or several of them in braces: `wal/src/{units,block}`. A room may
//! import from rows below its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Import;
use crate::source::Tree;

pub(crate) const PAGE: &str = "docs/ARCHITECTURE.md";
const SECTION: &str = "## Code map";

/// Rooms of one crate with the number of their row, counted from the highest.
pub(crate) type Rooms = BTreeMap<String, usize>;

/// The rooms of every crate, and what is wrong with the rows.
pub(crate) fn read(tree: &Tree) -> (BTreeMap<String, Rooms>, Vec<String>) {
    let page = tree.texts.get(PAGE).map_or("", String::as_str);
    let section = page.lines().skip_while(|line| *line != SECTION).skip(1).take_while(|line| !line.starts_with("## "));
    let (mut rooms, mut findings) = (BTreeMap::<String, Rooms>::new(), Vec::new());
    for (idx, cells) in section.filter_map(row).enumerate() {
        let [path, texts @ ..] = cells.as_slice() else { continue };
        let Some((of_crate, names)) = path.split_once("/src/") else { continue };
        if texts.len() != 2 || texts.iter().any(String::is_empty) {
            findings.push(format!("{PAGE}: the row of {path} needs a caption and an invariant"));
        }
        for name in names.trim_matches(['{', '}']).split(',').map(str::trim) {
            if rooms.entry(of_crate.to_owned()).or_default().insert(name.to_owned(), idx).is_some() {
                findings.push(format!("{PAGE}: {of_crate}/src/{name} has two rows"));
            }
        }
    }
    for of_crate in &tree.crates {
        findings.extend(differences(tree, of_crate, rooms.get(of_crate).unwrap_or(&Rooms::new())));
    }
    (rooms, findings)
}

/// The cells of a row, without the ticks of code.
fn row(line: &str) -> Option<Vec<String>> {
    let cells = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(cells.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
}

/// Rooms without a row, and rows without a room.
fn differences(tree: &Tree, of_crate: &str, rooms: &Rooms) -> Vec<String> {
    let shipped = tree.sources(of_crate).filter(|source| !source.is_only_tests());
    let found: BTreeSet<&str> = shipped.filter_map(|source| room(&source.path)).collect();
    let unlisted = found.iter().filter(|name| !rooms.contains_key(**name)).map(|name| format!("{name} has no row"));
    let stale = rooms.keys().filter(|name| !found.contains(name.as_str())).map(|name| format!("{name} does not exist"));
    unlisted.chain(stale).map(|finding| format!("{PAGE}: {of_crate}/src/{finding}")).collect()
}

/// The room in which a file lies; none for the roots of a crate, which name all of them.
fn room(path: &str) -> Option<&str> {
    let (_, inside) = path.split_once("/src/")?;
    let name = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    (!["lib", "main", "bin"].contains(&name)).then_some(name)
}

/// Imports from a room into one above it.
pub(crate) fn upward<'a>(imports: &'a [Import], rooms: &Rooms) -> Vec<&'a Import> {
    let row = |path: &str| room(path).and_then(|name| rooms.get(name));
    let is_upward = |import: &&Import| match (row(&import.from), row(&import.to)) {
        (Some(from), Some(to)) => to < from,
        _ => false,
    };
    imports.iter().filter(is_upward).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::{imports, tests::tree};

    const MAP: &str = "## Code map\n| folder | holds | keeps |\n|---|---|---|\n| `x/src/top` | A. | B. |\n\
                       | `x/src/{low,lower}` | A. | B. |\n## Next\n| `x/src/other` | | |\n";

    #[test]
    fn an_import_into_a_higher_room_is_found() {
        let tree = tree(&[
            (PAGE, MAP),
            ("x/src/lib.rs", "mod top; mod low; mod lower;"),
            ("x/src/top.rs", "use crate::low::a;"),
            ("x/src/low/deep.rs", "use crate::lower::f;\nuse crate::top::f;"),
            ("x/src/lower.rs", "use crate::low::deep::f;"),
        ]);
        let (rooms, findings) = read(&tree);
        assert_eq!(findings, [""; 0]);
        let imports = imports(&tree, "x");
        let upward: Vec<_> = upward(&imports, &rooms["x"]).into_iter().map(|i| (i.from.as_str(), i.line)).collect();
        assert_eq!(upward, [("x/src/low/deep.rs", 2)]);
    }

    #[test]
    fn rows_and_folders_are_the_same() {
        let rows = MAP.replace("| A. | B. |\n##", "| A. | |\n| `x/src/top` | A. | B. |\n##");
        let tree = tree(&[(PAGE, &rows), ("x/src/top.rs", ""), ("x/src/new/a.rs", ""), ("x/src/bin/b.rs", "")]);
        let (_, findings) = read(&tree);
        let expected = ["{low,lower} needs", "top has two", "new has no row", "low does not", "lower does not"];
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(["an invariant", "two rows", "no row", "not exist", "not exist"]) {
            assert!(finding.ends_with(part), "{findings:?}");
        }
    }
}
