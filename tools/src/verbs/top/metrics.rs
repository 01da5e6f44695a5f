//! A reader of Prometheus text, version 0.0.4: series with their labels and values, in the order of the text.
//!
//! Values stay text until they are read: sequences are integers and must not pass through a float.

use anyhow::{Context, Result, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub name: String,
    pub labels: Vec<(String, String)>,
    value: String,
}

impl Series {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    /// The value as an integer.
    pub fn integer(&self) -> Result<u64> {
        self.value.parse().with_context(|| format!("{} = {:?} is not an integer", self.name, self.value))
    }

    pub fn decimal(&self) -> Result<f64> {
        self.value.parse().with_context(|| format!("{} = {:?} is not a number", self.name, self.value))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Metrics {
    series: Vec<Series>,
}

impl Metrics {
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines.map(|line| read_line(line).with_context(|| format!("not a line of metrics: {line:?}")));
        Ok(Self { series: series.collect::<Result<_>>()? })
    }

    /// All series of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| series.name == name)
    }

    /// All series of that name with that label.
    pub fn labeled<'a>(&'a self, name: &'a str, label: (&'a str, &'a str)) -> impl Iterator<Item = &'a Series> {
        self.all(name).filter(move |series| series.label(label.0) == Some(label.1))
    }

    /// The first series of that name as an integer; none where the node does not report it.
    pub fn find(&self, name: &str) -> Option<Result<u64>> {
        self.all(name).next().map(Series::integer)
    }

    /// The same for a series that every node reports.
    pub fn integer(&self, name: &str) -> Result<u64> {
        self.find(name).with_context(|| format!("the node does not report {name}: is it of another version?"))?
    }
}

/// Reads `name{label="value",...} number`, with or without labels. A time after the number is ignored.
fn read_line(line: &str) -> Result<Series> {
    let name_len = line.find(['{', ' ']).context("a name without a number")?;
    let (name, mut rest) = line.split_at(name_len);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = read_label(rest)?;
            labels.push(label);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next().context("no number")?;
    Ok(Series { name: name.to_owned(), labels, value: value.to_owned() })
}

/// Reads `label="value"`, and returns it with the text after it.
fn read_label(text: &str) -> Result<((String, String), &str)> {
    let (label, rest) = text.split_once("=\"").context("a label without a value")?;
    let mut value = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok(((label.to_owned(), value), &rest[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, char)) => value.push(char),
                None => break,
            },
            char => value.push(char),
        }
    }
    bail!("the value of {label:?} has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_numbers_are_read_as_they_are_written() {
        let text = "# HELP a_total Everything, {even} this.\n# TYPE a_total counter\na_total 18446744073709551615\n\n\
                    b{x=\"1\",le=\"+Inf\"} 7\nb{x=\"2\",} 8 1395066363000\nc{t=\"q\\\"u, o}\\\\t\\ne\"} 0.25\nd{} 1e-3\n";
        let metrics = Metrics::parse(text).expect("well written");
        assert_eq!(metrics.integer("a_total").expect("there"), u64::MAX, "no digit is lost");
        let infinite: Vec<u64> =
            metrics.labeled("b", ("le", "+Inf")).map(|s| s.integer().expect("an integer")).collect();
        assert_eq!(infinite, [7]);
        assert_eq!(metrics.all("b").map(|series| series.label("x")).collect::<Vec<_>>(), [Some("1"), Some("2")]);
        let quoted = metrics.all("c").next().expect("there");
        assert_eq!((quoted.label("t"), quoted.label("x")), (Some("q\"u, o}\\t\ne"), None));
        assert_eq!(quoted.decimal().expect("a number"), 0.25);
        assert!(quoted.integer().is_err());
        assert_eq!(metrics.all("d").next().expect("there").decimal().expect("a number"), 0.001);
        assert!(metrics.find("e").is_none());
    }

    #[test]
    fn an_invalid_line_is_named() {
        for line in ["name", "name{x} 1", "name{x=\"1} 1", "name{x=\"1\"}", "{\"live\":true}"] {
            let error = Metrics::parse(line).expect_err("no metrics");
            assert!(format!("{error:#}").contains("not a line of metrics"), "{line}: {error:#}");
        }
        let missing = Metrics::default().integer("pinion_ready").expect_err("not there");
        assert!(missing.to_string().contains("pinion_ready"), "{missing}");
    }
}
