//! The charts, as SVG. Pure.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::hop::{Makeup, Part};
use super::super::moment;
use super::super::timeline::{Bin, Timeline};
use super::super::words::{count, time};
use super::escape::escaped;
use super::palette::{AMBER, BLUE, Colour, GREEN, GRID, HEAT, INK, MUTED, PINK, VIOLET};

/// A chart that cannot be drawn.
pub(super) type Failed = Box<dyn Error>;

/// How large a chart is, in pixels: for screens and for phones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The lines of the chart over time.
pub(super) const LINES: [(&str, f64, Colour); 4] =
    [("p50", 0.5, GREEN), ("p90", 0.9, BLUE), ("p99", 0.99, AMBER), ("max", 1.0, PINK)];

/// The colour of a part of the time.
pub(super) fn colour(part: Part) -> Colour {
    match part {
        Part::Routing => VIOLET,
        Part::Waiting => AMBER,
        Part::Kafka => BLUE,
        Part::Puback => GREEN,
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The SVG of what `draw` draws, with what it shows in words.
fn svg(
    size: Size,
    words: &str,
    draw: impl FnOnce(&Area<'_>) -> Result<(), Failed>,
) -> Result<String, Failed> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (size.width, size.height)).into_drawing_area();
        draw(&area)?;
        area.present()?;
    }
    let named = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(words));
    Ok(svg.replacen("<svg ", &named, 1))
}

fn label(colour: Colour) -> TextStyle<'static> {
    ("sans-serif", 15).into_font().color(&colour.rgb())
}

/// Axes and their labels.
macro_rules! axes {
    ($chart:expr, $labels:expr, $x:expr, $y:expr) => {
        $chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.rgb())
            .axis_style(GRID.rgb())
            .label_style(label(MUTED))
            .x_labels($labels)
            .y_labels(5)
            .x_label_formatter($x)
            .y_label_formatter($y)
            .draw()?
    };
}

fn builder<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(6).margin_right(24).x_label_area_size(30).y_label_area_size(62);
    builder
}

/// An axis of moments in microseconds, with labels at whole tenths of a second, seconds, minutes, hours or days.
#[derive(Debug, Clone)]
struct Times(Range<i64>);

/// Between two labels, in microseconds; behind them, it doubles.
const STEPS_US: [i64; 19] = [
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    15_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    900_000_000,
    1_800_000_000,
    3_600_000_000,
    10_800_000_000,
    21_600_000_000,
    43_200_000_000,
    86_400_000_000,
];

impl Ranged for Times {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, us: &i64, (from, to): (i32, i32)) -> i32 {
        let (begin, end) = (self.0.start as f64, self.0.end as f64);
        let part = (*us as f64 - begin) / (end - begin).max(1.0);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<i64> {
        let most = i64::try_from(hint.max_num_points()).unwrap_or(1).clamp(1, 100);
        let span = self.0.end.saturating_sub(self.0.start);
        let fits = |step: &i64| span / step <= most;
        let step = STEPS_US.into_iter().find(fits).unwrap_or_else(|| {
            let mut step = STEPS_US[STEPS_US.len() - 1];
            while !fits(&step) {
                step *= 2;
            }
            step
        });
        let first = self.0.start.div_euclid(step).saturating_add(1).saturating_mul(step);
        let points = std::iter::successors(Some(first), |point| point.checked_add(step));
        points.take_while(|point| *point < self.0.end).take(100).collect()
    }

    fn range(&self) -> Range<i64> {
        self.0.clone()
    }
}

impl ValueFormatter<i64> for Times {
    fn format(us: &i64) -> String {
        moment::shown(*us)
    }
}

fn x_labels(size: Size) -> usize {
    (size.width / 130) as usize
}

/// The bounds of a logarithmic axis in microseconds, around what is shown.
fn bounds(least: u64, most: u64) -> (f64, f64) {
    let least = least.max(1) as f64 / 1.2;
    (least, (most.max(1) as f64 * 1.2).max(least * 2.0))
}

