//! What another policy makes of payments, as tables and as JSON: for `log replay` and `policy compare`.

use super::log::reais;
use super::output::counted;
use catraca_core::policy::{Cell, Matrix, Totals};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// The verdicts in the order of a matrix.
pub const NAMES: [&str; 3] = ["approve", "review", "deny"];

/// What the columns of the table of rules are.
const COLUMNS: &str = "matched: payments of the rule; changed: those of them that get another verdict; settled: payments whose verdict the rule gives";

/// Share of the verdicts that are others, percent.
pub fn percent_changed(totals: &Totals) -> f64 {
    totals.changed() as f64 * 100.0 / totals.payments().max(1) as f64
}

/// Centavos as people write them; what no amount of money reaches is not grouped.
pub fn money(cell: &Cell) -> String {
    i64::try_from(cell.centavos).map_or_else(|_| format!("{} centavos", cell.centavos), reais)
}

// Sums may be longer than the numbers that many programs read.
fn cell(cell: &Cell) -> Value {
    json!({ "count": cell.count, "centavos": cell.centavos.to_string() })
}

/// Verdicts from and to.
pub fn matrix_json(matrix: &Matrix) -> Value {
    let rows = NAMES.iter().zip(matrix).map(|(from, row)| {
        let cells = NAMES.iter().zip(row).map(|(to, of)| ((*to).to_owned(), cell(of)));
        ((*from).to_owned(), Value::Object(cells.collect()))
    });
    Value::Object(rows.collect())
}

/// By rule.
pub fn rules_json<'i>(ids: impl Iterator<Item = &'i str>, totals: &Totals) -> Value {
    ids.zip(&totals.rules)
        .map(|(id, rule)| {
            json!({
                "id": id,
                "matched": cell(&rule.matched),
                "changed": cell(&rule.changed),
                "settled": rule.settled,
                "without_result": rule.without_result,
            })
        })
        .collect()
}

/// Both, as tables. `was` says what gave the verdicts from which changes are counted.
pub fn tables<'i>(was: &str, ids: impl Iterator<Item = &'i str>, totals: &Totals) -> String {
    let table = |header: &[&str]| {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(header);
        table
    };
    let right = |table: &mut Table| {
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    };
    let mut matrix = table(&[was, "would approve", "would review", "would deny"]);
    for (name, row) in NAMES.iter().zip(&totals.matrix) {
        let cells = row.iter().map(|cell| format!("{}  {}", cell.count, money(cell)));
        matrix.add_row(std::iter::once((*name).to_owned()).chain(cells));
    }
    right(&mut matrix);
    let mut rules = table(&["rule", "matched", "amount", "changed", "settled"]);
    for (id, rule) in ids.zip(&totals.rules) {
        rules.add_row([
            id.to_owned(),
            rule.matched.count.to_string(),
            money(&rule.matched),
            rule.changed.count.to_string(),
            rule.settled.to_string(),
        ]);
    }
    right(&mut rules);
    format!(
        "\n{matrix}\n\n{rules}\n{COLUMNS}\n{} of {} would change ({:.2} %)",
        totals.changed(),
        counted(totals.payments(), "verdict", "verdicts"),
        percent_changed(totals),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_core::policy::RuleTotals;

    #[test]
    fn rules_come_in_the_policy_s_order_and_columns_are_explained() {
        let of = |settled, changed| RuleTotals {
            matched: Cell { count: 9, centavos: 0 },
            changed: Cell { count: changed, centavos: 0 },
            settled,
            without_result: 0,
        };
        let rules = vec![of(1, 0), of(0, 9), of(2, 3)];
        let totals = Totals { matrix: Matrix::default(), rules };
        let ids = ["late", "in-shadow", "early"];
        let text = tables("in force", ids.into_iter(), &totals);
        let at = ids.map(|id| text.find(&format!(" {id} ")));
        assert!(at[0].is_some() && at.is_sorted(), "{text}");
        assert!(text.contains("settled: payments whose verdict the rule gives\n"), "{text}");
    }
}
