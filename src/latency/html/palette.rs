//! The colours of the page, light and dark. Pure.
//!
//! Charts are drawn with the light ones; for dark the style sheet replaces them, by their value.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// A colour of charts: on light, and what replaces it on dark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colour {
    light: u32,
    dark: u32,
}

const fn colour(light: u32, dark: u32) -> Colour {
    Colour { light, dark }
}

pub(super) const INK: Colour = colour(0x1B_1F24, 0xE6_EDF3);
pub(super) const MUTED: Colour = colour(0x4F_5964, 0xA9_B4C0);
pub(super) const GRID: Colour = colour(0xD8_DEE4, 0x30_363D);
pub(super) const BLUE: Colour = colour(0x2A_69D2, 0x6E_A8FE);
pub(super) const GREEN: Colour = colour(0x0B_7D6A, 0x3F_C7AE);
pub(super) const AMBER: Colour = colour(0xC9_7A02, 0xF2_B84B);
pub(super) const PINK: Colour = colour(0xBF_245B, 0xFF_7BAC);
pub(super) const VIOLET: Colour = colour(0x6F_4FD8, 0xA5_8BFF);

/// From few to many.
pub(super) const HEAT: [Colour; 8] = [
    colour(0xDE_EBF9, 0x13_2338),
    colour(0xC4_DBF4, 0x17_3153),
    colour(0xA1_C6EC, 0x1C_4170),
    colour(0x76_ABE2, 0x23_5490),
    colour(0x4C_8DD4, 0x35_6DB4),
    colour(0x2E_6FBF, 0x56_8CD3),
    colour(0x1A_529C, 0x8A_B3EA),
    colour(0x0B_3672, 0xD0_E3FF),
];

const ALL: [Colour; 8] = [INK, MUTED, GRID, BLUE, GREEN, AMBER, PINK, VIOLET];

impl Colour {
    /// As charts are drawn.
    pub(super) fn rgb(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }
}

/// Replaces each colour of a chart for dark.
pub(super) fn dark_rules() -> String {
    let mut rules = String::new();
    for Colour { light, dark } in ALL.into_iter().chain(HEAT) {
        for property in ["fill", "stroke"] {
            let _ = writeln!(rules, "svg [{property}=\"#{light:06X}\"]{{{property}:#{dark:06X}}}");
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_colours_are_the_same_on_light_so_that_each_has_its_own_on_dark() {
        let mut light: Vec<_> = ALL.into_iter().chain(HEAT).map(|colour| colour.light).collect();
        light.sort_unstable();
        assert!(light.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(dark_rules().contains("svg [fill=\"#1B1F24\"]{fill:#E6EDF3}"));
    }
}
