//! Draws what one multiply-add of a training step costs as the work grows: a panel over the batch, one over the channels.
//!
//! ```text
//! cargo run -p xtask --example plot_scaling -- target/xtask/bench.json docs/images/scaling.png
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::{
    BindKeyPoints as _, BitMapBackend, ChartBuilder, Circle, Color as _, DrawingArea, FontStyle,
    IntoDrawingArea as _, IntoFont as _, LineSeries, PathElement, RGBColor, SeriesLabelPosition, WHITE,
};
use plotters::style::register_font;
use serde::Deserialize;

const SERIES: &str = "cpu_f32/train_step_scaling/";
const WIDTH: u32 = 1200;
const HEIGHT: u32 = 520;
const INK: RGBColor = RGBColor(60, 60, 60);
const FAINT: RGBColor = RGBColor(225, 225, 225);
const OURS: RGBColor = RGBColor(204, 58, 32);
const PEER: RGBColor = RGBColor(70, 100, 160);
/// Picoseconds in a millisecond.
const PS_PER_MS: f64 = 1e9;

/// A row of `bench.json`, as far as the picture needs it.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    ms: f64,
    peer_ms: Option<f64>,
    work: Option<f64>,
    threads: usize,
}

/// One panel: what grows, and what a multiply-add costs there, in picoseconds.
#[derive(Debug)]
struct Panel {
    title: String,
    x_label: &'static str,
    ours: Vec<(f64, f64)>,
    peer: Vec<(f64, f64)>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (source, picture) =
        arguments.next().zip(arguments.next()).context("usage: plot_scaling BENCH.json PICTURE.png")?;
    let text = std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let rows: Vec<Row> = serde_json::from_slice(&text).context("not the rows of a bench")?;
    let threads = rows.first().map_or(0, |row| row.threads);
    let panels = [
        panel(&rows, 'b', "batch", format!("64 channels, {threads} threads")),
        panel(&rows, 'c', "channels", format!("batch 16, {threads} threads")),
    ];
    ensure!(panels.iter().any(|panel| !panel.ours.is_empty()), "no scaling series in {}", source.display());
    write_png(&picture, &draw(&panels)?)
}

/// The points of the series whose names end in `letter` and a number.
fn panel(rows: &[Row], letter: char, x_label: &'static str, title: String) -> Panel {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for row in rows {
        let end = row.name.strip_prefix(SERIES).and_then(|end| end.strip_prefix(letter));
        let (Some(x), Some(work)) = (end.and_then(|end| end.parse::<f64>().ok()), row.work) else { continue };
        ours.push((x, PS_PER_MS * row.ms / work));
        peer.extend(row.peer_ms.map(|ms| (x, PS_PER_MS * ms / work)));
    }
    Panel { title, x_label, ours, peer }
}

/// The picture as RGB bytes.
fn draw(panels: &[Panel]) -> Result<Vec<u8>> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font cannot be read"))?;
    let mut pixels = vec![0; (3 * WIDTH * HEIGHT) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        let heading = ("sans-serif", 24).into_font().color(&INK);
        let title = "Training step: time per multiply-add, f32 on the CPU";
        let area = area.margin(14, 6, 0, 0).titled(title, heading)?;
        let points = panels.iter().flat_map(|panel| panel.ours.iter().chain(&panel.peer));
        let top = 1.15 * points.fold(0.0, |top, point| point.1.max(top));
        for (area, panel) in area.split_evenly((1, panels.len())).iter().zip(panels) {
            draw_panel(area, panel, top)?;
        }
        area.present()?;
    }
    Ok(pixels)
}

fn draw_panel(area: &DrawingArea<BitMapBackend<'_>, Shift>, panel: &Panel, top: f64) -> Result<()> {
    let xs: Vec<f64> = panel.ours.iter().map(|point| point.0).collect();
    let (Some(&first), Some(&last)) = (xs.first(), xs.last()) else { return Ok(()) };
    let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, text(18))
        .margin(14)
        .x_label_area_size(52)
        .y_label_area_size(62)
        .build_cartesian_2d((first / 1.2..last * 1.2).log_scale().base(2.0).with_key_points(xs), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(panel.x_label)
        .y_desc("picoseconds")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .y_labels(8)
        .label_style(text(16))
        .axis_desc_style(text(17))
        .axis_style(INK)
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .draw()?;
    for (label, points, colour) in [("PyTorch", &panel.peer, PEER), ("ours", &panel.ours, OURS)] {
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(3)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3)));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 5, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(FAINT)
        .legend_area_size(34)
        .margin(12)
        .label_font(text(17))
        .draw()?;
    Ok(())
}

fn write_png(path: &Path, pixels: &[u8]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut encoder = png::Encoder::new(file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(())
}
