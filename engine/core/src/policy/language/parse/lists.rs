//! Named lists in a condition: `x in list("…")`, and `list("…")[x]`.

use super::{Kind, Node, NodeKind, Parser};
use crate::policy::language::error::{Fault, Span};
use crate::policy::language::token::Token;

const LIST_HELP: &str =
    "write payer.document in list(\"name\"), or list(\"name\")[payer.document] for its number";

impl Parser<'_> {
    /// `list("…")` behind `in`.
    pub(super) fn in_named_list(&mut self, operand: Span) -> Result<Span, Fault> {
        let list = self.next();
        self.expect("(", LIST_HELP)?;
        let (name, end) = self.list_name()?;
        let whole = Node { kind: NodeKind::Field, span: operand };
        if self.tree.nodes.pop_if(|node| *node == whole).is_none() {
            let message = "only a field is looked up in a list";
            return Err(Fault::new(operand.to(list.span), message, LIST_HELP));
        }
        Ok(self.push(NodeKind::InList { key: operand, name }, operand.to(end)))
    }

    /// `list("…")[x]`, behind the parenthesis.
    pub(super) fn list_number(&mut self, list: Token) -> Result<Span, Fault> {
        let (name, _) = self.list_name()?;
        self.expect("[", LIST_HELP)?;
        let first = self.next();
        let key = self.dotted(first)?;
        let end = self.expect("]", LIST_HELP)?;
        Ok(self.push(NodeKind::ListNumber { key, name }, list.span.to(end.span)))
    }

    /// The name of a list, and where its parenthesis ends.
    fn list_name(&mut self) -> Result<(Span, Span), Fault> {
        let name = self.next();
        if name.kind != Kind::Text {
            let message = format!("{} is no name of a list", self.shown(name));
            return Err(Fault::new(name.span, message, LIST_HELP));
        }
        let end = self.expect(")", LIST_HELP)?;
        Ok((name.span, end.span))
    }
}
