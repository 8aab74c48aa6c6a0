//! The languages in which the relay speaks to people.

/// What somebody is spoken to in.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Language {
    /// Mandarin.
    #[default]
    Chinese,
    /// English.
    English,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Chinese, Self::English];

    /// The tag of RFC 5646, as in the store, the API and the names of files.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// Reads a tag back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_read_back_by_its_tag_and_by_nothing_else() {
        for language in Language::ALL {
            assert_eq!(Language::find_label(language.label()), Some(language));
        }
        for text in ["", "zh", "zh-cn", "EN", "en ", "fr"] {
            assert_eq!(Language::find_label(text), None, "{text:?}");
        }
    }
}
