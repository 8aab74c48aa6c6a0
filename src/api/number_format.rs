//! How numbers are spelled on a trunk, as the API says it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::trust::NumberFormat;

/// How numbers are spelled.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormatWord {
    /// In: in any of the other ways. Out: subscribers with `+`, virtual numbers as they are stored.
    AsIs,
    /// `+8613800001234`
    E164,
    /// `8613800001234`
    E164Digits,
    /// `013800001234`
    TrunkPrefix,
    /// `13800001234`
    National,
}

impl From<NumberFormatWord> for NumberFormat {
    fn from(word: NumberFormatWord) -> Self {
        match word {
            NumberFormatWord::AsIs => Self::AsIs,
            NumberFormatWord::E164 => Self::E164,
            NumberFormatWord::E164Digits => Self::E164Digits,
            NumberFormatWord::TrunkPrefix => Self::TrunkPrefix,
            NumberFormatWord::National => Self::National,
        }
    }
}

impl From<NumberFormat> for NumberFormatWord {
    fn from(format: NumberFormat) -> Self {
        match format {
            NumberFormat::AsIs => Self::AsIs,
            NumberFormat::E164 => Self::E164,
            NumberFormat::E164Digits => Self::E164Digits,
            NumberFormat::TrunkPrefix => Self::TrunkPrefix,
            NumberFormat::National => Self::National,
        }
    }
}
