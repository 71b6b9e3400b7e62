//! Tables of padded columns on a terminal.

use std::io::{self, Write};

/// Writes rows under their headings, two blanks apart. The first column is flush left, all
/// others, which hold numbers, are flush right. Every row has as many cells as `headings`.
pub(super) fn write(
    output: &mut dyn Write,
    headings: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    write_row(output, &widths, headings.iter().copied())?;
    for row in rows {
        write_row(output, &widths, row.iter().map(String::as_str))?;
    }
    Ok(())
}

fn write_row<'a>(
    output: &mut dyn Write,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    for (column, (cell, &width)) in cells.zip(widths).enumerate() {
        if column == 0 {
            write!(output, "{cell:<width$}")?;
        } else {
            write!(output, "  {cell:>width$}")?;
        }
    }
    writeln!(output)
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd".to_owned(), "2345".to_owned()]];
        let mut text = Vec::new();
        super::write(&mut text, &["x", "n"], &rows.map(Vec::from)).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "x       n\na       1\nbcd  2345\n");
    }
}
