//! Numbers as they are written in JSON, compared exactly: an identifier of twenty digits is not rounded. Pure.

use std::cmp::Ordering;

/// A number, as a fraction of its significant digits and a power of ten: `0.DIGITS * 10^power`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    /// Of the first digit; meaningless for 0.
    power: i128,
    /// Without zeros at the beginning and at the end; none for 0.
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads a number as JSON writes it (RFC 8259, section 6); `None` if `text` is none. Powers of ten beyond
    /// those of 64 bits count as the greatest of these.
    pub fn read(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, read_power(power)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let is_whole = is_digits(whole) && (whole.len() == 1 || !whole.starts_with('0'));
        if !is_whole || fraction.is_some_and(|fraction| !is_digits(fraction)) {
            return None;
        }
        let mut digits: Vec<u8> =
            whole.bytes().chain(fraction.unwrap_or_default().bytes()).collect();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        let last = digits.iter().rposition(|digit| *digit != b'0');
        digits.truncate(last.map_or(0, |last| last + 1));
        if digits.is_empty() {
            return Some(Self { is_negative: false, power: 0, digits });
        }
        // Lengths of texts in memory: they fit.
        let power = i128::from(power) + whole.len() as i128 - zeros as i128;
        Some(Self { is_negative, power, digits })
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

/// By value.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || (self.power, &self.digits).cmp(&(other.power, &other.digits));
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            -1 => size().reverse(),
            _ => size(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !is_digits(digits) {
        return None;
    }
    let greatest = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(greatest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::read(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn numbers_are_those_of_json_and_no_others() {
        for text in ["0", "-0", "0.0", "1", "-12.50", "1e3", "1E-3", "0e0", "1.5e+7", "10"] {
            assert!(Decimal::read(text).is_some(), "{text}");
        }
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", " 1", "1 ", "0x1", "1_0", "NaN", "1.2.3",
            "٣",
        ] {
            assert!(Decimal::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_that_floating_point_rounds_are_told_apart_and_all_ways_to_write_one_are_equal() {
        let ascending = [
            "-1e400",
            "-10",
            "-9.99",
            "-1",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "0.5",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "12345678901234567890",
            "12345678901234567891",
            "1e400",
            "1e99999999999999999999",
        ];
        for (at, small) in ascending.iter().enumerate() {
            for great in &ascending[at + 1..] {
                assert!(decimal(small) < decimal(great), "{small} < {great}");
                assert!(decimal(great) > decimal(small), "{great} > {small}");
            }
        }
        for (one, other) in [
            ("0", "-0.00"),
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.5", "5E-1"),
            ("-0e9", "0"),
            ("10.0", "1e+1"),
        ] {
            assert_eq!(decimal(one), decimal(other));
        }
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_integers(one: i64, other: i64, shift in 0..20_u32) {
            let write = |number: i64| format!("{number}e-{shift}");
            prop_assert_eq!(decimal(&write(one)).cmp(&decimal(&write(other))), one.cmp(&other));
            prop_assert_eq!(decimal(&one.to_string()).cmp(&decimal(&other.to_string())), one.cmp(&other));
        }

        #[test]
        fn nothing_panics(text in ".{0,20}", number in "-?[0-9]{0,5}\\.?[0-9]{0,5}[eE]?[+-]?[0-9]{0,30}") {
            let _ = Decimal::read(&text);
            let _ = Decimal::read(&number);
        }
    }
}