/// How many records took how long; `values` are latencies with how often, ascending. Marks are lines at a latency.
pub(super) fn histogram(
    size: Size,
    values: &[(u64, u64)],
    marks: &[(&str, u64)],
) -> Result<String, Failed> {
    let (Some((least, _)), Some((most, _))) = (values.first(), values.last()) else {
        return Ok(String::new());
    };
    let (low, high) = bounds(*least, *most);
    let bars = 60;
    let step = (high / low).powf(1.0 / f64::from(bars));
    let mut counts = vec![0_u64; bars as usize];
    for (us, number) in values {
        let at = ((*us).max(1) as f64 / low).ln() / step.ln();
        counts[(at.max(0.0) as usize).min(bars as usize - 1)] += number;
    }
    let top = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    svg(size, "How many records took how long from receipt to delivery", |area| {
        let x = (low..high).log_scale();
        let mut chart = builder(area).build_cartesian_2d(x, 0.0..top * 1.12)?;
        axes!(chart, x_labels(size), &|us| time(us.round() as u64), &|number| count(
            number.round() as u64
        ));
        chart.draw_series(counts.iter().enumerate().filter(|(_, number)| **number > 0).map(
            |(at, number)| {
                let from = low * step.powi(at as i32);
                Rectangle::new([(from, 0.0), (from * step, *number as f64)], BLUE.rgb().filled())
            },
        ))?;
        for (nth, (name, us)) in marks.iter().enumerate() {
            let us = (*us).max(1) as f64;
            let height = top * (1.12 - 0.075 * nth as f64);
            let line = [(us, 0.0), (us, height)];
            chart.draw_series(LineSeries::new(line, PINK.rgb().stroke_width(2)))?;
            let told = format!(" {name} {} ", time(us as u64));
            // To the side where there is room.
            let is_right = (us / low).ln() > (high / low).ln() * 0.6;
            let side = if is_right { HPos::Right } else { HPos::Left };
            let style = label(INK).pos(Pos::new(side, VPos::Top));
            chart.draw_series([Text::new(told, (us, height), style)])?;
        }
        Ok(())
    })
}

/// From the beginning of the first bin to the end of the last one.
fn span(timeline: &Timeline) -> Option<(i64, i64)> {
    let first = timeline.bins().next()?.0;
    let last = timeline.bins().last()?.0;
    Some((first, last.saturating_add(timeline.width_us())))
}

/// Percentiles over time.
pub(super) fn over_time(size: Size, timeline: &Timeline) -> Result<String, Failed> {
    let Some((begin, end)) = span(timeline) else { return Ok(String::new()) };
    let totals = || timeline.bins().map(|(_, bin)| &bin.total);
    let least = totals().map(|total| total.at(0.5)).min().unwrap_or(1);
    let most = totals().map(|total| total.at(1.0)).max().unwrap_or(1);
    let (low, high) = bounds(least, most);
    svg(size, "p50, p90, p99 and the longest over time, from receipt to delivery", |area| {
        let y = (low..high).log_scale();
        let mut chart = builder(area).build_cartesian_2d(Times(begin..end), y)?;
        let width = timeline.width_us();
        axes!(chart, x_labels(size), &|us| moment::shown_short(*us, width), &|us| time(
            us.round() as u64
        ));
        for (_, part, colour) in LINES {
            let at = |(begin, bin): &(i64, &Bin)| {
                (begin.saturating_add(width / 2), bin.total.at(part).max(1) as f64)
            };
            for run in runs(timeline) {
                let style = colour.rgb().stroke_width(2);
                chart.draw_series(LineSeries::new(run.iter().map(at), style))?;
                if let [alone] = &run[..] {
                    chart.draw_series([Circle::new(at(alone), 2, colour.rgb().filled())])?;
                }
            }
        }
        Ok(())
    })
}

/// Bins that follow one another without a gap.
fn runs(timeline: &Timeline) -> Vec<Vec<(i64, &Bin)>> {
    let mut runs: Vec<Vec<(i64, &Bin)>> = Vec::new();
    for (begin, bin) in timeline.bins() {
        match runs.last_mut() {
            Some(run)
                if run
                    .last()
                    .is_some_and(|(last, _)| last.saturating_add(timeline.width_us()) == begin) =>
            {
                run.push((begin, bin));
            }
            _ => runs.push(vec![(begin, bin)]),
        }
    }
    runs
}

