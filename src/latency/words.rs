//! How numbers are told to people. Pure.

/// A time, to three digits: `7.51 ms`.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", digits(us as f64 / 1e3)),
        1_000_000..600_000_000 => format!("{} s", digits(us as f64 / 1e6)),
        600_000_000..36_000_000_000 => format!("{} min", digits(us as f64 / 60e6)),
        _ => format!("{} h", digits(us as f64 / 3600e6)),
    }
}

fn digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A count, in groups of three digits.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How much of it, in whole percent; between them `<1` and `>99`.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        whole if whole > 0.0 && whole < 1.0 => "<1 %".to_owned(),
        whole if whole > 99.0 && whole < 100.0 => ">99 %".to_owned(),
        whole => format!("{whole:.0} %"),
    }
}

/// One of the first, or of the second word.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_units() {
        for (us, told) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (7_514, "7.51 ms"),
            (9_996, "10.0 ms"),
            (12_345, "12.3 ms"),
            (999_600, "1000 ms"),
            (1_500_000, "1.50 s"),
            (725_000_000, "12.1 min"),
            (86_400_000_000, "24.0 h"),
        ] {
            assert_eq!(time(us), told);
        }
        for (number, told) in [(0, "0"), (999, "999"), (1_000, "1,000"), (10_000_000, "10,000,000")]
        {
            assert_eq!(count(number), told);
        }
        let told = [0.0, 0.004, 0.5, 0.8249, 0.999, 1.0].map(percent);
        assert_eq!(told, ["0 %", "<1 %", "50 %", "82 %", ">99 %", "100 %"]);
        assert_eq!(plural(1, "line", "lines") + &plural(2, "line", "lines"), "1 line2 lines");
    }
}
