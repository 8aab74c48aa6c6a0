//! Pages of a list: newest first, each starting where the last one ended.

/// The most items of one page.
pub const PAGE_ITEMS_MAX: u16 = 200;

/// Which page is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRequest {
    limit: u16,
    before: Option<u128>,
}

impl PageRequest {
    /// At most `limit` items (1 to [`PAGE_ITEMS_MAX`]), after the one whose identifier a former
    /// page gave as `next`.
    #[must_use]
    pub fn new(limit: u16, before: Option<u128>) -> Self {
        Self { limit: limit.clamp(1, PAGE_ITEMS_MAX), before }
    }

    /// One more than wanted, to learn whether there are more.
    pub(super) fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Items have identifiers below this.
    pub(super) fn before(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(self.before.unwrap_or(u128::MAX))
    }

    /// The page out of everything there is, newest first: for lists that are in memory.
    #[must_use]
    pub fn cut<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> u128) -> Page<T> {
        let before = self.before.unwrap_or(u128::MAX);
        items.retain(|item| id(item) < before);
        self.page(items, id)
    }

    /// Cuts the surplus row off and remembers where to go on.
    pub(super) fn page<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> u128) -> Page<T> {
        let limit = usize::from(self.limit);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = has_more.then(|| items.last().map(id)).flatten();
        Page { items, next }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Hand this to [`PageRequest::new`] for the next page; absent on the last one.
    pub next: Option<u128>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let request = PageRequest::new(2, None);
        assert_eq!(request.page(vec![3, 2, 1], |i| *i).next, Some(2));
        assert_eq!(request.page(vec![2, 1], |i| *i).next, None);
        assert_eq!(PageRequest::new(0, None).fetch(), 2);
        assert_eq!(PageRequest::new(u16::MAX, None).fetch(), 201);
    }
}
