//! The picture: smoothed losses above, how far they are apart below.

use anyhow::{Context as _, Result, anyhow};
use image::RgbImage;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use plotters::prelude::{
    BitMapBackend, ChartBuilder, Circle, IntoDrawingArea as _, IntoLogRange as _, PathElement, RGBColor,
    Rectangle, ShapeStyle, WHITE,
};

use super::report::{Curve, Report, relative, smooth};

const WIDTH: u32 = 1080;
const HEIGHT: u32 = 860;
/// Edges of both panels, left and right; and top and bottom of each.
const LEFT: i32 = 96;
const RIGHT: i32 = 1050;
const UPPER: [i32; 2] = [66, 430];
const LOWER: [i32; 2] = [500, 800];

/// The range of differences that is shown.
const DIFFERENCES: [f64; 2] = [1e-9, 3.0];
/// Rounding of a loss that is reported in f32, relative to it.
const ROUNDING: f64 = 6e-8;
/// Steps in the window of the mean.
const WINDOW: usize = 20;

const INK: RGBColor = RGBColor(38, 38, 38);
const FAINT: RGBColor = RGBColor(228, 228, 228);
const BLUE: RGBColor = RGBColor(31, 98, 180);
const ORANGE: RGBColor = RGBColor(222, 120, 20);
const GREEN: RGBColor = RGBColor(28, 138, 84);
const GREY: RGBColor = RGBColor(150, 150, 150);

const SMALL: RasterHeight = RasterHeight::Size16;
const LARGE: RasterHeight = RasterHeight::Size20;

/// Points of a line, in steps and values.
type Line = Vec<(f64, f64)>;

/// One panel: where it is, its range of values, and the lines in it, each with its colour and width.
struct Panel {
    rows: [i32; 2],
    range: [f64; 2],
    lines: Vec<(Line, RGBColor, u32)>,
}

/// A word in the picture, from its left edge and its middle.
struct Label {
    x: i32,
    y: i32,
    text: String,
    size: RasterHeight,
    colour: RGBColor,
}

/// Draws the report.
pub(super) fn draw(report: &Report) -> Result<RgbImage> {
    let [fast, strict, pytorch, other] = &report.curves[..] else {
        return Err(anyhow!("a report has four curves"));
    };
    let panels = [losses([(other, GREY), (pytorch, GREEN), (strict, ORANGE), (fast, BLUE)])];
    let below = differences([
        (relative(fast, other), GREY),
        (relative(fast, pytorch), GREEN),
        (relative(fast, strict), ORANGE),
    ]);
    let last = report.steps as f64;
    let mut pixels = vec![255; (3 * WIDTH * HEIGHT) as usize];
    let mut labels = Vec::new();
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE).context("cannot draw")?;
        for panel in panels.iter().chain([&below]) {
            draw_panel(&root, panel, last, &mut labels)?;
        }
        for (x, y, colour) in KEYS.map(|(x, y, colour, _)| (x, y, colour)) {
            root.draw(&Rectangle::new([(x, y - 2), (x + 26, y + 1)], ShapeStyle::from(&colour).filled()))
                .context("cannot draw")?;
        }
    }
    labels.extend(words(report.steps));
    let mut image = RgbImage::from_raw(WIDTH, HEIGHT, pixels).context("cannot draw: a wrong size")?;
    for label in &labels {
        write(&mut image, label);
    }
    Ok(image)
}

/// The keys of both panels: where each is, its colour, and what it says.
const KEYS: [(i32, i32, RGBColor, &str); 7] = [
    (590, 92, BLUE, "ct, fast kernels"),
    (590, 116, ORANGE, "ct, strict kernels"),
    (590, 140, GREEN, "PyTorch, same start and same noise"),
    (590, 164, GREY, "ct, fast, another seed"),
    (590, 594, GREY, "fast against another seed: noise"),
    (590, 614, GREEN, "fast against PyTorch"),
    (590, 634, ORANGE, "fast against strict"),
];

fn words(steps: usize) -> Vec<Label> {
    let label = |x, y, text: &str, size| Label { x, y, text: text.to_owned(), size, colour: INK };
    let mut all = vec![
        label(LEFT, 24, &format!("Loss of {steps} training steps, mean of the last {WINDOW}"), LARGE),
        label(LEFT, 46, "digits, improved consistency training, RAdam, batch 64", SMALL),
        label(LEFT, 474, &format!("Relative difference of the losses, mean of the last {WINDOW}"), LARGE),
        label(i32::midpoint(LEFT, RIGHT) - 20, 842, "step", SMALL),
    ];
    let text = "rounding of f32";
    let below = row(LOWER, DIFFERENCES, ROUNDING) + 12;
    all.push(label(RIGHT - width(text, SMALL) - 6, below, text, SMALL));
    all.extend(KEYS.map(|(x, y, _, text)| label(x + 36, y, text, SMALL)));
    all
}

/// The smoothed losses, on a logarithmic axis.
fn losses(curves: [(&Curve, RGBColor); 4]) -> Panel {
    let lines = curves.map(|(curve, colour)| {
        // What is drawn last lies on top: the lines below are wider, so that they can be seen.
        let width = if colour == GREEN {
            8
        } else if colour == ORANGE {
            5
        } else {
            2
        };
        (points(&smooth(&curve.losses, WINDOW)), colour, width)
    });
    let values = || lines.iter().flat_map(|(line, ..)| line.iter().map(|point| point.1));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    Panel { rows: UPPER, range: [low / 1.1, high * 1.1], lines: lines.into() }
}

