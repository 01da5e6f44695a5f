//! A list of cores in the kernel's notation: `0-3,8`.

use std::ops::RangeInclusive;

/// No machine has a core of this number; a list that reaches further is an error, and would take long to walk.
const CORES_MAX: usize = 1 << 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuList(Vec<RangeInclusive<usize>>);

impl CpuList {
    /// `None` for any other text. `N` stands for the last core and `all` for every one, as in the kernel's boot
    /// options.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let core = |text: &str| match text {
            "N" => Some(CORES_MAX - 1),
            _ => text.parse().ok().filter(|core| *core < CORES_MAX),
        };
        let range = |part: &str| match part.split_once('-') {
            Some((first, last)) => Some(core(first)?..=core(last)?),
            None if part == "all" => Some(0..=CORES_MAX - 1),
            None => core(part).map(|core| core..=core),
        };
        text.trim().split(',').filter(|part| !part.is_empty()).map(range).collect::<Option<_>>().map(Self)
    }

    /// The cores 0 to `count - 1`.
    pub(super) fn first(count: usize) -> Self {
        Self(count.checked_sub(1).map(|last| 0..=last).into_iter().collect())
    }

    pub(super) fn contains(&self, core: usize) -> bool {
        self.0.iter().any(|range| range.contains(&core))
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().cloned().map(Iterator::count).sum()
    }

    /// Every listed core but `core`.
    pub(super) fn others(&self, core: usize) -> Vec<usize> {
        self.0.iter().cloned().flatten().filter(|other| *other != core).collect()
    }

    pub(super) fn text(&self) -> String {
        let part = |range: &RangeInclusive<usize>| match range.start() == range.end() {
            true => range.start().to_string(),
            false => format!("{}-{}", range.start(), range.end()),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_or_refused() {
        let list = CpuList::parse("0-3,8\n").expect("a list");
        assert_eq!((list.count(), list.text().as_str()), (5, "0-3,8"));
        assert!(list.contains(0) && list.contains(3) && list.contains(8) && !list.contains(4));
        assert_eq!(list.others(3), [0, 1, 2, 8]);
        assert!(CpuList::parse("1-N").expect("a list").contains(500));
        assert!(CpuList::parse("all").expect("a list").contains(0));
        assert_eq!((CpuList::parse(""), CpuList::first(0)), (Some(CpuList::default()), CpuList::default()));
        for text in ["x", "1-", "-1", "0-7:1/2", "managed_irq,1", "65536"] {
            assert_eq!(CpuList::parse(text), None, "{text}");
        }
    }
}
