//! Makes conditions and records of bytes.

use std::collections::BTreeSet;

use catraca_core::policy::language::Field;
use cel::Value;

/// What the words of a field are, and their codes.
type Words = &'static [(&'static str, i64)];
const RAILS: Words = &[("other", 0), ("pix", 1), ("ted", 2), ("boleto", 3), ("card", 4)];
const CHANNELS: Words =
    &[("other", 0), ("app", 1), ("web", 2), ("api", 3), ("branch", 4), ("atm", 5)];
const WEEKDAYS: Words = &[("monday", 1), ("tuesday", 2), ("friday", 5), ("sunday", 7)];
const KINDS: Words = &[("cpf", 1), ("cnpj", 2)];
const LISTS: Words = &[("ceis", 1), ("cnep", 2), ("cepim", 3), ("plain", 4), ("overlay", 5)];

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Number(Unit),
    Word(Words),
    Text,
    /// Something that is the same as another one, or not.
    Opaque,
}

/// The units of fields, and numbers without one.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Plain,
    Centavos,
    Seconds,
    Hour,
    Minute,
}

const UNITS: [Unit; 5] = [Unit::Centavos, Unit::Hour, Unit::Seconds, Unit::Minute, Unit::Plain];

fn kind(field: Field) -> Kind {
    match field {
        Field::Amount => Kind::Number(Unit::Centavos),
        Field::Hour => Kind::Number(Unit::Hour),
        Field::MinuteOfDay => Kind::Number(Unit::Minute),
        Field::Age => Kind::Number(Unit::Seconds),
        Field::Rail => Kind::Word(RAILS),
        Field::Channel => Kind::Word(CHANNELS),
        Field::Weekday => Kind::Word(WEEKDAYS),
        Field::PayerKind | Field::PayeeKind => Kind::Word(KINDS),
        Field::PayerList | Field::PayeeList => Kind::Word(LISTS),
        Field::PayerIspb | Field::PayeeIspb => Kind::Text,
        Field::PayerListed | Field::PayeeListed | Field::PayerAllowed | Field::PayeeAllowed => {
            Kind::Flag
        }
        Field::PayerAccount
        | Field::PayeeAccount
        | Field::PixKey
        | Field::Device
        | Field::PayerDocument
        | Field::PayeeDocument
        | Field::PayerRoot
        | Field::PayeeRoot => Kind::Opaque,
    }
}

/// Fields that are compared with each other.
const PAIRS: [(Field, Field); 8] = [
    (Field::PayerDocument, Field::PayeeDocument),
    (Field::PayerAccount, Field::PayeeAccount),
    (Field::PayerRoot, Field::PayeeRoot),
    (Field::Device, Field::Device),
    (Field::PixKey, Field::PixKey),
    (Field::PayerKind, Field::PayeeKind),
    (Field::PayerList, Field::PayeeList),
    (Field::PayerIspb, Field::PayeeIspb),
];

const TEXTS: [&str; 6] = ["12345678", "1234", "12", "78", "5678", "87654321"];
const NUMBERS: [i64; 8] =
    [i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 1 << 62, -(1 << 62), 3_037_000_500, 86_400];

/// How strongly a part of a condition binds: more binds first.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Strength {
    Choice,
    Or,
    And,
    Relation,
    Sum,
    Product,
    Unary,
    Alone,
}

/// A part of a condition.
pub struct Part {
    pub text: String,
    strength: Strength,
}

impl Part {
    fn alone(text: impl Into<String>) -> Self {
        Self { text: text.into(), strength: Strength::Alone }
    }

    /// In parentheses where it binds too weakly.
    fn within(self, least: Strength) -> String {
        if self.strength < least { format!("({})", self.text) } else { self.text }
    }
}

/// All that is made, by name.
pub const MADE: &str = "true false flag has && || ! ?: ==truth !=truth == != < <= > >= + - * / % negate \
    ?:number reais seconds minutes hours days word in-words in-numbers text startsWith endsWith in-texts \
    pair has&& &&has has?: !has||";