/// The differences, smoothed alike. A loss is reported in f32, so less than its rounding cannot be told.
fn differences(curves: [(Vec<f64>, RGBColor); 3]) -> Panel {
    let lines = curves.map(|(values, colour)| {
        let visible: Vec<f64> =
            smooth(&values, WINDOW).into_iter().map(|value| value.max(DIFFERENCES[0])).collect();
        (points(&visible), colour, 2)
    });
    let last = lines[0].0.last().map_or(1.0, |point| point.0);
    let mut all = vec![(vec![(0.0, ROUNDING), (last, ROUNDING)], INK, 1)];
    all.extend(lines);
    Panel { rows: LOWER, range: DIFFERENCES, lines: all }
}

fn points(values: &[f64]) -> Line {
    (1u32..).map(f64::from).zip(values.iter().copied()).collect()
}

type Root<'a> = plotters::drawing::DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn draw_panel(root: &Root<'_>, panel: &Panel, last: f64, labels: &mut Vec<Label>) -> Result<()> {
    let [top, bottom] = panel.rows;
    let [low, high] = panel.range;
    let area = root.clone().shrink((LEFT, top), (RIGHT.abs_diff(LEFT), bottom.abs_diff(top)));
    let mut chart = ChartBuilder::on(&area)
        .build_cartesian_2d(0.0..last, (low..high).log_scale())
        .context("cannot draw")?;
    let faint = ShapeStyle::from(&FAINT).stroke_width(1);
    for (value, text) in ticks(low, high) {
        chart
            .draw_series([PathElement::new(vec![(0.0, value), (last, value)], faint)])
            .context("cannot draw")?;
        let x = LEFT - 10 - width(&text, SMALL);
        labels.push(Label { x, y: row(panel.rows, panel.range, value), text, size: SMALL, colour: INK });
    }
    for part in 0..=5u32 {
        let step = last * f64::from(part) / 5.0;
        chart
            .draw_series([PathElement::new(vec![(step, low), (step, high)], faint)])
            .context("cannot draw")?;
        let text = format!("{step:.0}");
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
        let middle = LEFT + (f64::from(RIGHT - LEFT) * f64::from(part) / 5.0) as i32;
        labels.push(Label {
            x: middle - width(&text, SMALL) / 2,
            y: bottom + 18,
            text,
            size: SMALL,
            colour: INK,
        });
    }
    for (line, colour, width) in &panel.lines {
        let style = ShapeStyle::from(colour);
        // Stroke by stroke, and a dot at each joint: the joints of one thick line would have spikes.
        let strokes = line.windows(2).map(|ends| PathElement::new(ends, style.stroke_width(*width)));
        chart.draw_series(strokes).context("cannot draw")?;
        let dots = line.iter().map(|&point| Circle::new(point, width / 2, style.filled()));
        chart.draw_series(dots).context("cannot draw")?;
    }
    Ok(())
}

/// Where a value is in a panel.
#[expect(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
fn row([top, bottom]: [i32; 2], [low, high]: [f64; 2], value: f64) -> i32 {
    top + ((high / value).ln() / (high / low).ln() * f64::from(bottom - top)).round() as i32
}

/// Values to mark on a logarithmic axis: some in each decade, or every other decade where there are many.
fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let many = high / low > 1e4;
    let mantissas: &[&str] = if many { &["1"] } else { &["1", "1.5", "2", "3", "4", "5", "7"] };
    (-12..=6)
        .flat_map(|power| mantissas.iter().map(move |mantissa| format!("{mantissa}e{power}")))
        .filter_map(|text| text.parse::<f64>().ok())
        .filter(|value| (low * 0.999..=high * 1.001).contains(value))
        .map(|value| (value, if many { format!("{value:.0e}") } else { format!("{value}") }))
        .filter(|(_, text)| !many || text.ends_with(['0', '2', '4', '6', '8']))
        .collect()
}

fn width(text: &str, size: RasterHeight) -> i32 {
    i32::try_from(text.len() * get_raster_width(FontWeight::Regular, size)).unwrap_or(i32::MAX)
}

/// Blends the letters over the picture; what is outside is left out.
fn write(image: &mut RgbImage, label: &Label) {
    let mut left = label.x;
    for letter in label.text.chars() {
        let Some(raster) = get_raster(letter, FontWeight::Regular, label.size) else { continue };
        let top = label.y - i32::try_from(raster.height() / 2).unwrap_or(0);
        for (y, row) in (top..).zip(raster.rows()) {
            for (x, &ink) in (left..).zip(row.iter()) {
                let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
                if let Some(pixel) = place.and_then(|(x, y)| image.get_pixel_mut_checked(x, y)) {
                    let colour = [label.colour.0, label.colour.1, label.colour.2];
                    for (below, over) in pixel.0.iter_mut().zip(colour) {
                        let mixed =
                            u32::from(*below) * (255 - u32::from(ink)) + u32::from(over) * u32::from(ink);
                        *below = u8::try_from(mixed / 255).unwrap_or(u8::MAX);
                    }
                }
            }
        }
        left += i32::try_from(raster.width()).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_round_numbers() {
        let text = |low, high| ticks(low, high).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(text(0.4, 6.0), ["0.4", "0.5", "0.7", "1", "1.5", "2", "3", "4", "5"]);
        assert_eq!(text(1e-9, 10.0), ["1e-8", "1e-6", "1e-4", "1e-2", "1e0"]);
    }

    #[test]
    fn letters_are_written() {
        let mut image = RgbImage::from_pixel(40, 20, image::Rgb([255; 3]));
        let label = Label { x: 4, y: 10, text: "l".to_owned(), size: SMALL, colour: INK };
        write(&mut image, &label);
        assert!(image.pixels().any(|pixel| pixel.0[0] < 100));
        // Partly outside: no panic.
        write(&mut image, &Label { x: -5, y: 19, ..label });
    }
}
