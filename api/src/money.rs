//! Money as whole millionths of the provider's currency, so that sums are exact.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clean::brief;

/// A text that is no amount: a sign, an exponent, more than six decimals, more than 10^13.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the amount {0:?} is not a number such as 12, 0.35 or 0.000125 with at most six decimals")]
pub struct AmountError(pub String);

/// An amount in millionths of a currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money {
    /// Millionths.
    pub micros: u64,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self { micros: 0 };

    /// An amount such as `12`, `0.35` or `0.000125`.
    ///
    /// # Errors
    /// [`AmountError`] for anything else: signs, exponents, more than six decimals, more than
    /// 10^13.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let refuse = || AmountError(brief(text));
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 13
            || decimals.len() > 6
            || !digits(whole)
            || !digits(decimals)
            || text.ends_with('.')
        {
            return Err(refuse());
        }
        let padded = format!("{whole}{decimals:0<6}");
        Ok(Self {
            micros: padded.parse().map_err(|_| refuse())?,
        })
    }

    /// This amount for each of `millionths` / 1,000,000 units, rounded up: a reservation is never
    /// below the bill.
    pub fn times_millionths(self, millionths: u64) -> Self {
        let product = (u128::from(self.micros) * u128::from(millionths)).div_ceil(1_000_000);
        Self {
            micros: u64::try_from(product).unwrap_or(u64::MAX),
        }
    }

    /// `count` times this amount; saturates.
    pub fn times(self, count: u64) -> Self {
        Self {
            micros: self.micros.saturating_mul(count),
        }
    }

    /// The sum; saturates.
    pub fn plus(self, other: Self) -> Self {
        Self {
            micros: self.micros.saturating_add(other.micros),
        }
    }

    /// What is left; nothing where that is less than nothing.
    pub fn minus(self, other: Self) -> Self {
        Self {
            micros: self.micros.saturating_sub(other.micros),
        }
    }
}

impl fmt::Display for Money {
    /// At least two decimals.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let decimals = format!("{:06}", self.micros % 1_000_000);
        let kept = decimals.trim_end_matches('0').len().max(2);
        write!(
            formatter,
            "{}.{}",
            self.micros / 1_000_000,
            &decimals[..kept]
        )
    }
}

impl schemars::JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An amount in the provider's currency, such as \"12.50\".",
            "type": ["string", "number"],
        })
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl serde::de::Visitor<'_> for Amount {
            type Value = Money;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an amount such as \"12.50\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Money, E> {
                Money::parse(text).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Money, E> {
                Money::parse(&value.to_string()).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Money, E> {
                Money::parse(&value.to_string()).map_err(E::custom)
            }

            /// The shortest decimals that read back as the same number are the ones that were
            /// written.
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Money, E> {
                Money::parse(&value.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_survive_the_round_trip() {
        for (text, micros, shown) in [
            ("12", 12_000_000, "12.00"),
            ("0.35", 350_000, "0.35"),
            ("0.000125", 125, "0.000125"),
            ("007.5", 7_500_000, "7.50"),
        ] {
            let money = Money::parse(text).unwrap();
            assert_eq!((money.micros, money.to_string().as_str()), (micros, shown));
            assert_eq!(Money::parse(shown).unwrap(), money);
        }
        for text in [
            "",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "0.0000001",
            "1,5",
            "NaN",
            "12345678901234",
            "１",
        ] {
            assert!(Money::parse(text).is_err(), "{text}");
        }
        let endless = toml::from_str::<toml::Table>("n = 1e300").unwrap()["n"].clone();
        let message = endless.try_into::<Money>().unwrap_err().to_string();
        assert!(message.len() < 200, "{message}");
    }

    #[test]
    fn prices_per_second_are_rounded_up() {
        let third = Money::parse("0.333333").unwrap();
        assert_eq!(
            third.times_millionths(5_500_000),
            Money { micros: 1_833_332 }
        );
        assert_eq!(Money { micros: 1 }.times_millionths(1), Money { micros: 1 });
        assert_eq!(Money { micros: u64::MAX }.times(3).micros, u64::MAX);
        assert_eq!(Money { micros: 1 }.minus(Money { micros: 2 }), Money::ZERO);
    }

    #[test]
    fn toml_strings_and_numbers_are_amounts() {
        #[derive(Deserialize)]
        struct Budget {
            budget: Money,
        }
        for text in ["\"12.5\"", "12.5"] {
            assert_eq!(
                toml::from_str::<Budget>(&format!("budget = {text}"))
                    .unwrap()
                    .budget
                    .micros,
                12_500_000
            );
        }
        assert_eq!(
            toml::from_str::<Budget>("budget = 3")
                .unwrap()
                .budget
                .micros,
            3_000_000
        );
        assert!(toml::from_str::<Budget>("budget = -3").is_err());
    }
}
