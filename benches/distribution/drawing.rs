//! The picture and the table of who served how much: counts in, text out.
//!
//! It must never run anything, so that a test can draw what it likes.

use std::fmt::Write as _;

/// The backends behind every algorithm.
pub const BACKENDS: usize = 4;
/// How many requests each of them served.
pub type Counts = [u32; BACKENDS];

/// What one algorithm did.
pub struct Row {
    /// As it is called in the configuration.
    pub name: &'static str,
    /// What was set besides; may be empty.
    pub note: &'static str,
    /// With the weights [`WEIGHTS`]; what they say is marked where they mean anything.
    pub weighted: Counts,
    /// What the backends should get of `weighted`.
    pub due: Option<Counts>,
    /// With equal weights and a second backend that is slow.
    pub slowed: Counts,
    /// With equal weights, while the first backend is stopped and comes back: slices of equal length.
    pub course: Vec<Counts>,
}

/// The weights of the first column.
pub const WEIGHTS: Counts = [1, 1, 2, 4];

const WIDTH: usize = 910;
const HEAD: usize = 124;
const ROW: usize = 104;
/// The height of a bar for [`Picture::scale`].
const BAR: f64 = 58.0;
const COLUMNS: [usize; 3] = [206, 426, 646];
/// The width and the height of a course.
const COURSE: [f64; 2] = [240.0, 58.0];

/// The whole picture; `facts` says what was run.
pub fn picture(rows: &[Row], facts: &str) -> String {
    let height = HEAD + ROW * rows.len() + 8;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">How each algorithm shares requests out among four backends</title>\n{STYLE}\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        WIDTH - 1,
        height - 1
    );
    text(&mut svg, "title", 24, 34, "How each algorithm shares requests out among four backends");
    text(&mut svg, "small", 24, 54, facts);
    legend(&mut svg);
    let weights = WEIGHTS.map(|weight| weight.to_string()).join(", ");
    let headlines = [format!("weights {weights}"), "b2 is four times as slow".into(), "b1 stops and comes back".into()];
    for (x, headline) in COLUMNS.into_iter().zip(&headlines) {
        text(&mut svg, "head", x, 108, headline);
    }
    let most = rows.iter().flat_map(|row| [row.weighted, row.slowed].map(|counts| shares(counts).into_iter()));
    let scale = most.flatten().fold(0.0, f64::max);
    for (index, row) in rows.iter().enumerate() {
        draw_row(&mut svg, HEAD + index * ROW, row, scale);
    }
    svg + "</svg>\n"
}

fn draw_row(svg: &mut String, top: usize, row: &Row, scale: f64) {
    writeln!(svg, "<path class=\"line\" d=\"M24 {top}H{}\"/>", WIDTH - 24).expect(ENDLESS);
    text(svg, "name", 24, top + 48, row.name);
    text(svg, "small", 24, top + 66, row.note);
    bars(svg, COLUMNS[0], top, row.weighted, row.due, scale);
    bars(svg, COLUMNS[1], top, row.slowed, None, scale);
    course(svg, COLUMNS[2], top, &row.course);
}

/// Four bars and how much each is, and a mark where it should end.
fn bars(svg: &mut String, left: usize, top: usize, counts: Counts, due: Option<Counts>, scale: f64) {
    let bottom = top + 88;
    for (index, (share, percent)) in shares(counts).into_iter().zip(percents(counts)).enumerate() {
        let (x, height) = (left + index * 44, BAR * share / scale);
        let y = bottom as f64 - height;
        writeln!(svg, "<rect class=\"b{}\" x=\"{x}\" y=\"{y:.1}\" width=\"34\" height=\"{height:.1}\"/>", index + 1)
            .expect(ENDLESS);
        let due = due.map(|due| bottom as f64 - BAR * shares(due)[index] / scale);
        text(svg, "count", x + 17, due.unwrap_or(y).min(y) as usize - 6, &format!("{percent} %"));
        if let Some(due) = due {
            writeln!(svg, "<path class=\"due\" d=\"M{} {due:.1}h42\"/>", x - 4).expect(ENDLESS);
        }
    }
}

