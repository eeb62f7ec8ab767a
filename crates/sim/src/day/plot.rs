//! A day as a picture: four small charts, as SVG.

use super::{Day, Sample};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 180.0;
const MARGIN: f64 = 56.0;

/// What a chart shows: its title, and of each sample its value.
type Chart = (&'static str, fn(&Sample) -> f64);

const CHARTS: [Chart; 4] = [
    ("data objects in the bucket", |sample| sample.stored_objects as f64),
    ("MiB stored", |sample| sample.stored_bytes as f64 / f64::from(1 << 20)),
    ("requests an hour, in PUTs", |sample| sample.put_equivalents() as f64),
    ("MiB of the ledger's snapshot", |sample| sample.snapshot_bytes as f64 / f64::from(1 << 20)),
];

/// The day's charts, side by side in two rows.
#[must_use]
pub fn plot(day: &Day) -> String {
    let (columns, rows) = (2.0, CHARTS.len() as f64 / 2.0);
    let (width, height) = (columns * (WIDTH + MARGIN), rows * (HEIGHT + MARGIN));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (place, chart) in CHARTS.iter().enumerate() {
        let (column, row) = ((place % 2) as f64, (place / 2) as f64);
        let (left, top) = (column * (WIDTH + MARGIN) + MARGIN, row * (HEIGHT + MARGIN) + MARGIN / 2.0);
        draw(&mut svg, &day.samples, chart, left, top);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, samples: &[Sample], (title, value): &Chart, left: f64, top: f64) {
    let hours = samples.last().map_or(1.0, |sample| sample.hour as f64).max(1.0);
    let highest = samples.iter().map(value).fold(1.0, f64::max);
    let (x, y) = (|hour: f64| left + hour / hours * WIDTH, |at: f64| top + HEIGHT - at / highest * HEIGHT);
    let points: Vec<String> =
        samples.iter().map(|sample| format!("{:.1},{:.1}", x(sample.hour as f64), y(value(sample)))).collect();
    let (right, bottom) = (left + WIDTH, top + HEIGHT);
    svg.push_str(&format!(
        "<text x=\"{left}\" y=\"{}\">{title}</text>\n\
         <path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{highest:.0}</text>\n\
         <text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">hour {hours:.0}</text>\n\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#0060a0\" stroke-width=\"1.5\"/>\n",
        top - 6.0,
        left - 4.0,
        top + 8.0,
        left - 4.0,
        bottom + 14.0,
        points.join(" ")
    ));
}
