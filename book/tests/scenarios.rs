//! Scenarios: text in, text out. `tests/support/script.rs` says what a line may be.
//!
//! With `PINION_BLESS=1` in the environment the files are written anew with what came out; read the difference.

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/script.rs"]
mod script;

fn check(name: &str) {
    let path = format!("{}/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let said = script::replay(&text);
    if std::env::var_os("PINION_BLESS").is_some() {
        std::fs::write(&path, &said).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    let mut title = "setup";
    for (number, (wanted, got)) in text.lines().zip(said.lines()).enumerate() {
        title = wanted.strip_prefix("== ").unwrap_or(title);
        assert_eq!(wanted, got, "{name}.txt line {}, in '{title}'", number + 1);
    }
    assert_eq!(text, said, "{name}.txt");
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_file_is_checked() {
            let folder = format!("{}/tests/scenarios", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(folder).expect("the scenarios are there");
            let mut names: Vec<String> = files.map(|f| f.expect("a file").file_name().into_string().expect("ASCII")).collect();
            names.sort();
            let mut listed = vec![$(concat!(stringify!($name), ".txt").to_owned()),*];
            listed.sort();
            assert_eq!(names, listed);
        }
    };
}

scenarios! {
    admin
    admission
    amend
    cancel
    cancel_replace
    duplicates
    extremes
    fees
    fok
    funds
    ioc
    limit
    market_orders
    mass_cancel
    post_only
    price_band
    queries
    regressions
    self_trade
    session_down
    status
    throttle
}
