//! How long a recording is kept, and the key that it is written with.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::id::RecordingId;

/// The key of a recording that may be made. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct RecordingKey {
    /// The recording that it belongs to.
    pub recording: RecordingId,
    /// With which its frames are sealed.
    pub key: Zeroizing<Box<[u8]>>,
    /// The same, wrapped by the tenant's key: it lies in the file.
    pub wrapped: Box<[u8]>,
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordingKey({}, ***)", self.recording)
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $label:literal $days:literal;)+) => {
        /// Why a recording is kept for how long.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Retention {
            $($(#[$doc])* $name,)+
        }

        impl Retention {
            /// All of them, shortest first.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word in the store, the settings, the API and the names of folders.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// As it stands in messages.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// For how long.
            #[must_use]
            pub const fn time(self) -> Duration {
                let days: u64 = match self { $(Self::$name => $days,)+ };
                Duration::from_secs(days * 86_400)
            }
        }
    };
}

classes! {
    /// Calls that no law asks to keep.
    SixMonths "six_months" 184;
    /// Sales of a term of up to a year.
    FiveYears "five_years" 1_827;
    /// Sales of a longer term.
    TenYears "ten_years" 3_653;
}

impl Retention {
    /// Reads a code back.
    #[must_use]
    pub fn find_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|retention| retention.code() == code)
    }

    /// Reads a label back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|retention| retention.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_shorter_than_its_years() {
        let year = Duration::from_secs(365 * 86_400 + 21_600);
        assert!(Retention::FiveYears.time() >= year * 5);
        assert!(Retention::TenYears.time() >= year * 10);
        for class in Retention::ALL {
            assert_eq!(Retention::find_label(class.label()), Some(*class));
            assert_eq!(Retention::find_code(class.code()), Some(*class));
        }
    }
}