/// Makes a condition of bytes: each chooses something, and no byte chooses the first. So shorter bytes
/// are a simpler condition, to which proptest comes by itself.
pub struct Maker {
    bytes: std::vec::IntoIter<u8>,
    /// What was made, of [`MADE`].
    pub made: BTreeSet<&'static str>,
}

impl Maker {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter(), made: BTreeSet::new() }
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.bytes.next().unwrap_or(0)) % count
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn makes(&mut self, name: &'static str) -> &'static str {
        self.made.insert(name);
        name
    }

    fn field(&mut self, wanted: impl Fn(Kind) -> bool) -> Field {
        let fields: Vec<_> = Field::ALL.iter().copied().filter(|f| wanted(kind(*f))).collect();
        self.one(&fields)
    }

    /// A condition of at most so many levels.
    pub fn truth(&mut self, depth: usize) -> Part {
        match self.below(if depth == 0 { 12 } else { 24 }) {
            0 | 1 => {
                self.makes("flag");
                Part::alone(self.field(|kind| matches!(kind, Kind::Flag)).name())
            }
            2 => {
                let constant = self.one(&["true", "false"]);
                Part::alone(self.makes(constant))
            }
            3 => {
                self.makes("has");
                let fields: Vec<_> = Field::ALL.iter().filter(|f| f.is_optional()).collect();
                Part::alone(format!("has({})", self.one(&fields).name()))
            }
            4..=6 => self.comparison(depth),
            7 => self.word(),
            8 => self.number_in_list(depth),
            9 | 10 => self.text(),
            11 => self.pair(),
            12..=14 => self.joined("&&", Strength::And, depth),
            15..=17 => self.joined("||", Strength::Or, depth),
            18 | 19 => {
                self.makes("!");
                let text = format!("!{}", self.truth(depth - 1).within(Strength::Unary));
                Part { text, strength: Strength::Unary }
            }
            20 | 21 => {
                self.makes("?:");
                let parts = [(); 3].map(|()| self.truth(depth - 1));
                self.choice(parts)
            }
            _ => {
                let (name, operator) = self.one(&[("==truth", "=="), ("!=truth", "!=")]);
                self.makes(name);
                self.joined(operator, Strength::Relation, depth)
            }
        }
    }

    fn joined(&mut self, operator: &'static str, strength: Strength, depth: usize) -> Part {
        if strength != Strength::Relation {
            self.makes(operator);
        }
        let (a, b) = (self.truth(depth - 1), self.truth(depth - 1));
        self.binary(a, operator, b, strength)
    }

    /// Both sides with as few parentheses as there need be: operators of one kind bind to the left.
    fn binary(&mut self, a: Part, operator: &str, b: Part, strength: Strength) -> Part {
        let space = self.one(&[" ", " ", "", "\n\t"]);
        let right = if b.strength == strength { Strength::Alone } else { strength };
        let (a, b) = (a.within(strength), b.within(right));
        Part { text: format!("{a}{space}{operator}{space}{b}"), strength }
    }

    fn choice(&mut self, [condition, first, second]: [Part; 3]) -> Part {
        let (condition, first) = (condition.within(Strength::Or), first.within(Strength::Or));
        let text = format!("{condition} ? {first} : {}", second.within(Strength::Choice));
        Part { text, strength: Strength::Choice }
    }

    fn comparison(&mut self, depth: usize) -> Part {
        let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
        self.makes(operator);
        let unit = self.one(&UNITS);
        let (a, b) = (self.number(unit, depth), self.number(unit, depth.saturating_sub(1)));
        self.binary(a, operator, b, Strength::Relation)
    }

    /// A number that stands in the condition, or in a field.
    fn value(&mut self) -> i64 {
        match self.below(8) {
            0..=2 => self.below(6) as i64,
            3 | 4 => self.below(256) as i64 - 100,
            5 => self.below(256) as i64 * 100,
            _ => self.one(&NUMBERS),
        }
    }

    fn constant(&mut self) -> Part {
        let value = self.value();
        let strength = if value < 0 { Strength::Unary } else { Strength::Alone };
        Part { text: value.to_string(), strength }
    }

    fn leaf(&mut self, unit: Unit) -> Part {
        let function = match unit {
            Unit::Centavos => Some("reais"),
            Unit::Seconds => Some(self.one(&["seconds", "minutes", "hours", "days"])),
            _ => None,
        };
        match (self.below(4), function) {
            (0, _) => self.constant(),
            (1 | 2, Some(function)) => {
                self.makes(function);
                Part::alone(format!("{function}({})", self.below(30)))
            }
            _ if unit == Unit::Plain => {
                self.makes("/");
                let text = format!("tx.amount / reais({})", 1 + self.below(5));
                Part { text, strength: Strength::Product }
            }
            _ => {
                let field =
                    self.field(|kind| matches!(kind, Kind::Number(counted) if counted == unit));
                Part::alone(field.name())
            }
        }
    }

    fn number(&mut self, unit: Unit, depth: usize) -> Part {
        if depth == 0 {
            return self.leaf(unit);
        }
        match self.below(10) {
            0..=3 => self.leaf(unit),
            4 | 5 => {
                let operator = self.one(&["+", "-"]);
                self.makes(operator);
                let (a, b) = (self.number(unit, depth - 1), self.number(unit, depth - 1));
                self.binary(a, operator, b, Strength::Sum)
            }
            6 => {
                self.makes("*");
                let mut sides = [self.number(unit, depth - 1), self.number(Unit::Plain, depth - 1)];
                if self.below(2) == 1 {
                    sides.swap(0, 1);
                }
                let [a, b] = sides;
                self.binary(a, "*", b, Strength::Product)
            }
            7 => {
                let operator = self.one(&["/", "%"]);
                self.makes(operator);
                let a = self.number(unit, depth - 1);
                let divisor = match self.value() {
                    0 => -1,
                    other => other,
                };
                let strength = if divisor < 0 { Strength::Unary } else { Strength::Alone };
                let divisor = Part { text: divisor.to_string(), strength };
                self.binary(a, operator, divisor, Strength::Product)
            }
            8 => {
                self.makes("negate");
                // No two signs in a row: see the head of main.rs.
                let text = format!("-{}", self.number(unit, depth - 1).within(Strength::Alone));
                Part { text, strength: Strength::Unary }
            }
            _ => {
                self.makes("?:number");
                let condition = self.truth(depth - 1);
                let sides = [(); 2].map(|()| self.number(unit, depth - 1));
                let [first, second] = sides;
                self.choice([condition, first, second])
            }
        }
    }

    /// A list without anything twice, which ours refuses.
    fn list<T: Ord + std::fmt::Display>(&mut self, mut of: impl FnMut(&mut Self) -> T) -> String {
        let len = 1 + self.below(4);
        let values: BTreeSet<T> = (0..len).map(|_| of(self)).collect();
        let values: Vec<String> = values.iter().map(T::to_string).collect();
        format!("[{}]", values.join(", "))
    }

    fn number_in_list(&mut self, depth: usize) -> Part {
        self.makes("in-numbers");
        let unit = self.one(&[Unit::Hour, Unit::Minute, Unit::Plain]);
        let x = self.number(unit, depth.saturating_sub(1)).within(Strength::Relation);
        let text = format!("{x} in {}", self.list(Self::value));
        Part { text, strength: Strength::Relation }
    }

    /// Of a text with quotes of either kind.
    fn quoted(&mut self, text: &str) -> String {
        let quote = self.one(&['"', '\'']);
        format!("{quote}{text}{quote}")
    }

    fn word(&mut self) -> Part {
        let field = self.field(|kind| matches!(kind, Kind::Word(_)));
        let Kind::Word(words) = kind(field) else { unreachable!("such a field was asked for") };
        let name = field.name();
        let word = |maker: &mut Self| {
            let (word, _) = maker.one(words);
            maker.quoted(word)
        };
        let text = match self.below(4) {
            0 => {
                self.makes("in-words");
                // Quoted alike, so that none stands there twice.
                let list = self.list(|maker| format!("'{}'", maker.one(words).0));
                format!("{name} in {list}")
            }
            1 => {
                self.makes("word");
                format!("{} == {name}", word(self))
            }
            _ => {
                self.makes("word");
                format!("{name} {} {}", self.one(&["==", "!="]), word(self))
            }
        };
        self.guarded(Part { text, strength: Strength::Relation }, &[field])
    }

    fn text(&mut self) -> Part {
        let field = self.one(&[Field::PayerIspb, Field::PayeeIspb]);
        let name = field.name();
        let text = self.one(&TEXTS);
        let quoted = self.quoted(text);
        let (text, strength) = match self.below(4) {
            0 => {
                self.makes("text");
                (format!("{name} {} {quoted}", self.one(&["==", "!="])), Strength::Relation)
            }
            1 => {
                self.makes("in-texts");
                let list = self.list(|maker| format!("'{}'", maker.one(&TEXTS)));
                (format!("{name} in {list}"), Strength::Relation)
            }
            _ => {
                let method = self.one(&["startsWith", "endsWith"]);
                self.makes(method);
                (format!("{name}.{method}({quoted})"), Strength::Alone)
            }
        };
        self.guarded(Part { text, strength }, &[field])
    }

    fn pair(&mut self) -> Part {
        self.makes("pair");
        let (a, b) = self.one(&PAIRS);
        let text = format!("{} {} {}", a.name(), self.one(&["==", "!="]), b.name());
        self.guarded(Part { text, strength: Strength::Relation }, &[a, b])
    }

    /// A part that reads fields, behind the question whether they are there.
    fn guarded(&mut self, part: Part, fields: &[Field]) -> Part {
        let asked: BTreeSet<_> = fields.iter().filter(|field| field.is_optional()).collect();
        if asked.is_empty() {
            return part;
        }
        let asked: Vec<_> = asked.iter().map(|field| format!("has({})", field.name())).collect();
        let asked = Part { text: asked.join(" && "), strength: Strength::And };
        match self.below(10) {
            0..=3 => {
                self.makes("has&&");
                self.binary(asked, "&&", part, Strength::And)
            }
            4 => {
                self.makes("&&has");
                self.binary(part, "&&", asked, Strength::And)
            }
            5 | 6 => {
                self.makes("has?:");
                let otherwise = self.truth(0);
                self.choice([asked, part, otherwise])
            }
            7 | 8 => {
                self.makes("!has||");
                let lacks = Part { text: format!("!({})", asked.text), strength: Strength::Unary };
                self.binary(lacks, "||", part, Strength::Or)
            }
            // Without that question: some such conditions are refused.
            _ => part,
        }
    }

    /// A record, with what stands in its fields. Some lack fields that every transaction has, too: then a
    /// condition that is taken fails all the same.
    pub fn record(&mut self) -> Vec<(Field, i64, Value)> {
        let lacks_any = self.below(3) == 1;
        let mut record = Vec::new();
        for &field in Field::ALL {
            let (value, shown) = match kind(field) {
                Kind::Flag => {
                    let flag = self.below(2) == 1;
                    (i64::from(flag), Value::Bool(flag))
                }
                Kind::Number(_) => {
                    let value = self.value();
                    (value, Value::Int(value))
                }
                Kind::Word(words) => {
                    let (word, code) = self.one(words);
                    (code, Value::from(word))
                }
                Kind::Text => {
                    let text = self.one(&TEXTS);
                    let mut bytes = [0; 8];
                    bytes[..text.len()].copy_from_slice(text.as_bytes());
                    (i64::from_be_bytes(bytes), Value::from(text))
                }
                Kind::Opaque => {
                    let value = self.one(&[i64::MIN, -1, 77]);
                    (value, Value::Int(value))
                }
            };
            let of = if field.is_optional() { 2 } else { 6 };
            if !((field.is_optional() || lacks_any) && self.below(of) == 1) {
                record.push((field, value, shown));
            }
        }
        record
    }
}