/// How many records took how long when: the darker, the more.
pub(super) fn heat(size: Size, timeline: &Timeline) -> Result<String, Failed> {
    const ROWS: usize = 28;
    let Some((begin, end)) = span(timeline) else { return Ok(String::new()) };
    let values = || timeline.bins().flat_map(|(_, bin)| bin.total.values().map(|(us, _)| us));
    let (low, high) = bounds(values().min().unwrap_or(1), values().max().unwrap_or(1));
    let step = (high / low).powf(1.0 / ROWS as f64);
    let columns: Vec<_> = timeline
        .bins()
        .map(|(begin, bin)| {
            let mut cells = [0_u64; ROWS];
            for (us, number) in bin.total.values() {
                let at = (us.max(1) as f64 / low).ln() / step.ln();
                cells[(at.max(0.0) as usize).min(ROWS - 1)] += number;
            }
            (begin, cells)
        })
        .collect();
    let most = columns.iter().flat_map(|(_, cells)| cells).copied().max().unwrap_or(1).max(1);
    svg(size, "How many records took how long, over time", |area| {
        let y = (low..high).log_scale();
        let mut chart = builder(area).build_cartesian_2d(Times(begin..end), y)?;
        let width = timeline.width_us();
        axes!(chart, x_labels(size), &|us| moment::shown_short(*us, width), &|us| time(
            us.round() as u64
        ));
        chart.draw_series(columns.iter().flat_map(|(begin, cells)| {
            let filled = cells.iter().enumerate().filter(|(_, number)| **number > 0);
            filled.map(move |(row, number)| {
                // Each step of colour is as many times as many.
                let part = (*number as f64).ln_1p() / (most as f64).ln_1p();
                let shade = ((part * HEAT.len() as f64) as usize).min(HEAT.len() - 1);
                let from = low * step.powi(row as i32);
                let corners = [(*begin, from), (begin.saturating_add(width), from * step)];
                Rectangle::new(corners, HEAT[shade].rgb().filled())
            })
        }))?;
        Ok(())
    })
}

/// What the time is made up of, over time.
pub(super) fn stacked(size: Size, timeline: &Timeline) -> Result<String, Failed> {
    let Some((begin, end)) = span(timeline) else { return Ok(String::new()) };
    let whole = |makeup: &Makeup| Part::ALL.iter().map(|part| makeup.mean_us(*part)).sum::<f64>();
    let top = timeline.bins().map(|(_, bin)| whole(&bin.makeup)).fold(1.0, f64::max);
    svg(size, "The mean time of each part of the way, over time", |area| {
        let mut chart = builder(area).build_cartesian_2d(Times(begin..end), 0.0..top * 1.05)?;
        let width = timeline.width_us();
        axes!(chart, x_labels(size), &|us| moment::shown_short(*us, width), &|us| time(
            us.round() as u64
        ));
        chart.draw_series(timeline.bins().flat_map(|(begin, bin)| {
            let mut from = 0.0;
            Part::ALL.map(|part| {
                let to = from + bin.makeup.mean_us(part);
                let corners = [(begin, from), (begin.saturating_add(width), to)];
                from = to;
                Rectangle::new(corners, colour(part).rgb().filled())
            })
        }))?;
        Ok(())
    })
}

/// What the time is made up of: of all records, and of the slowest.
pub(super) fn bands(size: Size, bands: &[(&str, Makeup)]) -> Result<String, Failed> {
    let rows = bands.len() as f64;
    svg(size, "The parts of the way, of all records and of the slowest", |area| {
        let mut builder = ChartBuilder::on(area);
        let mut chart =
            builder.margin(6).margin_right(24).build_cartesian_2d(0.0..1.0, rows..0.0)?;
        for (row, (of, makeup)) in bands.iter().enumerate() {
            let row = row as f64;
            let whole: f64 = Part::ALL.iter().map(|part| makeup.mean_us(*part)).sum();
            let told = format!("{of}: {} on average", time(whole.round() as u64));
            chart.draw_series([Text::new(told, (0.0, row + 0.12), label(INK))])?;
            let mut from = 0.0;
            chart.draw_series(Part::ALL.map(|part| {
                let to = from + makeup.mean_us(part) / whole.max(1.0);
                let corners = [(from, row + 0.45), (to, row + 0.9)];
                from = to;
                Rectangle::new(corners, colour(part).rgb().filled())
            }))?;
        }
        Ok(())
    })
}