/// The shares over the requests, one upon the other, the first backend on top: what it leaves, others grow into.
fn course(svg: &mut String, left: usize, top: usize, slices: &[Counts]) {
    let ([width, height], top) = (COURSE, top as f64 + 30.0);
    let step = width / slices.len() as f64;
    for backend in 0..BACKENDS {
        let edge = |counts: Counts, upto: usize| top + height * shares(counts)[..upto].iter().sum::<f64>();
        let (mut there, mut back) = (String::new(), String::new());
        for counts in slices {
            write!(there, "V{:.1}h{step}", edge(*counts, backend)).expect(ENDLESS);
            back.insert_str(0, &format!("V{:.1}h-{step}", edge(*counts, backend + 1)));
        }
        writeln!(svg, "<path class=\"b{}\" d=\"M{left} {top}{there}{back}Z\"/>", backend + 1).expect(ENDLESS);
    }
    for (part, word) in ["all up", "b1 stopped", "b1 back"].into_iter().enumerate() {
        let x = left as f64 + width / 3.0 * part as f64;
        text(svg, "count", (x + width / 6.0) as usize, top as usize - 8, word);
        if part > 0 {
            writeln!(svg, "<path class=\"due\" d=\"M{x:.1} {:.1}v{:.1}\"/>", top - 4.0, height + 8.0).expect(ENDLESS);
        }
    }
}

fn legend(svg: &mut String) {
    for backend in 0..BACKENDS {
        let x = COLUMNS[0] + backend * 56;
        writeln!(svg, "<rect class=\"b{}\" x=\"{x}\" y=\"70\" width=\"12\" height=\"12\"/>", backend + 1)
            .expect(ENDLESS);
        text(svg, "small", x + 18, 80, &format!("b{}", backend + 1));
    }
    writeln!(svg, "<path class=\"due\" d=\"M{} 76h24\"/>", COLUMNS[1] + 10).expect(ENDLESS);
    text(svg, "small", COLUMNS[1] + 42, 80, "its share by weight");
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{words}</text>").expect(ENDLESS);
}

/// The same as lines of text: percents of both columns of bars, and of the three parts of the course.
pub fn table(rows: &[Row]) -> String {
    let weights = WEIGHTS.map(|weight| weight.to_string()).join(" ");
    let mut lines = format!(
        "{:<32}{:>16}{:>16}{:>16}{:>16}{:>16}\n",
        "% of b1 b2 b3 b4",
        format!("weights {weights}"),
        "b2 is slow",
        "all up",
        "b1 stopped",
        "b1 back"
    );
    for row in rows {
        let mut line = format!("{:<32}", format!("{} {}", row.name, row.note));
        let parts = row.course.chunks(row.course.len().div_ceil(3)).map(|part| {
            part.iter().fold(Counts::default(), |sum, counts| std::array::from_fn(|index| sum[index] + counts[index]))
        });
        for counts in [row.weighted, row.slowed].into_iter().chain(parts) {
            let cells = percents(counts).map(|percent| format!("{percent:>4}")).concat();
            write!(line, "{cells}").expect(ENDLESS);
        }
        lines += &line;
        lines.push('\n');
    }
    lines
}

fn shares(counts: Counts) -> [f64; BACKENDS] {
    let sum = counts.iter().sum::<u32>().max(1);
    counts.map(|count| f64::from(count) / f64::from(sum))
}

/// Whole percents that make up a hundred: what rounding takes from some is given to those that it took most from.
pub fn percents(counts: Counts) -> Counts {
    let exact = shares(counts).map(|share| share * 100.0);
    let mut whole = exact.map(|percent| percent as u32);
    while whole.iter().sum::<u32>() < 100 && counts.iter().any(|count| *count > 0) {
        let lack = |index: &usize| exact[*index] - f64::from(whole[*index]);
        let index = (0..BACKENDS).max_by(|one, other| lack(one).total_cmp(&lack(other))).expect("there are backends");
        whole[index] += 1;
    }
    whole
}

const ENDLESS: &str = "a string takes all";

/// Colours that differ for the colour-blind, too, on light and on dark.
const STYLE: &str = "<style>
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 13px; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.head, .name { font-weight: 600 }
.small, .count { font-size: 12px; fill: #59636e }
.count { font-size: 11px; text-anchor: middle }
.card { fill: #ffffff; stroke: #d1d9e0 }
.line { stroke: #d1d9e0 }
.due { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 3 2 }
.b1 { fill: #0077bb } .b2 { fill: #ee7733 } .b3 { fill: #009988 } .b4 { fill: #aa6699 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.small, .count { fill: #9198a1 }
.card { fill: #0d1117; stroke: #3d444d }
.line { stroke: #3d444d }
.due { stroke: #e6edf3 }
}
</style>
";
